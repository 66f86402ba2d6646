"""Connections and their pools: urllib3's own, with what a storage's blocks need in addition.

`requests` may use these pools as any others. A GET that needs nothing else takes the fast route,
`Pool.send_get`. Any thread can be cut off while it is blocked on one of these connections.
"""

from __future__ import annotations

import contextlib
import functools
import queue
import socket
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Optional

import urllib3.connection
import urllib3.connectionpool
from urllib3 import exceptions as u3
from urllib3.poolmanager import PoolManager

from .._base.cancellation import Attachment, CancelScope, RequestScope
from .._base.sync import monotonic
from .connect import find_live_address, open_connection
from .current import current_request
from .linux import HAS_KERNEL_TIMEOUTS, kernel_may_count, set_kernel_timeout
from .response import WireResponse, render_request_head
from .sockets import shut_down
from .strict_response import StrictResponse

__all__ = ["Pool", "Timeouts", "pool_classes", "use_own_pools", "use_stock_pools"]

#: Seconds to wait for a connection, and for each next byte; None: without end.
Timeouts = tuple[Optional[float], Optional[float]]


# --- connections -----------------------------------------------------------------------------------------


class _Connection:
    """Mixin of connection classes: a cancel scope can cut a request off, and URLs are sent as listed.

    Sockets register with the scope of the request: the one that `prepare` was given on the fast route,
    that of `current_request` if `requests` sends the request.
    """

    sock: Any
    response_class = StrictResponse
    #: The scope of a request on the fast route.
    _scope: CancelScope | None = None
    #: The registration of the socket with the scope.
    _attachment: Attachment | None = None
    #: Whether a request could not be sent whole. The server may have answered all the same.
    send_failed = False

    def detach(self) -> bool:
        """Leave the scope of the request.

        Returns:
            False if the scope was cancelled and the socket is shut down.
        """
        self._scope = None
        attachment, self._attachment = self._attachment, None
        return attachment is None or attachment.detach()

    def _find_scope(self) -> CancelScope | None:
        if self._scope is not None:
            return self._scope
        request = current_request.get()
        return None if request is None else request.scope

    def _attach(self, sock: Any) -> None:
        """Let the scope of the request shut the socket down while this thread is blocked on it."""
        scope = self._find_scope()
        if scope is not None:
            self._attachment = scope.attach(lambda: shut_down(sock))

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> None:
        """Send a request as urllib3 does. `url` is a target, or the whole URL for a proxy."""
        if self.sock is not None:
            self._attach(self.sock)
        current = current_request.get()
        if current is not None and method == "GET":
            url = current.restore_spelling(url)
        try:
            super().request(method, url, *args, **kwargs)  # type: ignore[misc]
        except BrokenPipeError:
            self.send_failed = True  # urllib3 goes on, and reads an early response.
            raise


class _SocksConnection(_Connection):
    """Mixin of the connection classes of other libraries, such as urllib3's for SOCKS."""

    host: str
    timeout: Any
    _socks_options: dict[str, Any]

    def connect(self) -> None:
        """Connect, then let the request be cut off."""
        self._choose_address()
        super().connect()  # type: ignore[misc]
        self._attach(self.sock)

    def _choose_address(self) -> None:
        """Have PySocks use an address of the proxy that answers.

        PySocks connects to the proxy's name, and so to its first address alone, alive or dead.
        """
        options = getattr(self, "_socks_options", None)
        if options is None or not options.get("proxy_host") or not options.get("proxy_port"):
            return
        timeout_s = self.timeout if isinstance(self.timeout, (int, float)) else None
        try:
            address = find_live_address(
                options["proxy_host"].strip("[]"),
                int(options["proxy_port"]),
                timeout_s=timeout_s,
                before_connect=self._attach,
            )
        except socket.gaierror:
            return  # PySocks meets the same, and says so.
        except OSError as error:
            import socks  # Its connection class is used, so it is there.

            text = "No address of the SOCKS proxy answers"
            cause = socks.ProxyConnectionError(text, error)
            raise u3.NewConnectionError(self, text) from cause  # type: ignore[arg-type]
        finally:
            if self._attachment is not None:
                self._attachment.detach()
                self._attachment = None
        self._socks_options = {**options, "proxy_host": address}


