"""Signing in, by a scripted transport: cookies, failures, tickets, and what is retried."""

from __future__ import annotations

from typing import Any

import pytest

from ctera_direct_sync import (
    LoginError,
    NamespaceConnectionError,
    NamespaceError,
    NamespaceTimeout,
)
from ctera_direct_sync._base.account import Password, Ticket
from ctera_direct_sync._base.cancellation import Cancelled, CancelScope
from ctera_direct_sync._base.retry import RetryPolicy
from ctera_direct_sync._net.api_session import APIAnswer
from ctera_direct_sync._net.errors import TransportError
from ctera_direct_sync._protocol.sign_in import SignIn, read_cookies
from ctera_direct_sync.types import Token
from tests.support.portal_script import (
    FOLDER,
    LOGIN,
    ROOT,
    Answer,
    Script,
    answer,
    info,
    listing,
    make_names,
    read_all,
)

# --- signing in ----------------------------------------------------------------------------------

COOKIES: dict[str, tuple[list[str], str | None]] = {
    "plain": (["JSESSIONID=1"], "JSESSIONID=1"),
    "path of the context": (["JSESSIONID=1; Path=/ServicesPortal"], "JSESSIONID=1"),
    "path with a slash": (["JSESSIONID=1; path=/ServicesPortal/; Secure"], "JSESSIONID=1"),
    "root": (["JSESSIONID=1; Path=/; HttpOnly; SameSite=Lax"], "JSESSIONID=1"),
    "another context": (["JSESSIONID=1; Path=/admin"], None),
    "a similar context": (["JSESSIONID=1; Path=/Services"], None),
    "two": (["JSESSIONID=1; Path=/", "LB=x=y; Path=/"], "JSESSIONID=1; LB=x=y"),
    "the last one wins": (["JSESSIONID=1", "JSESSIONID=2"], "JSESSIONID=2"),
    "deleted": (["JSESSIONID=; Max-Age=0"], None),
    "nameless": (["=1", "x", ""], None),
    "header injection": (["JSESSIONID=1\r\nX: y"], None),
    "none": ([], None),
}


@pytest.mark.parametrize(("set_cookies", "expected"), COOKIES.values(), ids=COOKIES)
def test_cookies(set_cookies, expected):
    """Cookies count for the context that they are set for."""
    assert read_cookies(set_cookies, ROOT) == expected


def test_cookie_of_a_prefixed_portal():
    """Behind a reverse proxy the path of a cookie may have the prefix or lack it."""
    for path in ("/tenant/ServicesPortal", "/ServicesPortal"):
        cookies = read_cookies([f"a=1; Path={path}"], "https://x/tenant/ServicesPortal")
        assert cookies == "a=1"


PASSWORD = Password("alice", Token("secret"))


def test_only_the_answer_to_the_sign_in_sets_cookies():
    """A cookie that another answer sets is not sent."""
    fresh = listing(info())
    fresh.set_cookies.append("JSESSIONID=FRESH; Path=/ServicesPortal")
    over = APIAnswer(302, {"location": "/login"}, ["JSESSIONID=USELESS"], b"")
    script = Script(LOGIN, fresh, listing(info()), over, LOGIN, listing(info()))
    names = make_names(script, PASSWORD)
    for _ in range(3):
        read_all(names)
    assert {sent.headers.get("Cookie") for sent in script.sent} == {None, "JSESSIONID=C00C1E"}
    assert [sent.url.rpartition("/")[2] for sent in script.sent] == [
        *("login", "api?format=jsonext", "api?format=jsonext", "api?format=jsonext"),
        *("login", "api?format=jsonext"),
    ]


def test_close_while_signing_in():
    """A session that begins while another thread closes is signed out of."""

    class Closing(Script):
        """Closes while the answer to the sign-in is under way."""

        def request(self, method: str, url: str, *arguments: Any) -> APIAnswer:
            came = super().request(method, url, *arguments)
            if url.endswith("/login"):
                sign_in.close()
            return came

    script = Closing(LOGIN, answer(None))
    sign_in = SignIn(script, ROOT, PASSWORD, RetryPolicy(0, 0.0, 0.0, 1.0))  # type: ignore[arg-type]
    with pytest.raises(Cancelled):
        sign_in.current(CancelScope())
    assert script.sent[1].url == f"{ROOT}/api/logout"
    assert script.sent[1].headers["Cookie"] == "JSESSIONID=C00C1E"


LOGIN_FAILURES: dict[str, tuple[Answer, str]] = {
    "401": (APIAnswer(401, {}, [], b""), "refuses the user name and password"),
    "500 in words": (answer({"msg": "Invalid username or password"}, 500), "Invalid username"),
    "404": (APIAnswer(404, {}, [], b"<html>"), "HTTP 404, a web page.: check baseurl"),
    "no cookie": (APIAnswer(200, {}, [], b"<val>Login succeed</val>"), "began no session"),
    "page": (APIAnswer(200, {"content-type": "text/html"}, [], b""), "a web page instead"),
    "redirect": (
        APIAnswer(302, {"location": "https://tenant.example.com/login?x=1"}, [], b""),
        "redirects to https://tenant.example.com: if that is right, use it as baseurl",
    ),
    "redirect at home": (APIAnswer(302, {"location": "/login.html"}, [], b""), "HTTP 302"),
}


@pytest.mark.parametrize(("came", "text"), LOGIN_FAILURES.values(), ids=LOGIN_FAILURES)
def test_sign_in_that_fails_is_not_repeated(came, text):
    """Whatever refuses the sign-in is told at once, with what to do."""
    script = Script(came)
    with pytest.raises(LoginError, match=text):
        make_names(script, PASSWORD).stat("/", CancelScope())
    assert len(script.sent) == 1


def test_ticket_without_a_token():
    """Whether a session by ticket has a token to send back or not, it is used."""
    for headers in ({}, {"x-ctera-token": "t"}):
        who = answer({"username": "alice"})
        script = Script(LOGIN, APIAnswer(200, headers, [], who.body), listing(root=FOLDER))
        make_names(script, Ticket(Token("ticket"))).stat("/d", CancelScope())
        assert script.sent[0].url == f"{ROOT}/sso"
        assert script.sent[2].headers.get("X-CTERA-TOKEN") == headers.get("x-ctera-token")


TRANSPORT: dict[str, tuple[TransportError, type[NamespaceError], int]] = {
    "refused": (TransportError("connection", "refused"), NamespaceConnectionError, 5),
    "timeout": (TransportError("timeout", "nothing came"), NamespaceTimeout, 5),
    "cut": (TransportError("short", "the body ended early"), NamespaceConnectionError, 5),
    "tls": (TransportError("tls", "not trusted", untrusted=True), NamespaceConnectionError, 1),
    "proxy": (
        TransportError("connection", "407", final=True, proxy=True),
        NamespaceConnectionError,
        1,
    ),
    "url": (TransportError("url", "no host"), NamespaceConnectionError, 1),
    "long": (TransportError("long", "too much"), NamespaceError, 1),
}


@pytest.mark.parametrize(("error", "expected", "tries"), TRANSPORT.values(), ids=TRANSPORT)
def test_portal_that_cannot_be_reached(error, expected, tries):
    """Failures of the network are retried if they may pass, and told with the path."""
    script = Script(*[error] * tries)
    with pytest.raises(expected) as caught:
        make_names(script).stat("/d", CancelScope())
    assert caught.value.filename == "/d"
    assert len(script.sent) == tries
