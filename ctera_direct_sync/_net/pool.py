"""Connections to a server: TLS, pools, and cutting off a thread that is blocked on one.

They are urllib3's own, in urllib3's own pools, which ``requests`` may use as well; a GET that needs
nothing else takes the short way, :meth:`Pool.exchange`.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import http.client
import logging
import os
import queue
import re
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Optional, Union

import urllib3.connection
import urllib3.connectionpool
from certifi import where
from urllib3 import exceptions as u3
from urllib3.poolmanager import PoolManager
from urllib3.util import ssl_ as urllib3_ssl
from urllib3.util.ssl_ import create_urllib3_context

from .._base.cancellation import Attachment, CancelScope
from .errors import TransportError
from .response import HAS_PARSER, ResponseHead, WireResponse, render_request_head
from .urls import same_target

__all__ = ["TLS", "Pool", "Timeouts", "blocking", "make_abortable", "make_stock"]

#: Seconds to wait for a connection, and for each next byte; None: for ever.
Timeouts = tuple[Optional[float], Optional[float]]


class TLS:
    """What an :class:`Endpoint`'s ``ssl`` means, as one context per client (making one takes 20 ms)."""

    def __init__(self, verify: Union[bool, str]) -> None:
        if verify is True:
            verify = (
                os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
            )
        if isinstance(verify, str) and not os.path.exists(verify):
            raise FileNotFoundError(errno.ENOENT, "there is no CA bundle", verify)
        self.verify = verify
        self._context: Optional[ssl.SSLContext] = None
        self._context_class: Optional[type[ssl.SSLContext]] = None

    @property
    def context(self) -> ssl.SSLContext:
        """The context, made at first use; two threads may make it twice, which costs time alone."""
        if self._context is None or self._context_class is not ssl.SSLContext:
            self._context_class = ssl.SSLContext
            self._context = self._make()
        return self._context

    def _make(self) -> ssl.SSLContext:
        if self.verify is False:
            context = _new_context(ssl.CERT_NONE)
            context.check_hostname = False
            return context
        context = _new_context(ssl.CERT_REQUIRED)
        bundle = where() if self.verify is True else self.verify
        try:
            if os.path.isdir(bundle):
                context.load_verify_locations(capath=bundle)
            else:
                context.load_verify_locations(cafile=bundle)
        except ssl.SSLError:
            problem = "holds no certificate in PEM form: convert it (openssl x509 -outform pem)"
        except OSError as error:
            problem = f"cannot be read: {os.strerror(error.errno or 0).lower()}"
        else:
            return context
        raise TransportError("tls", f"the CA bundle {bundle!r} {problem}")


#: What urllib3 makes contexts of, unless somebody put another class in its place there.
_IMPORTED_CONTEXT_CLASS = ssl.SSLContext


def _new_context(cert_reqs: ssl.VerifyMode) -> ssl.SSLContext:
    """Return a context as urllib3 makes it, also where gevent patched ssl after urllib3's import.

    gunicorn's gevent workers do so with ``--preload``. From then on each attribute that is set on a
    context of the class that urllib3 imported recurses without end (gevent issue 1016).
    """
    patched = ssl.SSLContext is not _IMPORTED_CONTEXT_CLASS
    if not patched or urllib3_ssl.SSLContext is not _IMPORTED_CONTEXT_CLASS:
        return create_urllib3_context(cert_reqs=cert_reqs)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET
    if sys.version_info >= (3, 13):
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    context.check_hostname = cert_reqs == ssl.CERT_REQUIRED
    context.verify_mode = cert_reqs
    return context


# --- cutting off a thread that is blocked ---------------------------------------------------------------


class _Blocking(threading.local):
    """The request that this thread is running.

    Attributes:
        scope: What the sockets of the request are attached to; None: the thread runs no request.
        origin: The origin of the URL, where requests sends it.
        target: The target of the URL as it was listed, which requests would respell; "": none.
    """

    scope: Optional[CancelScope] = None
    origin = ""
    target = ""


blocking = _Blocking()


def _shut(sock: socket.socket) -> None:
    # TLS within TLS, by an https:// proxy, is no socket, but holds one.
    plain = sock if isinstance(sock, socket.socket) else getattr(sock, "socket", None)
    # The plain method: SSLSocket's own would drop the TLS layer under the thread that is reading.
    if isinstance(plain, socket.socket):
        with contextlib.suppress(OSError):
            socket.socket.shutdown(plain, socket.SHUT_RDWR)


