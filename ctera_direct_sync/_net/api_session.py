"""Requests to the portal's own API: small bodies both ways, and no state but ours.

They go over a plain `requests.Session`. No redirect is followed, no netrc file is read, and no cookie
that an answer sets is kept: `_protocol.sign_in` decides which cookies count.

Failures come out as `TransportError`, raised outside of the handler, so that no exception that quotes
the request stays reachable.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Callable

import requests
from requests.adapters import HTTPAdapter
from requests.cookies import get_cookie_header
from requests.utils import prepend_scheme_if_needed, select_proxy

from .._base.cancellation import CancelScope, Failure, RequestScope
from .._base.retry import is_transient, retry_after
from .._base.sync import Lock, monotonic, perf_counter
from ..settings import Endpoint
from ..types import HiddenBytes
from .content_coding import removable_codings, remove_codings
from .current import CurrentRequest, current_request
from .errors import TransportError, proxy_refusal, to_transport_error
from .interception import Interception, take_snapshot
from .meter import Ended, Meter, Tally
from .paced import SpeedWatch
from .pool import use_own_pools, use_stock_pools
from .proxies import check_proxy, environment_proxies
from .routes import check_session, make_session
from .tls import TLS
from .urls import check_origin, split_url

__all__ = ["APIAnswer", "APISession", "MAX_ANSWER_BYTES"]

#: A longer answer is refused. A page of 1,000 entries takes some 4 MiB as XML.
MAX_ANSWER_BYTES = 64 * 1024 * 1024

_STEP_BYTES = 256 * 1024
#: Connections that are kept for reuse by concurrent calls.
_CONNECTIONS = 32


class APIAnswer:
    """What the portal answered. A plain object, so that its repr shows nothing of the content.

    Attributes:
        status: The status code.
        headers: The headers by lower-case name.
        set_cookies: The values of the Set-Cookie headers.
        body: The body, without content codings.
        first_byte_s: Seconds from the request to the headers of the answer.
    """

    __slots__ = ("body", "first_byte_s", "headers", "set_cookies", "status")

    def __init__(
        self, status: int, headers: Mapping[str, str], set_cookies: list[str], body: bytes
    ) -> None:
        self.status = status
        self.headers = headers
        self.set_cookies = set_cookies
        self.body = body
        self.first_byte_s = 0.0


class APISession:
    """Sends requests to one portal. Thread-safe.

    Args:
        endpoint: Timeouts.
        tls: How certificates are verified.
        factory: Makes the `requests.Session` of each thread. None: one session serves all threads.

    Attributes:
        meter: What counts the requests.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        tls: TLS,
        factory: Callable[[], requests.Session] | None = None,
    ) -> None:
        self.meter = Meter("portal")
        self._timeouts = endpoint.timeout
        self._min_speed = endpoint.min_speed
        self._tls = tls
        self._factory = factory
        # Our own session may serve several threads at once, a user's serves one at a time.
        self._shared: _Transport | None = None
        self._free: deque[_Transport] = deque()
        self._lock = Lock()
        self._closed = False

    def request(
        self,
        method: str,
        url: str,
        scope: CancelScope,
        headers: Mapping[str, str],
        body: bytes | None = None,
        timeouts: tuple[float, float] | None = None,
        longest: int = MAX_ANSWER_BYTES,
    ) -> APIAnswer:
        """Send one request, and return the whole answer, whatever its status.

        Args:
            method: GET or POST.
            url: The URL.
            scope: The cancel scope of the call. Cancelling it cuts the connection.
            headers: Headers of the request.
            body: The body, or None.
            timeouts: Seconds to connect and to wait for bytes; by default those of the endpoint. An
                answer with timeouts of its own is not held to the least speed: the portal may wait amid it.
            longest: The most bytes that the answer may have.

        Raises:
            TransportError: No whole answer came.
            Cancelled: The scope was cancelled.
        """
        scope.check()
        hidden = None if body is None else HiddenBytes(body)
        del body
        origin, _ = split_url(url)
        tally = self.meter.tally(origin)
        tally.requests += 1
        tally.active += 1
        began = perf_counter()
        answer: APIAnswer | None = None
        kind = ""
        try:
            answer = self._request(method, url, origin, scope, headers, hidden, timeouts, longest)
            return answer
        except TransportError as error:
            kind = error.kind
            raise
        finally:
            # An answer with timeouts of its own may be one that the portal holds back.
            _count(tally, answer, kind, has_time=timeouts is None)
            if self.meter.listener is not None and (answer is not None or kind):
                self.meter.listener(
                    Ended(
                        "portal",
                        tally.origin,
                        method,
                        answer.status if answer else 0,
                        kind,
                        answer.first_byte_s if answer else 0.0,
                        perf_counter() - began,
                        len(answer.body) if answer else 0,
                    )
                )

    def _request(
        self,
        method: str,
        url: str,
        origin: str,
        scope: CancelScope,
        headers: Mapping[str, str],
        body: HiddenBytes | None,
        timeouts: tuple[float, float] | None,
        longest: int,
    ) -> APIAnswer:
        transport: _Transport | None = None
        proxy = ""
        token = None
        try:
            # "": requests may spell the URL, which is not signed.
            token = current_request.set(CurrentRequest(scope, origin, ""))
            transport = self._take()
            proxy = transport.prepare(url)
            watch = None
            if self._min_speed is not None and timeouts is None:
                watch = SpeedWatch(self._min_speed)
            limits = timeouts or self._timeouts
            request = scope if isinstance(scope, RequestScope) else None
            if request is not None:
                request.origin, request.sent_at = origin, monotonic()
            answer = transport.exchange(method, url, headers, body, limits, watch, longest)
            if request is not None:
                _note_answer(request, answer)
            if answer.status != 407:
                return answer
            # Only a proxy answers this (RFC 9110, section 15.5.8).
            error = proxy_refusal(407)
        except Exception as caught:  # noqa: BLE001 - whatever a session raises becomes one class
            error = to_transport_error(caught)
            if isinstance(scope, RequestScope):
                scope.sent_at = 0.0
                if not scope.cancelled:
                    scope.track.failures.append(Failure(origin, 0.0, scope.is_twin))
        finally:
            if token is not None:
                current_request.reset(token)
            scope.detach()
            if transport is not None and self._factory is not None:
                self._give_back(transport)
        scope.check()
        if proxy:
            error.reason += f" ({proxy})" if error.proxy else f" (by way of the proxy {proxy})"
            error.args = (error.reason,)
        raise error

    def _take(self) -> _Transport:
        if self._factory is None:
            with self._lock:
                if self._shared is None:
                    self._shared = _Transport(
                        _make_cookieless_session(self._tls), self._tls, own=True
                    )
                return self._shared
        try:
            return self._free.pop()
        except IndexError:
            pass
        session = self._factory()
        if not callable(getattr(session, "send", None)):
            raise TypeError("the session factory must return a requests.Session")
        return _Transport(session, self._tls, own=False)

    def _give_back(self, transport: _Transport) -> None:
        self._free.append(transport)
        # Checked after giving it back: `close` either saw it or is seen here.
        if self._closed:
            self._close_free()

    def close(self) -> None:
        """Close the connections, also those that requests under way give back later."""
        self._closed = True
        shared, self._shared = self._shared, None
        if shared is not None:
            shared.close()
        self._close_free()

    def _close_free(self) -> None:
        while self._free:
            try:
                transport = self._free.pop()
            except IndexError:  # Another thread took it.
                break
            transport.close()


