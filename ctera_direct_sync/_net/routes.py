"""How the requests of a session reach one origin: worked out once, and not for each request.

`requests` looks at the environment, proxies, netrc, CA bundle and connection pool for each request.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Mapping
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.utils import prepend_scheme_if_needed, select_proxy

from ..version import __version__
from .errors import TransportError
from .interception import Interception
from .pool import Pool, use_own_pools, use_stock_pools
from .proxies import bypasses_proxy, check_proxy, environment_proxies
from .response import HAS_PARSER
from .tls import SYSTEM, TLS
from .urls import check_origin

__all__ = ["Route", "RoutePlanner", "check_session", "make_session", "merge_headers"]

_log = logging.getLogger(__name__)

#: Methods that a user, a mock or a tracer may replace on one session alone.
_REPLACEABLE_METHODS = frozenset(
    {"get", "request", "send", "get_adapter", "prepare_request", "merge_environment_settings"}
)


class _Adapter(HTTPAdapter):
    """The adapter of the library's own sessions: one TLS context for all their connections."""

    def __init__(self, tls: TLS, pool_maxsize: int) -> None:
        self._tls = tls
        super().__init__(pool_maxsize=pool_maxsize)

    def build_connection_pool_key_attributes(
        self, request: Any, verify: Any, cert: Any = None
    ) -> tuple[Any, Any]:
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {"ssl_context": self._tls.context} if host["scheme"] == "https" else {}

    def cert_verify(self, *args: Any) -> None:
        """Do nothing: the context verifies certificates."""


def make_session(tls: TLS, pool_maxsize: int) -> requests.Session:
    """Return a session of the library's own, which ignores netrc.

    Args:
        tls: Its TLS settings.
        pool_maxsize: The connections to one origin that are kept.
    """
    session = requests.Session()
    session.trust_env = False
    session.headers["User-Agent"] = f"ctera-direct-sync/{__version__}"
    adapter = _Adapter(tls, pool_maxsize)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def check_session(
    scheme: str, verify: Any, cert: Any, tls: TLS, interception: Interception
) -> None:
    """Check that `requests` can do for a user's session what the settings want.

    Args:
        scheme: The scheme of the origin.
        verify: How the session verifies certificates.
        cert: The client certificate of the session itself.
        tls: The TLS settings of the endpoint.
        interception: What is replaced in this process.

    Raises:
        TransportError: `requests` would take `ssl="system"` for a path, or would load the client
            certificate of the settings into a context that other hosts and proxies share.
    """
    if scheme != "https" or interception is not Interception.NONE:
        return
    if tls.cert is not None and cert is None:
        raise TransportError(
            "tls",
            "the client certificate of the settings does not work for this session of your own: set "
            "session.cert",
        )
    if verify == SYSTEM:
        raise TransportError(
            "tls",
            'ssl="system" does not work for this session of your own: set session.verify to the path '
            "of a CA bundle",
        )


class Route:
    """The way to one origin: the fast route over `pool`, or through the session if `pool` is None.

    Attributes:
        pool: The pool of the fast route, or None.
        headers: The headers of each request. A session merges them with its own.
        head: The head of a request on the fast route, from the target on.
        options: Keyword arguments for the session's `get`.
        proxy: The part of the proxy's URL that a message may show; "" without a proxy.
        last_used: When a request took the route, by the monotonic clock.
    """

    __slots__ = ("_last_head", "head", "headers", "last_used", "options", "pool", "proxy")

    def __init__(
        self,
        pool: Pool | None,
        headers: dict[str, str],
        head: bytes = b"",
        options: dict[str, Any] | None = None,
        proxy: str = "",
    ) -> None:
        self.pool = pool
        self.headers = headers
        self.head = head
        self.options = options or {}
        self.proxy = proxy
        self.last_used = 0.0
        # The further headers of the last request that had some, and its head. One object, since threads
        # may share a route.
        self._last_head: tuple[tuple[tuple[str, str], ...], bytes] | None = None

    def head_with(self, pool: Pool, extra: Mapping[str, str]) -> bytes:
        """Return the head of a request with further headers, on the fast route.

        Each call to the portal has the same ones, and rendering takes a third of the request's CPU time.

        Args:
            pool: The pool of this route.
            extra: The further headers.
        """
        key = tuple(extra.items())
        last = self._last_head
        if last is None or last[0] != key:
            last = self._last_head = key, pool.render_head(merge_headers(self.headers, extra))
        return last[1]


