"""One GET, as fast and as redacted as it can be over ``requests`` sessions.

What ``requests`` works out anew for every request (environment, proxies, netrc, CA bundle, pool) is
worked out here once per origin, and the request then goes straight to the session's own connection
pool. A session that does anything of its own (hooks, auth, a subclass, a proxy, a mounted adapter) is
used through its public ``get``, slower but with all that it brings. So is every session while somebody
intercepts requests (:mod:`.interception`), and where llhttp cannot be loaded.

Failures come out as :class:`TransportError`, raised outside the handler so that no urllib3 exception, which
quotes the whole URL, stays reachable through ``__context__``.
"""

from __future__ import annotations

import functools
import io
import logging
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Optional, Union

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import prepend_scheme_if_needed, select_proxy
from urllib3 import exceptions as u3

from .._base.buffers import PooledBuffer
from .._base.cancellation import CancelScope
from ..settings import Endpoint
from ..version import __version__
from .errors import TransportError, fault_of, refused_by_proxy
from .interception import Interception, interception
from .pool import TLS, Pool, blocking, make_abortable, make_stock
from .proxies import bypasses_proxy, check_proxy, environment_proxies
from .response import HAS_PARSER, WireResponse
from .urls import check_origin, split_url

__all__ = ["HTTP", "MAX_REDIRECTS", "REDIRECTS", "Response", "retry_after"]

_log = logging.getLogger(__name__)

#: Statuses that send elsewhere (RFC 9110, section 15.4), and how often in a row that is followed.
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_REDIRECTS = 5

#: Origins of one session whose connections are kept. Every worker has a session, and each connection
#: is a descriptor: 32 workers then hold 256 at most.
_MAX_ORIGINS = 8
#: Seconds after which the connections to an origin that is not asked any more are closed.
_MAX_IDLE_S = 60.0

_SKIP_STEP = 1024 * 1024

#: Methods that somebody may replace on one session alone.
_OVERRIDABLE = frozenset(
    {"get", "request", "send", "get_adapter", "prepare_request", "merge_environment_settings"}
)


class _Adapter(HTTPAdapter):
    """The adapter of our own sessions: one TLS context for all their connections."""

    def __init__(self, tls: TLS, pool_maxsize: int) -> None:
        self._tls = tls
        super().__init__(pool_maxsize=pool_maxsize)

    def build_connection_pool_key_attributes(
        self, request: Any, verify: Any, cert: Any = None
    ) -> tuple[Any, Any]:
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {"ssl_context": self._tls.context} if host["scheme"] == "https" else {}

    def cert_verify(self, *args: Any) -> None:
        """Nothing left to do: the context verifies."""


@functools.cache
def _warn_of_missing_parser() -> None:
    _log.warning(
        "httptools cannot be loaded into this interpreter: requests are made by requests alone, "
        "which is slower"
    )


def _no_login(request: Any) -> Any:
    """Add no login to a request. Without an ``auth``, requests would look for one in the netrc file."""
    return request


# --- one session -------------------------------------------------------------------------------------


