"""One GET, as fast and as redacted as it can be over ``requests`` sessions.

What ``requests`` works out anew for every request (environment, proxies, netrc, CA bundle, pool) is
worked out here once per origin, and the request then goes straight to the session's own connection
pool. A session that does anything of its own (hooks, auth, a subclass, a proxy, a mounted adapter) is
used through its public ``get``, slower but with all that it brings.

Failures come out as :class:`HTTPFault`, raised outside the handler so that no urllib3 exception, which
quotes the whole URL, stays reachable through ``__context__``.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import logging
import os
import re
import socket
import ssl
import threading
import zlib
from collections.abc import Mapping
from http.client import HTTPException, HTTPResponse, IncompleteRead
from types import TracebackType
from typing import Any, NamedTuple, Optional, Union
from urllib.parse import urlsplit

import requests
import urllib3
from certifi import where
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies, requote_uri, select_proxy
from urllib3 import exceptions as u3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import PoolManager
from urllib3.util.ssl_ import create_urllib3_context

from .buffers import Loan
from .scope import Cancelled, CancelScope
from .settings import Endpoint

__all__ = [
    "HTTP",
    "MAX_REDIRECTS",
    "REDIRECTS",
    "TLS",
    "HTTPFault",
    "Response",
    "origin_of",
    "retry_after",
]

#: Statuses that send elsewhere (RFC 9110, section 15.4), and how often in a row that is followed.
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_REDIRECTS = 5

#: Libraries that mock requests replace this; then the session's public way is taken.
_PRISTINE_SEND = HTTPAdapter.send

#: Made once: urllib3 would make it from False for every request.
_NO_RETRIES = urllib3.Retry(False, redirect=False)

#: Kinds of HTTPFault that another attempt can cure.
_TRANSIENT_KINDS = frozenset({"connection", "timeout", "protocol", "short"})


_SKIP_STEP = 1024 * 1024


class HTTPFault(Exception):
    """A request that failed below the level of statuses.

    ``kind``: connection, timeout, tls, protocol (not HTTP), short or long (the body), url.
    ``reason``: a redacted clause for a message.
    """

    def __init__(self, kind: str, reason: str, errno: Optional[int] = None) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
        self.errno = errno

    @property
    def transient(self) -> bool:
        """Whether trying again makes sense."""
        return self.kind in _TRANSIENT_KINDS


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


# --- connections that another thread can cut off ----------------------------------------------------

_blocking = threading.local()


class _NoQueries(logging.Filter):
    """Takes the queries out of the URLs that urllib3 logs during a request of ours."""

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(_blocking, "scope", None) is not None and isinstance(record.args, tuple):
            record.args = tuple(
                _QUERY.sub("?...", arg) if isinstance(arg, str) else arg for arg in record.args
            )
        return True


_QUERY = re.compile(r"\?\S+")

# A logger's filters hear nothing of what its children log: each needs its own.
for _name in ("connection", "connectionpool", "poolmanager", "util.retry"):
    logging.getLogger(f"urllib3.{_name}").addFilter(_NoQueries())


def _attach(sock: socket.socket) -> None:
    """Let the current request's scope shut ``sock`` down while this thread is blocked on it."""
    scope: Optional[CancelScope] = getattr(_blocking, "scope", None)
    if scope is not None:
        scope.attach(lambda: _shut(sock))


def _shut(sock: socket.socket) -> None:
    # The plain method: SSLSocket's own would drop the TLS layer under the thread that is reading.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _Abortable:
    """Mixin of both connection classes: sockets are attached before each step that may block."""

    sock: Any
    host: str
    port: int
    timeout: Any
    source_address: Any
    socket_options: Any
    _dns_host: str

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

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:
            _attach(self.sock)
        super().request(*args, **kwargs)  # type: ignore[misc]


class _AbortableHTTP(_Abortable, HTTPConnection):
    pass


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


class _AbortableHTTPPool(HTTPConnectionPool):
    ConnectionCls = _AbortableHTTP


class _AbortableHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _AbortableHTTPS


_STOCK_POOLS = PoolManager().pool_classes_by_scheme
_ABORTABLE_POOLS = {"http": _AbortableHTTPPool, "https": _AbortableHTTPSPool}