class _AbortableConnection(_Connection):
    """Mixin of both connection classes: a socket registers before each step that may block."""

    host: str
    port: int
    timeout: Any
    source_address: Any
    socket_options: Any
    _dns_host: str
    _tunnel_host: str | None

    def connect(self) -> None:
        """Connect, as urllib3's class does."""
        super().connect()  # type: ignore[misc]

    # urllib3 has no public method that makes the socket. Its own cannot be cut off.
    def _new_conn(self) -> socket.socket:
        """Return a connected socket, or raise urllib3's exceptions."""
        timeout_s = self.timeout if isinstance(self.timeout, (int, float)) else None
        try:
            connected = open_connection(
                self._dns_host,
                self.port,
                timeout_s=timeout_s,
                source_address=self.source_address,
                options=self.socket_options or (),
                before_connect=self._attach,
            )
        except socket.gaierror as error:
            raise u3.NameResolutionError(self.host, self, error) from error  # type: ignore[arg-type]
        except socket.timeout as error:
            raise u3.ConnectTimeoutError(self, "connect timed out") from error
        except OSError as error:
            raise u3.NewConnectionError(self, str(error)) from error  # type: ignore[arg-type]
        scope = self._find_scope()
        if isinstance(scope, RequestScope):
            # A connection is made once, so it says little about how long requests take.
            scope.is_cold, scope.sent_at = True, monotonic()
        return connected

    def prepare(self, timeouts: Timeouts, scope: CancelScope) -> Any:
        """Return the connected socket, for a request on the fast route.

        Args:
            timeouts: The timeouts of the request.
            scope: What may end the request, until `detach`.
        """
        connect_timeout_s, read_timeout_s = timeouts
        self._scope = scope
        if self.sock is None:
            self.timeout = connect_timeout_s
            self.connect()
        else:
            sock = self.sock
            self._attachment = scope.attach(lambda: shut_down(sock))
        self._set_read_timeout(read_timeout_s)
        return self.sock

    def _set_read_timeout(self, timeout_s: float | None) -> None:
        if self.sock.gettimeout() != timeout_s:
            self.sock.settimeout(timeout_s)


class _AbortableHTTPConnection(_AbortableConnection):
    """Leave the read timeout to the kernel, if that can count it."""

    #: Whether the socket is set up for the main thread, and for which read timeout. None: it has to be
    #: set up.
    _set_up_for: tuple[bool, float | None] | None = None

    def _new_conn(self) -> socket.socket:
        self._set_up_for = None
        return super()._new_conn()

    def _set_read_timeout(self, timeout_s: float | None) -> None:
        # All threads but the main one have the same purpose. Nothing is to be asked then.
        is_main_thread = threading.get_ident() == threading.main_thread().ident
        purpose = is_main_thread, timeout_s
        if self._set_up_for == purpose:
            return
        sock = self.sock
        if HAS_KERNEL_TIMEOUTS:
            sock.settimeout(None)
            counts = kernel_may_count(sock)
            set_kernel_timeout(sock, timeout_s if counts else None)
            if not counts:
                sock.settimeout(timeout_s)
        else:
            super()._set_read_timeout(timeout_s)
        self._set_up_for = purpose

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> None:
        """Send a request as urllib3 does, which sets timeouts by Python alone."""
        if self.sock is not None and self._set_up_for is not None:
            self._set_up_for = None
            if HAS_KERNEL_TIMEOUTS:
                set_kernel_timeout(self.sock, None)
        super().request(method, url, *args, **kwargs)


class _AbortableHTTPSConnection(_AbortableConnection):
    is_verified: bool
    proxy_is_forwarding: bool
    proxy_config: Any
    #: A duplicate of the socket during the handshake.
    _duplicate: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        # The handshake moves the descriptor into a new object. A duplicate can still be shut down.
        try:
            self._duplicate = sock.dup()
            self._attach(self._duplicate)
        except BaseException:
            sock.close()
            raise
        return sock

    def connect(self) -> None:
        self._use_proxy_context()
        try:
            super().connect()
        finally:
            if self._duplicate is not None:
                self._duplicate.close()
                self._duplicate = None
        if self.sock is not None:
            self._attach(self.sock)
        if self._find_scope() is not None:
            # The library warns once of `ssl=False`. urllib3 would warn at each request.
            self.is_verified = True

    def _use_proxy_context(self) -> None:
        """Let the proxy's TLS context decide on a proxy that forwards plain HTTP, as urllib3 2.8 does.

        Older ones take the pool's settings for the peer, which `requests` leaves empty for http:// URLs.
        """
        context = getattr(self.proxy_config, "ssl_context", None)
        if context is not None and self.proxy_is_forwarding:
            self.ssl_context = context
            self.cert_reqs = context.verify_mode
            self.ca_certs = self.ca_cert_dir = self.ca_cert_data = None


# --- pools -----------------------------------------------------------------------------------------------

if TYPE_CHECKING:
    _PoolBase = urllib3.connectionpool.HTTPConnectionPool
else:
    _PoolBase = object


class _DetachingPool(_PoolBase):
    """Mixin of all pool classes: a connection that is free belongs to no request."""

    def _put_conn(self, connection: Any) -> None:
        # urllib3 gives a connection back as soon as a body ends: the next request may be another call's.
        if connection is not None and (not connection.detach() or connection.send_failed):
            connection.send_failed = False
            connection.close()
        super()._put_conn(connection)


