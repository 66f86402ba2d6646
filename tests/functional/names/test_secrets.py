"""Secrets: no password, token, cookie or ticket in an error, a log line, a repr or a traceback."""

from __future__ import annotations

import logging
import pickle
import pprint

import pytest

from ctera_direct_sync import Namespace
from ctera_direct_sync.emulator import faults
from ctera_direct_sync.exceptions import DirectIOError
from tests.support.tracebacks import told_by_library

PASSWORD = "pa55-w0rd-never-shown"
TOKEN = "t0ken-never-shown"


@pytest.fixture
def account(portal):
    """A user of the portal whose password is looked for everywhere."""
    portal.accounts.add("eve", PASSWORD, full_name="Eve", role="ReadWriteAdmin", bearer=TOKEN)
    portal.tree.add_cloud_folder("Mine", {"a.txt": b"a"}, owner="eve")


def headers_of(names: Namespace) -> list[str]:
    """Return the plain values of the session's headers."""
    session = names._sign_in._session
    return [] if session is None else [str(value) for value in session.headers.values()]


FAULTS = {
    "refused": faults.status(403, {}, b"<obj><att id='msg'><val>no: %s</val></att></obj>"),
    "quoting the password": faults.status(400, {}, PASSWORD.encode()),
    "quoting the password in words": faults.status(
        500, {}, f'<obj><att id="msg"><val>{PASSWORD}</val></att></obj>'.encode()
    ),
    "busy": faults.status(503, {}, PASSWORD.encode()),
    "reset": faults.reset(),
    "cut": faults.cut(10),
    "garbage": faults.garbage(),
    "redirect": faults.redirect(f"https://elsewhere.example.com/{PASSWORD}?ticket={TOKEN}"),
    "page": faults.page(),
}


@pytest.mark.parametrize("action", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("call", ["login", "fetchResources"])
def test_failures(portal, make_names, account, caplog, call, action):
    """Whatever fails, neither the error with its frames nor the log shows a secret."""
    caplog.set_level(logging.DEBUG)
    portal.faults.add("portal", call=call, times=None, action=action)
    names = make_names("eve", PASSWORD)
    with pytest.raises(DirectIOError) as caught:
        names.stat("/Mine/a.txt")
    cookies = headers_of(names)
    told = told_by_library(caught.value) + caplog.text
    error = caught.value
    assert error.__context__ is None
    for secret in (PASSWORD, TOKEN, *cookies):
        assert secret not in told
    assert pickle.loads(pickle.dumps(error)).strerror == error.strerror


def test_success(portal, make_names, account, caplog):
    """The log of calls that succeed has no secret either, at its most talkative."""
    caplog.set_level(1)
    with make_names("eve", PASSWORD) as names:
        list(names.walk("/Mine"))
        pair = names.create_key_pair()
        names.delete_key_pair(pair.access_key_id)
        secrets = [PASSWORD, *headers_of(names), *map(str, pair)]
    with make_names(bearer=TOKEN) as names:
        names.stat("/Mine")
    assert caplog.text
    for secret in (*secrets, TOKEN):
        assert secret not in caplog.text


@pytest.mark.parametrize("way", ["password", "bearer", "cookie", "ticket"])
def test_reprs(portal, make_names, account, way):
    """Neither the repr nor the attributes, however deep, show what signs in."""
    secret = PASSWORD if way == "password" else "s3cret-never-shown"
    names = make_names("eve", secret) if way == "password" else make_names(**{way: secret})
    if way == "password":
        names.stat("/Mine")
    seen = [repr(names), repr(vars(names)), pprint.pformat(vars(names))]
    for value in vars(names).values():
        seen.append(repr(value))
        seen.append(repr(getattr(value, "__dict__", None)))
    for text in seen:
        assert secret not in text
        for header in headers_of(names):
            assert header not in text


@pytest.mark.parametrize("argument", ["bearer", "cookie"])
def test_malformed_arguments(portal, argument):
    """A credential that cannot be right is refused without being shown."""
    with pytest.raises(ValueError, match="copied whole and alone") as caught:
        Namespace(portal.url, **{argument: f"{TOKEN} and more"})
    assert TOKEN not in told_by_library(caught.value)


@pytest.mark.parametrize("argument", ["username", "password"])
def test_text_that_cannot_be_sent(portal, argument):
    """A password that is not text is refused, by an exception that does not quote it."""
    given = {"username": "eve", "password": PASSWORD}
    given[argument] += "\udc80"
    with pytest.raises(ValueError, match="surrogate") as caught:
        Namespace(portal.url, **given)
    error = caught.value
    assert PASSWORD not in told_by_library(error)
    assert not isinstance(error, UnicodeError)
    assert error.__context__ is None


def test_several_ways_to_sign_in(portal):
    """Two ways to sign in are refused, and neither is shown."""
    with pytest.raises(ValueError, match="bearer and password are several ways") as caught:
        Namespace(portal.url, "eve", PASSWORD, bearer=TOKEN)
    told = told_by_library(caught.value)
    assert PASSWORD not in told
    assert TOKEN not in told


def test_cookies_stay_with_the_portal(portal, names):
    """Only the portal's own context gets the cookie, and none of another answer is kept."""
    names.stat("/My Files")
    shared = names._http._shared
    assert shared is not None
    assert len(shared._session.cookies) == 0
