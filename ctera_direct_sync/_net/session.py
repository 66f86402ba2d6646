"""HTTP sessions: one GET at a time, on the fast route if the session allows it.

The fast route goes straight to the session's own connection pool, with what `requests` would work out for
each request worked out once per origin (`routes`). A session that does more than that (hooks, auth, a
subclass, a proxy, a mounted adapter) is used through its public `get`: slower, but with all that it adds.
So is every session while requests are intercepted (`interception`), and if llhttp cannot be loaded.

Failures come out as `TransportError`. It is raised outside of the handler, so that no exception of
urllib3, which quotes the whole URL, can be reached through `__context__`.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Callable

import requests

from .._base.bandwidth import Share
from .._base.buffers import PooledBuffer
from .._base.cancellation import CancelScope, Failure, RequestScope
from .._base.descriptors import max_descriptors
from .._base.retry import is_transient, retry_after
from .._base.sync import get_ident, monotonic
from ..settings import Endpoint
from .current import CurrentRequest, current_request
from .errors import TransportError, proxy_refusal, to_transport_error
from .interception import Interception, take_snapshot
from .meter import Ended, Meter, Tally
from .paced import PacedBody
from .requests_response import RequestsResponse
from .response import WireResponse
from .routes import Route, RoutePlanner, make_session, merge_headers
from .tls import TLS
from .urls import PLAIN_URL, split_url

__all__ = ["MAX_REDIRECTS", "REDIRECTS", "HTTPSession", "Response", "SessionPool", "retry_after"]

#: Statuses that redirect (RFC 9110, section 15.4), and how many redirects in a row are followed.
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_REDIRECTS = 5

#: Origins of one session whose connections are kept. Each worker has a session, and each connection
#: is a descriptor. With the usual limit of 1,024, the 128 workers then hold half of them.
_MAX_ORIGINS = max(2, min(8, max_descriptors() // 256))
#: Connections to an origin that got no request for longer are closed.
_MAX_IDLE_S = 60.0
#: The longest timeout that every system accepts: 31 years.
_MAX_TIMEOUT_S = 1e9

_SKIP_STEP_BYTES = 1024 * 1024

#: A connection is given up as slow if others made so many requests meanwhile, for each that is under way.
_OVERTAKEN = 2.5
#: A shorter body says nothing about the speed of its connection, and one that took less is not worth a
#: new one.
_MIN_PACED_BYTES = 32 * 1024
_MIN_SLOW_S = 0.1


class _Routes(dict[str, Route]):
    """The routes of a session by origin, and what they were planned for.

    Other threads may replace a session's routes at any moment. A request therefore works with one object
    of this class throughout. A route that it plans for conditions of the past ends with that object.
    """

    __slots__ = ("fingerprint", "interception")

    def __init__(self, interception: Interception, fingerprint: Any) -> None:
        super().__init__()
        self.interception = interception
        self.fingerprint = fingerprint


class HTTPSession:
    """A `requests.Session`, and the routes that it takes.

    Threads may share an HTTPSession that made its own session. One over a user's session belongs to one
    thread.

    Args:
        endpoint: The timeouts.
        tls: The TLS settings of the endpoint.
        session: The user's session. None makes one that ignores netrc.
        pool_maxsize: The connections to one origin that a session of its own keeps.
        meter: What counts the requests.
    """

    _min_speed: float | None = None

    def __init__(
        self,
        endpoint: Endpoint,
        tls: TLS,
        *,
        session: requests.Session | None = None,
        pool_maxsize: int = 1,
        meter: Meter | None = None,
    ) -> None:
        self._own = session is None
        self._meter = meter or Meter("storage")
        self._session = make_session(tls, pool_maxsize) if session is None else session
        self._planner = RoutePlanner(self._session, tls, own=self._own)
        connect_s, read_s = endpoint.timeout
        self._timeouts = _clip(connect_s), _clip(read_s)
        self._min_speed = endpoint.min_speed
        self._snapshot = take_snapshot()
        self._routes = _Routes(self._snapshot.interception, None)
        self._last_sweep = 0.0

    def get(
        self,
        url: str,
        scope: CancelScope,
        headers: Mapping[str, str] | None = None,
        share: Share | None = None,
    ) -> Response:
        """GET a URL. Redirects are not followed, and the body is not read yet.

        Args:
            url: The URL. Its target is sent byte for byte.
            scope: What may end the request.
            headers: Headers in addition to the session's, or in their place.
            share: What the body may use of the bandwidth. None: it is not limited.

        Raises:
            TransportError: There is no response.
            Cancelled: The scope was cancelled.
        """
        scope.check()
        began = monotonic()
        request = scope if isinstance(scope, RequestScope) else None
        if request is not None:
            request.ticket = next(request.track.tickets)
            if request.answered_at:  # A redirect is followed.
                request.answered_at, request.progress, request.is_cold = 0.0, (-1, 0.0), False
            request.sent_at = began
        tally: Tally | None = None
        try:
            match = PLAIN_URL.fullmatch(url)
            origin, target = match.groups() if match is not None else split_url(url)
            if request is not None:
                request.origin = origin
            meter = self._meter
            tally = meter.tallies.get((get_ident(), origin)) or meter.tally(origin)
            tally.requests += 1
            tally.active += 1
            received = self._send(url, origin, target, scope, headers)
            response = Response(received, scope, request, tally, began)
            if share is not None or self._min_speed is not None:
                response.pace(share, self._min_speed)
            if response.status != 407:
                return response
            # Only proxies answer this (RFC 9110, section 15.5.8).
            with response:
                error = proxy_refusal(407)
            tally = None  # The response has counted it.
        except Exception as caught:  # noqa: BLE001 - whatever a session raises becomes one class
            try:
                error = to_transport_error(caught)
            except Exception:
                # It is not about the network: the request was cut as it got its connection, say.
                if tally is not None:
                    tally.active -= 1
                raise
        except BaseException:
            if tally is not None:
                tally.active -= 1
            raise
        scope.detach()
        if tally is not None:
            tally.active -= 1
            # What a cancel has cut off is not an error.
            if not scope.cancelled:
                tally.errors += 1
                if tally.meter.listener is not None:
                    tally.meter.listener(_ended(tally, began, 0, error.kind, 0, 0.0))
        scope.check()
        if request is not None:
            _note_failure(request)
        raise self._with_proxy(error, url)

    def close(self) -> None:
        """Close the session and its connections."""
        # The session's thread may add a route meanwhile: any thread may close a client.
        while self._routes:
            try:
                _, route = self._routes.popitem()
            except KeyError:  # Another thread closes it, too.
                break
            if route.pool is not None:
                # A pool closes itself once nothing refers to it. A logged error may refer to it.
                route.pool.close()
        self._session.close()

    def count_idle(self) -> int:
        """Return how many connections are kept for the next requests."""
        pools = [route.pool for route in self._routes.copy().values()]
        return sum(pool.count_idle() for pool in pools if pool is not None)

    def _send(
        self,
        url: str,
        origin: str,
        target: str,
        scope: CancelScope,
        extra: Mapping[str, str] | None,
    ) -> WireResponse | RequestsResponse:
        routes = self._current_routes()
        route = self._find_route(routes, origin)
        if route.pool is not None:
            head = route.head_with(route.pool, extra) if extra else route.head
            return route.pool.send_get(target, head, self._timeouts, scope)
        headers = merge_headers(route.headers, extra) if extra else route.headers
        if routes.interception is not Interception.NONE:
            # Recorders write headers down, but not the library's classes that hide their values.
            headers = {name: "".join(value) for name, value in headers.items()}
        options = route.options
        if getattr(self._session, "auth", None) is None:
            options = {"auth": _no_login, **options}
        # Only here the scope and the URL are not arguments, because requests cannot pass them on.
        token = current_request.set(CurrentRequest(scope, origin, target))
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
            current_request.reset(token)
        return RequestsResponse(response)

    def _with_proxy(self, error: TransportError, url: str) -> TransportError:
        """Return the error with the proxy that the request took, if it took one."""
        route = None if error.kind == "url" else self._routes.get(split_url(url)[0])
        if route is None or not route.proxy:
            return error
        error.reason += (
            f" ({route.proxy})" if error.proxy else f" (by way of the proxy {route.proxy})"
        )
        error.args = (error.reason,)
        return error

    # --- routes ------------------------------------------------------------------------------------------

    def _find_route(self, routes: _Routes, origin: str) -> Route:
        route = routes.get(origin)
        now = time.monotonic()
        if route is None:
            self._drop_idle_routes(routes, now)
            route = routes[origin] = self._planner.plan(origin, routes.interception)
        elif now - self._last_sweep > _MAX_IDLE_S:
            route.last_used = now
            self._drop_idle_routes(routes, now)
        route.last_used = now
        return route

    def _current_routes(self) -> _Routes:
        """Return the routes. All are forgotten if the user changed the session, or a mock came or went."""
        routes, snapshot = self._routes, self._snapshot
        try:
            for namespace, name, value in snapshot.places:
                if namespace[name] is not value:
                    snapshot = self._snapshot = take_snapshot()
                    break
        except KeyError:
            snapshot = self._snapshot = take_snapshot()
        fingerprint = None if self._own else _fingerprint(self._session)
        if snapshot.interception is routes.interception and fingerprint == routes.fingerprint:
            return routes
        fresh = self._routes = _Routes(snapshot.interception, fingerprint)
        for route in routes.copy().values():
            if route.pool is not None:
                route.pool.drop_idle()
        return fresh

    def _drop_idle_routes(self, routes: _Routes, now: float) -> None:
        """Close the connections to idle origins, and to the oldest one if there are too many."""
        self._last_sweep = now
        by_age = sorted(routes.copy().items(), key=lambda item: item[1].last_used)
        surplus = len(by_age) + 1 - _MAX_ORIGINS
        for number, (origin, route) in enumerate(by_age):
            if number < surplus or now - route.last_used > _MAX_IDLE_S:
                routes.pop(origin, None)
                if route.pool is not None:
                    route.pool.drop_idle()


class SessionPool:
    """The sessions to the storage: one for each thread that asks, made at its first request.

    Args:
        endpoint: The timeouts.
        tls: The TLS settings of the endpoint, shared by all sessions.
        factory: Called without arguments for each thread's `requests.Session`. None makes the library's
            own.

    Attributes:
        meter: What counts the requests of all sessions.
    """

    _local: threading.local

    def __init__(
        self,
        endpoint: Endpoint,
        tls: TLS,
        factory: Callable[[], requests.Session] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._tls = tls
        self._factory = factory
        self.meter = Meter("storage")
        # By thread: each one changes its own.
        self._delivered: dict[int, int] = {}
        self._sessions: deque[HTTPSession] = deque()

    def get(
        self,
        url: str,
        scope: CancelScope,
        headers: Mapping[str, str] | None = None,
        share: Share | None = None,
    ) -> Response:
        """GET a URL with the calling thread's session, as `HTTPSession.get` does.

        Raises:
            TypeError: The factory made an object that is not a session.
        """
        try:
            session: HTTPSession | None = self._local.session
        except AttributeError:
            session = None
        if session is None:
            session = self._make_session()
        return session.get(url, scope, headers, share)

    def close(self) -> None:
        """Close all sessions. Threads must not be blocked on them any more."""
        while self._sessions:
            try:
                session = self._sessions.popleft()
            except IndexError:  # Another thread closes them, too.
                break
            session.close()

    def _make_session(self) -> HTTPSession:
        session = self._factory() if self._factory is not None else None
        if session is not None and not callable(getattr(session, "get", None)):
            raise TypeError("the session factory must return a requests.Session")
        made = HTTPSession(self._endpoint, self._tls, session=session, meter=self.meter)
        self._sessions.append(made)
        # Made at the first use: until then gevent may patch the standard library, and its greenlets share
        # what belongs to their thread. Several threads may do it at once. The first one's is everyone's.
        self.__dict__.setdefault("_local", threading.local()).session = made
        return made

    def count_delivered(self, nbytes: int) -> None:
        """Count bytes of plaintext that the calling thread has made of what was fetched."""
        ident = get_ident()
        self._delivered[ident] = self._delivered.get(ident, 0) + nbytes

    @property
    def delivered(self) -> int:
        """Bytes of plaintext that were made of what all sessions have fetched."""
        return sum(self._delivered.copy().values())

    def count_idle(self) -> int:
        """Return how many connections are kept for the next requests."""
        return sum(session.count_idle() for session in self._sessions.copy())


class Response:
    """A response whose body can be read once. As a context manager it releases its connection.

    Args:
        response: The response of the route.
        scope: What may end a read.
        request: Tells the hedging how the request went. None: it is not hedged.
        tally: What counts the request.
        began: When it began, by `monotonic`.

    Attributes:
        status: The status code.
        headers: By lower-case name.
        length: Declared bytes of the body, None if they are not declared.
    """

    __slots__ = (
        "_answered",
        "_began",
        "_is_paced",
        "_read_at",
        "_received",
        "_request",
        "_response",
        "_scope",
        "_tally",
        "headers",
        "length",
        "status",
    )

    def __init__(
        self,
        response: WireResponse | RequestsResponse,
        scope: CancelScope,
        request: RequestScope | None,
        tally: Tally,
        began: float,
    ) -> None:
        self._response: WireResponse | RequestsResponse | PacedBody = response
        self._scope = scope
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers
        self.length = response.length
        self._request = request
        self._tally: Tally | None = tally
        self._began = began
        self._answered = self._read_at = monotonic()
        self._received = 0
        self._is_paced = False
        if request is not None:
            request.size = self.length or 0
            request.body = self
            request.answered_at = self._answered

    @property
    def times(self) -> tuple[float, float, float]:
        """When the request began, when its headers were there, and when bytes were last read."""
        return self._began, self._answered, self._read_at

    @property
    def received(self) -> int:
        """The bytes of the body that were read so far, or -1 if they are not counted."""
        return self._response.received

    @property
    def is_waiting(self) -> bool:
        """Whether the reader waits for its share of the bandwidth."""
        return isinstance(self._response, PacedBody) and self._response.is_waiting

    def __enter__(self) -> Response:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._request is not None:
            self._note_end(kind is not None and issubclass(kind, TransportError))
        # The connection leaves the scope before another request can have it.
        self._response.close()
        self._scope.detach()
        if self._tally is not None:
            self._count(self._tally, kind)

    def _count(self, tally: Tally, raised: type[BaseException] | None) -> None:
        """Count the request, which has ended."""
        self._tally = None
        is_broken = raised is not None and issubclass(raised, TransportError)
        tally.active -= 1
        tally.received += self._received
        if is_broken or self.status >= 400:
            tally.errors += 1
        else:
            body_s = -1.0 if self._is_paced else self._read_at - self._answered
            tally.samples.append((self._answered - self._began, body_s, self._received))
        if tally.meter.listener is not None:
            kind = "body" if is_broken else ""
            first_byte_s = self._answered - self._began
            tally.meter.listener(
                _ended(tally, self._began, self.status, kind, self._received, first_byte_s)
            )

    def pace(self, share: Share | None, min_speed: float | None) -> None:
        """Have the body read in small steps. The arguments are those of `PacedBody`."""
        self._is_paced = share is not None
        self._response = PacedBody(self._response, share, min_speed, self._scope)
        if share is not None and self._request is not None:
            # The bandwidth says how long the body takes, and not the network.
            self._request.size = 0
            self._request.is_limited = True

    def read(self, limit: int, buffer: PooledBuffer | None = None) -> bytes | memoryview:
        """Return the whole body as received, content codings included.

        Args:
            limit: The most bytes that the body may have.
            buffer: Memory for the body. The result is a view of it if the length is declared and the
                request took the fast route.

        Raises:
            TransportError: The body is cut short or longer than `limit`. A declared length is refused
                before the body is read.
            Cancelled: The scope was cancelled.
        """
        length = self.length
        if length is not None and length > limit:
            raise TransportError(
                "long", f"the body is {length} bytes, where at most {limit} can be right"
            )
        if length is None:
            data = self._read(limit + 1)
            if len(data) > limit:
                raise TransportError(
                    "long", f"the body is over the {limit} bytes that can be right"
                )
            return data
        data = self._read(length, buffer)
        if len(data) != length:
            raise TransportError("short", f"the body ended after {len(data)} of {length} bytes")
        if self._request is not None:
            self._note_end(False)
        return data

    def read_window(self, skip: int, size: int) -> bytes | memoryview:
        """Return a part of the body, from a server that sends all although a range was requested.

        Args:
            skip: The bytes before the part.
            size: The bytes of the part. The result is shorter if the body ends before.

        Raises:
            TransportError: The body is malformed.
            Cancelled: The scope was cancelled.
        """
        while skip:
            skipped = len(self._read(min(skip, _SKIP_STEP_BYTES)))
            if not skipped:
                return b""
            skip -= skipped
        return self._read(size)

    def _read(self, size: int, buffer: PooledBuffer | None = None) -> bytes | memoryview:
        """Return the next `size` bytes of the body, fewer at its end."""
        try:
            data = self._response.read(size, buffer)
        except Exception as caught:  # noqa: BLE001 - as in HTTPSession.get
            error = to_transport_error(caught)
        else:
            if len(data) < size:
                self._scope.check()  # A read that was cut off looks like the end of the body.
            self._read_at = monotonic()
            self._received += len(data)
            return data
        self._scope.check()
        raise error

    def _note_end(self, is_cut_short: bool) -> None:
        """Tell how the request went, once its body was read or given up."""
        request, self._request = self._request, None
        assert request is not None
        sent_at, request.sent_at, request.body = request.sent_at, 0.0, None
        if request.is_cut:
            return
        track = request.track
        if self.status >= 300 or is_cut_short:
            if is_cut_short or is_transient(self.status):
                blocked_s = retry_after(self.headers) or 0.0
                track.failures.append(Failure(request.origin, blocked_s, request.is_twin))
            return
        answered_at, ended_at = request.answered_at, self._read_at
        body_s = ended_at - answered_at
        nbytes = self._response.received if request.size else 0
        if nbytes < 0:  # It is not counted.
            nbytes = request.size
        is_cold, is_twin = request.is_cold, request.is_twin
        track.samples.append(
            (request.origin, sent_at, answered_at, ended_at, nbytes, is_cold, is_twin)
        )
        if (
            body_s > _MIN_SLOW_S
            and nbytes >= _MIN_PACED_BYTES
            and body_s > nbytes * track.pace_limits.get(request.origin, math.inf)
            and next(track.tickets) - request.ticket > _OVERTAKEN * max(2, len(track.races))
        ):
            track.retired += 1
            self._response.retire()


def _note_failure(request: RequestScope) -> None:
    """Take note that a request got no answer."""
    request.sent_at = 0.0
    request.track.failures.append(Failure(request.origin, 0.0, request.is_twin))


def _ended(
    tally: Tally, began: float, status: int, kind: str, received: int, first_byte_s: float
) -> Ended:
    """Return what is told of a request that has ended right now."""
    seconds = monotonic() - began
    meter = tally.meter
    return Ended(meter.endpoint, tally.origin, "GET", status, kind, first_byte_s, seconds, received)


def _no_login(request: Any) -> Any:
    """Add no login to a request. Without an `auth`, requests would look for one in the netrc file."""
    return request


def _clip(timeout_s: float | None) -> float | None:
    return None if timeout_s is None else min(timeout_s, _MAX_TIMEOUT_S)


def _fingerprint(session: Any) -> Any:
    """Return what of a user's session decides how its requests go, to compare it at each request."""
    if not isinstance(session, requests.Session):
        return None
    return (
        # What was assigned, methods included.
        tuple(vars(session).values()),
        # What was changed in place. The private containers save the detour by the mappings' methods.
        tuple(getattr(session.headers, "_store", session.headers).values()),
        tuple(session.proxies.items()),
        tuple(session.adapters.items()),
        not getattr(session.cookies, "_cookies", session.cookies),
        any(session.hooks.values()),
        not session.params,
    )
