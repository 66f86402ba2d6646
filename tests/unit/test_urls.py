"""Where a redirect leads, and which spellings of a URL are the same."""

from __future__ import annotations

import pytest

from ctera_direct_sync._net.errors import TransportError
from ctera_direct_sync._net.proxies import bypasses_proxy, check_proxy, environment_proxies
from ctera_direct_sync._net.urls import redirect_target, same_target

BASE = "https://a.example.com:8443/x/y?s=1"


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://b/%7Ex/../[y]?e=%2b&sig=1", "https://b/%7Ex/../[y]?e=%2b&sig=1"),
        ("https://b/x?", "https://b/x?"),
        ("//b/x?e=1", "https://b/x?e=1"),
        ("/z/../%7E?", "https://a.example.com:8443/z/../%7E?"),
        ("z", "https://a.example.com:8443/x/z"),
        ("?z=1", "https://a.example.com:8443/x/y?z=1"),
        (" /z ", "https://a.example.com:8443/z"),
        # UTF-8 bytes, as a header's Latin-1 characters.
        ("/\xc3\xa4?n=\xc3\xbc", "https://a.example.com:8443/%C3%A4?n=%C3%BC"),
        # Latin-1 itself.
        ("/\xe4", "https://a.example.com:8443/%E4"),
        # What a stand-in decoded.
        ("/\u20ac", "https://a.example.com:8443/%E2%82%AC"),
        ("/%C3%A4", "https://a.example.com:8443/%C3%A4"),
        ("/a b", "https://a.example.com:8443/a%20b"),
    ],
)
def test_redirect(location: str, target: str) -> None:
    """An absolute Location stays as it is, a relative one is joined, raw bytes are encoded once."""
    assert redirect_target(BASE, 302, location) == target


@pytest.mark.parametrize("location", [None, "", "  "])
def test_redirect_without_a_location(location: str | None) -> None:
    """It is called what it is."""
    with pytest.raises(
        TransportError, match=r"redirects \(HTTP 301\) but has no Location"
    ) as caught:
        redirect_target(BASE, 301, location)
    assert not caught.value.transient


@pytest.mark.parametrize(
    "location", ["http://b/x", "HTTP://b/x", "ftp://b/x", "file:///etc/passwd"]
)
@pytest.mark.parametrize("base", [BASE, BASE.replace("https", "HTTPS")])
def test_redirect_out_of_https(base: str, location: str) -> None:
    """What was asked for over TLS is not fetched without it, however the scheme is spelled."""
    with pytest.raises(TransportError, match="from https to an unprotected URL"):
        redirect_target(base, 302, location)


@pytest.mark.parametrize(
    ("given", "listed", "same"),
    [
        ("/a~b", "/a%7Eb", True),
        ("/a?e=%2B", "/a?e=%2b", True),
        ("/b", "/a/../b", True),
        ("/a%5B1%5D", "/a[1]", True),
        ("/a", "/a?", True),
        ("/a//b", "//a//b", True),
        ("/a?e=1", "/a?e=1", True),
        ("/a?e=2", "/a?e=1", False),
        ("/a?e=1&extra=1", "/a?e=1", False),
        ("/A", "/a", False),
        ("/a%2Fb", "/a/b", False),
        ("/a//b", "/a/b", False),
    ],
)
def test_same_target(given: str, listed: str, same: bool) -> None:
    """Spellings that requests makes of a URL are it; what means something else is not."""
    assert same_target(given, listed) is same


@pytest.mark.parametrize(
    ("no_proxy", "origin", "bypassed"),
    [
        ("", "http://a.example.com", False),
        ("*", "http://a.example.com", True),
        ("a.example.com", "http://a.example.com", True),
        ("example.com", "http://a.example.com", True),
        (".example.com", "http://a.example.com", True),
        ("*.example.com", "http://a.example.com", True),
        ("*.example.com", "http://b.a.example.com:99", True),
        ("*.example.com", "http://badexample.com", False),
        ("EXAMPLE.com", "http://A.example.COM", True),
        ("other.com, example.com", "http://a.example.com", True),
        ("other.com example.com", "http://a.example.com", True),
        ("a.example.com:8080", "http://a.example.com:8080", True),
        ("a.example.com:8080", "http://a.example.com", False),
        ("a.example.com:443", "https://a.example.com", True),
        ("*.example.com:8080", "http://a.example.com:8080", True),
        ("a.example.com", "http://a.example.com.", True),
        ("10.0.0.5", "http://10.0.0.5", True),
        ("10.0.0.5", "http://10.0.0.50", False),
        ("10.0.0.5:9000", "http://10.0.0.5:9000", True),
        ("10.0.0.5:9000", "http://10.0.0.5", False),
        ("10.0.0.0/8", "http://10.1.2.3:9000", True),
        ("10.0.0.0/8", "http://11.1.2.3", False),
        ("0.0.0.0/0", "http://11.1.2.3", True),
        ("0.0.0.0/0", "http://[::1]", False),
        ("::1", "http://[::1]:80", True),
        ("[::1]", "http://[::1]", True),
        ("[::1]:8080", "http://[::1]:8080", True),
        ("[::1]:8080", "http://[::1]", False),
        ("0:0:0:0:0:0:0:1", "http://[::1]", True),
        ("fd00::/8", "https://[fd12::1]:9000", True),
        ("[fd00::]/8", "https://[fd12::1]", True),
        ("fd00::/8", "https://[fe80::1]", False),
        ("10.0.0.0/8", "http://[::ffff:10.1.2.3]", True),
        ("10.0.0.0/33", "http://10.1.2.3", False),
        ("nonsense/8", "http://10.1.2.3", False),
        (",, ,", "http://a.example.com", False),
        (".", "http://a.example.com", False),
    ],
)
def test_no_proxy(no_proxy: str, origin: str, bypassed: bool) -> None:
    """NO_PROXY takes names, wildcards, addresses and networks of both versions, and ports."""
    assert bypasses_proxy(origin, no_proxy) is bypassed


@pytest.mark.parametrize(
    ("proxy", "shown"),
    [
        ("http://proxy:3128", "http://proxy:3128"),
        ("127.0.0.1:3128", "http://127.0.0.1:3128"),
        ("http://user:c0ffee@proxy:3128/", "http://proxy:3128"),
        ("https://[::1]:3128", "https://[::1]:3128"),
        ("HTTP://proxy", "http://proxy"),
    ],
)
def test_proxy_is_shown_without_its_login(proxy: str, shown: str) -> None:
    """What may be shown of a proxy is where it is."""
    assert check_proxy(proxy) == shown


def test_proxy_without_a_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    """``proxy:3128`` is a host and a port, as it is for curl."""
    monkeypatch.setenv("http_proxy", "proxy:3128")
    assert environment_proxies("http://a.example.com")["http"] == "http://proxy:3128"
    with pytest.raises(TransportError, match="write http:// before it"):
        check_proxy("proxy:3128")