class RoutePlanner:
    """Plans the routes of one session.

    Args:
        session: The session.
        tls: The TLS settings of the endpoint.
        own: Whether the library made the session.
    """

    def __init__(self, session: Any, tls: TLS, *, own: bool) -> None:
        self._session = session
        self._tls = tls
        self._own = own

    def plan(self, origin: str, interception: Interception) -> Route:
        """Return the route to an origin.

        Args:
            origin: Scheme, host and port.
            interception: What is replaced in this process.

        Raises:
            TransportError: The origin, the proxy or the CA bundle cannot be used.
        """
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
        shown_proxy = check_proxy(proxy) if proxy else ""
        manager = self._prepare_manager(origin, proxy, verify, interception)
        if scheme == "https" and verify == self._tls.verify:
            _ = self._tls.context  # Made here, so that an unusable bundle is reported as such.
        headers = {"Accept-Encoding": "identity"}
        if not HAS_PARSER:
            _warn_of_missing_parser()
        elif (
            interception is Interception.NONE
            and not proxy
            and manager is not None
            and _is_plain(session, origin)
        ):
            pool = manager.connection_from_host(
                host, port, scheme, self._pool_options(scheme, verify, cert)
            )
            if isinstance(pool, Pool):
                headers = merge_headers(session.headers, headers)
                return Route(pool, headers, pool.render_head(headers))
        if not self._own:
            check_session(scheme, verify, cert, self._tls, interception)
        return Route(None, headers, b"", options, shown_proxy)

    def _prepare_manager(
        self, origin: str, proxy: str | None, verify: Any, interception: Interception
    ) -> Any:
        """Return the manager of the session's pools, or None. It makes the library's pools from now on."""
        try:
            adapter: Any = self._session.get_adapter(origin)
        except Exception:  # noqa: BLE001 - The session asks again for its own request, and raises there.
            return None
        if not isinstance(adapter, HTTPAdapter):
            return None
        manager = getattr(adapter, "poolmanager", None)
        if proxy:
            url = str(prepend_scheme_if_needed(proxy, "http"))  # type: ignore[no-untyped-call]
            options = {}
            if url.lower().startswith("https:"):
                options["proxy_ssl_context"] = self._proxy_context(verify)
            manager = adapter.proxy_manager_for(url, **options)
        if manager is not None:
            change = use_stock_pools if interception is Interception.CLASSES else use_own_pools
            change(manager)
        return manager

    def _proxy_context(self, verify: Any) -> Any:
        """Return a TLS context for a proxy: by a session's `verify`, and without a client certificate."""
        if verify == self._tls.verify or not isinstance(verify, (str, bool)):
            return self._tls.proxy_context
        return TLS(verify).new_context()

    def _session_options(self, origin: str) -> tuple[Any, Any, Any]:
        """Return the proxies, CA bundle and client certificate of a user's session for an origin."""
        session = self._session
        # This is how requests is told not to use the environment's proxies for a host.
        host = check_origin(origin)[1]
        direct = getattr(session, "trust_env", False) and bypasses_proxy(origin)
        try:
            merged = session.merge_environment_settings(
                origin, {"no_proxy": host} if direct else {}, None, None, None
            )
        except AttributeError:  # Not a requests.Session, only an object with a get().
            return {}, self._tls.verify, None
        verify = self._tls.verify if session.verify is True else merged["verify"]
        if isinstance(verify, os.PathLike):
            verify = os.fspath(verify)
        return merged["proxies"], verify, merged["cert"]

    def _pool_options(self, scheme: str, verify: Any, cert: Any) -> dict[str, Any]:
        if scheme != "https":
            return {}
        options: dict[str, Any] = {}
        if verify == self._tls.verify and cert is None:
            options["ssl_context"] = self._tls.context
        elif verify == self._tls.verify or isinstance(verify, (str, bool)):
            # Not the shared context: the session's client certificate must not reach other sessions.
            own = self._tls.cert if cert is None else None
            options["ssl_context"] = TLS(verify, own).new_context()
        if cert is not None:
            options["cert_file"], options["key_file"] = (
                (cert, None) if isinstance(cert, str) else cert
            )
        return options


@functools.cache
def _warn_of_missing_parser() -> None:
    _log.warning(
        "httptools cannot be loaded into this interpreter: requests are made by requests alone, "
        "which is slower"
    )


def _replaced_methods(session: requests.Session) -> frozenset[str]:
    """Return the names of the methods that are replaced on this session alone."""
    if _REPLACEABLE_METHODS.isdisjoint(vars(session)):
        return frozenset()
    present = _REPLACEABLE_METHODS & vars(session).keys()
    # requests-mock leaves the class's own method behind, bound.
    own = type(session)
    return frozenset(
        name
        for name in present
        if getattr(vars(session)[name], "__func__", None) is not getattr(own, name, None)
    )


def _is_plain(session: Any, origin: str) -> bool:
    """Return whether the session adds only headers, proxies and TLS settings to a request."""
    if type(session) is not requests.Session:
        return False
    if session.auth is not None or session.params or len(session.cookies):
        return False
    if any(session.hooks.values()) or _replaced_methods(session):
        return False
    adapter: Any = session.get_adapter(origin)
    if type(adapter) is _Adapter:
        return True
    if type(adapter) is not HTTPAdapter or adapter.max_retries.total:
        return False
    # The pools of such an adapter make threads wait for a connection; the library's do not.
    # requests keeps this argument of HTTPAdapter in a private attribute alone.
    return not adapter._pool_block  # type: ignore[attr-defined]


def merge_headers(headers: Mapping[str, Any], extra: Mapping[str, str]) -> dict[str, str]:
    """Return `headers` with those of `extra` in place of the same names in any letter case.

    Args:
        headers: Headers as a session holds them. One whose value is None is left out.
        extra: Headers that replace them.
    """
    replaced = {name.lower() for name in extra}
    kept = {
        name: text.decode("latin-1") if isinstance(text, bytes) else str(text)
        for name, text in headers.items()
        if text is not None and name.lower() not in replaced
    }
    return {**kept, **extra}
