"""One GET, as fast and as redacted as it can be over ``requests`` sessions.

What ``requests`` works out anew for every request (environment, proxies, netrc, CA bundle, pool) is
worked out here once per origin, and the request then goes straight to the session's own connection
pool. A session that does anything of its own (hooks, auth, a subclass, a proxy, a mounted adapter) is
used through its public ``get``, slower but with all that it brings.

Failures come out as :class:`HTTPFault`, raised outside the handler so that no urllib3 exception, which
quotes the whole URL, stays reachable through ``__context__``.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NamedTuple, Optional, Union

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies, select_proxy
from urllib3 import exceptions as u3

from .buffers import Loan
from .connections import TLS, Pool, blocking, make_abortable
from .exchange import Exchange
from .faults import HTTPFault, fault_of
from .scope import CancelScope
from .settings import Endpoint
from .urls import check_origin, split_url
from .version import __version__

__all__ = ["HTTP", "MAX_REDIRECTS", "REDIRECTS", "Response", "retry_after"]

#: Statuses that send elsewhere (RFC 9110, section 15.4), and how often in a row that is followed.
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_REDIRECTS = 5

#: Libraries that mock requests replace this; then the session's public way is taken.
_PRISTINE_SEND = HTTPAdapter.send

_SKIP_STEP = 1024 * 1024


class _Adapter(HTTPAdapter):
    """The adapter of our own sessions: abortable connections, one TLS context for all of them."""

    def __init__(self, tls: TLS, pool_maxsize: int) -> None:
        self._tls = tls
        super().__init__(pool_maxsize=pool_maxsize)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        make_abortable(self.poolmanager)

    def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        make_abortable(manager)
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

    pool: Optional[Pool]
    headers: dict[str, str]
    rest: bytes
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
        self._timeouts = endpoint.timeout
        self._routes: dict[str, _Route] = {}

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

        HTTPFault where there is no response, Cancelled once the scope is.
        """
        scope.check()
        blocking.scope = scope
        try:
            return Response(self._send(url, headers or {}), scope)
        except Exception as error:  # noqa: BLE001 - whatever a session raises becomes one class
            fault = fault_of(error)
        finally:
            blocking.scope = None
        scope.detach()
        scope.check()
        raise fault

    def _send(self, url: str, extra: Mapping[str, str]) -> Union[Exchange, _SessionExchange]:
        origin, target = split_url(url)
        route = self._routes.get(origin)
        if route is None:
            route = self._routes[origin] = self._route(origin)
        headers = _merged(route.headers, extra) if extra else route.headers
        if route.pool is not None:
            rest = route.pool.render(headers) if extra else route.rest
            return route.pool.exchange(target, rest, self._timeouts)
        response = self._session.get(
            url,
            headers=headers,
            stream=True,
            allow_redirects=False,
            timeout=self._timeouts,
            **route.options,
        )
        return _SessionExchange(response)

    def _route(self, origin: str) -> _Route:
        scheme, host, port = check_origin(origin)
        session = self._session
        if self._own:
            proxies = get_environ_proxies(origin)
            verify, cert = self._tls.verify, None
        else:
            proxies, verify, cert = self._session_options(origin)
        headers = {"Accept-Encoding": "identity"}
        if _is_plain(session, origin) and not select_proxy(origin, proxies):
            manager = session.get_adapter(origin).poolmanager  # type: ignore[attr-defined]
            make_abortable(manager)
            pool = manager.connection_from_host(
                host, port, scheme, self._pool_options(scheme, verify, cert)
            )
            # A session that was used before may have one of another kind, which its others share.
            if isinstance(pool, Pool):
                headers = _merged(session.headers, headers)
                return _Route(pool, headers, pool.render(headers), {})
        options = {"proxies": proxies, "verify": verify} if self._own else {}
        if not self._own and getattr(session, "verify", None) is True:
            options = {"verify": verify}
        return _Route(None, headers, b"", options)

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

    ``status``: the status code; ``headers``: by lower-case name; ``length``: the declared length of the
    body in bytes, None where there is none or it makes no sense.
    """

    __slots__ = ("_exchange", "_scope", "headers", "length", "status")

    def __init__(self, exchange: Union[Exchange, _SessionExchange], scope: CancelScope) -> None:
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
        self._scope.detach()
        self._exchange.end()

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
        if length is None:
            data = self._take(limit + 1)
            if len(data) > limit:
                raise HTTPFault("long", f"the body is over the {limit} bytes that can be right")
            return data
        data = self._take(length, loan)
        if len(data) != length:
            raise HTTPFault("short", f"the body ended after {len(data)} of {length} bytes")
        return data

    def read_window(self, skip: int, size: int) -> Union[bytes, memoryview]:
        """``size`` bytes after the first ``skip``, from a server that sends all where part was asked.

        Fewer where the body ends before. HTTPFault and Cancelled as :meth:`read`.
        """
        while skip:
            skipped = len(self._take(min(skip, _SKIP_STEP)))
            if not skipped:
                return b""
            skip -= skipped
        return self._take(size)

    def _take(self, size: int, loan: Optional[Loan] = None) -> Union[bytes, memoryview]:
        """The next ``size`` bytes of the body, fewer at its end."""
        try:
            data = self._exchange.take(size, loan)
        except Exception as error:  # noqa: BLE001 - as in HTTP.get
            fault = fault_of(error)
        else:
            if len(data) < size:
                self._scope.check()  # A read that was cut off looks like the end of the body.
            return data
        self._scope.check()
        raise fault


class _SessionExchange:
    """An :class:`Exchange` by a session's ``get``, or by what stands in for it."""

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
        text = self.headers.get("content-length", "")
        declared = text.isascii() and text.isdigit() and "transfer-encoding" not in self.headers
        self.length = int(text) if declared else None

    def take(self, size: int, loan: Optional[Loan] = None) -> bytes:
        """As :meth:`Exchange.take`, in memory of its own."""
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


def retry_after(headers: Mapping[str, str]) -> Optional[float]:
    """Seconds that a Retry-After header asks for (RFC 9110, section 10.2.3), None without a valid one."""
    value = headers.get("retry-after")
    if not value:
        return None
    try:
        return float(urllib3.Retry().parse_retry_after(value))
    except (u3.InvalidHeader, ValueError, OverflowError):
        return None


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
