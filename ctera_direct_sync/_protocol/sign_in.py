"""Signing in to a portal, and staying signed in (PORTAL section 2).

A session is a cookie that the answer to a sign-in sets. Other answers set cookies, too: one that refuses
a request brings a fresh session that may do nothing. So cookies count in the answer to a sign-in alone,
and go nowhere but to the same context of the same portal.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from urllib.parse import urlencode

from .._base.account import Bearer, Cookie, Credentials, Password, Ticket
from .._base.cancellation import Cancelled, CancelScope, SingleFlight
from .._base.retry import FailedAttempt, RetryPolicy, retry_call
from .._net.api_session import APIAnswer, APISession
from .._net.errors import TransportError
from .._net.session import REDIRECTS
from ..exceptions import LoginError, NamespaceError
from ..types import HiddenBytes, Token
from .messages import is_page
from .refusals import (
    describe,
    find_other_origin,
    is_busy,
    is_session_over,
    make_busy_failure,
    make_transport_failure,
)

__all__ = ["Session", "SignIn", "read_cookies"]

_log = logging.getLogger(__name__)

_FORM = "application/x-www-form-urlencoded"
#: Seconds to connect and to read for signing out, which `close` waits for.
_LOGOUT_TIMEOUTS_S = (3.0, 5.0)
#: Sent back with each request by the vendor's client after a sign-in by ticket.
_TOKEN_HEADER = "X-CTERA-TOKEN"  # noqa: S105 - the name of a header


class Session:
    """What makes a request one of a signed-in user. A plain object, whose repr shows nothing.

    Attributes:
        headers: The headers that each request carries.
        process: The ID of the process that may sign out of it, or None: no process may.
    """

    __slots__ = ("headers", "process")

    def __init__(self, headers: Mapping[str, str], process: int | None) -> None:
        self.headers = headers
        self.process = process


class SignIn:
    """Keeps one session for all threads. Nothing is sent before the first request.

    Args:
        http: Sends the requests.
        root: The URL of the context, such as ``https://portal.example.com/ServicesPortal``.
        credentials: How to sign in.
        policy: How often a busy portal is asked again.
        parent: What signed in before this process was forked. Its session is used until it is over,
            and never signed out of. What it was refused is not asked for again.
    """

    def __init__(
        self,
        http: APISession,
        root: str,
        credentials: Credentials,
        policy: RetryPolicy,
        parent: SignIn | None = None,
    ) -> None:
        self._http = http
        self._root = root
        self._credentials = credentials
        self._policy = policy
        self._flights: SingleFlight[Session] = SingleFlight()
        self._refusal: LoginError | None = None
        self._closed = False
        self._session: Session | None = None
        if parent is not None:
            self._refusal = parent._refusal
            if parent._session is not None:
                self._session = Session(parent._session.headers, None)
        elif isinstance(credentials, Bearer):
            header = Token(f"Bearer {credentials.token}")
            self._session = Session({"Authorization": header}, None)
        elif isinstance(credentials, Cookie):
            header = Token(f"JSESSIONID={credentials.session_id}")
            self._session = Session({"Cookie": header}, None)

    @property
    def secrets(self) -> Iterable[str]:
        """What no message may show."""
        session = self._session
        values = [] if session is None else list(session.headers.values())
        # A header holds several values, any of which may be quoted alone.
        parts = [part.rpartition("=")[2] for value in values for part in value.split("; ")]
        return (*self._credentials[-1:], *values, *parts)

    def current(self, scope: CancelScope) -> Session:
        """Return the session, signing in if there is none. Threads that wait share one sign-in.

        Raises:
            LoginError: The portal refuses the credentials.
            NamespaceError: The portal does not answer, or not as it should.
            Cancelled: The scope was cancelled.
        """
        session = self._session
        return session if session is not None else self._share(None, scope)

    def renew(self, stale: Session, scope: CancelScope) -> Session:
        """Return another session than `stale`, which is over. Raise as `current` does."""
        return self._share(stale, scope)

    def _share(self, stale: Session | None, scope: CancelScope) -> Session:
        while True:
            session = self._flights.run("", lambda: self._begin(stale, scope), scope)
            # A flight that began before may land with the very session that is over by now.
            if session is not stale:
                return session

    def _begin(self, stale: Session | None, scope: CancelScope) -> Session:
        session = self._session
        if session is not None and session is not stale:
            return session
        if self._refusal is not None:
            # The portal counts wrong passwords and locks accounts: it is not asked again.
            raise LoginError(str(self._refusal.strerror))
        credentials = self._credentials
        if isinstance(credentials, Password):
            session = self._log_in(credentials, scope)
        elif isinstance(credentials, Ticket):
            session = self._redeem(credentials, scope)
        else:
            raise self._refused(_OVER[type(credentials)])
        self._session = session
        if self._closed:
            # It was closed meanwhile, and nothing else will sign out of this session.
            self.sign_out()
            raise Cancelled
        return session

    def _refused(self, text: str) -> LoginError:
        self._refusal = LoginError(text)
        return LoginError(text)

    # --- the ways to begin a session -----------------------------------------------------------------

    def _log_in(self, credentials: Password, scope: CancelScope) -> Session:
        form = {"j_username": credentials.username, "j_password": credentials.password}
        url = f"{self._root}/api/login"
        answer = self._post(url, form, scope)
        _log.debug("signing in: %d", answer.status)
        if answer.status in (401, 403):
            raise self._refused(
                "The portal refuses the user name and password, or the user may not use this "
                "context: check both, and ask for them once, since portals lock accounts"
            )
        self._check_answer(url, answer)
        cookies = read_cookies(answer.set_cookies, self._root)
        if cookies is None:
            raise LoginError(
                "The portal took the user name and password but began no session: check its URL"
            )
        return Session({"Cookie": cookies}, os.getpid())

    def _redeem(self, credentials: Ticket, scope: CancelScope) -> Session:
        url = f"{self._root}/sso"
        answer = self._post(url, {"ctera_ticket": credentials.ticket}, scope)
        _log.debug("signing in by a ticket: %d", answer.status)
        cookies = read_cookies(answer.set_cookies, self._root)
        # A portal may send the browser on to its first page, so a redirect is not yet a refusal.
        if answer.status in (401, 403) or cookies is None:
            raise self._refused("The portal refuses the ticket: get a new one, each serves once")
        if answer.status >= 400:
            self._check_answer(url, answer)
        headers = {"Cookie": cookies}
        who = self._send("GET", f"{self._root}/api/currentSession", headers, None, scope)
        if who.status != 200 or is_session_over(who):
            raise self._refused("The portal refuses the ticket: get a new one, each serves once")
        token = who.headers.get(_TOKEN_HEADER.lower())
        if token:
            headers[_TOKEN_HEADER] = Token(token)
        return Session(headers, os.getpid())

    def _check_answer(self, url: str, answer: APIAnswer) -> None:
        """Raise LoginError unless an answer says that a session has begun."""
        elsewhere = find_other_origin(url, answer)
        if elsewhere is not None:
            raise LoginError(
                f"The portal redirects to {elsewhere}: if that is right, use it as baseurl. If it "
                "is a page for single sign-on, use a local user, a ticket or a bearer token"
            )
        if is_page(answer.headers.get("content-type", ""), answer.body) and answer.status == 200:
            raise LoginError(
                "The portal answers with a web page instead of signing in: check baseurl and "
                "context, and whether a proxy asks to sign in"
            )
        if not 200 <= answer.status < 300:
            came = describe(answer, self.secrets)
            error = f"The portal does not sign the user in ({came}): check baseurl and context"
            # 500 with a message is a refusal as well, and so may be a way back to the page that asks
            # for the password. Either may be counted as a wrong one.
            is_refusal = answer.status == 500 or answer.status in REDIRECTS
            raise self._refused(error) if is_refusal else LoginError(error)

    def _post(self, url: str, form: Mapping[str, str], scope: CancelScope) -> APIAnswer:
        body = HiddenBytes(urlencode(form).encode("ascii"))
        return self._send("POST", url, {"Content-Type": _FORM}, body, scope)

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        scope: CancelScope,
    ) -> APIAnswer:
        def attempt(number: int) -> APIAnswer:
            try:
                answer = self._http.request(method, url, scope, headers, body)
            except TransportError as caught:
                error = caught
            else:
                if is_busy(answer):
                    raise make_busy_failure(answer, None, self.secrets)
                return answer
            raise make_transport_failure(error, url, None)

        def log_retry(failure: FailedAttempt, number: int, delay: float) -> None:
            text = failure.error.strerror
            _log.warning("signing in: %s; attempt %d in %.2f s", text, number, delay)

        return retry_call(self._policy, attempt, scope=scope, on_retry=log_retry)

    # --- the end -------------------------------------------------------------------------------------

    def close(self) -> None:
        """Sign out of what this process signed in to. From now on nothing stays signed in."""
        self._closed = True
        self.sign_out()

    def sign_out(self) -> None:
        """End the session on the portal, if this process began it. A failure is only logged."""
        session, self._session = self._session, None
        if session is None or session.process != os.getpid():
            return
        headers = {**session.headers, "Content-Type": _FORM}
        url = f"{self._root}/api/logout"
        try:
            answer = self._http.request(
                "POST", url, CancelScope(), headers, b"", _LOGOUT_TIMEOUTS_S
            )
            _log.debug("signing out: %d", answer.status)
        except (TransportError, Cancelled, NamespaceError) as error:
            # The portal ends the session by itself, after some minutes without a request.
            _log.info("signing out failed: %s", type(error).__name__)


_OVER: dict[type, str] = {
    Bearer: "The portal refuses the bearer token: get a new one",
    Cookie: "The session of the given cookie is over: pass the cookie of a new one",
}


def read_cookies(set_cookies: Iterable[str], root: str) -> Token | None:
    """Return the Cookie header for what a sign-in set, or None if it set nothing for this context.

    Args:
        set_cookies: The values of its Set-Cookie headers (RFC 6265, section 4.1).
        root: The URL of the context.
    """
    # All calls go there.
    context = f"/{root.rpartition('/')[2]}/api"
    # A reverse proxy may serve the portal below a prefix, and leave the paths of cookies alone.
    prefixed = f"/{root.partition('://')[2].partition('/')[2]}/api"
    cookies: dict[str, str] = {}
    for text in set_cookies:
        pair, *attributes = str(text).split(";")
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not name or not value or not _is_plain(name + value):
            continue
        path = ""
        is_removed = False
        for attribute in attributes:
            key, _, given = (part.strip() for part in attribute.partition("="))
            if key.lower() == "path":
                path = given
            elif key.lower() == "max-age":
                # It removes the cookie (section 5.2.2), also where a value stands for "removed".
                is_removed = given.startswith("-") or (given != "" and not given.strip("0"))
        if path.startswith("/") and not any(_covers(path, it) for it in (context, prefixed)):
            continue
        if is_removed:
            cookies.pop(name, None)
        else:
            cookies[name] = value
    if not cookies:
        return None
    return Token("; ".join(f"{name}={value}" for name, value in cookies.items()))


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


def _covers(path: str, target: str) -> bool:
    """Return whether a cookie's path covers a target (RFC 6265, section 5.1.4)."""
    return (
        path.rstrip("/") == ""
        or target == path.rstrip("/")
        or target.startswith(path.rstrip("/") + "/")
    )