class _NoQueries(logging.Filter):
    """Takes the queries out of the URLs that urllib3 logs during a request of ours."""

    def filter(self, record: logging.LogRecord) -> bool:
        if blocking.scope is not None and isinstance(record.args, tuple):
            record.args = tuple(
                _QUERY.sub("?...", arg) if isinstance(arg, str) else arg for arg in record.args
            )
        return True


_QUERY = re.compile(r"\?\S+")

# A logger's filters hear nothing of what its children log: each needs its own.
for _name in ("connection", "connectionpool", "poolmanager", "util.retry"):
    logging.getLogger(f"urllib3.{_name}").addFilter(_NoQueries())


# --- the two kinds of connections ------------------------------------------------------------------------


class _StrictResponse(http.client.HTTPResponse):
    """A response to a request of ours, on requests' own route: its head is read by llhttp."""

    def begin(self) -> None:
        """Read the head. TransportError where llhttp refuses it."""
        ours = blocking.scope is not None and HAS_PARSER and self._method == "GET"  # type: ignore[attr-defined]
        if self.headers is not None or not ours:
            super().begin()
            return
        head = ResponseHead(self.fp)
        self.code = self.status = head.status
        self.version, self.reason = head.version, http.client.responses.get(head.status, "")
        self.headers = self.msg = http.client.HTTPMessage()
        for name, value in head.fields:
            self.headers[name.decode("latin-1")] = value.decode("latin-1")
        self.chunked, self.length = head.chunked, head.length
        self.chunk_left: Optional[int] = None
        self.will_close = not head.keep_alive

    def _read_next_chunk_size(self) -> int:
        """Refuse sizes that int() takes and the protocol does not, such as +5 (RFC 9112, 7.1)."""
        line = self.fp.readline(_MAX_CHUNK_LINE)
        if not line.endswith(b"\n") and len(line) < _MAX_CHUNK_LINE:
            raise http.client.IncompleteRead(b"")
        size = _CHUNK_SIZE.match(line)
        if size is None:
            raise http.client.HTTPException("no chunk size")
        return int(size.group(1), 16)


_MAX_CHUNK_LINE = 64 * 1024
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\r\n\Z")


class _Verbatim:
    """Mixin of connection classes: a URL is sent as it was listed, and its answer read strictly.

    requests and urllib3 respell URLs on their way to the connection: ``%7E`` becomes ``~``, ``..`` is
    resolved, brackets are encoded. A signature covers the spelling, so here it is put right again.
    """

    sock: Any
    response_class = _StrictResponse
    #: What shuts the socket down if the scope of the current request is cancelled.
    _attachment: Optional[Attachment] = None

    def detach(self) -> bool:
        """Leave the scope of the request. Return False if its cancelling shut the socket down."""
        attachment, self._attachment = self._attachment, None
        return attachment is None or attachment.detach()

    def _attach(self, sock: socket.socket) -> None:
        """Let the current request's scope shut ``sock`` down while this thread is blocked on it."""
        scope = blocking.scope
        if scope is not None:
            self._attachment = scope.attach(lambda: _shut(sock))

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> None:
        """Send a request; ``url`` is a target, or, for a proxy, the whole URL."""
        if self.sock is not None:
            self._attach(self.sock)
        if blocking.target and method == "GET":
            url = _as_listed(url)
        super().request(method, url, *args, **kwargs)  # type: ignore[misc]


def _as_listed(url: str) -> str:
    """Return the URL of this thread's request, if ``url`` is another spelling of it."""
    origin, target = "", url
    if not url.startswith("/"):
        scheme, _, rest = url.partition("://")
        authority, slash, rest = rest.partition("/")
        if f"{scheme}://{authority}".lower() != blocking.origin.lower():
            return url
        origin, target = blocking.origin, slash + rest
    return origin + blocking.target if same_target(target, blocking.target) else url


class _VerbatimByProxy(_Verbatim):
    """Mixin of connection classes of other libraries, such as those for SOCKS."""

    def connect(self) -> None:
        """Connect, then let the request be cut off."""
        super().connect()  # type: ignore[misc]
        self._attach(self.sock)


