"""``DirectIO``: the facade over portal, storage and engine."""

from __future__ import annotations

import contextlib
import errno
import logging
import operator
import os
import weakref
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Callable, Optional, Union, cast
from urllib.parse import urlsplit

import requests

from . import codec
from ._base.cancellation import Cancelled, CancelScope
from ._base.observer import Observer
from ._base.retry import RetryPolicy
from ._engine.engine import Engine
from ._net.log_filter import install_log_filter
from ._net.session import HTTPSession, SessionPool
from ._net.tls import TLS
from ._protocol.block_list import RenewableBlockList
from ._protocol.portal import Portal
from ._protocol.ranges import Piece, clip, covered
from ._protocol.storage import Storage
from ._readers import batch
from ._readers.batch import BatchProgress, BatchResult, Item
from ._readers.download import Finished, Progress, Target, Verify, download
from ._readers.file import DirectFile, SharedFile, open_file, open_shared_file
from ._readers.listed_file import ListedFile
from ._readers.multi_range import MultiRangeReader, Span
from ._readers.stream import Streamer, iterate, whole_bytes
from .exceptions import BlockInfo, DirectIOAPIError, DirectIOError, DownloadError
from .settings import Settings
from .types import Block, BlockEvent, ByteRange, Download, Metadata, Token

__all__ = ["DirectIO"]

_log = logging.getLogger(__name__)

_VARIABLES = {
    "baseurl": ("CTERA_DIRECT_URL",),
    "access_key_id": ("CTERA_DIRECT_ACCESS_KEY_ID", "cterasdk.io.direct.access_key_id"),
    "secret_access_key": (
        "CTERA_DIRECT_SECRET_ACCESS_KEY",
        "cterasdk.io.direct.secret_access_key",
    ),
    "bearer": ("CTERA_DIRECT_BEARER", "cterasdk.io.direct.bearer"),
}