class _Transport:
    """One `requests.Session`, ours or a user's."""

    def __init__(self, session: Any, tls: TLS, *, own: bool) -> None:
        self._session = session
        self._tls = tls
        self._own = own
        self._interception: Interception | None = None
        self._options: dict[str, Any] = {}
        self._proxy = ""
        # What the user put there. What the portal sets later is none of it.
        self._cookies = None if own else _copy_jar(session)

    def prepare(self, url: str) -> str:
        """Have the session make abortable connections, and return what may be shown of its proxy."""
        found = take_snapshot().interception
        if found is self._interception:
            return self._proxy
        origin = split_url(url)[0]
        check_origin(origin)
        if self._own:
            options: dict[str, Any] = {
                "proxies": environment_proxies(origin),
                "verify": self._tls.verify,
                "cert": None,
            }
        else:
            merge = self._session.merge_environment_settings
            options = dict(merge(origin, {}, True, None, None))
            if getattr(self._session, "verify", None) is True:
                options["verify"] = self._tls.verify
            scheme = origin.partition(":")[0]
            check_session(scheme, options["verify"], options["cert"], self._tls, found)
        proxy = select_proxy(origin, options["proxies"])
        self._proxy = check_proxy(proxy) if proxy else ""
        if origin.startswith("https:") and options["verify"] == self._tls.verify:
            _ = self._tls.context  # Made here, so that a CA bundle that is none is told as such.
        self._make_abortable(origin, proxy, found)
        self._options = {"timeout": None, "allow_redirects": False, **options, "stream": True}
        self._interception = found
        return self._proxy

    def _make_abortable(self, origin: str, proxy: str | None, found: Interception) -> None:
        try:
            adapter: Any = self._session.get_adapter(origin)
        except Exception:  # noqa: BLE001 - The session asks again, and raises there.
            return
        if not isinstance(adapter, HTTPAdapter):
            return
        manager = getattr(adapter, "poolmanager", None)
        if proxy:
            url = str(prepend_scheme_if_needed(proxy, "http"))  # type: ignore[no-untyped-call]
            options = {}
            if url.lower().startswith("https:"):
                options["proxy_ssl_context"] = self._tls.proxy_context
            manager = adapter.proxy_manager_for(url, **options)
        if manager is not None:
            change = use_stock_pools if found is Interception.CLASSES else use_own_pools
            change(manager)

    def exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        timeouts: tuple[float, float],
        watch: SpeedWatch | None,
        longest: int,
    ) -> APIAnswer:
        """Send a request and read its answer to the end."""
        session = self._session
        if self._interception is not Interception.NONE:
            # Recorders write them down, and cannot write down classes that hide their values.
            headers = {name: "".join(value) for name, value in headers.items()}
        auth = None if getattr(session, "auth", None) is not None else _no_login
        request = requests.Request(method, url, headers=dict(headers), data=body, auth=auth)
        prepared = session.prepare_request(request)
        self._set_cookies(prepared, headers.get("Cookie"))
        began = perf_counter()
        response = session.send(prepared, **{**self._options, "timeout": timeouts})
        first_byte_s = perf_counter() - began
        try:
            answer = _read(response, watch, longest)
            answer.first_byte_s = first_byte_s
            return answer
        finally:
            response.close()

    def _set_cookies(self, prepared: Any, cookie: str | None) -> None:
        """Send our cookies and those that the user put into the session, and nothing else."""
        prepared.headers.pop("Cookie", None)
        users = None
        if self._cookies is not None and len(self._cookies):
            users = get_cookie_header(self._cookies, prepared)  # type: ignore[no-untyped-call]
        parts = [part for part in (users, cookie) if part]
        if parts:
            prepared.headers["Cookie"] = parts[0] if len(parts) == 1 else _joined(parts)

    def close(self) -> None:
        """Close the session."""
        self._session.close()