class _Adapter(HTTPAdapter):
    """The adapter of our own sessions: abortable connections, one TLS context for all of them."""

    def __init__(self, tls: TLS, pool_maxsize: int) -> None:
        self._tls = tls
        super().__init__(pool_maxsize=pool_maxsize)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _ABORTABLE_POOLS

    def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = _ABORTABLE_POOLS
        return manager

    def build_connection_pool_key_attributes(
        self, request: Any, verify: Any, cert: Any = None
    ) -> tuple[Any, Any]:
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {"ssl_context": self._tls.context} if host["scheme"] == "https" else {}

    def cert_verify(self, *args: Any) -> None:
        """Nothing left to do: the context verifies."""


# --- one session -------------------------------------------------------------------------------------


class _Route(NamedTuple):
    """How requests to one origin go: straight to ``pool``, or, where None, through the session."""

    pool: Optional[HTTPConnectionPool]
    headers: dict[str, str]
    options: dict[str, Any]


class HTTP:
    """A ``requests.Session`` and, per origin, what it would work out anew for each request.

    ``session`` None makes one of our own, deaf to netrc. An HTTP over a session of ours may be shared
    by threads; one over a user's belongs to one thread.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        tls: TLS,
        *,
        session: Optional[requests.Session] = None,
        pool_maxsize: int = 1,
    ) -> None:
        self._own = session is None
        self._session = self._make_session(tls, pool_maxsize) if session is None else session
        self._tls = tls
        self._seconds = endpoint.timeout
        connect, read = endpoint.timeout
        self._timeout = urllib3.Timeout(connect=connect, read=read)
        self._routes: dict[str, _Route] = {}

    @staticmethod
    def _make_session(tls: TLS, pool_maxsize: int) -> requests.Session:
        from . import __version__

        session = requests.Session()
        session.trust_env = False
        session.headers["User-Agent"] = f"ctera-direct-sync/{__version__}"
        adapter = _Adapter(tls, pool_maxsize)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        return session

    def get(
        self, url: str, scope: CancelScope, headers: Optional[Mapping[str, str]] = None
    ) -> Response:
        """GET ``url`` with no redirect followed; the body is not read yet.

        HTTPFault where there is no response, Cancelled once the scope is.
        """
        scope.check()
        _blocking.scope = scope
        try:
            response = self._send(url, headers or {})
        except Exception as error:  # noqa: BLE001 - whatever a session raises becomes one class
            fault = _fault(error)
        else:
            return Response(response, scope)
        finally:
            _blocking.scope = None
        scope.detach()
        scope.check()
        raise fault

    def _send(self, url: str, extra: Mapping[str, str]) -> Any:
        origin, target = _split(url)
        route = self._routes.get(origin)
        if route is None:
            route = self._routes[origin] = self._route(origin)
        headers = {**route.headers, **extra} if extra else route.headers
        if route.pool is None:
            return self._session.get(
                url,
                headers=headers,
                stream=True,
                allow_redirects=False,
                timeout=self._seconds,
                **route.options,
            )
        return route.pool.urlopen(
            "GET",
            target,
            headers=headers,
            retries=_NO_RETRIES,
            redirect=False,
            assert_same_host=False,
            timeout=self._timeout,
            preload_content=False,
            decode_content=False,
        )

    def _route(self, origin: str) -> _Route:
        scheme, host, port = _check_origin(origin)
        session = self._session
        if self._own:
            proxies = get_environ_proxies(origin)
            verify, cert = self._tls.verify, None
        else:
            proxies, verify, cert = self._session_options(origin)
        headers = {"Accept-Encoding": "identity"}
        if not _is_plain(session, origin) or select_proxy(origin, proxies):
            options = {"proxies": proxies, "verify": verify} if self._own else {}
            if not self._own and getattr(session, "verify", None) is True:
                options = {"verify": verify}
            return _Route(None, headers, options)
        adapter = session.get_adapter(origin)
        manager = adapter.poolmanager  # type: ignore[attr-defined]
        if manager.pool_classes_by_scheme is _STOCK_POOLS:
            manager.pool_classes_by_scheme = _ABORTABLE_POOLS
        pool = manager.connection_from_host(
            host, port, scheme, self._pool_options(scheme, verify, cert)
        )
        own = {name: str(value) for name, value in session.headers.items()}
        return _Route(pool, {**own, **headers}, {})

    def _session_options(self, origin: str) -> tuple[Any, Any, Any]:
        """A user's session's proxies, CA bundle and client certificate for this origin."""
        session = self._session
        try:
            merged = session.merge_environment_settings(origin, {}, None, None, None)
        except AttributeError:  # No requests.Session, only something with its get().
            return {}, self._tls.verify, None
        untouched = session.verify is True
        return (
            merged["proxies"],
            self._tls.verify if untouched else merged["verify"],
            merged["cert"],
        )

    def _pool_options(self, scheme: str, verify: Any, cert: Any) -> dict[str, Any]:
        if scheme != "https":
            return {}
        options: dict[str, Any] = {}
        if verify == self._tls.verify and cert is None:
            options["ssl_context"] = self._tls.context
        elif verify == self._tls.verify or isinstance(verify, (str, bool)):
            # A context of the session's own: its client certificate must not reach other sessions.
            options["ssl_context"] = TLS(verify)._make()
        if cert is not None:
            options["cert_file"], options["key_file"] = (
                (cert, None) if isinstance(cert, str) else cert
            )
        return options

    def close(self) -> None:
        """Close the session and its connections."""
        for route in self._routes.values():
            if route.pool is not None:
                # By itself a pool closes when nothing refers to it; an error in somebody's log may.
                route.pool.close()
        self._routes.clear()
        self._session.close()


class Response:
    """A response whose body is still to be read, once; a context manager that ends its connection.

    ``status``: the status code; ``headers``: a case-insensitive mapping.
    """

    __slots__ = ("_response", "_scope", "headers", "status")

    def __init__(self, response: Any, scope: CancelScope) -> None:
        self._response = response
        self._scope = scope
        self.status: int = (
            response.status_code if hasattr(response, "status_code") else response.status
        )
        self.headers: Mapping[str, str] = response.headers

    def __enter__(self) -> Response:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._scope.detach()
        # After a body read to its end the connection is back in its pool and this closes nothing.
        self._response.close()

    @property
    def length(self) -> Optional[int]:
        """The declared Content-Length in bytes, None where there is none or it makes no sense."""
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isascii() and text.isdigit() else None

    def read(self, limit: int, loan: Optional[Loan] = None) -> Union[bytes, memoryview]:
        """The body as received, content codings included; in ``loan``'s memory, where that is possible.

        HTTPFault for one that is cut short, and, before it is read, for one of more than ``limit``
        bytes; Cancelled once the scope is.
        """
        length = self.length
        if length is not None and length > limit:
            raise HTTPFault(
                "long", f"the body is {length} bytes, where at most {limit} can be right"
            )
        data: Union[bytes, memoryview]
        try:
            if loan is not None and length is not None and self._is_bare(length):
                data = self._fill(loan.reserve(length))
            else:
                data = self._read(limit, length)
        except Exception as error:  # noqa: BLE001 - as in HTTP.get
            fault = _fault(error)
        else:
            if len(data) > limit:
                raise HTTPFault("long", f"the body is over the {limit} bytes that can be right")
            if length is not None and len(data) != length:
                self._scope.check()  # A cut-off read looks like the end of the body.
                raise HTTPFault("short", f"the body ended after {len(data)} of {length} bytes")
            return data
        self._scope.check()
        raise fault

    def _is_bare(self, length: int) -> bool:
        """Whether nothing but http.client stands between the socket and a body of ``length`` bytes."""
        plain = getattr(self._stream(), "_fp", None)
        return type(plain) is HTTPResponse and not plain.chunked and plain.length == length

    def _fill(self, memory: memoryview) -> memoryview:
        """Read the body straight into ``memory``; what is returned is shorter where the body is.

        urllib3's own readinto copies, and joins 10 KiB pieces: half the speed.
        """
        stream, got = self._stream(), 0
        while got < len(memory):
            count = stream._fp.readinto(memory[got:])
            if not count:
                return memory[:got]
            got += count
        stream.release_conn()
        return memory

    def read_window(self, skip: int, size: int) -> bytes:
        """``size`` bytes after the first ``skip``, from a server that sends all where part was asked.

        Fewer where the body ends before. HTTPFault and Cancelled as :meth:`read`.
        """
        try:
            while skip:
                part = self._stream().read(min(skip, _SKIP_STEP), decode_content=False)
                if not part:
                    return b""
                skip -= len(part)
            data = self._take(size)
            if len(data) < size:
                self._scope.check()
            return data
        except Cancelled:
            raise
        except Exception as error:  # noqa: BLE001 - as in HTTP.get
            fault = _fault(error)
        self._scope.check()
        raise fault

    def _stream(self) -> Any:
        return getattr(self._response, "raw", self._response)

    def _read(self, limit: int, length: Optional[int]) -> bytes:
        response = self._response
        raw = self._stream()
        if getattr(response, "_content_consumed", False) or not hasattr(raw, "read"):
            return bytes(response.content)  # A hook or a stand-in session has read it already.
        if length is not None and not getattr(raw, "chunked", False):
            return bytes(raw.read(decode_content=False))
        return self._take(limit + 1)

    def _take(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer at the end of the body."""
        parts, raw = [], self._stream()
        while size:
            part = raw.read(size, decode_content=False)
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def decoded(
    body: Union[bytes, memoryview], headers: Mapping[str, str], limit: int
) -> Union[bytes, memoryview]:
    """``body`` without its Content-Encoding (RFC 9110, section 8.4): gzip and deflate are known."""
    coding = headers.get("Content-Encoding", "").strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise HTTPFault("protocol", "the body has a Content-Encoding that was not asked for")
    try:
        data = _inflated(body, limit + 1) if coding == "deflate" else _gunzipped(body, limit + 1)
    except EOFError:
        raise HTTPFault("short", f"the {coding} body is cut short") from None
    except (zlib.error, gzip.BadGzipFile):
        raise HTTPFault("protocol", f"the body is no valid {coding}") from None
    if len(data) > limit:
        raise HTTPFault("long", f"the body inflates past the {limit} bytes that can be right")
    return data