class _Route:
    """How requests to one origin go: straight to ``pool``, or, where None, through the session.

    Attributes:
        pool: The pool of the fast route.
        headers: What is sent with each request; through a session, what its own are merged with.
        rest: The fast route's request from the target on, rendered.
        options: Keyword arguments of the session's ``get``.
        proxy: What may be shown of the proxy's URL; "" where there is none.
        used: When the route was last taken, by the monotonic clock.
    """

    __slots__ = ("headers", "options", "pool", "proxy", "rest", "used")

    def __init__(
        self,
        pool: Optional[Pool],
        headers: dict[str, str],
        rest: bytes = b"",
        options: Optional[dict[str, Any]] = None,
        proxy: str = "",
    ) -> None:
        self.pool = pool
        self.headers = headers
        self.rest = rest
        self.options = options or {}
        self.proxy = proxy
        self.used = 0.0


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
        self._timeouts = endpoint.timeout
        self._routes: dict[str, _Route] = {}
        self._interception = Interception.NONE
        self._mark: Any = None
        self._swept = 0.0

    @staticmethod
    def _make_session(tls: TLS, pool_maxsize: int) -> requests.Session:
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

        TransportError where there is no response, Cancelled once the scope is.
        """
        scope.check()
        blocking.scope = scope
        try:
            response = Response(self._send(url, headers or {}), scope)
            if response.status != 407:
                return response
            # None but a proxy answers this (RFC 9110, section 15.5.8).
            with response:
                fault = refused_by_proxy(407)
        except Exception as error:  # noqa: BLE001 - whatever a session raises becomes one class
            fault = fault_of(error)
        finally:
            blocking.scope = None
        scope.detach()
        scope.check()
        raise self._with_proxy(fault, url)

    def _with_proxy(self, fault: TransportError, url: str) -> TransportError:
        """Return a fault whose reason names the proxy that the request took, if it took one."""
        route = None if fault.kind == "url" else self._routes.get(split_url(url)[0])
        if route is None or not route.proxy:
            return fault
        fault.reason += (
            f" ({route.proxy})" if fault.proxy else f" (by way of the proxy {route.proxy})"
        )
        fault.args = (fault.reason,)
        return fault

    def _send(self, url: str, extra: Mapping[str, str]) -> Union[WireResponse, _SessionExchange]:
        origin, target = split_url(url)
        self._notice_changes()
        route = self._routes.get(origin)
        now = time.monotonic()
        if route is None:
            self._let_go(now)
            route = self._routes[origin] = self._route(origin)
        elif now - self._swept > _MAX_IDLE_S:
            route.used = now
            self._let_go(now)
        route.used = now
        headers = _merged(route.headers, extra) if extra else route.headers
        if route.pool is not None:
            rest = route.pool.render(headers) if extra else route.rest
            return route.pool.exchange(target, rest, self._timeouts)
        if self._interception is not Interception.NONE:
            # Recorders write them down, and cannot write down our classes that hide their values.
            headers = {name: "".join(value) for name, value in headers.items()}
        blocking.origin, blocking.target = origin, target
        options = route.options
        if getattr(self._session, "auth", None) is None:
            options = {"auth": _no_login, **options}
        try:
            response = self._session.get(
                url,
                headers=headers,
                stream=True,
                allow_redirects=False,
                timeout=self._timeouts,
                **options,
            )
        finally:
            blocking.target = ""
        return _SessionExchange(response)

    # --- routes ----------------------------------------------------------------------------------------

    def _notice_changes(self) -> None:
        """Forget all routes if the session is another than it was, or somebody intercepts by now."""
        found = interception()
        mark = None if self._own else _mark(self._session)
        if found is self._interception and mark == self._mark:
            return
        self._interception, self._mark = found, mark
        routes, self._routes = self._routes, {}
        for route in routes.values():
            if route.pool is not None:
                route.pool.drop_idle()

    def _let_go(self, now: float) -> None:
        """Close the connections to origins that are not asked any more, or one beyond the most."""
        self._swept = now
        routes = sorted(self._routes.items(), key=lambda item: item[1].used)
        surplus = len(routes) + 1 - _MAX_ORIGINS
        for number, (origin, route) in enumerate(routes):
            if number < surplus or now - route.used > _MAX_IDLE_S:
                self._routes.pop(origin, None)
                if route.pool is not None:
                    route.pool.drop_idle()

    def _route(self, origin: str) -> _Route:
        scheme, host, port = check_origin(origin)
        session = self._session
        options: dict[str, Any] = {}
        if self._own:
            proxies = environment_proxies(origin)
            verify, cert = self._tls.verify, None
            options = {"proxies": proxies, "verify": verify}
        else:
            proxies, verify, cert = self._session_options(origin)
            if getattr(session, "verify", None) is True:
                options["verify"] = verify
            if "no_proxy" in proxies:
                options["proxies"] = {"no_proxy": proxies["no_proxy"]}
        proxy = select_proxy(origin, proxies)
        shown = check_proxy(proxy) if proxy else ""
        manager = self._prepare(origin, proxy, verify)
        if scheme == "https" and verify == self._tls.verify:
            self._context(verify)  # Made here, so that a bundle that is none is told as such.
        headers = {"Accept-Encoding": "identity"}
        if not HAS_PARSER:
            _warn_of_missing_parser()
        elif (
            self._interception is Interception.NONE
            and not proxy
            and manager is not None
            and _is_plain(session, origin)
        ):
            pool = manager.connection_from_host(
                host, port, scheme, self._pool_options(scheme, verify, cert)
            )
            if isinstance(pool, Pool):
                headers = _merged(session.headers, headers)
                return _Route(pool, headers, pool.render(headers))
        return _Route(None, headers, b"", options, shown)

    def _prepare(self, origin: str, proxy: Optional[str], verify: Any) -> Any:
        """Have the session make connections of ours; return the manager of their pools, if it has one."""
        try:
            adapter: Any = self._session.get_adapter(origin)
        except Exception:  # noqa: BLE001 - It is asked again by the session itself, and raises there.
            return None
        if not isinstance(adapter, HTTPAdapter):
            return None
        manager = getattr(adapter, "poolmanager", None)
        if proxy:
            url = str(prepend_scheme_if_needed(proxy, "http"))  # type: ignore[no-untyped-call]
            options = {}
            if url.lower().startswith("https:"):
                options["proxy_ssl_context"] = self._context(verify)
            manager = adapter.proxy_manager_for(url, **options)
        if manager is not None:
            change = make_stock if self._interception is Interception.CLASSES else make_abortable
            change(manager)
        return manager

    def _context(self, verify: Any) -> Any:
        """Return a TLS context for a session's ``verify``: the client's own, where it is the same."""
        if verify == self._tls.verify or not isinstance(verify, (str, bool)):
            return self._tls.context
        return TLS(verify)._make()

    def _session_options(self, origin: str) -> tuple[Any, Any, Any]:
        """A user's session's proxies, CA bundle and client certificate for this origin."""
        session = self._session
        # This is how requests is told not to use the environment's proxies for a host.
        host = check_origin(origin)[1]
        direct = getattr(session, "trust_env", False) and bypasses_proxy(origin)
        try:
            merged = session.merge_environment_settings(
                origin, {"no_proxy": host} if direct else {}, None, None, None
            )
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
        # The thread whose session it is may add one meanwhile: a client is closed from any thread.
        while self._routes:
            try:
                _, route = self._routes.popitem()
            except KeyError:  # Another thread closes it, too.
                break
            if route.pool is not None:
                # By itself a pool closes when nothing refers to it; an error in somebody's log may.
                route.pool.close()
        self._session.close()


class Response:
    """A response whose body is still to be read, once; a context manager that ends its connection.

    ``status``: the status code; ``headers``: by lower-case name; ``length``: the declared length of the
    body in bytes, None where there is none or it makes no sense.
    """

    __slots__ = ("_exchange", "_scope", "headers", "length", "status")

    def __init__(self, exchange: Union[WireResponse, _SessionExchange], scope: CancelScope) -> None:
        self._exchange = exchange
        self._scope = scope
        self.status: int = exchange.status
        self.headers: Mapping[str, str] = exchange.headers
        self.length = exchange.length

    def __enter__(self) -> Response:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        # The connection leaves the scope before another request can have it.
        self._exchange.end()
        self._scope.detach()

    def read(self, limit: int, buffer: Optional[PooledBuffer] = None) -> Union[bytes, memoryview]:
        """The body as received, content codings included; in ``buffer``'s memory, where that is possible.

        TransportError for one that is cut short, and, before it is read, for one of more than ``limit``
        bytes; Cancelled once the scope is.
        """
        length = self.length
        if length is not None and length > limit:
            raise TransportError(
                "long", f"the body is {length} bytes, where at most {limit} can be right"
            )
        if length is None:
            data = self._take(limit + 1)
            if len(data) > limit:
                raise TransportError(
                    "long", f"the body is over the {limit} bytes that can be right"
                )
            return data
        data = self._take(length, buffer)
        if len(data) != length:
            raise TransportError("short", f"the body ended after {len(data)} of {length} bytes")
        return data

    def read_window(self, skip: int, size: int) -> Union[bytes, memoryview]:
        """``size`` bytes after the first ``skip``, from a server that sends all where part was asked.

        Fewer where the body ends before. TransportError and Cancelled as :meth:`read`.
        """
        while skip:
            skipped = len(self._take(min(skip, _SKIP_STEP)))
            if not skipped:
                return b""
            skip -= skipped
        return self._take(size)

    def _take(self, size: int, buffer: Optional[PooledBuffer] = None) -> Union[bytes, memoryview]:
        """The next ``size`` bytes of the body, fewer at its end."""
        try:
            data = self._exchange.take(size, buffer)
        except Exception as error:  # noqa: BLE001 - as in HTTP.get
            fault = fault_of(error)
        else:
            if len(data) < size:
                self._scope.check()  # A read that was cut off looks like the end of the body.
            return data
        self._scope.check()
        raise fault


class _SessionExchange:
    """An :class:`WireResponse` by a session's ``get``, or by what stands in for it."""

    def __init__(self, response: Any) -> None:
        self._response = response
        self.status: int = response.status_code
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        self._body: Any = getattr(response, "raw", None)
        self._options: dict[str, Any] = {"decode_content": False}
        if getattr(response, "_content_consumed", False) or not hasattr(self._body, "read"):
            # A hook or a stand-in has read it already, and taken its codings off.
            self._body, self._options = io.BytesIO(response.content), {}
            for name in ("content-encoding", "content-length", "transfer-encoding"):
                self.headers.pop(name, None)
        without = self.status in (204, 304)  # No body follows (RFC 9110, section 6.4.1).
        self.length = 0 if without else _declared_length(self.headers)

    def take(self, size: int, buffer: Optional[PooledBuffer] = None) -> bytes:
        """As :meth:`WireResponse.take`, in memory of its own."""
        parts: list[bytes] = []
        while size:
            part = self._body.read(size, **self._options)
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def end(self) -> None:
        """After a body read to its end the connection is back in its pool, and this closes nothing."""
        self._response.close()