def _note_answer(request: RequestScope, answer: APIAnswer) -> None:
    """Tell how long the whole answer took: its parts are not told apart."""
    track, sent_at = request.track, request.sent_at
    request.sent_at = 0.0
    if request.cancelled:
        return
    if is_transient(answer.status):
        blocked_s = retry_after(answer.headers) or 0.0
        track.failures.append(Failure(request.origin, blocked_s, request.is_twin))
    else:
        now = monotonic()
        track.samples.append(
            (request.origin, sent_at, now, now, 0, request.is_cold, request.is_twin)
        )


def _count(tally: Tally, answer: APIAnswer | None, kind: str, *, has_time: bool) -> None:
    """Count a request that has ended.

    Args:
        tally: What counts it.
        answer: The answer, or None.
        kind: Why there is none, or "" if the call was cancelled.
        has_time: Whether its time tells how fast the portal answers.
    """
    tally.active -= 1
    if answer is None:
        tally.errors += bool(kind)
        return
    tally.received += len(answer.body)
    if answer.status >= 400:
        tally.errors += 1
    elif has_time:
        tally.samples.append((answer.first_byte_s, -1.0, len(answer.body)))


def _joined(parts: list[str]) -> str:
    users, cookie = parts
    return cookie.__class__(f"{users}; {cookie}")


def _copy_jar(session: Any) -> Any:
    jar = getattr(session, "cookies", None)
    return None if jar is None else jar.copy()


def _make_cookieless_session(tls: TLS) -> requests.Session:
    session = make_session(tls, _CONNECTIONS)
    session.headers["Accept-Encoding"] = "gzip, deflate"
    # Nothing is accepted, and nothing is sent, by the jar.
    jar: CookieJar = session.cookies
    jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return session


def _no_login(request: Any) -> Any:
    """Add no login to a request. Without an `auth`, requests would look for one in the netrc file."""
    return request


def _read(response: Any, watch: SpeedWatch | None, longest: int) -> APIAnswer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    raw = getattr(response, "raw", None)
    if getattr(response, "_content_consumed", False) or not hasattr(raw, "read"):
        # A hook or a stand-in has read it already, and has taken its codings off.
        body = bytes(response.content)
        if len(body) > longest:
            raise _too_long(longest)
    else:
        body = _read_raw(raw, watch, longest)
        codings = removable_codings(headers)
        # JSON and XML under such a label: then it is only a label.
        if codings and body.lstrip()[:1] not in (b"", b"{", b"[", b"<"):
            body = remove_codings(body, codings, longest)
    return APIAnswer(response.status_code, headers, _set_cookies_of(response, headers), body)


def _read_raw(raw: Any, watch: SpeedWatch | None, longest: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        if watch is None:
            part = raw.read(_STEP_BYTES, decode_content=False)
        else:
            began = monotonic()
            # A mock's body may lack it. Then all bytes of the step are waited for.
            read = raw.read1 if hasattr(raw, "read1") else raw.read
            part = read(_STEP_BYTES, decode_content=False)
            watch.note(monotonic() - began, len(part or b""))
        if not part:
            return b"".join(parts)
        size += len(part)
        if size > longest:
            raise _too_long(longest)
        parts.append(part)


def _too_long(longest: int) -> TransportError:
    return TransportError("long", f"the body is over the {longest} bytes that can be right")


def _set_cookies_of(response: Any, headers: Mapping[str, str]) -> list[str]:
    get = getattr(getattr(response.raw, "headers", None), "getlist", None)
    if get is not None:
        return [str(value) for value in get("Set-Cookie")]
    value = headers.get("set-cookie")
    return [value] if value else []