def _gunzipped(body: Union[bytes, memoryview], size: int) -> bytes:
    """At most ``size`` bytes of a gzip body, of one member or several (RFC 1952, section 2.2)."""
    if not body:
        raise EOFError
    with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
        return file.read(size)


def _inflated(body: Union[bytes, memoryview], size: int) -> bytes:
    inflater = zlib.decompressobj()
    data = inflater.decompress(body, size)
    if len(data) < size and not inflater.eof:
        raise EOFError
    if inflater.unused_data:
        raise zlib.error("bytes after the end")
    return data


def retry_after(headers: Mapping[str, str]) -> Optional[float]:
    """Seconds that a Retry-After header asks for (RFC 9110, section 10.2.3), None without a valid one."""
    value = headers.get("Retry-After")
    if not value:
        return None
    try:
        return float(urllib3.Retry().parse_retry_after(value))
    except (u3.InvalidHeader, ValueError, OverflowError):
        return None


# --- URLs --------------------------------------------------------------------------------------------


def origin_of(url: str) -> str:
    """``scheme://host[:port]`` of a URL: what may be shown of it, and what it may be compared by."""
    return _split(url)[0]


def _split(url: str) -> tuple[str, str]:
    """Origin and request target (RFC 9112, section 3.2.1) of a URL; quoting is mended where needed."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise HTTPFault("url", "the URL has no scheme: http:// or https:// is wanted")
    cut = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
    target = rest[cut:].partition("#")[0]
    if not target.startswith("/"):
        target = "/" + target
    if not target.isascii() or not target.isprintable() or " " in target:
        target = requote_uri(target)
    return f"{scheme.lower()}://{rest[:cut]}", target


def _check_origin(origin: str) -> tuple[str, str, Optional[int]]:
    """Scheme, host and port of an origin that may be connected to; HTTPFault for any other."""
    problem = None
    try:
        parts = urlsplit(origin)
        host, port = parts.hostname, parts.port
    except ValueError:
        problem = "the URL is malformed"
    else:
        if parts.scheme not in ("http", "https"):
            problem = f"the URL's scheme is {parts.scheme[:16]!r}: only http and https are followed"
        elif not host:
            problem = "the URL has no host"
        elif "@" in parts.netloc:
            problem = "the URL holds a user name or password, which is not supported"
    if problem is not None:
        raise HTTPFault("url", problem)
    assert host is not None
    return parts.scheme, host, port


def _is_plain(session: Any, origin: str) -> bool:
    """Whether the session adds nothing to a request beyond its headers, proxies and TLS settings."""
    if type(session) is not requests.Session or HTTPAdapter.send is not _PRISTINE_SEND:
        return False
    if session.auth is not None or session.params or len(session.cookies):
        return False
    if any(session.hooks.values()) or {"get", "request", "send"} & vars(session).keys():
        return False
    adapter = session.get_adapter(origin)
    if type(adapter) is _Adapter:
        return True
    return type(adapter) is HTTPAdapter and not adapter.max_retries.total


# --- what went wrong, without the URL -----------------------------------------------------------------


def _fault(error: Exception) -> HTTPFault:
    """``error`` in our words. Its own text is never used: urllib3's quotes whole URLs."""
    if isinstance(error, HTTPFault):
        return error
    causes = _chain(error)
    kinds = tuple(type(cause) for cause in causes)
    system = next((c for c in causes if isinstance(c, OSError) and c.errno), None)
    number = system.errno if system else None

    def has(*classes: type[BaseException]) -> bool:
        return any(issubclass(kind, classes) for kind in kinds)

    certificate = next((c for c in causes if isinstance(c, ssl.SSLCertVerificationError)), None)
    if certificate is not None:
        return HTTPFault("tls", f"its certificate is not trusted ({certificate.verify_message})")
    if has(u3.NameResolutionError, socket.gaierror):
        return HTTPFault("connection", "its host name does not resolve", errno.EHOSTUNREACH)
    # For urllib3 a connection that is refused is a kind of connect timeout.
    if has(u3.ConnectTimeoutError, requests.ConnectTimeout) and not has(u3.NewConnectionError):
        return HTTPFault("timeout", "no connection within the connect timeout", errno.ETIMEDOUT)
    if has(u3.ReadTimeoutError, requests.ReadTimeout, socket.timeout):
        return HTTPFault("timeout", "nothing came within the read timeout", errno.ETIMEDOUT)
    if has(u3.ProxyError, requests.exceptions.ProxyError):
        return HTTPFault("connection", "the proxy cannot be reached or refuses", number)
    if has(IncompleteRead):
        return HTTPFault("short", "the body ended early")
    if has(ConnectionError, u3.NewConnectionError) and system is not None:
        return HTTPFault("connection", os.strerror(system.errno).lower(), number)  # type: ignore[arg-type]
    if has(ConnectionError, u3.NewConnectionError):
        return HTTPFault("connection", "the connection was closed without an answer", number)
    if has(ssl.SSLError, u3.SSLError, requests.exceptions.SSLError):
        broken = has(ssl.SSLEOFError, ssl.SSLZeroReturnError)
        kind, reason = (
            ("connection", "the TLS connection was cut") if broken else ("tls", "TLS failed")
        )
        return HTTPFault(kind, reason, number)
    if has(u3.LocationValueError, requests.exceptions.InvalidURL, UnicodeError):
        return HTTPFault("url", "the URL is malformed")
    if system is not None:
        return HTTPFault("connection", os.strerror(system.errno).lower(), number)  # type: ignore[arg-type]
    if has(HTTPException, u3.HTTPError, requests.RequestException, ValueError):
        return HTTPFault("protocol", f"the answer is not valid HTTP ({kinds[-1].__name__})", number)
    raise error


def _chain(error: BaseException) -> list[BaseException]:
    """``error`` and all that it wraps, outermost first, by the ways requests and urllib3 wrap."""
    chain: list[BaseException] = []
    queue: list[Any] = [error]
    while queue:
        current = queue.pop(0)
        if not isinstance(current, BaseException) or current in chain:
            continue
        chain.append(current)
        queue += [getattr(current, "reason", None), current.__cause__, *current.args]
        if current.__context__ is not None and not current.__suppress_context__:
            queue.append(current.__context__)
    return chain