def _declared_length(headers: Mapping[str, str]) -> Optional[int]:
    """Return the Content-Length of a response that came by a session, None where there is none.

    A session may have connections that are not ours, which are lenient: what the fast route refuses is
    refused here as well, as far as it can still be seen.
    """
    coding = headers.get("transfer-encoding")
    if coding is not None and coding.lower() not in ("identity", "chunked"):
        raise TransportError("protocol", "the answer is not valid HTTP")
    text = headers.get("content-length")
    if text is None or coding is not None:
        return None
    text = text.strip(" \t")
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise TransportError("protocol", "the answer is not valid HTTP")
    return int(text)


def retry_after(headers: Mapping[str, str]) -> Optional[float]:
    """Seconds that a Retry-After header asks for (RFC 9110, section 10.2.3), None without a valid one."""
    value = headers.get("retry-after")
    if not value:
        return None
    try:
        return float(urllib3.Retry().parse_retry_after(value))
    except (u3.InvalidHeader, ValueError, OverflowError):
        return None


def _mark(session: Any) -> Any:
    """Return what of a user's session decides how its requests go, to be compared at each request."""
    if not isinstance(session, requests.Session):
        return None
    return (
        # What was assigned, methods included.
        tuple(vars(session).values()),
        # What was changed in place. The containers within save the detour by the mappings' methods.
        tuple(getattr(session.headers, "_store", session.headers).values()),
        tuple(session.proxies.items()),
        tuple(session.adapters.items()),
        not getattr(session.cookies, "_cookies", session.cookies),
        any(session.hooks.values()),
        not session.params,
    )


