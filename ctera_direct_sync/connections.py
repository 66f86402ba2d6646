"""Connections to a server: TLS, pools, and cutting off a thread that is blocked on one.

They are urllib3's own, in urllib3's own pools, which ``requests`` may use as well; a GET that needs
nothing else takes the short way, :meth:`Pool.exchange`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import logging
import os
import queue
import re
import select
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

from certifi import where
from urllib3 import exceptions as u3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import PoolManager
from urllib3.util.ssl_ import create_urllib3_context
from urllib3.util.wait import wait_for_read

from .exchange import Exchange, render
from .scope import CancelScope

__all__ = ["TLS", "Pool", "Timeouts", "blocking", "make_abortable"]

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

    @property
    def context(self) -> ssl.SSLContext:
        """The context, made at first use; two threads may make it twice, which costs time alone."""
        if self._context is None:
            self._context = self._make()
        return self._context

    def _make(self) -> ssl.SSLContext:
        if self.verify is False:
            context = create_urllib3_context(cert_reqs=ssl.CERT_NONE)
            context.check_hostname = False
            return context
        context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
        bundle = where() if self.verify is True else self.verify
        if os.path.isdir(bundle):
            context.load_verify_locations(capath=bundle)
        else:
            context.load_verify_locations(cafile=bundle)
        return context


# --- cutting off a thread that is blocked ---------------------------------------------------------------


class _Blocking(threading.local):
    """The scope that the sockets are attached to which this thread uses, while there is one."""

    scope: Optional[CancelScope] = None


blocking = _Blocking()


def _attach(sock: socket.socket) -> None:
    """Let the current request's scope shut ``sock`` down while this thread is blocked on it."""
    scope = blocking.scope
    if scope is not None:
        scope.attach(lambda: _shut(sock))


def _shut(sock: socket.socket) -> None:
    # The plain method: SSLSocket's own would drop the TLS layer under the thread that is reading.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


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


class _PollFD(ctypes.Structure):
    """struct pollfd of poll(2)."""

    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


if sys.platform == "linux":
    # The library's own: Python's lets the interpreter's lock go for this glance, and then has to wait
    # for it behind all other threads.
    _poll = ctypes.PyDLL(None).poll
    _poll.argtypes = (ctypes.POINTER(_PollFD), ctypes.c_ulong, ctypes.c_int)

    def _is_readable(sock: socket.socket) -> bool:
        """Whether a read would not have to wait; it does not wait itself."""
        descriptor = sock.fileno()
        return descriptor < 0 or _poll(_PollFD(descriptor, select.POLLIN), 1, 0) != 0
else:

    def _is_readable(sock: socket.socket) -> bool:
        """Whether a read would not have to wait; it does not wait itself."""
        return wait_for_read(sock, timeout=0.0)


class _Abortable:
    """Mixin of both connection classes: sockets are attached before each step that may block."""

    sock: Any
    host: str
    port: int
    timeout: Any
    source_address: Any
    socket_options: Any
    _dns_host: str
    connect: Callable[[], None]

    @property
    def is_connected(self) -> bool:
        """Whether it may serve another request: it is open, and nothing came that nobody asked for."""
        return self.sock is not None and not _is_readable(self.sock)

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
                _attach(sock)
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
            self.timeout = connect
            self.connect()
        else:
            _attach(self.sock)
        self._limit(read)
        return self.sock

    def _limit(self, read: Optional[float]) -> None:
        if self.sock.gettimeout() != read:
            self.sock.settimeout(read)

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:
            _attach(self.sock)
        super().request(*args, **kwargs)  # type: ignore[misc]


#: Whether the kernel can count a read timeout, and takes it as two C longs (socket(7), SO_RCVTIMEO).
_KERNEL_COUNTS = sys.platform == "linux" and struct.calcsize("l") == 8
#: Seconds that are for ever in practice, and that fit.
_LONGEST = 1e9


class _AbortableHTTP(_Abortable, HTTPConnection):
    """Leaves the read timeout to the kernel, where that can count it.

    Python counts by a poll before each read: a system call more, and another turn at the interpreter's
    lock. A read that the kernel ends is a BlockingIOError.
    """

    #: Seconds that the kernel counts on this socket; 0: nothing yet; None: it cannot.
    _counted: Optional[float] = 0

    def _new_conn(self) -> socket.socket:
        self._counted = 0
        return super()._new_conn()

    def _limit(self, read: Optional[float]) -> None:
        if not _KERNEL_COUNTS or self._counted is None:
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

    def request(self, *args: Any, **kwargs: Any) -> None:
        """As urllib3 has it, which counts by itself, and for whom None is for ever."""
        if self.sock is not None and self._counted:
            self._counted = self._set_options(0)
        super().request(*args, **kwargs)


class _AbortableHTTPS(_Abortable, HTTPSConnection):
    _twin: Optional[socket.socket] = None

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        # The handshake takes the descriptor over into a new object: a duplicate can still be shut.
        try:
            self._twin = sock.dup()
            _attach(self._twin)
        except BaseException:
            sock.close()
            raise
        return sock

    def connect(self) -> None:
        try:
            super().connect()
        finally:
            if self._twin is not None:
                self._twin.close()
                self._twin = None
        if self.sock is not None:
            _attach(self.sock)
        if self.ssl_context is not None and self.ssl_context.verify_mode == ssl.CERT_NONE:
            # The user switched verification off and was told once; urllib3 would warn per request.
            self.is_verified = True


# --- pools of them ---------------------------------------------------------------------------------------

if TYPE_CHECKING:
    _PoolBase = HTTPConnectionPool
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
        return render(self.host.rstrip("."), self.port or default_port, default_port, headers)

    def exchange(self, target: str, rest: bytes, timeouts: Timeouts) -> Exchange:
        """GET ``target``: its response, the body still to be read. HTTPFault; what sockets raise."""
        connection: Any = self._get_conn()

        def release(reusable: bool) -> None:
            if not reusable:
                connection.close()
            self._put_conn(connection)

        try:
            return Exchange(connection.ready(timeouts), target, rest, release)
        except BaseException:
            release(False)
            raise


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


class _HTTPPool(Pool, HTTPConnectionPool):
    ConnectionCls = _AbortableHTTP
    QueueCls = _Stack


class _HTTPSPool(Pool, HTTPSConnectionPool):
    ConnectionCls = _AbortableHTTPS
    QueueCls = _Stack


_STOCK_POOLS = PoolManager().pool_classes_by_scheme
_POOLS = {"http": _HTTPPool, "https": _HTTPSPool}


def make_abortable(manager: PoolManager) -> None:
    """Have a manager make pools of ours from now on, unless somebody made it make others."""
    if manager.pool_classes_by_scheme is _STOCK_POOLS:
        manager.pool_classes_by_scheme = _POOLS
