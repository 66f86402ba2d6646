"""The client, `DirectIO`. `ctera_direct_sync._core` does what its methods describe."""

from __future__ import annotations

import contextlib
import operator
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable

import requests

from ._core import ClientCore, label_of
from ._mirror.deletion import Deletion
from ._readers.batch import BatchProgress, Item
from ._readers.description import describe
from ._readers.download import Progress, Target
from ._readers.file import DirectFile
from ._readers.progress import show_batch_progress, show_progress
from ._readers.stream import Streamer
from .namespace import Namespace
from .settings import Settings
from .types import (
    BatchResult,
    Block,
    BlockEvent,
    ByteRange,
    Download,
    FileRef,
    Metadata,
    Mirrored,
    Stats,
)

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["DirectIO"]


class DirectIO:
    """A client that downloads files of the CTERA global namespace, straight from the object storage.

    One client serves all threads of a process, and its children after a fork. It holds no thread and
    no socket before its first use. Close it, or use it in a `with` statement: then no thread, socket or
    partial file stays behind.

    A file is named by its ID, by its path on the portal (a `str` that begins with `/`), or by its
    `Entry`. A path is looked up by each call, so it leads to the file that is there now. An `Entry` is
    taken at its file ID. The errors of a file that was named by path or `Entry` have the path as
    `filename`.

    What neither an argument nor the environment gives comes from the profile that `ctera-direct login`
    stored: the one that CTERA_DIRECT_PROFILE names, or `default`. Its keys and its password go to its
    own portal only. It is not read if nothing is missing.

    A pickle of a client holds its keys. It gives an equal client that was not used yet.

    Args:
        baseurl: The portal's URL. Without it: the environment variable CTERA_DIRECT_URL.
        access_key_id: The access key ID. Without it: CTERA_DIRECT_ACCESS_KEY_ID.
        secret_access_key: The secret access key. Without it: CTERA_DIRECT_SECRET_ACCESS_KEY.
        bearer: A token in place of the key pair. Without it: CTERA_DIRECT_BEARER. A token alone cannot
            decrypt: it serves for files that are not encrypted.
        settings: The settings, of which the client keeps a copy. None: the process's defaults.
        session: A function that returns a configured `requests.Session`. Each worker thread calls it
            once, and fetches blocks with the session.
        on_event: A function that is called with a `BlockEvent` for each thing that happens to a block,
            on the thread where it happens.
        namespace: The `Namespace` that paths are looked up in. It must be of the same portal. The
            client does not close it, and a pickle of the client holds it. None: the client makes one
            at the first path, for the user of CTERA_DIRECT_USERNAME, CTERA_DIRECT_PASSWORD and
            CTERA_DIRECT_CONTEXT or of the profile, and closes it.

    Raises:
        TypeError: `namespace` is not a Namespace.
        ValueError: An argument is malformed, or neither the call, the environment nor a profile gives
            it. Or the profile that is needed cannot be read. The message names the argument and the
            variable. Or `namespace` is of another portal.

    Example:
        >>> with DirectIO("https://tenant.ctera.com", access_key_id, secret_access_key) as client:
        ...     client.download("/My Files/example.pdf", "example.pdf")
        ...     client.download(12345, "other.pdf")
    """

    def __init__(
        self,
        baseurl: str | None = None,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        bearer: str | None = None,
        *,
        settings: Settings | None = None,
        session: Callable[[], requests.Session] | None = None,
        on_event: Callable[[BlockEvent], object] | None = None,
        namespace: Namespace | None = None,
    ) -> None:
        self._core = ClientCore(baseurl)
        self._core.client = self
        self._core.configure(
            access_key_id, secret_access_key, bearer, settings, session, on_event, namespace
        )

    # --- listing -------------------------------------------------------------------------------------

    def metadata(self, file_id: FileRef) -> Metadata:
        """Return the block list of a file.

        It can be stored, and handed to `DirectIO.executor` elsewhere.

        Args:
            file_id: The file's ID, its path on the portal, or its `Entry`.

        Returns:
            The block list. It holds the file's key and the signed URLs.

        Raises:
            NotFoundError: The portal knows no such file.
            UnAuthorized: The portal refuses the key, or its owner may not read the file.
            DirectIOAPIError: The portal gives no block list. Subclasses say why (PROTOCOL, section 1).
            DecryptKeyError: The secret access key does not unwrap the file's key.
            IsAFolderError: The path or entry is a folder.
            NamespaceError: The path cannot be looked up. Subclasses say why, `PathNotFoundError` and
                `LoginError` say.
            TypeError: `file_id` is none of the three. A file ID in a `str` is none.
            ValueError: The client is closed, the ID is negative, or the path has to be looked up and
                neither the environment nor a profile has user name and password.

        Example:
            >>> metadata = client.metadata(12345)
            >>> metadata.size, len(metadata.chunks)
            (10485760, 3)
        """
        return self._core.metadata(file_id)

    def info(self, file_id: FileRef | Metadata, *, blocks: bool = False) -> None:
        """Print what is known of a file, as `ctera-direct info` does: size, formats, storage, blocks.

        Neither the file's key nor a signed URL is shown.

        Args:
            file_id: The file's ID, its path on the portal, or its `Entry`. Or its block list, which asks
                the portal for nothing.
            blocks: Whether to print each block.

        Returns:
            None. The lines go to standard output.

        Raises:
            DirectIOError: As `DirectIO.metadata` raises.
            ValueError: The client is closed.

        Example:
            >>> client.info(12345)
            File ID      12345
            Size         10485760 bytes
        """
        metadata = file_id if isinstance(file_id, Metadata) else self.metadata(file_id)
        for line in describe(metadata, blocks):
            print(line)

    # --- blocks --------------------------------------------------------------------------------------

    def blocks(
        self,
        file_id: FileRef,
        byte_range: ByteRange | None = None,
        max_workers: int | None = None,
    ) -> list[Future[Block]]:
        """Start to download the whole blocks of a file, and return their futures.

        The futures hold the blocks, so the memory is not bounded. If the file may be larger than
        memory, use `DirectIO.iter_blocks` or `DirectIO.stream`. A future that is cancelled before its
        turn is never fetched.

        Args:
            file_id: The file's ID, its path on the portal, or its `Entry`.
            byte_range: The range that the blocks must cover. None: the whole file.
            max_workers: The most concurrent downloads of this call. None leaves it to the client.

        Returns:
            One future per block, in file order. `concurrent.futures.as_completed` and `wait` work with
            them. A future raises `BlockError` if its block could not be downloaded or decoded.

        Raises:
            DirectIOError: As `DirectIO.metadata` raises, or the portal listed only a part of the range.
            TypeError: `byte_range` is not a `ByteRange`.
            ValueError: The client is closed, or `max_workers` is below 1.

        Example:
            >>> for future in as_completed(client.blocks(12345)):
            ...     block = future.result()
            ...     file.seek(block.offset)
            ...     file.write(block.data)
        """
        self._core.check_call(byte_range, max_workers)
        return self._core.blocks(self.metadata(file_id), None, byte_range, max_workers)

    def executor(
        self,
        metadata: Metadata,
        file_id: int | None = None,
        byte_range: ByteRange | None = None,
        max_workers: int | None = None,
    ) -> Callable[[], list[Future[Block]]]:
        """Return a function that downloads from a block list which was fetched before.

        The portal is asked for nothing, unless the URLs of the list have expired.

        Args:
            metadata: The block list.
            file_id: The ID that blocks and errors name. None: the ID in the list.
            byte_range: The range that the blocks must cover. None: the whole file.
            max_workers: The most concurrent downloads of a call. None leaves it to the client.

        Returns:
            A function without parameters. It returns and raises what `DirectIO.blocks` does.

        Raises:
            TypeError: `metadata` is not a `Metadata`, or `byte_range` is not a `ByteRange`.
            ValueError: `max_workers` is below 1.

        Example:
            >>> execute = client.executor(Metadata.deserialize(received))
            >>> blocks = [future.result() for future in execute()]
        """
        core = self._core
        core.check_call(byte_range, max_workers)
        if not isinstance(metadata, Metadata):
            raise TypeError("executor() takes Metadata: use Metadata.deserialize() on a dictionary")
        label = None if file_id is None else core.file_id_of(file_id)
        return lambda: core.blocks(metadata, label, byte_range, max_workers)

    def iter_blocks(
        self,
        file_id: FileRef,
        byte_range: ByteRange | None = None,
        max_workers: int | None = None,
    ) -> Iterator[Block]:
        """Iterate over the whole blocks of a file as they complete, in no order.

        The blocks in memory are bounded by `Settings.memory`. Leaving the loop stops the downloads. A
        large object that is stored as it is (a native-format folder) comes in parts of 8 MiB.

        Args:
            file_id: The file's ID, its path on the portal, or its `Entry`.
            byte_range: The range that the blocks must cover. None: the whole file.
            max_workers: The most concurrent downloads of this call. None leaves it to the client.

        Returns:
            The iterator. It raises `BlockError` if a block could not be downloaded or decoded. It ends
            without an error only after every block was delivered.

        Raises:
            DirectIOError: As `DirectIO.metadata` raises, or the portal listed only a part of the range.
            TypeError: `byte_range` is not a `ByteRange`.
            ValueError: The client is closed, or `max_workers` is below 1.

        Example:
            >>> for block in client.iter_blocks(12345):
            ...     os.pwrite(fd, block.data, block.offset)
        """
        self._core.check_call(byte_range, max_workers)
        return self._core.iterate(self.metadata(file_id), byte_range, max_workers)

    # --- streams -------------------------------------------------------------------------------------

    def streamer(
        self,
        file_id: FileRef,
        byte_range: ByteRange | None = None,
        max_workers: int | None = None,
    ) -> Streamer:
        """Return a `Streamer`, which another thread can stop.

        Args:
            file_id: The file's ID, its path on the portal, or its `Entry`.
            byte_range: The range to deliver. None: the whole file.
            max_workers: The most concurrent downloads of this call. None leaves it to the client.

        Returns:
            The streamer. `Streamer.start` returns what `DirectIO.stream` does.

        Raises:
            DirectIOError: As `DirectIO.metadata` raises, or the portal listed only a part of the range.
            TypeError: `byte_range` is not a `ByteRange`.
            ValueError: The client is closed, or `max_workers` is below 1.

        Example:
            >>> streamer = client.streamer(12345)
            >>> threading.Timer(60, streamer.stop).start()
            >>> for block in streamer.start():
            ...     handle(block.data)
        """
        core = self._core
        core.check_call(byte_range, max_workers)
        core.engine.open_stream_window()
        return core.streamer(self.metadata(file_id), byte_range, max_workers)

    def stream(
        self,
        file_id: FileRef,
        byte_range: ByteRange | None = None,
        max_workers: int | None = None,
    ) -> Iterator[Block]:
        """Iterate over the blocks of a file in order, trimmed to the range.

        Blocks are fetched ahead, within `Settings.memory`. Leaving the loop stops the downloads.

        Args:
            file_id: The file's ID, its path on the portal, or its `Entry`.
            byte_range: The range to deliver. None: the whole file.
            max_workers: The most concurrent downloads of this call. None leaves it to the client.

        Returns:
            The iterator. It raises `StreamError` if it cannot go on. `StreamError.offset` is where to
            resume, and `__cause__` says why. It ends without an error only after every byte was delivered.

        Raises:
            DirectIOError: As `DirectIO.metadata` raises, or the portal listed only a part of the range.
            TypeError: `byte_range` is not a `ByteRange`.
            ValueError: The client is closed, or `max_workers` is below 1.

        Example:
            >>> for block in client.stream(12345, ByteRange(1024)):
            ...     handle(block.data)
        """
        return self.streamer(file_id, byte_range, max_workers).start()

    # --- files ---------------------------------------------------------------------------------------

    def download(
        self,
        file_id: FileRef,
        target: Target,
        *,
        byte_range: ByteRange | None = None,
        resume: bool = False,
        progress: Progress | bool | None = None,
        max_workers: int | None = None,
    ) -> Download:
        """Download a file, or a range of it, to a path or a writable binary file.

        The download to a path is atomic: the path appears, or is replaced, only once the file is
        complete and flushed to disk.

        Args:
            file_id: The file's ID, its path on the portal, or its `Entry`.
            target: A path, or a file object that is open for writing bytes.
            byte_range: The range to write. None: the whole file.
            resume: Whether an interrupted download keeps its progress, and continues from there in the
                next call with `resume=True`.
            progress: A function that is called with the bytes done and the bytes in all, on the
                calling thread. What it raises ends the download. True: a progress bar of tqdm, in
                a notebook as well.
            max_workers: The most concurrent downloads of this call. None leaves it to the client.

        Returns:
            Path, size, checksum and duration.

        Raises:
            DirectIOError: As `DirectIO.metadata` raises, or the portal listed only a part of the range.
            BlockError: A block could not be downloaded or decoded.
            StreamError: The same, if `target` is a file object.
            OSError: The target cannot be written.
            TypeError: `byte_range` is not a `ByteRange`.
            ValueError: The client is closed, or `max_workers` is below 1.

        Example:
            >>> client.download(12345, "report.pdf", resume=True).size
            10485760
        """
        self._core.check_call(byte_range, max_workers)
        with show_progress(progress, lambda: str(label_of(file_id))) as report:
            return self._core.download(
                self.metadata(file_id), target, byte_range, resume, report, max_workers
            )

    def download_many(
        self,
        items: Iterable[Item],
        folder: str | os.PathLike[str],
        *,
        max_files: int | None = None,
        resume: bool = True,
        progress: BatchProgress | bool | None = None,
        workers: int | None = None,
    ) -> list[BatchResult]:
        """Download many files to a folder, which is made if it does not exist.

        An item that fails does not stop the others. Closing the client ends the batch: the items that
        are not done then fail. An exception such as KeyboardInterrupt ends the batch as well, and is
        raised. The next call continues from there.

        Args:
            items: The files: each a `BatchItem`, or a tuple `(file, path)` or `(file, path, checksum)`.
                The file is an ID, a path on the portal or an `Entry`. The path is relative to `folder`.
                The checksum is a SHA-256 or CRC32C in hexadecimal. The portal's paths of one folder
                share its listing, which the call forgets at its end.
            folder: The folder.
            max_files: How many files are downloaded at once, each within `Settings.memory`. None: the
                client finds the number by measuring, and all files together stay near that memory.
            resume: Whether to leave alone files that are there and unchanged, and to continue
                interrupted downloads. False: download every file anew.
            progress: A function that is called with the item, its bytes done and its bytes in all, on
                the calling thread. True: one progress bar of tqdm for the bytes of all items.
            workers: The former name of `max_files`. Deprecated: it goes after the next release.

        Returns:
            One result per item, in the order of `items`.

        Raises:
            BlockingIOError: Another batch is at work in the folder.
            OSError: The folder cannot be written.
            TypeError: An item has another shape, or both `max_files` and `workers` are given.
            ValueError: The client is closed, or `max_files` is below 1.

        Example:
            >>> results = client.download_many([(12345, "a.pdf"), (12346, "b/c.pdf")], "reports")
            >>> [result.outcome for result in results]
            ['done', 'unchanged']
        """
        if workers is not None:
            if max_files is not None:
                raise TypeError(
                    "download_many() takes max_files or its former name workers, not both"
                )
            warnings.warn(
                "download_many(workers=) is now download_many(max_files=)",
                DeprecationWarning,
                stacklevel=2,
            )
            max_files = workers
        with (
            show_batch_progress(progress, lambda: os.fspath(folder)) as report,
            contextlib.closing(
                self._core.run_batch(
                    items, folder, max_files=max_files, resume=resume, progress=report
                )
            ) as ended,
        ):
            return [result for _, result in sorted(ended, key=operator.itemgetter(0))]

    def mirror(
        self,
        source: str,
        folder: str | os.PathLike[str],
        *,
        delete: Deletion = "trash",
        trash_days: float | None = 30,
        max_delete: int = 1000,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        dry_run: bool = False,
        max_files: int | None = None,
        progress: Progress | bool | None = None,
        feed: bool | None = None,
    ) -> Mirrored:
        """Make a local folder equal to a folder of the portal.

        New and changed files are downloaded. What was renamed or moved on the portal is renamed here,
        and what was deleted there is deleted here. The folder `.ctera-mirror` in the local folder holds
        the state, the trash and the downloads under way. A run that was killed is continued by the next.

        A file that was changed here is never overwritten or deleted. If only this side changed, the file
        stays. If the portal changed or deleted it as well, it is kept as `name.conflict-TIME.ext`, with
        the time in UTC. A file that was deleted here comes back. A file that was here before the first
        run stays if the portal's file is equal, and is kept as a conflict copy if not. Symbolic links
        in the local folder are not followed.

        Args:
            source: The folder on the portal.
            folder: The local folder, which is made if it does not exist.
            delete: `"trash"` moves files that the portal deleted to `.ctera-mirror/trash`, `"remove"`
                removes those that the change feed named deleted and moves others to the trash, and
                `"keep"` leaves them where they are.
            trash_days: The number of days that the trash keeps files. None: for ever.
            max_delete: The most files that the run may delete. If there are more, nothing is changed.
            include: Patterns as in `.gitignore`; only files that match one are mirrored. Empty: all.
            exclude: Patterns as in `.gitignore`; what matches one is left alone, here as on the portal.
            dry_run: Whether to count what a run would do, and to do nothing.
            max_files: How many files are downloaded at once. None: found by measuring.
            progress: A function that is called with the bytes done and the bytes in all, on the calling
                thread. True: a progress bar of tqdm.
            feed: Whether to ask the portal's change feed first. If it tells of nothing new since a complete
                run, the source is not read again, for a day at most. False: read the source in each run.
                None: ask the feed if the user may read it.

        Returns:
            What was done. An entry that cannot be read, or whose name this system cannot hold, is in
            `Mirrored.failed`: it stops nothing, and deletes nothing.

        Raises:
            BlockingIOError: Another run is at work in the folder.
            TooManyDeletionsError: More files would be deleted than `max_delete` allows.
            PathNotFoundError: The source is gone. Nothing is deleted.
            NamespaceError: The source cannot be read to its end. Nothing is deleted.
            OSError: The disk is full, or the folder cannot be written. Nothing is deleted.
            ValueError: The client is closed, the folder mirrors another source, or an argument makes no
                sense.

        Example:
            >>> result = client.mirror("/My Files/reports", "reports")
            >>> result.added, result.updated, result.moved, result.deleted
            (12, 3, 1, 0)
        """
        found = self._core.mirror(
            source,
            folder,
            delete=delete,
            trash_days=trash_days,
            max_delete=max_delete,
            include=include,
            exclude=exclude,
            dry_run=dry_run,
            max_files=max_files,
            progress=progress,
            feed=feed,
        )
        return found.mirrored

    def follow(
        self,
        source: str,
        folder: str | os.PathLike[str],
        *,
        delete: Deletion = "trash",
        trash_days: float | None = 30,
        max_delete: int = 1000,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        dry_run: bool = False,
        max_files: int | None = None,
        progress: Progress | bool | None = None,
        feed: bool | None = None,
    ) -> Iterator[Mirrored]:
        """Mirror a folder of the portal again and again.

        A new round begins as soon as the change feed tells of something. Without a feed, and if something
        failed, it begins after five minutes. If the portal cannot be reached, `follow` tries again, with
        delays that grow to five minutes. Closing the iterator, or the client from any thread, ends it.

        Args:
            source: The folder on the portal.
            folder: The local folder, which is made if it does not exist.
            delete: As for `DirectIO.mirror`.
            trash_days: As for `DirectIO.mirror`.
            max_delete: As for `DirectIO.mirror`, for each round.
            include: As for `DirectIO.mirror`.
            exclude: As for `DirectIO.mirror`.
            dry_run: As for `DirectIO.mirror`.
            max_files: As for `DirectIO.mirror`.
            progress: As for `DirectIO.mirror`.
            feed: As for `DirectIO.mirror`.

        Returns:
            An iterator with what each round did. Nothing is sent before its first step.

        Raises:
            DirectIOError: The client was closed, or as `DirectIO.mirror` raises.
            OSError: As `DirectIO.mirror` raises.
            ValueError: As `DirectIO.mirror` raises.

        Example:
            >>> for result in client.follow("/My Files/reports", "reports"):
            ...     print(result.added, result.failed)
        """
        return self._core.follow(
            source,
            folder,
            delete=delete,
            trash_days=trash_days,
            max_delete=max_delete,
            include=include,
            exclude=exclude,
            dry_run=dry_run,
            max_files=max_files,
            progress=progress,
            feed=feed,
        )

    def open(self, file_id: FileRef, *, readahead: int | None = None) -> DirectFile:
        """Open a file as a seekable binary file, whose blocks are fetched as they are read.

        Sequential reads fetch ahead. A jump stops that. All open files of the client keep decoded
        blocks within one `Settings.memory`.

        Args:
            file_id: The file's ID, its path on the portal, or its `Entry`.
            readahead: The most bytes to fetch ahead; 0: none. None: half of `Settings.memory`.

        Returns:
            An `io.BufferedReader` with a `size`. Its reads raise `BlockError` if a block could not be
            downloaded or decoded; the position then stays.

        Raises:
            DirectIOError: As `DirectIO.metadata` raises, or the portal listed only a part of the file.
            ValueError: The client is closed, or `readahead` is negative.

        Example:
            >>> with client.open(12345) as file:
            ...     table = pandas.read_parquet(file)
        """
        self._core.check_readahead(readahead)
        return self._core.open(self.metadata(file_id), readahead)

    def read_into(self, file: FileRef, buffer: WriteableBuffer, offset: int = 0) -> int:
        """Fill a buffer with the bytes of a file.

        Blocks are fetched in parallel, and most are decoded straight into the buffer. Beside the
        buffer, the call holds `Settings.memory`. No byte outside of the buffer is written to. No thread
        writes to the buffer after the call has returned or raised.

        Args:
            file: The file's ID, its path on the portal, or its `Entry`.
            buffer: A writable, C-contiguous buffer: a `bytearray`, a `memoryview`, a NumPy array, or an
                `mmap`. After an error its content is undefined.
            offset: The offset in the file of the first byte, in bytes.

        Returns:
            The number of bytes written. It is less than the buffer's length only at the end of the
            file, and 0 past it.

        Raises:
            StreamError: Not all bytes came. `StreamError.offset` is the first byte that is missing, and
                `__cause__` says why.
            DirectIOError: As `DirectIO.metadata` raises, or the portal listed only a part of the range.
            BufferError: The buffer is not C-contiguous.
            TypeError: The buffer is read-only, or the object is not a buffer.
            ValueError: `offset` is negative, or the client is closed.

        Example:
            >>> array = numpy.empty(1_000_000, dtype="<f4")
            >>> client.read_into(12345, array, offset=128)
            4000000
        """
        return self._core.read_into(file, buffer, offset)

    def read_ranges(
        self,
        file: FileRef,
        ranges: Iterable[tuple[int, int] | tuple[int, int, WriteableBuffer]],
    ) -> list[bytes | memoryview]:
        """Return the bytes of several ranges of a file.

        Ranges that lie in one block, or close together, share a request. They may overlap, and they may
        come in any order.

        Args:
            file: The file's ID, its path on the portal, or its `Entry`.
            ranges: The offset and the length of each range in bytes. A third item is a writable,
                C-contiguous buffer for the bytes. After an error its content is undefined.

        Returns:
            One result per range, in the given order. It is `bytes`, or a `memoryview` of the range's own
            buffer. It is shorter than the range only at the end of the file.

        Raises:
            BlockError: A block could not be downloaded or decoded.
            DirectIOError: As `DirectIO.metadata` raises, the portal listed only a part of a range, or
                the client was closed meanwhile.
            BufferError: A buffer is not C-contiguous.
            TypeError: A range has another form, or its buffer is read-only.
            ValueError: A number is negative, a buffer is shorter than its range, or the client is
                closed.

        Example:
            >>> head, tail = client.read_ranges(12345, [(0, 100), (900, 100)])
        """
        return self._core.read_ranges(file, ranges)

    # --- life ----------------------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """The client's own settings. `bandwidth` may be assigned at any time, the others are fixed."""
        return self._core.settings

    def stats(self) -> Stats:
        """Return what the client has done since it was made; in a forked child, since the fork.

        Any thread may ask at any moment, also after the client was closed. Counting costs a download
        next to nothing, and asking does not hold it up.

        Returns:
            Requests, bytes, retries, waits, and quantiles of the times of each host. It holds no secret.

        Example:
            >>> stats = client.stats()
            >>> stats.storage.requests, stats.delivered, stats.storage.hosts[0].first_byte.p99
            (320, 1342177280, 0.045)
        """
        return self._core.stats()

    def close(self) -> None:
        """End what is under way, and close the threads and connections.

        Consumers of what is under way get an error. It is safe to close a client again.

        Example:
            >>> client.close()
        """
        self._core.close()

    def __enter__(self) -> DirectIO:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return repr(getattr(self, "_core", None) or ClientCore.__new__(ClientCore))

    def __getstate__(self) -> dict[str, Any]:
        return self._core.__getstate__()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._core = ClientCore.__new__(ClientCore)
        self._core.client = self
        self._core.__setstate__(state)
