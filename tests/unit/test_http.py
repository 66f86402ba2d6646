"""The pure part of http.py: URLs, headers, content codings, and what a failure is called."""

from __future__ import annotations

import email.utils
import errno
import http.client
import socket
import ssl
import time

import pytest
import requests
import urllib3
from hypothesis import given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict
from urllib3 import exceptions as u3
from urllib3.util.ssl_match_hostname import CertificateError

from ctera_direct_sync._base.cancellation import Cancelled
from ctera_direct_sync._base.retry import retry_after
from ctera_direct_sync._net.errors import TransportError, to_transport_error
from ctera_direct_sync._net.urls import check_origin, origin_of, split_url
from tests.support.wire import PATH, assert_hidden

# --- URLs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "origin", "target"),
    [
        ("https://a.example.com/x?y=1", "https://a.example.com", "/x?y=1"),
        ("https://a.example.com:8443/", "https://a.example.com:8443", "/"),
        ("http://a.example.com", "http://a.example.com", "/"),
        ("HTTPS://a.example.com/x", "https://a.example.com", "/x"),
        ("https://a.example.com?y=1", "https://a.example.com", "/?y=1"),
        ("https://a.example.com#part", "https://a.example.com", "/"),
        ("https://a.example.com/x?y=1#part", "https://a.example.com", "/x?y=1"),
        ("https://a.example.com/x?u=http://b/", "https://a.example.com", "/x?u=http://b/"),
        ("https://[::1]:8080/x", "https://[::1]:8080", "/x"),
        ("https://a/%7Ex?s=a%2Fb%3D&t=+", "https://a", "/%7Ex?s=a%2Fb%3D&t=+"),
        ("https://a/x y", "https://a", "/x%20y"),
        ("https://a/ä", "https://a", "/%C3%A4"),
        ("https://a/x\r\nHost: b", "https://a", "/x%0D%0AHost:%20b"),
    ],
)
def test_split(url, origin, target):
    """A URL is cut into where to connect and what to ask for; a signature is left as it was signed."""
    assert split_url(url) == (origin, target)
    assert origin_of(url) == origin


@pytest.mark.parametrize("url", ["", "a.example.com/x", "/x", "https:a", "mailto:a@example.com"])
def test_url_without_a_scheme(url):
    """A text that is not an absolute URL is said so, without being quoted."""
    with pytest.raises(TransportError) as caught:
        split_url(url)
    assert caught.value.kind == "url"
    assert not caught.value.transient
    assert "example.com" not in str(caught.value)


@given(st.text(max_size=60))
def test_request_target_is_safe(text):
    """Whatever a portal lists, what goes into the request line is printable ASCII without a space."""
    try:
        _, target = split_url(f"https://a/{text}")
    except TransportError as fault:
        assert fault.kind == "url"
        return
    assert target.startswith("/")
    assert target.isascii()
    assert target.isprintable()
    assert " " not in target


@pytest.mark.parametrize(
    ("origin", "reason"),
    [
        ("ftp://a.example.com", "scheme is 'ftp'"),
        ("file://", "scheme is 'file'"),
        ("https://", "no host"),
        ("https://:443", "no host"),
        ("https://a.example.com:port", "malformed"),
        ("https://a.example.com:99999", "malformed"),
        ("https://[::1", "malformed"),
        ("https://user:c0ffee@a.example.com", "user name or password"),
    ],
)
def test_origin_that_is_not_connected_to(origin, reason):
    """Other schemes, no host, a bad port or credentials in the URL are refused, unquoted."""
    with pytest.raises(TransportError, match=reason) as caught:
        check_origin(origin)
    assert caught.value.kind == "url"
    assert "c0ffee" not in str(caught.value)
    assert caught.value.__context__ is None


def test_origin_that_is():
    """Scheme, host and port, None where the scheme's own."""
    assert check_origin("https://a.example.com") == ("https", "a.example.com", None)
    assert check_origin("http://[::1]:8080") == ("http", "::1", 8080)


# --- Retry-After -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 0.0),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("Thu, 99 Foo 1970 00:00:00 GMT", None),
    ],
)
def test_retry_after(value, seconds):
    """Seconds or a date, a past one meaning now; what is neither asks for nothing."""
    assert retry_after(CaseInsensitiveDict({"Retry-After": value})) == seconds


@pytest.mark.parametrize("digits", [20, 400, 6000])
def test_retry_after_in_the_far_future(digits):
    """A number past all patience is one, or none, but no failure of its own."""
    seconds = retry_after({"retry-after": "9" * digits})
    assert seconds is None or seconds > 3600


def test_retry_after_a_date():
    """A date to come is the time until then."""
    value = email.utils.formatdate(time.time() + 3600, usegmt=True)
    assert 0 < retry_after({"retry-after": value}) <= 3600


def test_no_retry_after():
    """Without the header nothing is asked for."""
    assert retry_after({}) is None


# --- what a failure is called ----------------------------------------------------------------------------


POOL = urllib3.HTTPSConnectionPool("storage.example.com", 443)
CONNECTION = POOL.ConnectionCls("storage.example.com", 443)


def wrapped(reason: Exception) -> u3.MaxRetryError:
    """As urllib3 gives up: its text quotes the URL."""
    error = u3.MaxRetryError(POOL, PATH, reason)
    assert "c0ffee" in str(error)
    return error


