"""The emulator behind a simulated network."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time

import pytest

from ctera_direct_sync import DirectIO
from ctera_direct_sync.emulator import PROFILES, Emulator, Network, NetworkProfile

DATA = os.urandom(300_000)


def client_of(emulator: Emulator) -> DirectIO:
    """Return a client of the emulator."""
    return DirectIO(emulator.url, emulator.access_key_id, emulator.secret_access_key)


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize(
    "network", ["office", PROFILES["office"], Network(PROFILES["office"], seed=7)]
)
def test_bytes_pass_a_network(network: str | NetworkProfile | Network, separate: bool) -> None:
    """A file comes whole through a network, and both portal and storage are behind it."""
    with Emulator(network=network, separate_storage=separate) as emulator:
        file_id = emulator.add(DATA, block_size=100_000)
        with client_of(emulator) as client:
            began = time.monotonic()
            assert b"".join(block.data for block in client.stream(file_id)) == DATA
        # Handshake, listing and block: three round trips of 10 ms at least.
        assert time.monotonic() - began >= 0.03
        assert len(emulator.requests) == 4


def test_tls_passes_a_network() -> None:
    """The relay does not read the bytes."""
    from ctera_direct_sync.settings import Endpoint, Settings

    with Emulator(network="lan", tls=True) as emulator:
        file_id = emulator.add(DATA)
        endpoint = Endpoint(ssl=emulator.ca_bundle)
        settings = Settings(api=endpoint, storage=endpoint)
        keys = emulator.access_key_id, emulator.secret_access_key
        with DirectIO(emulator.url, *keys, settings=settings) as client:
            assert client.metadata(file_id).size == len(DATA)


def test_ports_stay_when_it_starts_again() -> None:
    """The address that clients know is the same after a stop and a start."""
    emulator = Emulator(network="lan")
    with emulator:
        url = emulator.url
    with emulator:
        assert emulator.url == url


def test_stop_leaves_no_socket_and_no_thread() -> None:
    """A stop ends connections that are open, and every thread."""
    before = set(threading.enumerate())
    with Emulator(network="long") as emulator:
        host, _, port = emulator.url.rpartition("/")[2].partition(":")
        connection = socket.create_connection((host, int(port)))
        connection.settimeout(20)
    with connection, contextlib.suppress(ConnectionResetError):
        assert connection.recv(1) == b""
    assert not [each for each in set(threading.enumerate()) - before if "emulator" in each.name]
    with pytest.raises(OSError):
        socket.create_connection((host, int(port)), timeout=20)


def test_unknown_profile_is_refused_with_the_names() -> None:
    """The error lists what there is."""
    with pytest.raises(ValueError, match=r"'fast'.*office.*long"):
        Emulator(network="fast")


def test_taken_port_is_an_error() -> None:
    """The port belongs to another program: nothing is left running."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError):
            Emulator(network="lan", port=taken.getsockname()[1]).start()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_forked_child_holds_no_connection_open() -> None:
    """A child that lives on does not keep the end of the parent's emulator from its clients."""
    go, done = os.pipe()
    with Emulator(network="lan") as emulator:
        host, _, port = emulator.url.rpartition("/")[2].partition(":")
        connection = socket.create_connection((host, int(port)))
        connection.settimeout(20)
        with client_of(emulator) as client:
            client.metadata(emulator.add(DATA))
        child = os.fork()
        if not child:
            os.read(go, 1)
            os._exit(0)
    try:
        with connection, pytest.raises((ConnectionResetError, EOFError)):
            if not connection.recv(1):
                raise EOFError
    finally:
        os.write(done, b"x")
        os.waitpid(child, 0)
        os.close(go)
        os.close(done)
