"""The implementation of `DirectIO`, and the one door to it for other packages.

`DirectIO` has signatures and docstrings. The command line, WSGI and fsspec need more than those.
`core_of` returns the `ClientCore` of a client, which has it.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import operator
import os
import weakref
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Callable, SupportsIndex, cast

import requests

from . import codec
from ._base.bandwidth import WAITED, Bandwidth
from ._base.buffers import tune_allocator
from ._base.cancellation import Cancelled, CancelScope
from ._base.counters import Counters
from ._base.credentials import (
    check_baseurl,
    find_baseurl,
    find_credentials,
    warn_unprotected,
)
from ._base.observer import Observer
from ._base.retry import BACKOFF, RENEWAL, RetryPolicy
from ._base.round_trips import RoundTrips
from ._base.sync import perf_counter
from ._engine.engine import Engine
from ._lookup import FolderLookup, Lookup, as_path, id_of, label_of
from ._net.hedging import Hedging
from ._net.log_filter import install_log_filter
from ._net.meter import Ended, Meter, snapshot
from ._net.session import HTTPSession, SessionPool
from ._net.tls import TLS
from ._protocol.block_list import RenewableBlockList
from ._protocol.portal import Portal
from ._protocol.ranges import Piece, clip, covered
from ._protocol.storage import Storage
from ._readers import batch
from ._readers.batch import BatchProgress, Item
from ._readers.download import Finished, Progress, Target, Verify, download
from ._readers.file import DirectFile, SharedFile, open_file, open_shared_file
from ._readers.file_memory import FileMemory
from ._readers.folders import Place
from ._readers.into import parse_ranges, read_into, writable_bytes
from ._readers.journal import Recorded
from ._readers.listed_file import ListedFile
from ._readers.multi_range import MultiRangeReader, Span
from ._readers.progress import show_progress
from ._readers.stream import Streamer, iterate, whole_bytes
from ._settings import use_settings
from .exceptions import (
    BlockInfo,
    DirectIOAPIError,
    DirectIOError,
    DownloadError,
    NamespaceConnectionError,
    NamespaceError,
    NamespaceTimeout,
    NotFoundError,
)
from .namespace import (
    Namespace,
    changes_within,
    counts_of,
    list_within,
    path_within,
    stat_within,
    user_of,
    walk_within,
)
from .settings import Settings
from .types import (
    BatchResult,
    Block,
    BlockEvent,
    ByteRange,
    ChangePage,
    Download,
    Entry,
    Event,
    FileRef,
    Metadata,
    Mirrored,
    Stats,
    Token,
    Waits,
)

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from ._mirror.deletion import Deletion
    from ._mirror.runner import OnStep, Round
    from .client import DirectIO

__all__ = ["ClientCore", "core_of", "label_of", "make_cancelled_error"]

_log = logging.getLogger(__name__)

#: Connections to the portal that are kept for reuse by concurrent calls. A mirror makes 64 calls at once.
_PORTAL_CONNECTIONS = 128

#: All second requests together may use `settings.memory` divided by this.
_TWINS_MEMORY_DIVISOR = 4

#: Seconds between the runs of `follow`: with a feed that tells of nothing, and without one.
_FEED_ROUND_S = 3600.0
_WALK_ROUND_S = 300.0
#: Seconds until the next run if the feed refuses to wait.
_REFUSED_ROUND_S = 30.0
#: Seconds that `follow` waits after an event, and after errors. The latter double.
_SETTLE_S = 0.2
_FIRST_FOLLOW_DELAY_S = 1.0
_MAX_FOLLOW_DELAY_S = 300.0


class ClientCore:
    """The state of a client, and the work of its methods.

    Attributes:
        baseurl: The portal's URL.
        token: The access key ID or bearer token.
        secret: The secret access key, or None.
        settings: The client's own copy of its settings.
        session: The factory of the sessions that fetch blocks, or None.
        on_event: The function that is called with each `BlockEvent`, or None.
        namespace: The Namespace that paths are looked up in, or None for one of the client's own.
        engine: Runs the downloads.
        hedging: Asks for what comes late a second time.
        portal: Fetches block lists. A forked child gives it new connections.
        storage: Fetches blocks. A forked child gives it new sessions.
        observer: Calls `on_event`.
    """

    baseurl: str
    token: Token
    secret: Token | None
    settings: Settings
    session: Callable[[], requests.Session] | None
    on_event: Callable[[BlockEvent], object] | None
    namespace: Namespace | None
    #: The client lives as long as this object, so that those who share it find and close it.
    client: DirectIO | None = None

    def __init__(self, baseurl: str | None) -> None:
        """Keep the portal's URL. `configure` does the rest, so that a `repr` can show the URL."""
        self.baseurl = check_baseurl(find_baseurl(baseurl))

    def configure(
        self,
        access_key_id: str | None,
        secret_access_key: str | None,
        bearer: str | None,
        settings: Settings | None,
        session: Callable[[], requests.Session] | None,
        on_event: Callable[[BlockEvent], object] | None,
        namespace: Namespace | None,
    ) -> None:
        """Take the other arguments of `DirectIO`, and prepare for work."""
        self.token, self.secret = find_credentials(
            self.baseurl, access_key_id, secret_access_key, bearer
        )
        warn_unprotected(self.baseurl)
        self.settings = Settings(**(vars(settings) if settings is not None else {}))
        self.session = session
        self.on_event = on_event
        self.namespace = namespace
        self.prepare()

    def prepare(self) -> None:
        """Make the engine and all that holds connections, none of which is opened yet."""
        settings = self.settings
        self._lookup = Lookup(self.baseurl, settings, self.namespace)
        codec.prepare()
        if settings.tune_allocator:
            tune_allocator()
        if settings.filter_logs:
            install_log_filter()
        api, storage = settings.api, settings.storage
        self.api_tls = TLS(api.ssl, api.cert)
        same = (storage.ssl, storage.cert) == (api.ssl, api.cert)
        self.storage_tls = self.api_tls if same else TLS(storage.ssl, storage.cert)
        self.observer = Observer(self.on_event)
        self._bandwidth = Bandwidth()
        self.hedging = Hedging(settings.hedging, settings.memory // _TWINS_MEMORY_DIVISOR)
        round_trips = RoundTrips()
        use_settings(settings, self._bandwidth.set)
        self.engine = Engine(
            settings.max_workers,
            bandwidth=self._bandwidth,
            round_trips=round_trips,
            cancelled_error=make_cancelled_error,
            forked_error=_make_forked_error,
        )
        # A client that is dropped without being closed leaves no thread behind.
        self._finalizer = weakref.finalize(self, self.engine.close, wait=False)
        self._finalizer.atexit = False
        self._hedging_finalizer = weakref.finalize(self, self.hedging.close, wait=False)
        self._hedging_finalizer.atexit = False
        policy = RetryPolicy.from_settings(settings)
        self._counters: Counters = policy.counters
        self._listener: Callable[[Ended], object] | None = None
        # Block lists and open files keep these two, so a forked child keeps them, too.
        self.portal = Portal(self.baseurl, self.token, self.secret, policy, self.hedging)
        # Streams, futures and files hold the storage. They work on if the program drops the client.
        self.storage = Storage(
            policy,
            settings.checksums,
            self.observer,
            bandwidth=self._bandwidth,
            hedging=self.hedging,
            round_trips=round_trips,
            owner=self,
        )
        self.connect()
        _cores.add(self)

    def connect(self) -> None:
        """Make what owns sockets. A forked child does so again: the parent's are not its own."""
        self._scopes: set[CancelScope] = set()
        self._bandwidth.start_over()
        self.hedging.start_over()
        self._counters.clear()
        self._counted_since = perf_counter()
        self._portal_meter = Meter("portal")
        self._portal_http = HTTPSession(
            self.settings.api,
            self.api_tls,
            pool_maxsize=_PORTAL_CONNECTIONS,
            meter=self._portal_meter,
        )
        self.portal.connect(self._portal_http)
        self._sessions = SessionPool(self.settings.storage, self.storage_tls, self.session)
        self.storage.connect(self._sessions)
        self._portal_meter.listener = self._sessions.meter.listener = self._listener

    # --- listing -------------------------------------------------------------------------------------

    def file_id_of(self, file: SupportsIndex) -> int:
        """Return a file ID that a user gives where only an ID makes sense.

        Raises:
            TypeError: It is not a number.
            ValueError: It is negative.
        """
        return id_of(operator.index(file))

    def metadata(self, file: FileRef) -> Metadata:
        """Return the block list of a file, unless the client is closed meanwhile.

        Args:
            file: The file's ID, its path or its `Entry`.

        Raises:
            DirectIOAPIError: The portal refused, or the client was closed.
            DecryptKeyError: The file's key cannot be unwrapped.
            NamespaceError: The path is not that of a file, or cannot be looked up.
            TypeError: `file` does not name a file.
            ValueError: The client is closed already, or the ID is negative.
        """
        with self.scope() as scope:
            try:
                return self.block_list(file, scope)
            except Cancelled:
                pass
        raise DirectIOAPIError(
            "The client was closed before the portal answered",
            label_of(file),
            errno=errno.ECANCELED,
        )

    def list_cancellable(
        self, file: FileRef, cancel_by: Callable[[Callable[[], object]], object]
    ) -> Metadata:
        """Return the block list of a file. A web response ends the wait if its visitor leaves.

        Args:
            file: The file's ID, its path or its `Entry`.
            cancel_by: Takes a function that any thread may call to end the wait by an error.

        Raises:
            DirectIOAPIError: As `metadata` raises, as the other errors, or the wait was cut off.
        """
        with self.scope() as scope:
            cancel_by(scope.cancel)
            try:
                return self.block_list(file, scope)
            except Cancelled:
                pass
        raise DirectIOAPIError(
            "The wait for the portal's answer was cut off", label_of(file), errno=errno.ECANCELED
        )

    def block_list(
        self, file: FileRef, scope: CancelScope, folders: FolderLookup | None = None
    ) -> Metadata:
        """Return the block list of a file, unless `scope` is cancelled meanwhile.

        This is the one place that turns what names a file into its ID.

        Args:
            file: The file's ID, its path or its `Entry`.
            scope: Ends the lookup and the listing.
            folders: Looks up the paths of a batch. None: the path is looked up by itself.

        Raises:
            Cancelled: The scope was cancelled.
            DirectIOError: As `metadata` raises.
            TypeError: As `metadata` raises.
            ValueError: As `metadata` raises.
        """
        path = as_path(file)
        if path is None:
            file_id = id_of(file)
            self.check_open()
            return self.portal.fetch_block_list(file_id, scope)
        self.check_open()
        file_id = (folders or self._lookup).find(path, scope)
        try:
            return self.portal.fetch_block_list(file_id, scope)
        except NotFoundError:
            pass
        # The file was overwritten or moved since, so that the portal forgot the ID.
        return self.portal.fetch_block_list(self._lookup.find(path, scope), scope)

    @contextlib.contextmanager
    def scope(self) -> Iterator[CancelScope]:
        """Open a scope that closing the client cancels."""
        scope = CancelScope()
        self._scopes.add(scope)
        try:
            yield scope
        finally:
            self._scopes.discard(scope)

    def check_open(self) -> None:
        """Raise ValueError if the client is closed."""
        self.engine.check_process()
        if self.engine.closed:
            raise ValueError("the client is closed: make a new DirectIO")

    def whole(self, metadata: Metadata) -> ListedFile:
        """Return a file that was listed.

        Raises:
            DirectIOAPIError: The portal listed only a part of it.
        """
        return self._select(metadata)[0]

    def _select(
        self, metadata: Metadata, byte_range: ByteRange | None = None, file_id: int | None = None
    ) -> tuple[ListedFile, int, int]:
        """Return a listed file, and the first byte and the one past the last of a range of it.

        Raises:
            DirectIOAPIError: The portal listed only a part of the range.
        """
        start, stop = clip(byte_range, metadata.size)
        _check_covered(metadata, start, stop)
        return self._source(metadata, file_id), start, stop

    def _source(self, metadata: Metadata, file_id: int | None = None) -> ListedFile:
        return ListedFile(
            self.engine,
            self.storage,
            RenewableBlockList(metadata, self.portal),
            metadata.file_id if file_id is None else file_id,
            self.settings.memory,
            self.observer,
        )

    # --- blocks --------------------------------------------------------------------------------------

    def check_call(self, byte_range: ByteRange | None, max_workers: int | None) -> None:
        """Raise TypeError or ValueError for arguments of a call that make no sense."""
        if byte_range is not None and not isinstance(byte_range, ByteRange):
            raise TypeError("byte_range is a ByteRange, such as ByteRange(0, 1023), or None")
        _check_count("max_workers", max_workers)

    def blocks(
        self,
        metadata: Metadata,
        file_id: int | None,
        byte_range: ByteRange | None,
        max_workers: int | None,
    ) -> list[Future[Block]]:
        """Start to download the whole blocks of a range, and return their futures in file order."""
        source, start, stop = self._select(metadata, byte_range, file_id)
        transfer = source.transfer(
            source.pieces(start, stop, whole=True, part_size=None),
            source.block,
            max_workers=max_workers,
            bounded=False,
            shared=True,
        )
        try:
            self.engine.start(transfer)
            jobs = transfer.take_admitted()
            # Independent of the engine's accounts: the caller could not see that a future is missing.
            if sum(job.piece.length for job in jobs) != whole_bytes(
                source, start, stop, part_size=None
            ):
                text = "Not every block has a future: please report this"
                raise DirectIOError(text, source.file_id, errno=errno.EIO)
            return [cast("Future[Block]", job.future) for job in jobs]
        except BaseException:
            # The caller gets no futures, so it could not end what was begun.
            self.engine.cancel(transfer)
            raise

    def iterate(
        self,
        metadata: Metadata,
        byte_range: ByteRange | None,
        max_workers: int | None,
        cancel_by: Callable[[Callable[[], object]], object] | None = None,
    ) -> Iterator[Block]:
        """Return an iterator over the whole blocks of a range, as they complete."""
        source, start, stop = self._select(metadata, byte_range)
        return iterate(source, start, stop, max_workers, cancel_by)

    def streamer(
        self, metadata: Metadata, byte_range: ByteRange | None, max_workers: int | None = None
    ) -> Streamer:
        """Return a streamer over a range."""
        source, start, stop = self._select(metadata, byte_range)
        return Streamer(source, start, stop, max_workers)

    # --- files ---------------------------------------------------------------------------------------

    def download(
        self,
        metadata: Metadata,
        target: Target,
        byte_range: ByteRange | None = None,
        resume: bool = False,
        progress: Progress | None = None,
        max_workers: int | None = None,
        verify: Verify | None = None,
        scope: CancelScope | None = None,
    ) -> Download:
        """Download a listed file, or a range of it.

        Args:
            metadata: The file's block list.
            target: As for `DirectIO.download`, as all arguments but the last two.
            byte_range: The range.
            resume: Whether to continue an earlier download.
            progress: Called with bytes done and bytes in all.
            max_workers: The most concurrent downloads.
            verify: Called with the path and CRC32C of the complete file, before it gets its name.
            scope: Cancels the download from another thread.
        """
        source, start, stop = self._select(metadata, byte_range)
        return download(
            source,
            target,
            start,
            stop,
            resume=resume,
            progress=progress,
            max_workers=max_workers,
            verify=verify,
            scope=scope,
        ).download

    def run_batch(
        self,
        items: Iterable[Item],
        folder: str | os.PathLike[str],
        *,
        max_files: int | None = None,
        resume: bool = True,
        progress: BatchProgress | None = None,
    ) -> Generator[tuple[int, BatchResult], None, None]:
        """Download many files. Yield each item's position and result, as the items end."""
        self.check_open()
        _check_count("max_files", max_files)
        wanted = [batch.to_batch_item(item) for item in items]
        folders = FolderLookup(self._lookup, (item.file_id for item in wanted))
        memory = self._file_memory(max_files)
        with self.scope() as scope:
            yield from batch.run(
                functools.partial(self._download_one, folders=folders, memory=memory),
                scope,
                wanted,
                folder,
                max_files=max_files,
                resume=resume,
                progress=progress,
            )

    def _download_one(
        self,
        file: FileRef,
        target: Target,
        scope: CancelScope,
        *,
        folders: FolderLookup,
        memory: FileMemory | None,
        resume: bool,
        progress: Progress | None,
        verify: Verify | None,
        recorded: Recorded | None,
    ) -> Finished:
        with self._cancelled_if_closed(), contextlib.ExitStack() as stack:
            source, start, stop = self._select(self.block_list(file, scope, folders))
            if memory is not None:
                stack.enter_context(memory.reserve(stop - start, scope))
            return download(
                source,
                target,
                start,
                stop,
                resume=resume,
                progress=progress,
                verify=verify,
                scope=scope,
                recorded=recorded,
            )

    def _file_memory(self, max_files: int | None) -> FileMemory | None:
        """Return what files wait for whose number the client finds. A given number is obeyed."""
        return FileMemory(self.settings.memory) if max_files is None else None

    @contextlib.contextmanager
    def _cancelled_if_closed(self) -> Generator[None, None, None]:
        """Raise Cancelled instead of the ValueError of a client that was closed meanwhile."""
        try:
            yield
        except ValueError:
            # The client may be closed already while it has yet to cancel the scope.
            if self.engine.closed:
                raise Cancelled from None
            raise

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
        on_step: OnStep | None = None,
    ) -> Round:
        """Make a folder equal to a folder of the portal.

        Args:
            source: As for `DirectIO.mirror`, as all arguments but the last.
            folder: The local folder.
            delete: What happens to files that the portal deleted.
            trash_days: How long the trash keeps files.
            max_delete: The most files that may be deleted.
            include: Patterns of files.
            exclude: Patterns of files and folders.
            dry_run: Whether to change nothing.
            max_files: The most files at once.
            progress: Called with bytes done and bytes in all. True: a progress bar.
            feed: Whether to ask the change feed.
            on_step: Called with each step of the run, once it is done.
        """
        # Python may have been built without SQLite, which only mirrors need.
        from ._mirror.filters import Filter
        from ._mirror.runner import MirrorOptions, run_mirror

        self.check_open()
        path = as_path(source)
        if path is None:
            raise TypeError("source is a path on the portal, such as '/My Files/reports'")
        if delete not in ("trash", "remove", "keep"):
            raise ValueError(f"delete is {delete!r}: use 'trash', 'remove' or 'keep'")
        if operator.index(max_delete) < 0:
            raise ValueError(f"max_delete is {max_delete}: use a number of files, 0 for none")
        if trash_days is not None and not trash_days >= 0:
            raise ValueError(f"trash_days is {trash_days}: use a number of days, or None for ever")
        _check_count("max_files", max_files)
        names = self._lookup.names()
        fetch = functools.partial(self._fetch_to, memory=self._file_memory(max_files))
        with show_progress(progress, lambda: source) as report, self.scope() as scope:
            options = MirrorOptions(
                delete=delete,
                trash_days=trash_days,
                max_delete=max_delete,
                filter=Filter(include, exclude),
                dry_run=dry_run,
                max_files=max_files,
                progress=report,
                on_step=on_step,
                feed=feed,
                patterns=repr((list(include), list(exclude))),
                portal=f"{names.baseurl} ({names.context})",
                user=user_of(names),
                is_admin=names.context == "admin",
            )
            try:
                return run_mirror(_ScopedNames(names, scope), fetch, scope, path, folder, options)
            except Cancelled:
                pass
        raise _mirror_cancelled(path)

    def follow(
        self, source: str, folder: str | os.PathLike[str], **options: Any
    ) -> Generator[Mirrored, None, None]:
        """Mirror again and again. Yield the outcome of each run.

        Args:
            source: The folder on the portal.
            folder: The local folder.
            **options: The options of `mirror`.
        """
        errors = 0
        while True:
            try:
                found = self.mirror(source, folder, **options)
            except (NamespaceConnectionError, NamespaceTimeout) as error:
                errors += 1
                delay = min(_FIRST_FOLLOW_DELAY_S * 2 ** min(errors, 16), _MAX_FOLLOW_DELAY_S)
                _log.warning("%s: %s: trying again in %d s", source, error, delay)
                self._await_changes(source, None, delay)
                continue
            errors = 0
            yield found.mirrored
            # What could not be done may work later, and what was deleted here is noticed by a run.
            is_whole = found.cursor is not None and not found.mirrored.failed
            self._await_changes(source, found, _FEED_ROUND_S if is_whole else _WALK_ROUND_S)

    def _await_changes(self, source: str, found: Round | None, seconds: float) -> None:
        """Wait until the change feed tells of something, for some seconds at most."""
        self.check_open()
        with self.scope() as scope:
            try:
                if found is None or found.cursor is None or found.folder_id is None:
                    scope.wait(seconds)
                    return
                pages = changes_within(
                    self._lookup.names(), scope, found.cursor, [found.folder_id], seconds
                )
                if any(page.events for page in pages):
                    # What belongs together often comes together.
                    scope.wait(_SETTLE_S)
                return
            except Cancelled:
                pass
            except NamespaceError as error:
                # The next run tells what is wrong, or works again. It must not come at once for ever.
                _log.info("%s: waiting for changes: %s", source, error)
                with contextlib.suppress(Cancelled):
                    scope.wait(min(seconds, _REFUSED_ROUND_S))
                    return
        raise _mirror_cancelled(source)

    def _fetch_to(
        self,
        file: Entry,
        place: Place,
        scope: CancelScope,
        progress: Progress | None,
        finish: Callable[[int], object],
        *,
        memory: FileMemory | None,
    ) -> int:
        from ._mirror.downloads import download_to

        with self._cancelled_if_closed(), contextlib.ExitStack() as stack:
            listed = self.whole(self.block_list(file, scope))
            if memory is not None:
                stack.enter_context(memory.reserve(listed.metadata.size, scope))
            return download_to(listed, place, scope, progress, finish)

    def check_readahead(self, readahead: int | None) -> None:
        """Raise TypeError or ValueError for a number of bytes that makes no sense."""
        if readahead is not None and operator.index(readahead) < 0:
            raise ValueError("readahead is a number of bytes, 0 for none")

    def open(self, metadata: Metadata, readahead: int | None = None) -> DirectFile:
        """Open a listed file for one reader."""
        return open_file(self.whole(metadata), readahead, self)

    def open_shared(self, metadata: Metadata, readahead: int | None = None) -> SharedFile:
        """Open a listed file for several threads."""
        return open_shared_file(self.whole(metadata), readahead, self)

    def read_spans(self, metadata: Metadata, spans: Sequence[Span]) -> MultiRangeReader:
        """Begin to read several ranges of a listed file."""
        for start, stop in spans:
            _check_covered(metadata, start, stop)
        return MultiRangeReader(self._source(metadata), spans)

    def read_into(self, file: FileRef, buffer: WriteableBuffer, offset: int) -> int:
        """Fill a buffer with the bytes of a file from an offset on. Return their number."""
        offset = operator.index(offset)
        if offset < 0:
            raise ValueError(f"offset is {offset}: use the number of bytes to skip, 0 or more")
        # Released at the end, so that the caller may resize the buffer, or close its mapping.
        with writable_bytes(buffer) as memory:
            metadata = self.metadata(file)
            start = min(offset, metadata.size)
            stop = min(start + len(memory), metadata.size)
            _check_covered(metadata, start, stop)
            with memory[: stop - start] as target:
                read_into(self._source(metadata), start, target)
        return stop - start

    def read_ranges(
        self, file: FileRef, ranges: Iterable[tuple[Any, ...]]
    ) -> list[bytes | memoryview]:
        """Return the bytes of several ranges of a file."""
        # After an error the buffers are released. After none, the caller has the views of them.
        with contextlib.ExitStack() as views:
            wanted, targets = parse_ranges(ranges, views)
            metadata = self.metadata(file)
            size = metadata.size
            spans = [(min(start, size), min(stop, size)) for start, stop in wanted]
            for index, (start, stop) in enumerate(spans):
                _check_covered(metadata, start, stop)
                target = targets[index]
                if target is not None:
                    targets[index] = views.enter_context(target[: stop - start])
            reader = MultiRangeReader(self._source(metadata), spans, targets)
            found = reader.read(fail_fast=True)
            views.pop_all()
            return found

    # --- what was done -------------------------------------------------------------------------------

    def stats(self) -> Stats:
        """Return what the client has done so far."""
        meters, counters = [self._portal_meter], [self._counters]
        hedges = self.hedging.twins + self.hedging.moved
        names = self._lookup.known_names
        if names is not None:
            meter, counts, twins = counts_of(names)
            hedges += twins
            meters.append(meter)
            counters.append(counts)
        causes: dict[str, float] = {}
        for each in counters:
            for name, amount in each.totals().items():
                causes[name] = causes.get(name, 0) + amount
        backoff, renewals = causes.pop(BACKOFF, 0.0), causes.pop(RENEWAL, 0)
        sessions = self._sessions
        return Stats(
            seconds=perf_counter() - self._counted_since,
            portal=snapshot(meters, self._portal_http.count_idle()),
            storage=snapshot([sessions.meter], sessions.count_idle()),
            delivered=sessions.delivered,
            retries={name: int(amount) for name, amount in causes.items()},
            renewals=int(renewals),
            hedges=hedges,
            waits=Waits(
                self._bandwidth.counters.totals().get(WAITED, 0.0),
                backoff,
                self.engine.memory_waits,
            ),
        )

    def listen(self, listener: Callable[[Ended], object] | None) -> None:
        """Call a function with each request that has ended, on its thread. None: no function.

        The function raises nothing: the request is not over yet.
        """
        self._listener = listener
        self._portal_meter.listener = self._sessions.meter.listener = listener
        self._lookup.listen(listener)

    # --- life ----------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        # A traceback with locals shows clients whose constructor raised, too.
        engine = getattr(self, "engine", None)
        state = "unfinished" if engine is None else "closed" if engine.closed else "open"
        return f"<DirectIO {getattr(self, 'baseurl', '?')} {state}>"

    @property
    def closed(self) -> bool:
        """Whether the client was closed."""
        return self.engine.closed

    def close(self) -> None:
        """End what is under way, the threads and the connections. Safe to call again."""
        # Listings and batches end first, so that nothing new begins.
        self.engine.closed = True
        if not self.engine.is_parents():
            for scope in self._scopes.copy():
                scope.cancel()
        self.engine.close()
        if self.engine.is_parents():
            return  # What is under way belongs to the parent, and so do the connections.
        self.hedging.close()
        self._lookup.close()
        self._sessions.close()
        self.portal.close()
        # It would keep the engine, and all that its threads have last referred to.
        self._finalizer.detach()
        self._hedging_finalizer.detach()

    def __getstate__(self) -> dict[str, Any]:
        return {
            "baseurl": self.baseurl,
            "token": self.token,
            "secret": self.secret,
            "settings": self.settings,
            "session": self.session,
            "on_event": self.on_event,
            "namespace": self.namespace,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
        self.prepare()


class _ScopedNames:
    """A Namespace whose calls end with a cancel scope."""

    def __init__(self, names: Namespace, scope: CancelScope) -> None:
        self._names = names
        self._scope = scope

    def stat(self, path: str) -> Entry:
        """Return the entry of a path."""
        return stat_within(self._names, path, self._scope)

    def walk(self, path: str, on_error: Callable[[NamespaceError], object]) -> Iterator[Entry]:
        """Return everything below a folder."""
        return walk_within(self._names, path, self._scope, on_error)

    def listdir(self, path: str, *, include_deleted: bool = False) -> Iterator[Entry]:
        """Return what is in a folder."""
        return iter(list_within(self._names, path, self._scope, include_deleted=include_deleted))

    def path_of(self, event: Event) -> str:
        """Return the path of the object of an event."""
        return path_within(self._names, event, self._scope)

    def changes(self, cursor: str | None, folder_id: int) -> Iterator[ChangePage]:
        """Return what has changed in a cloud folder since a cursor."""
        return changes_within(self._names, self._scope, cursor, [folder_id])


def core_of(client: DirectIO) -> ClientCore:
    """Return the implementation of a client."""
    return client._core


# --- arguments and errors ----------------------------------------------------------------------------


def _check_count(name: str, count: int | None) -> None:
    if count is not None and operator.index(count) < 1:
        raise ValueError(f"{name} is at least 1, or None to leave it to the client")


def _check_covered(metadata: Metadata, start: int, stop: int) -> None:
    if not covered(metadata.chunks, start, stop):
        raise DirectIOAPIError(
            f"The portal listed only a part of the file, which lacks some of bytes {start} to "
            f"{stop - 1}: ask for less by byte_range",
            metadata.file_id,
        )


def _mirror_cancelled(path: str) -> DirectIOError:
    return DirectIOError(
        "The client was closed before the mirror was complete: the next run continues",
        path,  # type: ignore[arg-type]
        errno=errno.ECANCELED,
    )


def make_cancelled_error(piece: Piece, file_id: int | None) -> BaseException:
    """Return the error of a piece that is not downloaded because its transfer was cancelled."""
    chunk = piece.chunk
    return DownloadError(
        "The download was cut off: the client was closed, or the call that wanted it ended",
        BlockInfo(file_id, chunk.number, chunk.offset, chunk.length),
        errno=errno.ECANCELED,
    )


def _make_forked_error(piece: Piece, file_id: int | None) -> BaseException:
    chunk = piece.chunk
    return DownloadError(
        "The download was begun before this process was forked, so start it anew here",
        BlockInfo(file_id, chunk.number, chunk.offset, chunk.length),
        errno=errno.ECANCELED,
    )


# --- fork --------------------------------------------------------------------------------------------

_cores: weakref.WeakSet[ClientCore] = weakref.WeakSet()


def _reconnect() -> None:
    """In a forked child: replace what holds the parent's sockets and locks."""
    for core in list(_cores):
        core.connect()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reconnect)
