"""The Namespace that a client is given must be of the client's portal."""

from __future__ import annotations

import pytest

from ctera_direct_sync import DirectIO, Namespace

KEYS = ("id", "secret")
ACCOUNT = ("alice", "pw")


@pytest.mark.parametrize(
    ("client_url", "names_url"),
    [
        ("https://a.example.com", "https://a.example.com/"),
        ("https://a.example.com", "https://A.Example.COM:443"),
        ("http://a.example.com:80/", "http://a.example.com"),
        ("https://a.example.com/direct", "https://a.example.com/tenant/"),
        ("https://a.example.com.", "https://a.example.com"),
        ("HTTPS://a.example.com", " https://a.example.com "),
        ("https://m\u00fcnchen.example", "https://xn--mnchen-3ya.example"),
        ("https://[::1]:443", "https://[::1]"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
    ],
)
def test_spellings_of_one_portal(client_url: str, names_url: str) -> None:
    """Case, default ports and paths do not make another portal."""
    with Namespace(names_url, *ACCOUNT) as names, DirectIO(client_url, *KEYS, namespace=names):
        pass


@pytest.mark.parametrize(
    ("client_url", "names_url"),
    [
        ("https://a.example.com", "https://b.example.com"),
        ("https://a.example.com", "http://a.example.com"),
        ("https://a.example.com", "http://a.example.com:443"),
        ("https://a.example.com", "https://a.example.com:8443"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8081"),
        ("https://a.example.com", "https://a.example.com.evil.example"),
        ("https://stra\u00dfe.example", "https://strasse.example"),
    ],
)
def test_another_portal_is_refused(client_url: str, names_url: str) -> None:
    """IDs of one portal mean other files on another: the error names both URLs."""
    with (
        Namespace(names_url, *ACCOUNT) as names,
        pytest.raises(ValueError, match="portal") as error,
    ):
        DirectIO(client_url, *KEYS, namespace=names)
    assert client_url in str(error.value)
    assert names_url in str(error.value)
    assert "pw" not in str(error.value)