class Pool(_DetachingPool):
    """Mixin of both pool classes: send a GET over one of their connections by the fast route.

    urllib3's `urlopen` does more than a GET to a storage needs. It costs several times as much as the
    request itself, and other threads wait for the interpreter meanwhile.
    """

    def render_head(self, headers: Mapping[str, str]) -> bytes:
        """Return a request's head from the target on, for `send_get`.

        Raises:
            ValueError: A header's name or value is not valid.
        """
        default_port: int = self.ConnectionCls.default_port
        return render_request_head(
            self.host.rstrip("."), self.port or default_port, default_port, headers
        )

    def send_get(
        self, target: str, head: bytes, timeouts: Timeouts, scope: CancelScope
    ) -> WireResponse:
        """Send a GET, and return the response, whose body is not read yet.

        Args:
            target: Path and query of the URL.
            head: The rest of the request's head, by `render_head`.
            timeouts: The timeouts of the request.
            scope: What may end the request.

        Raises:
            TransportError: The answer is not valid HTTP.
            OSError: The connection failed.
        """
        # urllib3 has no public method that takes one connection out of a pool.
        connection: Any = self._get_conn()

        def release(reusable: bool) -> None:
            if not reusable:
                # Detached first: a cancel must not shut down a descriptor that is used anew by then.
                connection.detach()
                connection.close()
            self._put_conn(connection)

        try:
            return WireResponse(connection.prepare(timeouts, scope), target, head, release)
        except BaseException:
            release(False)
            raise

    def count_idle(self) -> int:
        """Return how many open connections are not in use."""
        free: Any = self.pool
        kept = [] if free is None else list(free.queue)
        return sum(getattr(each, "sock", None) is not None for each in kept)

    def drop_idle(self) -> None:
        """Close the connections that are not in use. The pool can still be used, and connects anew."""
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
    """A pool's free connections. Threads never wait for one here, so it needs no locks."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        try:
            return self.queue.pop()
        except IndexError:
            raise queue.Empty from None

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        if len(self.queue) >= self.maxsize:
            raise queue.Full
        self.queue.append(item)


class _SocksPool(_DetachingPool):
    """Mixin of the pool classes of other libraries, to tell those that `use_own_pools` made."""


@functools.cache
def pool_classes() -> dict[str, Any]:
    """Return the library's pool classes by scheme.

    They are made at first use. On import, a mock may be in the place of their base classes.
    """
    connections, pools = urllib3.connection, urllib3.connectionpool
    return {
        "http": _make_pool_class(
            _AbortableHTTPConnection, connections.HTTPConnection, pools.HTTPConnectionPool
        ),
        "https": _make_pool_class(
            _AbortableHTTPSConnection, connections.HTTPSConnection, pools.HTTPSConnectionPool
        ),
    }


def _make_pool_class(mixin: type, connection: type, pool: type) -> type:
    connection_class = type(mixin.__name__, (mixin, connection), {})
    members = {"ConnectionCls": connection_class, "QueueCls": _Stack}
    return type(f"_Abortable{pool.__name__}", (Pool, pool), members)


@functools.lru_cache(maxsize=8)
def _make_socks_pool_class(pool: Any) -> type:
    """Return a pool class of another library, with connections that send URLs as they were listed."""
    connection_class = type("_SocksConnection", (_SocksConnection, pool.ConnectionCls), {})
    return type("_SocksPool", (_SocksPool, pool), {"ConnectionCls": connection_class})


_STOCK_POOL_CLASSES = PoolManager().pool_classes_by_scheme


def use_own_pools(manager: Any) -> None:
    """Have a manager make the library's pools from now on, unless another library changed it.

    The manager forgets the pools that it made before. A thread that is using one keeps it.

    Args:
        manager: A pool manager of urllib3.
    """
    classes = manager.pool_classes_by_scheme
    if classes is _STOCK_POOL_CLASSES:
        manager.pool_classes_by_scheme = pool_classes()
    elif type(manager).__module__ == "urllib3.contrib.socks" and not any(
        issubclass(pool, _SocksPool) for pool in classes.values()
    ):
        manager.pool_classes_by_scheme = {
            scheme: _make_socks_pool_class(pool) for scheme, pool in classes.items()
        }
    else:
        return
    manager.pools.clear()


def use_stock_pools(manager: Any) -> None:
    """Undo `use_own_pools`: a mock of urllib3's classes sees only the pools that urllib3 makes."""
    if pool_classes.cache_info().currsize and manager.pool_classes_by_scheme is pool_classes():
        manager.pool_classes_by_scheme = _STOCK_POOL_CLASSES
        manager.pools.clear()