def verification_error() -> ssl.SSLCertVerificationError:
    """As OpenSSL reports a certificate of an unknown authority."""
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] failed")
    error.verify_message = "self-signed certificate"
    return error


CASES = {
    "refused": (
        lambda: u3.NewConnectionError(CONNECTION, f"refused {PATH}"), "connection", None),
    "refused by the system": (
        lambda: ConnectionRefusedError(errno.ECONNREFUSED, PATH), "connection",
        errno.ECONNREFUSED),
    "reset": (
        lambda: u3.ProtocolError(PATH, ConnectionResetError(errno.ECONNRESET, PATH)),
        "connection", errno.ECONNRESET),
    "closed without an answer": (
        lambda: u3.ProtocolError(PATH, http.client.RemoteDisconnected(PATH)), "connection", None),
    "no such host": (
        lambda: u3.NameResolutionError("a", CONNECTION, socket.gaierror(-2, PATH)), "connection",
        errno.EHOSTUNREACH),
    "connect timeout": (
        lambda: u3.ConnectTimeoutError(CONNECTION, PATH), "timeout", errno.ETIMEDOUT),
    "read timeout": (
        lambda: u3.ReadTimeoutError(POOL, PATH, PATH), "timeout", errno.ETIMEDOUT),
    "socket timeout": (lambda: socket.timeout(PATH), "timeout", errno.ETIMEDOUT),
    "certificate": (lambda: u3.SSLError(verification_error()), "tls", None),
    "another host's certificate": (lambda: u3.SSLError(CertificateError(PATH)), "tls", None),
    "other TLS": (lambda: u3.SSLError(ssl.SSLError(1, PATH)), "tls", 1),
    "TLS cut": (lambda: u3.SSLError(ssl.SSLEOFError(8, PATH)), "connection", 8),
    "body cut": (lambda: u3.ProtocolError(PATH, u3.IncompleteRead(5, 10)), "short", None),
    "no HTTP": (
        lambda: u3.ProtocolError(PATH, http.client.BadStatusLine(PATH)), "protocol", None),
    "header too long": (
        lambda: u3.ProtocolError(PATH, http.client.LineTooLong(PATH)), "protocol", None),
    "proxy": (
        lambda: u3.ProxyError(PATH, OSError(errno.ECONNREFUSED, PATH)), "connection",
        errno.ECONNREFUSED),
    "location": (lambda: u3.LocationParseError(PATH), "url", None),
    "body cut, as Python says it": (
        lambda: u3.ProtocolError(PATH, http.client.IncompleteRead(b"c0ffee", 10)), "short", None),
    "unreachable": (lambda: OSError(errno.ENETUNREACH, PATH), "connection", errno.ENETUNREACH),
}  # fmt: skip
WRAPPINGS = {
    "bare": lambda error: error,
    "retries": wrapped,
    "requests": lambda error: requests.ConnectionError(wrapped(error), request=PATH),
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("case", CASES)
def test_fault(case, wrapping):
    """Each failure is called by its kind however it is wrapped, and none shows the URL's query."""
    make, kind, number = CASES[case]
    error = WRAPPINGS[wrapping](make())
    fault = to_transport_error(error)
    assert (fault.kind, fault.errno) == (kind, number)
    assert fault.transient is (kind not in ("tls", "url", "long"))
    assert_hidden(fault)


@pytest.mark.parametrize("cls", [requests.ConnectTimeout, requests.ReadTimeout])
def test_timeouts_of_requests(cls):
    """requests' own timeouts are timeouts without anything inside."""
    assert to_transport_error(cls(PATH)).kind == "timeout"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (requests.exceptions.InvalidURL(PATH), "url"),
        (requests.exceptions.ProxyError(PATH), "connection"),
        (requests.exceptions.SSLError(PATH), "tls"),
        (requests.exceptions.ChunkedEncodingError(PATH), "protocol"),
        (requests.exceptions.InvalidSchema(PATH), "protocol"),
        (requests.exceptions.RequestException(PATH), "protocol"),
        (UnicodeError(PATH), "url"),
        (ValueError(PATH), "protocol"),
    ],
)
def test_exceptions_of_requests(error, kind):
    """What sessions of users raise has a kind, and keeps its text to itself."""
    fault = to_transport_error(error)
    assert fault.kind == kind
    assert_hidden(fault)


def test_certificate_says_why():
    """The reason for which a certificate is refused is told, since it tells what to do."""
    assert (
        "self-signed certificate"
        in to_transport_error(wrapped(u3.SSLError(verification_error()))).reason
    )


def test_fault_stays_itself():
    """A fault that comes along is passed on."""
    fault = TransportError("short", "the body ended")
    assert to_transport_error(fault) is fault


@pytest.mark.parametrize("error", [TypeError("a bug"), MemoryError(), Cancelled()])
def test_what_is_no_failure_of_http(error):
    """A bug, a lack of memory or a cancellation is not dressed up as a network error."""
    with pytest.raises(type(error)) as caught:
        to_transport_error(error)
    assert caught.value is error


def test_causes_in_a_circle():
    """A chain of causes that bites its tail comes to an end."""
    first, second = OSError(errno.EPIPE, "a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert to_transport_error(first).errno == errno.EPIPE