class _Abortable(_Verbatim):
    """Mixin of both connection classes: sockets are attached before each step that may block."""

    sock: Any
    host: str
    port: int
    timeout: Any
    source_address: Any
    socket_options: Any
    _dns_host: str
    _tunnel_host: Optional[str]

    def connect(self) -> None:
        """Connect, as urllib3's class does."""
        super().connect()  # type: ignore[misc]

    def _new_conn(self) -> socket.socket:
        """Resolve and connect, as urllib3 does, but abortable during the connect."""
        try:
            return self._connect_any()
        except socket.gaierror as error:
            raise u3.NameResolutionError(self.host, self, error) from error  # type: ignore[arg-type]
        except socket.timeout as error:
            raise u3.ConnectTimeoutError(self, "connect timed out") from error
        except OSError as error:
            raise u3.NewConnectionError(self, str(error)) from error  # type: ignore[arg-type]

    def _connect_any(self) -> socket.socket:
        failure: Optional[OSError] = None
        addresses = socket.getaddrinfo(self._dns_host, self.port, 0, socket.SOCK_STREAM)
        for family, kind, protocol, _, address in addresses:
            sock = socket.socket(family, kind, protocol)
            try:
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                if isinstance(self.timeout, (int, float)):
                    sock.settimeout(self.timeout)
                if self.source_address:
                    sock.bind(self.source_address)
                self._attach(sock)
                sock.connect(address)
                return sock
            except OSError as error:
                sock.close()
                failure = error
            except BaseException:
                sock.close()
                raise
        raise failure or OSError(errno.EADDRNOTAVAIL, "the host name has no address")

    def ready(self, timeouts: Timeouts) -> Any:
        """The socket, connected, waiting for each next byte as long as ``timeouts`` has it."""
        connect, read = timeouts
        if self.sock is None:
            self.timeout = None if connect is None else min(connect, _LONGEST)
            self.connect()
        else:
            self._attach(self.sock)
        self._limit(read)
        return self.sock

    def _limit(self, read: Optional[float]) -> None:
        read = None if read is None else min(read, _LONGEST)
        if self.sock.gettimeout() != read:
            self.sock.settimeout(read)


#: Whether the kernel can count a read timeout, and takes it as two C longs (socket(7), SO_RCVTIMEO).
_KERNEL_COUNTS = sys.platform == "linux" and struct.calcsize("l") == 8
#: Seconds that are for ever in practice, and that fit.
_LONGEST = 1e9


class _AbortableHTTP(_Abortable):
    """Leaves the read timeout to the kernel, where that can count it.

    Python counts by a poll before each read: a system call more, and another turn at the interpreter's
    lock. A read that the kernel ends is a BlockingIOError.

    The kernel begins anew after each signal (PEP 475 has Python read again). The main thread is the one
    that signals interrupt, so there Python counts.
    """

    #: Seconds that the kernel counts on this socket; 0: nothing yet; None: it cannot.
    _counted: Optional[float] = 0

    def _new_conn(self) -> socket.socket:
        self._counted = 0
        return super()._new_conn()

    def _limit(self, read: Optional[float]) -> None:
        if not _KERNEL_COUNTS or self._counted is None or _in_main_thread():
            super()._limit(read)
        elif self._counted != (read or 0) or self.sock.gettimeout() is not None:
            self._let_kernel_count(read)

    def _let_kernel_count(self, read: Optional[float]) -> None:
        self.sock.settimeout(None)
        if os.get_blocking(self.sock.fileno()):
            self._counted = self._set_options(read or 0)
        else:  # Of gevent or its like, which wait in their own way.
            self._counted = None
            super()._limit(read)

    def _set_options(self, seconds: float) -> float:
        # Nothing, to the kernel, is for ever: a shorter time than it can count must not become that.
        micros = max(1, round(min(seconds, _LONGEST) * 1_000_000)) if seconds else 0
        value = struct.pack("ll", *divmod(micros, 1_000_000))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)
        return seconds

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> None:
        """As urllib3 has it, which counts by itself, and for whom None is for ever."""
        if self.sock is not None and self._counted:
            self._counted = self._set_options(0)
        super().request(method, url, *args, **kwargs)


def _in_main_thread() -> bool:
    return threading.get_ident() == threading.main_thread().ident


class _AbortableHTTPS(_Abortable):
    _twin: Optional[socket.socket] = None

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        # The handshake takes the descriptor over into a new object: a duplicate can still be shut.
        try:
            self._twin = sock.dup()
            self._attach(self._twin)
        except BaseException:
            sock.close()
            raise
        return sock

    is_verified: bool

    def connect(self) -> None:
        try:
            super().connect()
        finally:
            if self._twin is not None:
                self._twin.close()
                self._twin = None
        if self.sock is not None:
            self._attach(self.sock)
        if blocking.scope is not None:
            # Who switches verification off was told once; urllib3 would warn at each request.
            self.is_verified = True


# --- pools of them ---------------------------------------------------------------------------------------

