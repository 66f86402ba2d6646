"""One call of the portal's API, v1 or v2: sign in, send, judge what came, and recover."""

from __future__ import annotations

import dataclasses
import json
import logging
from typing import Any, Callable, NamedTuple, TypeVar
from urllib.parse import quote

from .._base.cancellation import CancelScope, Race, RaceTrack
from .._base.retry import FailedAttempt, Recovery, RetryPolicy, retry_call
from .._net.api_session import APIAnswer, APISession
from .._net.errors import TransportError
from ..exceptions import AccessDeniedError, LoginError, NamespaceError
from .messages import MalformedAnswer, parse, render_call
from .refusals import (
    describe,
    find_message,
    is_busy,
    is_session_over,
    make_busy_failure,
    make_transport_failure,
)
from .sign_in import Session, SignIn

__all__ = ["PortalCalls", "Refused"]

_log = logging.getLogger(__name__)

T = TypeVar("T")

#: Answers come as JSON, which tells types. A portal that does not know it answers XML.
_FORMAT = "?format=jsonext"
_XML = "text/xml; charset=UTF-8"
_JSON = "application/json"
#: Statuses of a proxy, or of the portal, that gave up waiting for an answer.
_TIMEOUT_STATUSES = frozenset({408, 504})
#: A second request for a late answer takes no longer one. A page of 1,000 entries takes some 4 MiB.
_MAX_TWIN_BYTES = 8 * 1024 * 1024


class Refused(Exception):
    """The portal refuses a call in words or by a status that waiting does not change.

    Attributes:
        error: The error for the caller, if there is no other way to ask.
        status: The HTTP status, or 0 if it is not known.
        message: The portal's words, or None.
    """

    def __init__(self, error: NamespaceError, status: int = 0, message: str | None = None) -> None:
        super().__init__(error.strerror)
        self.error = error
        self.status = status
        self.message = message