def _overrides(session: requests.Session) -> frozenset[str]:
    """Return the names of the methods that somebody replaced on this session alone."""
    if _OVERRIDABLE.isdisjoint(vars(session)):
        return frozenset()
    present = _OVERRIDABLE & vars(session).keys()
    # requests-mock leaves the class's own method behind, bound.
    own = type(session)
    return frozenset(
        name
        for name in present
        if getattr(vars(session)[name], "__func__", None) is not getattr(own, name, None)
    )


def _is_plain(session: Any, origin: str) -> bool:
    """Whether the session adds nothing to a request beyond its headers, proxies and TLS settings."""
    if type(session) is not requests.Session:
        return False
    if session.auth is not None or session.params or len(session.cookies):
        return False
    if any(session.hooks.values()) or _overrides(session):
        return False
    adapter = session.get_adapter(origin)
    if type(adapter) is _Adapter:
        return True
    if type(adapter) is not HTTPAdapter or adapter.max_retries.total:
        return False
    # Its pools make threads wait for a connection; ours do not.
    return not adapter._pool_block  # type: ignore[attr-defined]


def _merged(headers: Mapping[str, Any], over: Mapping[str, str]) -> dict[str, str]:
    """``headers`` with those of ``over``, whatever the letter case of their names; None is for none."""
    replaced = {name.lower() for name in over}
    kept = {
        name: text.decode("latin-1") if isinstance(text, bytes) else str(text)
        for name, text in headers.items()
        if text is not None and name.lower() not in replaced
    }
    return {**kept, **over}