#: Connections to the portal that are kept for reuse by concurrent calls.
_PORTAL_CONNECTIONS = 16


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
        baseurl: Optional[str] = None,
        access_key_id: Optional[str] = None,
        secret_access_key: Optional[str] = None,
        bearer: Optional[str] = None,
        *,
        settings: Optional[Settings] = None,
        session: Optional[Callable[[], requests.Session]] = None,
        on_event: Optional[Callable[[BlockEvent], object]] = None,
    ) -> None:
        self._baseurl = _check_baseurl(_given("baseurl", baseurl))
        self._token, self._secret = _credentials(access_key_id, secret_access_key, bearer)
        _warn_unprotected(self._baseurl)
        self._settings = Settings(**(settings._values if settings is not None else {}))
        self._session = session
        self._on_event = on_event
        self._open()

    def _open(self) -> None:
        settings = self._settings
        codec.prepare()
        install_log_filter()
        self._api_tls = TLS(settings.api.ssl)
        self._storage_tls = (
            self._api_tls if settings.storage.ssl == settings.api.ssl else TLS(settings.storage.ssl)
        )
        self._observer = Observer(self._on_event)
        self._engine = Engine(
            settings.max_workers, cancelled_error=_cancelled, forked_error=_forked
        )
        policy = RetryPolicy.from_settings(settings)
        self._portal = Portal(self._baseurl, self._token, self._secret, policy)
        # A client that is dropped without being closed leaves no thread behind.
        weakref.finalize(self, self._engine.close, wait=False).atexit = False
        self._connect()
        _clients.add(self)

    def _connect(self) -> None:
        """Everything that owns sockets: made anew in a forked child."""
        settings, policy = self._settings, RetryPolicy.from_settings(self._settings)
        self._scopes: set[CancelScope] = set()
        self._portal.connect(
            HTTPSession(settings.api, self._api_tls, pool_maxsize=_PORTAL_CONNECTIONS)
        )
        self._sessions = SessionPool(settings.storage, self._storage_tls, self._session)
        self._storage = Storage(self._sessions, policy, settings.checksums, self._observer)

    # --- listing -------------------------------------------------------------------------------------

    def metadata(self, file_id: int) -> Metadata:
        """The file's block list, to look at or to hand to :meth:`executor` elsewhere.

        DirectIOAPIError and its subclasses as the portal answers (PROTOCOL section 1);
        DecryptKeyError where the file's key cannot be unwrapped.
        """
        with self._scope() as scope:
            try:
                return self._list(file_id, scope)
            except Cancelled:
                pass
        raise DirectIOAPIError(
            "The client was closed before the portal answered", file_id, errno=errno.ECANCELED
        )

    def _list(self, file_id: int, scope: CancelScope) -> Metadata:
        file_id = _check_file_id(file_id)
        self._check_open()
        return self._portal.fetch_block_list(file_id, scope)

    @contextlib.contextmanager
    def _scope(self) -> Iterator[CancelScope]:
        """A scope that closing the client cancels."""
        scope = CancelScope()
        self._scopes.add(scope)
        try:
            yield scope
        finally:
            self._scopes.discard(scope)

    def _check_open(self) -> None:
        self._engine.check_process()
        if self._engine.closed:
            raise ValueError("the client is closed: make a new DirectIO")

    # --- blocks --------------------------------------------------------------------------------------

    def blocks(
        self,
        file_id: int,
        byte_range: Optional[ByteRange] = None,
        max_workers: Optional[int] = None,
    ) -> list[Future[Block]]:
        """Futures of the file's whole blocks, in file order, downloading now.

        The caller holds the results: for more than memory can take, use :meth:`iter_blocks` or
        :meth:`stream`. A future that is cancelled before its turn is never fetched.
        Raises what :meth:`metadata` does; each future what its block's download does (BlockError).
        """
        _check_call(byte_range, max_workers)
        return self.executor(self.metadata(file_id), None, byte_range, max_workers)()

    def executor(
        self,
        metadata: Metadata,
        file_id: Optional[int] = None,
        byte_range: Optional[ByteRange] = None,
        max_workers: Optional[int] = None,
    ) -> Callable[[], list[Future[Block]]]:
        """A callable that returns what :meth:`blocks` does, from a list fetched before.

        The portal is asked for nothing, unless the URLs of the list have expired.
        """
        _check_call(byte_range, max_workers)
        if not isinstance(metadata, Metadata):
            raise TypeError("executor() takes Metadata: use Metadata.deserialize() on a dictionary")

        def execute() -> list[Future[Block]]:
            source = self._source(metadata, file_id)
            start, stop = clip(byte_range, metadata.size)
            _check_covered(source, start, stop)
            transfer = source.transfer(
                source.pieces(start, stop, whole=True, part_size=None),
                source.block,
                max_workers=max_workers,
                bounded=False,
                shared=True,
            )
            try:
                self._engine.start(transfer)
                jobs = transfer.take_admitted()
                # Independent of the engine's accounts: a block without a future would be missed by none.
                if sum(job.piece.length for job in jobs) != whole_bytes(
                    source, start, stop, part_size=None
                ):
                    text = "Not every block has a future: please report this"
                    raise DirectIOError(text, source.file_id, errno=errno.EIO)
                return [cast("Future[Block]", job.future) for job in jobs]
            except BaseException:
                # Without this list nobody could end what was begun.
                self._engine.cancel(transfer)
                raise

        return execute

    def iter_blocks(
        self,
        file_id: int,
        byte_range: Optional[ByteRange] = None,
        max_workers: Optional[int] = None,
    ) -> Iterator[Block]:
        """The file's whole blocks as they complete, in no order, within ``settings.memory``.

        A large object of a native-format folder comes in parts of 8 MiB. Raises what :meth:`metadata`
        does; the iteration, what a block's download does (BlockError).
        """
        _check_call(byte_range, max_workers)
        source = self._source(self.metadata(file_id))
        start, stop = clip(byte_range, source.metadata.size)
        _check_covered(source, start, stop)
        return iterate(source, start, stop, max_workers)

    # --- streams -------------------------------------------------------------------------------------

    def streamer(
        self,
        file_id: int,
        byte_range: Optional[ByteRange] = None,
        max_workers: Optional[int] = None,
    ) -> Streamer:
        """A :class:`Streamer` over the file: ``start()``, ``stop()``, ``offset``."""
        _check_call(byte_range, max_workers)
        self._engine.open_stream_window()
        source = self._source(self.metadata(file_id))
        start, stop = clip(byte_range, source.metadata.size)
        _check_covered(source, start, stop)
        return Streamer(source, start, stop, max_workers)

    def stream(
        self,
        file_id: int,
        byte_range: Optional[ByteRange] = None,
        max_workers: Optional[int] = None,
    ) -> Iterator[Block]:
        """The file's blocks in order, trimmed to the range, read ahead within ``settings.memory``.

        Leaving the loop stops the downloads. Raises what :meth:`metadata` does; the iteration,
        StreamError with the offset to resume from.
        """
        return self.streamer(file_id, byte_range, max_workers).start()

    def _streamer(
        self, metadata: Metadata, byte_range: Optional[ByteRange], max_workers: Optional[int] = None
    ) -> Streamer:
        """A streamer over a file that was listed before."""
        source = self._source(metadata)
        start, stop = clip(byte_range, metadata.size)
        _check_covered(source, start, stop)
        return Streamer(source, start, stop, max_workers)

    # --- files ---------------------------------------------------------------------------------------

    def download(
        self,
        file_id: int,
        target: Target,
        *,
        byte_range: Optional[ByteRange] = None,
        resume: bool = False,
        progress: Optional[Progress] = None,
        max_workers: Optional[int] = None,
    ) -> Download:
        """The file, or a range of it, to a path or a writable binary file.

        A path is written beside its place, made durable, and renamed over it when complete: nothing
        partial ever has the final name. ``resume`` keeps what was got for the next call with
        ``resume``, which takes up there. ``progress`` is called with bytes done and bytes in all.
        Raises what :meth:`metadata` does; BlockError (to a file object: StreamError) for a block;
        OSError for the target.
        """
        return self._download(file_id, target, byte_range, resume, progress, max_workers)

    def _download(
        self,
        file_id: int,
        target: Target,
        byte_range: Optional[ByteRange] = None,
        resume: bool = False,
        progress: Optional[Progress] = None,
        max_workers: Optional[int] = None,
        verify: Optional[Verify] = None,
    ) -> Download:
        """:meth:`download`, with a look at the complete file before it gets its name."""
        _check_call(byte_range, max_workers)
        source = self._source(self.metadata(file_id))
        start, stop = clip(byte_range, source.metadata.size)
        _check_covered(source, start, stop)
        return download(
            source,
            target,
            start,
            stop,
            resume=resume,
            progress=progress,
            max_workers=max_workers,
            verify=verify,
        ).download

    def download_many(
        self,
        items: Iterable[Item],
        folder: Union[str, os.PathLike[str]],
        *,
        workers: Optional[int] = None,
        resume: bool = True,
        progress: Optional[BatchProgress] = None,
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
        ended = self._run_batch(items, folder, workers=workers, resume=resume, progress=progress)
        with contextlib.closing(ended):
            return [result for _, result in sorted(ended, key=operator.itemgetter(0))]

    def _run_batch(
        self,
        items: Iterable[Item],
        folder: Union[str, os.PathLike[str]],
        *,
        workers: Optional[int] = None,
        resume: bool = True,
        progress: Optional[BatchProgress] = None,
    ) -> Generator[tuple[int, BatchResult], None, None]:
        """Positions and results of a batch, as they end."""
        self._check_open()
        with self._scope() as scope:
            yield from batch.run(
                self._download_one,
                scope,
                items,
                folder,
                max_files=workers,
                resume=resume,
                progress=progress,
            )

    def _download_one(
        self,
        file_id: int,
        target: Target,
        scope: CancelScope,
        *,
        resume: bool,
        progress: Optional[Progress],
        verify: Optional[Verify],
    ) -> Finished:
        try:
            source = self._source(self._list(file_id, scope))
            size = source.metadata.size
            _check_covered(source, 0, size)
            return download(
                source,
                target,
                0,
                size,
                resume=resume,
                progress=progress,
                verify=verify,
                scope=scope,
            )
        except ValueError:
            # The client may be closed already while it has yet to cancel the scope.
            if self._engine.closed:
                raise Cancelled from None
            raise

    def open(self, file_id: int, *, readahead: Optional[int] = None) -> DirectFile:
        """The file as a seekable ``io.BufferedReader`` with a ``size``, blocks fetched as read.

        Reading on fetches ahead, at most ``readahead`` bytes (default: half of ``settings.memory``; 0:
        none); reading elsewhere stops that. All open files cache decoded blocks in ``settings.memory``.
        Raises what :meth:`metadata` does; reads, what a block's download does (BlockError).
        """
        if readahead is not None and operator.index(readahead) < 0:
            raise ValueError("readahead is a number of bytes, 0 for none")
        return open_file(self._whole(self.metadata(file_id)), readahead, self)

    def _open_shared_file(self, metadata: Metadata, readahead: Optional[int] = None) -> SharedFile:
        """A file over a block list that was fetched before, for threads that share it."""
        return open_shared_file(self._whole(metadata), readahead, self)

    def _whole(self, metadata: Metadata) -> ListedFile:
        """The file's source; DirectIOAPIError where only a part of it is listed."""
        source = self._source(metadata)
        _check_covered(source, 0, metadata.size)
        return source

    def _read_spans(self, metadata: Metadata, spans: Sequence[Span]) -> MultiRangeReader:
        """Begin to read byte ranges of a file that was listed before."""
        source = self._source(metadata)
        for start, stop in spans:
            _check_covered(source, start, stop)
        return MultiRangeReader(source, spans)

    # --- life ----------------------------------------------------------------------------------------

    def close(self) -> None:
        """End what is under way, the threads and the connections. Safe to call again."""
        # Listings and batches end first, so that nothing new begins.
        self._engine.closed = True
        if not self._engine.is_parents():
            for scope in self._scopes.copy():
                scope.cancel()
        self._engine.close()
        if self._engine.is_parents():
            return  # What is under way is the parent's, and so are the connections.
        self._sessions.close()
        self._portal.close()

    def __enter__(self) -> DirectIO:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        # A traceback with locals shows clients whose constructor raised, too.
        engine = getattr(self, "_engine", None)
        state = "unfinished" if engine is None else "closed" if engine.closed else "open"
        return f"<DirectIO {getattr(self, '_baseurl', '?')} {state}>"

    def __getstate__(self) -> dict[str, Any]:
        return {
            "baseurl": self._baseurl,
            "token": self._token,
            "secret": self._secret,
            "settings": self._settings,
            "session": self._session,
            "on_event": self._on_event,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, f"_{name}", value)
        self._open()

    def _source(self, metadata: Metadata, file_id: Optional[int] = None) -> ListedFile:
        return ListedFile(
            self._engine,
            self._storage,
            RenewableBlockList(metadata, self._portal),
            metadata.file_id if file_id is None else file_id,
            self._settings.memory,
            self._observer,
        )


# --- arguments -------------------------------------------------------------------------------------------


def _given(name: str, value: Optional[str]) -> str:
    """The argument, or what the environment has for it; ValueError where neither has."""
    found = value or _from_environment(name)
    if not found:
        raise ValueError(f"{name} is missing: pass it, or set {_VARIABLES[name][0]}")
    return found


def _from_environment(name: str) -> Optional[str]:
    for variable in _VARIABLES[name]:
        if os.environ.get(variable):
            return Token(os.environ[variable])  # Hidden from tracebacks, whichever it is.
    return None


def _credentials(
    access_key_id: Optional[str], secret_access_key: Optional[str], bearer: Optional[str]
) -> tuple[Token, Optional[Token]]:
    """What goes into the Authorization header, and the secret that unwraps keys, if there is one."""
    if not access_key_id and not bearer:
        # Neither was passed: the environment decides, a key pair before a bearer token.
        access_key_id = _from_environment("access_key_id")
        bearer = None if access_key_id else _from_environment("bearer")
    if bearer:
        secret = secret_access_key or _from_environment("secret_access_key")
        return _printable("bearer", bearer), Token(secret) if secret else None
    if not access_key_id:
        raise ValueError(
            "access_key_id is missing: pass it, or set CTERA_DIRECT_ACCESS_KEY_ID (or bearer, "
            "CTERA_DIRECT_BEARER, for files that are not encrypted)"
        )
    secret = _given("secret_access_key", secret_access_key)
    return _printable("access_key_id", access_key_id), Token(secret)


def _printable(name: str, value: str) -> Token:
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError(f"{name} holds characters that no key has: was it copied whole and alone?")
    return Token(value)


def _check_baseurl(baseurl: str) -> str:
    problem = None
    try:
        parts = urlsplit(baseurl.strip())
        port = parts.port
    except ValueError:
        problem = "is malformed"
    else:
        if parts.scheme not in ("http", "https") or not parts.hostname:
            problem = "must be like https://portal.example.com"
        elif "@" in parts.netloc:
            problem = "must not hold a user name or password: pass the keys as arguments"
        elif parts.query or parts.fragment:
            problem = "must not hold a query or fragment"
        elif port == 0:
            problem = "has no valid port"
    if problem is not None:
        raise ValueError(f"baseurl (CTERA_DIRECT_URL) {problem}")
    return baseurl.strip()


def _warn_unprotected(baseurl: str) -> None:
    parts = urlsplit(baseurl)
    local = parts.hostname in ("localhost", "::1") or (parts.hostname or "").startswith("127.")
    if parts.scheme == "http" and not local and baseurl not in _warned:
        _warned.add(baseurl)
        _log.warning(
            "the portal's URL is http: the access key travels unprotected; use https where it can"
        )


_warned: set[str] = set()


def _check_file_id(file_id: int) -> int:
    number = operator.index(file_id)
    if number < 0:
        raise ValueError(f"file ID {number} is negative")
    return number


def _check_call(byte_range: Optional[ByteRange], max_workers: Optional[int]) -> None:
    if byte_range is not None and not isinstance(byte_range, ByteRange):
        raise TypeError("byte_range is a ByteRange, such as ByteRange(0, 1023), or None")
    if max_workers is not None and operator.index(max_workers) < 1:
        raise ValueError("max_workers is at least 1, or None to leave it to the client")


def _check_covered(source: ListedFile, start: int, stop: int) -> None:
    metadata = source.metadata
    if not covered(metadata.chunks, start, stop):
        raise DirectIOAPIError(
            f"The portal listed only a part of the file, which lacks some of bytes {start} to "
            f"{stop - 1}: ask for less by byte_range",
            metadata.file_id,
        )


def _cancelled(piece: Piece, file_id: Optional[int]) -> BaseException:
    chunk = piece.chunk
    return DownloadError(
        "The download was cut off: the client was closed, or the call that wanted it ended",
        BlockInfo(file_id, chunk.number, chunk.offset, chunk.length),
        errno=errno.ECANCELED,
    )


def _forked(piece: Piece, file_id: Optional[int]) -> BaseException:
    chunk = piece.chunk
    return DownloadError(
        "The download was begun before this process was forked, so start it anew here",
        BlockInfo(file_id, chunk.number, chunk.offset, chunk.length),
        errno=errno.ECANCELED,
    )


# --- fork ------------------------------------------------------------------------------------------------

_clients: weakref.WeakSet[DirectIO] = weakref.WeakSet()


def _reconnect() -> None:
    """In a forked child: the parent's sockets and session locks are not ours to use."""
    for client in list(_clients):
        client._connect()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reconnect)
