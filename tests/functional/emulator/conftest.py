"""A client of the barest kind: what it gets is what the emulator sent."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import requests

from ctera_direct_sync.emulator import Emulator, SyntheticSource

SIZE = 100_000
BLOCK = 30_000


class Received(NamedTuple):
    """What came over a socket until it ended, and how it ended: ``eof`` or ``reset``."""

    data: bytes
    end: str

    @property
    def head(self) -> bytes:
        """Status line and headers."""
        return self.data.partition(b"\r\n\r\n")[0]

    @property
    def body(self) -> bytes:
        """What followed the headers, in whatever encoding."""
        return self.data.partition(b"\r\n\r\n")[2]


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """A running emulator."""
    with Emulator() as running:
        yield running


@pytest.fixture
def data() -> bytes:
    """A file's content."""
    return SyntheticSource(SIZE, seed=7).read(0, SIZE)


@pytest.fixture
def file_id(emulator: Emulator, data: bytes) -> int:
    """A file of four blocks, of which the stored objects are plaintext."""
    return emulator.add(data, cipher=None, compression="NONE", block_size=BLOCK)


@pytest.fixture
def session() -> Iterator[requests.Session]:
    """A session that knows nothing of this machine's proxies and keys."""
    with requests.Session() as opened:
        opened.trust_env = False
        yield opened


@pytest.fixture
def listing(session: requests.Session) -> Callable[..., Any]:
    """Ask a portal for a file's listing."""

    def ask(emulator: Emulator, file_id: int) -> Any:
        reply = session.get(
            f"{emulator.url}/directio/{file_id}",
            headers={"Authorization": f"Bearer {emulator.access_key_id}"},
        )
        assert reply.status_code == 200, reply.text
        return reply.json()

    return ask


@pytest.fixture
def block_url(listing: Callable[..., Any]) -> Callable[..., str]:
    """Ask for the signed URL of a block."""

    def ask(emulator: Emulator, file_id: int, block: int = 1) -> str:
        return str(listing(emulator, file_id)["chunks"][block - 1]["url"])

    return ask


@pytest.fixture
def receive() -> Callable[..., Received]:
    """Send one GET over a socket, and take what comes until the connection ends."""

    def exchange(url: str, **headers: str) -> Received:
        parts = urlsplit(url)
        lines = [
            f"GET {parts.path}?{parts.query} HTTP/1.1",
            f"Host: {parts.netloc}",
            "Connection: close",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode("ascii"))
            return _drain(connection)

    return exchange


def _drain(connection: socket.socket) -> Received:
    got = bytearray()
    try:
        while piece := connection.recv(65536):
            got += piece
    except ConnectionResetError:
        return Received(bytes(got), "reset")
    return Received(bytes(got), "eof")