class PortalCalls:
    """Makes calls in one context of a portal. Thread-safe.

    Args:
        http: Sends the requests.
        root: The URL of the context.
        sign_in: Gives the session.
        policy: How often to retry.
        hedging: Asks for a listing that is late a second time. None: it is waited for.
    """

    def __init__(
        self,
        http: APISession,
        root: str,
        sign_in: SignIn,
        policy: RetryPolicy,
        hedging: RaceTrack | None = None,
    ) -> None:
        self._hedging = hedging or RaceTrack()
        self._http = http
        self._root = root
        self._sign_in = sign_in
        # A session that is over is renewed once: twice in one call is not an accident.
        self._policy = dataclasses.replace(policy, max_renewals=1)

    def execute(
        self,
        method: str,
        parameter: Any,
        read: Callable[[Any], T],
        scope: CancelScope,
        *,
        path: str | None = None,
        resource: str = "",
        kind: str = "user-defined",
        repeatable: bool = True,
        may_be_empty: bool = False,
        is_listing: bool = False,
    ) -> T:
        """Call a method, and return what `read` makes of its result.

        Args:
            method: The name of the method.
            parameter: Its parameter, as `messages.render` takes it.
            read: Reads the result. It raises `MalformedAnswer` for one that makes no sense.
            scope: The cancel scope of the call.
            path: The path that the call is about, for errors.
            resource: What the method belongs to, such as ``/cloudDrives``.
            kind: "user-defined" or "db".
            repeatable: Whether the call does no harm if it is sent twice.
            may_be_empty: Whether an empty answer is a result, None. Otherwise it is a failure.
            is_listing: Whether the call only reads names, so that it may be sent twice at once. Then
                two threads may call `read`.

        Raises:
            Refused: The portal refuses the call.
            LoginError: The portal refuses the credentials, or ends each session at once.
            AccessDeniedError: The user may not make the call.
            NamespaceError: The portal does not answer, or not as it should.
            Cancelled: The scope was cancelled.
        """
        request = _Request(
            method,
            "POST",
            f"{self._root}/api{quote(resource, safe='/')}{_FORMAT}",
            render_call(method, parameter, kind),
            path,
            repeatable,
            may_be_empty,
            is_listing=is_listing,
        )
        return self._call(request, read, scope)

    def post(
        self,
        resource: str,
        document: Any,
        read: Callable[[Any], T],
        scope: CancelScope,
        *,
        timeouts: tuple[float, float] | None = None,
        on_timeout: Callable[[], T] | None = None,
    ) -> T:
        """Post a document to a resource of the v2 API, and return what `read` makes of the answer.

        Raises as `execute` does. The call is repeated like any other.

        Args:
            resource: The resource, such as ``/metadata/list``.
            document: What JSON can hold.
            read: Reads the answer. It raises `MalformedAnswer` for one that makes no sense.
            scope: The cancel scope of the call.
            timeouts: Seconds to connect and to wait for bytes; None: those of the settings.
            on_timeout: Gives the result if no answer comes in time. None: that is a failure.
        """
        url = f"{self._root}/v2/api{quote(resource, safe='/')}"
        body = json.dumps(document).encode("ascii")
        request = _Request(resource, "POST", url, body, None, True, False, _JSON, timeouts)
        return self._call(request, read, scope, on_timeout)

    def get(self, resource: str, read: Callable[[Any], T], scope: CancelScope) -> T:
        """Return what `read` makes of an object, such as ``/currentSession``.

        Raises as `execute` does.
        """
        url = f"{self._root}/api{quote(resource, safe='/')}{_FORMAT}"
        request = _Request(resource, "GET", url, None, None, True, False)
        return self._call(request, read, scope)

    def _call(
        self,
        request: _Request,
        read: Callable[[Any], T],
        scope: CancelScope,
        on_timeout: Callable[[], T] | None = None,
    ) -> T:
        session: Session | None = None
        headers = {} if request.body is None else {"Content-Type": request.content_type}

        def ask(used: Session, scope: CancelScope, **options: int) -> T:
            try:
                answer = self._http.request(
                    request.verb,
                    request.url,
                    scope,
                    {**used.headers, **headers},
                    request.body,
                    request.timeouts,
                    **options,
                )
            except TransportError as caught:
                error = caught
            else:
                _log.debug("%s: %d", request.name, answer.status)
                if on_timeout is not None and answer.status in _TIMEOUT_STATUSES:
                    return on_timeout()
                self._judge(answer, request)
                return _read(answer, request, read)
            if on_timeout is not None and error.kind == "timeout":
                return on_timeout()
            raise make_transport_failure(
                error, request.url, request.path, repeatable=request.repeatable
            )

        def attempt(number: int) -> T:
            nonlocal session
            used = session = self._sign_in.current(scope)
            if not (request.is_listing and self._hedging.enabled):
                return ask(used, scope)
            race = Race(
                scope,
                self._hedging,
                lambda twin, reason: ask(used, twin, longest=_MAX_TWIN_BYTES),
                _MAX_TWIN_BYTES,
            )
            return race.run(ask, used)

        def renew(failure: FailedAttempt) -> bool:
            assert session is not None
            _log.info("%s: the session is over, signing in again", request.name)
            self._sign_in.renew(session, scope)
            return True

        def log_retry(failure: FailedAttempt, number: int, delay: float) -> None:
            text = failure.error.strerror
            _log.warning("%s: %s; attempt %d in %.2f s", request.name, text, number, delay)

        return retry_call(self._policy, attempt, scope=scope, on_retry=log_retry, renew=renew)

    def _judge(self, answer: APIAnswer, request: _Request) -> None:
        """Raise what an answer means, unless it holds a result."""
        secrets = self._sign_in.secrets
        if is_session_over(answer):
            text = (
                "The portal ends each session at once, or does not know it: check that the user "
                "may use this context"
            )
            raise FailedAttempt(LoginError(text), Recovery.RELIST)
        if answer.status == 403:
            came = find_message(answer, secrets)
            text = f"The portal denies access{f' ({came!r})' if came else ''}: ask for the right"
            raise AccessDeniedError(text, request.path)
        if is_busy(answer):
            failure = make_busy_failure(answer, request.path, secrets)
            if not request.repeatable and answer.status not in (429, 503):
                failure.recovery = Recovery.NONE
            raise failure
        if not 200 <= answer.status < 300:
            text = f"The portal refuses the call ({describe(answer, secrets)}): check baseurl"
            message = find_message(answer, secrets)
            raise Refused(NamespaceError(text, request.path), answer.status, message)


class _Request(NamedTuple):
    """What is sent for one call, and how its failures are told."""

    name: str
    verb: str
    url: str
    body: bytes | None
    path: str | None
    repeatable: bool
    may_be_empty: bool
    content_type: str = _XML
    timeouts: tuple[float, float] | None = None
    is_listing: bool = False


def _read(answer: APIAnswer, request: _Request, read: Callable[[Any], T]) -> T:
    problem = ""
    try:
        if request.may_be_empty and not answer.body.strip():
            return read(None)
        return read(parse(answer.body))
    except MalformedAnswer as caught:
        problem = str(caught)
    # A proxy's page or a cut body may be whole the next time.
    text = f"The portal's answer cannot be read: {problem}. Check baseurl and context"
    recovery = Recovery.RETRY if request.repeatable else Recovery.NONE
    raise FailedAttempt(NamespaceError(text, request.path), recovery)