if TYPE_CHECKING:
    _PoolBase = urllib3.connectionpool.HTTPConnectionPool
else:
    _PoolBase = object


class Pool(_PoolBase):
    """Mixin of both pool classes: a GET by one of their connections, the short way.

    urllib3's own way does more than a GET to a storage needs, which costs several times as much as the
    request itself, all of it while other threads wait for the interpreter.
    """

    def render(self, headers: Mapping[str, str]) -> bytes:
        """What :meth:`exchange` sends after the target. ValueError for headers that are none."""
        default_port: int = self.ConnectionCls.default_port
        return render_request_head(
            self.host.rstrip("."), self.port or default_port, default_port, headers
        )

    def exchange(self, target: str, rest: bytes, timeouts: Timeouts) -> WireResponse:
        """GET ``target``: its response, the body still to be read. TransportError; what sockets raise."""
        connection: Any = self._get_conn()

        def release(reusable: bool) -> None:
            if not connection.detach() or not reusable:
                connection.close()
            self._put_conn(connection)

        try:
            return WireResponse(connection.ready(timeouts), target, rest, release)
        except BaseException:
            release(False)
            raise

    def _put_conn(self, connection: Any) -> None:
        # urllib3 gives a connection back as soon as a body ends: the next request may be another call's.
        if connection is not None and not connection.detach():
            connection.close()
        super()._put_conn(connection)

    def drop_idle(self) -> None:
        """Close the connections that nobody uses. The pool can still be used, and connects anew."""
        free: Any = self.pool
        idle: list[Any] = []
        try:
            while free is not None:
                idle.append(free.get(block=False))
        except queue.Empty:
            pass
        for connection in reversed(idle):
            if connection is not None:
                connection.close()
            with contextlib.suppress(queue.Full):
                free.put(connection, block=False)


class _Stack(queue.LifoQueue[Any]):
    """A pool's free connections. Nobody waits for one here, which is what the locks of a queue are for."""

    def get(self, block: bool = True, timeout: Optional[float] = None) -> Any:
        try:
            return self.queue.pop()
        except IndexError:
            raise queue.Empty from None

    def put(self, item: Any, block: bool = True, timeout: Optional[float] = None) -> None:
        if len(self.queue) >= self.maxsize:
            raise queue.Full
        self.queue.append(item)


@functools.cache
def _pools() -> dict[str, Any]:
    """Return our pool classes by scheme.

    They are made at first use. On import, a mock may be in the place of their base classes.
    """
    bases = urllib3.connection, urllib3.connectionpool
    return {
        "http": _pool_class(_AbortableHTTP, bases[0].HTTPConnection, bases[1].HTTPConnectionPool),
        "https": _pool_class(
            _AbortableHTTPS, bases[0].HTTPSConnection, bases[1].HTTPSConnectionPool
        ),
    }


def _pool_class(mixin: type, connection: type, pool: type) -> type:
    made = type(f"_{mixin.__name__}Connection", (mixin, connection), {})
    members = {"ConnectionCls": made, "QueueCls": _Stack}
    return type(f"_{mixin.__name__}Pool", (Pool, pool), members)


@functools.lru_cache(maxsize=8)
def _verbatim_pool(pool: Any) -> type:
    """Return a pool class of another library whose connections send URLs as they were listed."""
    made = type("_VerbatimConnection", (_VerbatimByProxy, pool.ConnectionCls), {})
    return type("_VerbatimPool", (pool,), {"ConnectionCls": made})


_STOCK_POOLS = PoolManager().pool_classes_by_scheme


def make_abortable(manager: Any) -> None:
    """Have a manager make pools of ours from now on, unless somebody made it make others.

    Pools that it made before are forgotten. A thread that is using one goes on with it.
    """
    classes = manager.pool_classes_by_scheme
    if classes is _STOCK_POOLS:
        manager.pool_classes_by_scheme = _pools()
    elif type(manager).__module__ == "urllib3.contrib.socks" and "_verbatim" not in vars(manager):
        manager.pool_classes_by_scheme = {
            scheme: _verbatim_pool(pool) for scheme, pool in classes.items()
        }
        manager._verbatim = True
    else:
        return
    manager.pools.clear()


def make_stock(manager: Any) -> None:
    """Undo :func:`make_abortable`, since only urllib3's own classes are seen by somebody's mock."""
    if _pools.cache_info().currsize and manager.pool_classes_by_scheme is _pools():
        manager.pool_classes_by_scheme = _STOCK_POOLS
        manager.pools.clear()
