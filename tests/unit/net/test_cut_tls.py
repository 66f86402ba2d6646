"""A body that ends with its TLS connection is whole only if TLS ended as well."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

import pytest
import requests

from ctera_direct_sync._base.cancellation import CancelScope
from ctera_direct_sync._net.errors import TransportError
from ctera_direct_sync._net.session import HTTPSession
from ctera_direct_sync._net.tls import TLS
from ctera_direct_sync.emulator.tls import Certificates
from ctera_direct_sync.settings import Endpoint
from tests.support.net import serving

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.fixture(scope="module")
def certificates() -> Iterator[Certificates]:
    """Certificates for loopback."""
    made = Certificates("127.0.0.1")
    yield made
    made.remove()


def fetch(certificates: Certificates, *, tls_ends: bool, hooked: bool, head: bytes) -> bytes:
    """GET a body from a server that closes the connection after it."""

    def handle(connection, line: str, request: bytes) -> bool:
        connection.sendall(head + b"12345")
        if tls_ends:
            connection.unwrap()
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
        return False

    session = requests.Session() if hooked else None
    if session is not None:
        session.hooks["response"].append(lambda response, **_: response)
    with serving(handle, certificates.context) as server:
        client = HTTPSession(Endpoint(timeout=10), TLS(certificates.bundle), session=session)
        try:
            url = f"https://127.0.0.1:{server.port}/"
            with client.get(url, CancelScope()) as response:
                return bytes(response.read(1000))
        finally:
            client.close()


@pytest.mark.parametrize("hooked", [False, True])
def test_body_that_ends_with_tls(certificates: Certificates, hooked: bool) -> None:
    """A close_notify alert is the end of a body without a length."""
    assert fetch(certificates, tls_ends=True, hooked=hooked, head=HEAD) == b"12345"


@pytest.mark.parametrize("hooked", [False, True])
def test_body_that_ends_without_tls(certificates: Certificates, hooked: bool) -> None:
    """A connection that is cut may hide the rest of the body, and anyone on the way can cut it."""
    if hooked and sys.version_info < (3, 10):
        pytest.skip("Python 3.9 hides it in the contexts that requests makes")
    with pytest.raises(TransportError) as caught:
        fetch(certificates, tls_ends=False, hooked=hooked, head=HEAD)
    assert caught.value.transient


@pytest.mark.parametrize("hooked", [False, True])
def test_declared_body_without_end_of_tls(certificates: Certificates, hooked: bool) -> None:
    """A body whose length is declared is whole without TLS's end, which many servers leave out."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    assert fetch(certificates, tls_ends=False, hooked=hooked, head=head) == b"12345"
