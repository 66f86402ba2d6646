"""The arguments of a Namespace: what is missing is named, and the environment fills the gaps."""

from __future__ import annotations

import logging

import pytest

from ctera_direct_sync import Namespace
from ctera_direct_sync._base import credentials
from ctera_direct_sync._base.account import Bearer, Cookie, Password, Ticket

URL = "https://portal.example.com"


@pytest.fixture(autouse=True)
def _clean_names_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take user name, password and context out of the environment."""
    for name in ("USERNAME", "PASSWORD", "CONTEXT"):
        monkeypatch.delenv(f"CTERA_DIRECT_{name}", raising=False)


def made(*arguments, **options):
    """Return URL, context and credentials of a Namespace."""
    with Namespace(*arguments, **options) as names:
        return names._baseurl, names._context, names._credentials


def test_arguments():
    """What is passed is used."""
    assert made(URL + "/", "alice", "pw", context="admin") == (
        URL,
        "admin",
        Password("alice", "pw"),
    )
    assert made(URL, bearer="t") == (URL, "ServicesPortal", Bearer("t"))
    assert made(URL, cookie=" JSESSIONID=12; ") == (URL, "ServicesPortal", Cookie("12"))
    assert made(URL, ticket="t") == (URL, "ServicesPortal", Ticket("t"))


def test_environment(monkeypatch):
    """What is not passed comes from the environment, and an argument wins over it."""
    for name, value in {
        "URL": URL,
        "USERNAME": "corp\\alice",
        "PASSWORD": "pw",
        "CONTEXT": "admin",
    }.items():
        monkeypatch.setenv(f"CTERA_DIRECT_{name}", value)
    assert made() == (URL, "admin", Password("corp\\alice", "pw"))
    assert made("http://localhost", "bob", "other", context="ServicesPortal") == (
        "http://localhost",
        "ServicesPortal",
        Password("bob", "other"),
    )
    assert made(bearer="t")[2] == Bearer("t")


@pytest.mark.parametrize(
    ("arguments", "options", "text"),
    [
        ((), {}, "baseurl is missing: pass it, or set CTERA_DIRECT_URL"),
        ((URL,), {}, "username is missing: pass it, or set CTERA_DIRECT_USERNAME"),
        ((URL, "alice"), {}, "password is missing: pass it, or set CTERA_DIRECT_PASSWORD"),
        ((URL, "alice", "pw"), {"bearer": "t"}, "bearer and password are several ways"),
        ((URL,), {"cookie": "1", "ticket": "t"}, "cookie and ticket are several ways"),
        ((URL,), {"cookie": "a=1; b=2"}, "cookie holds characters that no cookie has"),
        ((URL,), {"cookie": "a,b"}, "cookie holds more than one value"),
        ((URL,), {"bearer": "t\u00e9"}, "bearer holds characters that no bearer has"),
        ((URL, "alice", "pw"), {"context": "Admin"}, "context 'Admin' .* is not known"),
        (("portal.example.com", "a", "b"), {}, "must be like https://portal.example.com"),
        (("https://a:b@portal", "a", "b"), {}, "must not hold a user name or password"),
        (("https://portal?a=b", "a", "b"), {}, "must not hold a query"),
        (("https://[", "a", "b"), {}, "is malformed"),
        (("https://portal:0", "a", "b"), {}, "no valid port"),
    ],
)
def test_what_cannot_be(arguments, options, text):
    """An argument that is missing or malformed is named, with the variable that may give it."""
    with pytest.raises(ValueError, match=text):
        Namespace(*arguments, **options)


def test_warning_of_an_unprotected_portal(monkeypatch, caplog):
    """A password that travels unprotected is warned of, once for each portal."""
    monkeypatch.setattr(credentials, "_warned", set())
    caplog.set_level(logging.WARNING)
    for _ in range(2):
        made("http://portal.example.com", "alice", "pw")
    made("http://127.0.0.1:80", "alice", "pw")
    assert [record.message for record in caplog.records] == [
        "the portal's URL is http: keys and passwords travel unprotected; use https where it can"
    ]


def test_repr():
    """The repr tells where and whether it is open."""
    names = Namespace(URL, "alice", "pw")
    assert repr(names) == "<Namespace https://portal.example.com ServicesPortal open>"
    names.close()
    assert repr(names) == "<Namespace https://portal.example.com ServicesPortal closed>"
    assert repr(Namespace.__new__(Namespace)) == "<Namespace ? ? unfinished>"


def test_settings_are_copied():
    """Changing the settings that were passed changes nothing later."""
    from ctera_direct_sync import Settings

    settings = Settings(retries=2)
    with Namespace(URL, "alice", "pw", settings=settings) as names:
        settings.retries = 9
        assert names._settings.retries == 2
