"""``DirectIO``: the client. :mod:`ctera_direct_sync._core` does what its methods describe."""

from __future__ import annotations

import contextlib
import operator
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Callable

import requests

from ._core import ClientCore
from ._readers.batch import BatchProgress, Item
from ._readers.download import Progress, Target
from ._readers.file import DirectFile
from ._readers.stream import Streamer
from .settings import Settings
from .types import BatchResult, Block, BlockEvent, ByteRange, Download, Metadata

__all__ = ["DirectIO"]


class DirectIO:
    """Downloads files from the CTERA global namespace, straight from the object storage.

    ``baseurl``: the portal's URL. ``access_key_id`` and ``secret_access_key``, or ``bearer`` (which
    cannot decrypt). What is not given comes from the environment: CTERA_DIRECT_URL,
    CTERA_DIRECT_ACCESS_KEY_ID, CTERA_DIRECT_SECRET_ACCESS_KEY, CTERA_DIRECT_BEARER. ``settings``: a
    :class:`Settings`, of which a copy is kept. ``session``: called without arguments once per worker
    thread for the ``requests.Session`` to fetch blocks with. ``on_event``: called with an
    :class:`BlockEvent` for each thing that happens to a block, on the thread where it happens.

    Thread-safe: one client serves a whole process, and its children after a fork. It holds no thread
    and no socket before its first use. Pickling gives an equal, unused client, keys included. Close it,
    or use it in a ``with`` statement; what is under way then ends at once.

    ValueError names what is missing or malformed.
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
    ) -> None:
        self._core = ClientCore(baseurl)
        self._core.configure(access_key_id, secret_access_key, bearer, settings, session, on_event)

    # --- listing -------------------------------------------------------------------------------------

    def metadata(self, file_id: int) -> Metadata:
        """The file's block list, to look at or to hand to :meth:`executor` elsewhere.

        DirectIOAPIError and its subclasses as the portal answers (PROTOCOL section 1);
        DecryptKeyError where the file's key cannot be unwrapped.
        """
        return self._core.metadata(file_id)

    # --- blocks --------------------------------------------------------------------------------------

    def blocks(
        self,
        file_id: int,
        byte_range: ByteRange | None = None,
        max_workers: int | None = None,
    ) -> list[Future[Block]]:
        """Futures of the file's whole blocks, in file order, downloading now.

        The caller holds the results: for more than memory can take, use :meth:`iter_blocks` or
        :meth:`stream`. A future that is cancelled before its turn is never fetched.
        Raises what :meth:`metadata` does; each future what its block's download does (BlockError).
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
        """A callable that returns what :meth:`blocks` does, from a list fetched before.

        The portal is asked for nothing, unless the URLs of the list have expired.
        """
        core = self._core
        core.check_call(byte_range, max_workers)
        if not isinstance(metadata, Metadata):
            raise TypeError("executor() takes Metadata: use Metadata.deserialize() on a dictionary")
        label = None if file_id is None else core.file_id_of(file_id)
        return lambda: core.blocks(metadata, label, byte_range, max_workers)

    def iter_blocks(
        self,
        file_id: int,
        byte_range: ByteRange | None = None,
        max_workers: int | None = None,
    ) -> Iterator[Block]:
        """The file's whole blocks as they complete, in no order, within ``settings.memory``.

        A large object of a native-format folder comes in parts of 8 MiB. Raises what :meth:`metadata`
        does; the iteration, what a block's download does (BlockError).
        """
        self._core.check_call(byte_range, max_workers)
        return self._core.iterate(self.metadata(file_id), byte_range, max_workers)

    # --- streams -------------------------------------------------------------------------------------

    def streamer(
        self,
        file_id: int,
        byte_range: ByteRange | None = None,
        max_workers: int | None = None,
    ) -> Streamer:
        """A :class:`Streamer` over the file: ``start()``, ``stop()``, ``offset``."""
        core = self._core
        core.check_call(byte_range, max_workers)
        core.engine.open_stream_window()
        return core.streamer(self.metadata(file_id), byte_range, max_workers)

    def stream(
        self,
        file_id: int,
        byte_range: ByteRange | None = None,
        max_workers: int | None = None,
    ) -> Iterator[Block]:
        """The file's blocks in order, trimmed to the range, read ahead within ``settings.memory``.

        Leaving the loop stops the downloads. Raises what :meth:`metadata` does; the iteration,
        StreamError with the offset to resume from.
        """
        return self.streamer(file_id, byte_range, max_workers).start()

    # --- files ---------------------------------------------------------------------------------------

    def download(
        self,
        file_id: int,
        target: Target,
        *,
        byte_range: ByteRange | None = None,
        resume: bool = False,
        progress: Progress | None = None,
        max_workers: int | None = None,
    ) -> Download:
        """The file, or a range of it, to a path or a writable binary file.

        A path is written beside its place, made durable, and renamed over it when complete: nothing
        partial ever has the final name. ``resume`` keeps what was got for the next call with
        ``resume``, which takes up there. ``progress`` is called with bytes done and bytes in all.
        Raises what :meth:`metadata` does; BlockError (to a file object: StreamError) for a block;
        OSError for the target.
        """
        self._core.check_call(byte_range, max_workers)
        return self._core.download(
            self.metadata(file_id), target, byte_range, resume, progress, max_workers
        )

    def download_many(
        self,
        items: Iterable[Item],
        folder: str | os.PathLike[str],
        *,
        workers: int | None = None,
        resume: bool = True,
        progress: BatchProgress | None = None,
    ) -> list[BatchResult]:
        """Many files to a folder, which is made if it is not there; one result per item, in order.

        ``items``: :class:`BatchItem`, or ``(file_id, path)``, or ``(file_id, path, checksum)``, the path
        relative to the folder, the checksum a SHA-256 or CRC32C in hexadecimal. An item that fails does
        not stop the others: its result says why. ``workers``: files at once (default 4), each within
        ``settings.memory``. ``resume`` leaves alone what is there and unchanged, and takes up what was
        begun; without it every file is downloaded anew. ``progress`` is called with the item, and its
        bytes done and in all, in the calling thread.

        Closing the client ends the batch: what is not done then fails. So does an exception, such as
        KeyboardInterrupt, which then goes on to the caller; calling again takes up there.
        BlockingIOError where another batch is at work in the folder; OSError where that cannot be
        written; TypeError for an item of another shape.
        """
        ended = self._core.run_batch(
            items, folder, workers=workers, resume=resume, progress=progress
        )
        with contextlib.closing(ended):
            return [result for _, result in sorted(ended, key=operator.itemgetter(0))]

    def open(self, file_id: int, *, readahead: int | None = None) -> DirectFile:
        """The file as a seekable ``io.BufferedReader`` with a ``size``, blocks fetched as read.

        Reading on fetches ahead, at most ``readahead`` bytes (default: half of ``settings.memory``; 0:
        none); reading elsewhere stops that. All open files cache decoded blocks in ``settings.memory``.
        Raises what :meth:`metadata` does; reads, what a block's download does (BlockError).
        """
        self._core.check_readahead(readahead)
        return self._core.open(self.metadata(file_id), readahead)

    # --- life ----------------------------------------------------------------------------------------

    def close(self) -> None:
        """End what is under way, the threads and the connections. Safe to call again."""
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
        self._core.__setstate__(state)
