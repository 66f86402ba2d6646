"""Connecting to a host of several addresses, some of which are dead (RFC 8305)."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ctera_direct_sync._base.cancellation import Cancelled, CancelScope
from ctera_direct_sync._net import connect
from ctera_direct_sync._net.api_session import APISession
from ctera_direct_sync._net.connect import AddressMemory, interleave, open_connection
from ctera_direct_sync._net.session import HTTPSession
from ctera_direct_sync._net.tls import TLS
from ctera_direct_sync.settings import Endpoint
from tests.faults.matrix import closed_port
from tests.support.belongings import open_sockets
from tests.support.net import answer, proxy_handler, serving
from tests.support.sessions import hooked

Address = tuple[str, int]


def info(address: Address) -> tuple[Any, ...]:
    """What `getaddrinfo` returns for an address."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    return (family, socket.SOCK_STREAM, 6, "", address)


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give the host `many.test` some addresses, and forget what is known of others."""
    real = socket.getaddrinfo
    monkeypatch.setattr(connect, "_memory", AddressMemory())

    def set_addresses(*addresses: Address) -> None:
        def getaddrinfo(host: Any, *args: Any, **more: Any) -> Any:
            if host == "many.test":
                return [info(each) for each in addresses]
            return real(host, *args, **more)

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    return set_addresses


@pytest.fixture
def dead() -> Iterator[Address]:
    """An address that never answers: that of a listener whose backlog is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        # All of 127.0.0.0/8, so that a test can have two dead addresses on Linux.
        listener.bind(("0.0.0.0", 0))
        listener.listen(0)
        address = "127.0.0.1", listener.getsockname()[1]
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        probe = stack.enter_context(socket.socket())
        probe.settimeout(0.2)
        try:
            probe.connect(address)
        except socket.timeout:
            yield address
        else:
            pytest.skip("a full backlog still answers on this system")


def open_many(timeout_s: float | None = 10, before_connect: Any = lambda sock: None) -> Any:
    """Connect to `many.test`."""
    return open_connection(
        "many.test", 80, timeout_s=timeout_s, source_address=None, options=(),
        before_connect=before_connect,
    )  # fmt: skip


@contextlib.contextmanager
def seconds() -> Iterator[Callable[[], float]]:
    """How long the body took."""
    start = time.monotonic()
    yield lambda: time.monotonic() - start


def test_families_take_turns() -> None:
    """The family of the first address goes first, and none is tried twice."""
    a, b, c, d = (info((host, 1)) for host in ("::1", "::2", "127.0.0.1", "127.0.0.2"))
    assert interleave([a, b, a, c, d]) == [a, c, b, d]
    assert interleave([c, a, b]) == [c, a, b]
    assert interleave([]) == []


def test_dead_addresses_go_last_for_a_while() -> None:
    """What worked goes first and what is dead goes last, until the memory ends."""
    now = [0.0]
    memory = AddressMemory(lambda: now[0])
    a, b, c = every = [info((f"127.0.0.{n}", 1)) for n in (1, 2, 3)]
    memory.record("host", 1, c[4], [a[4]])
    assert memory.sort("host", 1, every) == [c, b, a]
    assert memory.sort("host", 2, every) == every
    now[0] = 601.0
    assert memory.sort("host", 1, every) == every


def test_host_without_dead_addresses_keeps_its_order() -> None:
    """A resolver that spreads the load is not overruled."""
    memory = AddressMemory()
    a, b = every = [info((f"127.0.0.{n}", 1)) for n in (1, 2)]
    memory.record("host", 1, b[4], [])
    assert memory.sort("host", 1, every) == every
    memory.record("host", 1, b[4], [a[4]])
    memory.record("host", 1, a[4], [b[4]])
    assert memory.sort("host", 1, every) == [a, b]


def test_memory_is_bounded() -> None:
    """Many hosts do not fill the memory."""
    memory = AddressMemory()
    for number in range(1000):
        memory.record(f"host{number}", 1, "good", ["dead"])
    assert len(memory._hosts) <= 256


def test_dead_address_costs_little_once(resolve: Callable[..., None], dead: Address) -> None:
    """The first connection waits 250 ms for a dead address, the next ones not at all."""
    with socket.create_server(("127.0.0.1", 0)) as alive:
        resolve(dead, alive.getsockname())
        with seconds() as first, open_many() as sock:
            assert sock.getpeername() == alive.getsockname()
            # The timeout would be 10 seconds.
            assert 0.2 < first() < 5
            assert sock.gettimeout() == 10
        waits = []
        for _ in range(5):
            with seconds() as second, open_many():
                waits.append(second())
        # A busy machine may hold one of them up.
        assert min(waits) < 0.2


def test_refused_address_costs_nothing(resolve: Callable[..., None]) -> None:
    """An address that refuses makes room for the next one at once."""
    with socket.create_server(("127.0.0.1", 0)) as alive:
        resolve(("127.0.0.1", closed_port()), ("::1", closed_port()), alive.getsockname())
        with seconds() as spent, open_many(None) as sock:
            # Two head starts would be 500 ms.
            assert spent() < 0.45
            assert sock.gettimeout() is None


@pytest.fixture
def lack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process have no descriptor left for the next socket of the Internet."""
    real, left = socket.socket, [errno.EMFILE]

    def new_socket(family: int = socket.AF_INET, *args: Any, **more: Any) -> socket.socket:
        if family == socket.AF_INET and left:
            raise OSError(left.pop(), "no more descriptors")
        return real(family, *args, **more)

    monkeypatch.setattr(socket, "socket", new_socket)


def test_lack_of_this_machine_kills_no_address(resolve: Callable[..., None], request: Any) -> None:
    """An address is not dead because this process has no descriptor left."""
    with (
        socket.create_server(("127.0.0.1", 0)) as first,
        socket.create_server(("127.0.0.1", 0)) as second,
    ):
        resolve(first.getsockname(), second.getsockname())
        request.getfixturevalue("lack")
        for server in (second, first):
            with open_many() as sock:
                assert sock.getpeername() == server.getsockname()


def test_lack_of_this_machine_is_told(resolve: Callable[..., None], request: Any) -> None:
    """If no address connects, the error says what this machine lacks."""
    resolve(("127.0.0.1", closed_port()), ("127.0.0.2", closed_port()))
    request.getfixturevalue("lack")
    with pytest.raises(OSError) as caught:
        open_many()
    assert caught.value.errno == errno.EMFILE


def test_timeout_is_that_of_all_addresses(resolve: Callable[..., None], dead: Address) -> None:
    """Several dead addresses together take no longer than the timeout."""
    resolve(dead, ("127.0.0.1", closed_port()), ("127.0.0.2", dead[1]))
    before = open_sockets()
    with seconds() as spent, pytest.raises(socket.timeout):
        open_many(1.0)
    assert 0.95 < spent() < 1.9
    assert open_sockets() == before


def test_all_addresses_refuse(resolve: Callable[..., None]) -> None:
    """The error is a refusal, and no socket stays open."""
    resolve(("127.0.0.1", closed_port()), ("::1", closed_port()))
    before = open_sockets()
    with pytest.raises(OSError) as caught:
        open_many()
    assert caught.value.errno in (errno.ECONNREFUSED, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    assert open_sockets() == before


@pytest.mark.parametrize("addresses", [1, 2])
def test_cancel_ends_all_attempts(
    resolve: Callable[..., None], dead: Address, addresses: int
) -> None:
    """A cancelled scope ends connecting at once, and leaves no socket."""
    resolve(*[dead, ("127.0.0.2", dead[1])][:addresses])
    before = open_sockets()
    scope = CancelScope()
    client = HTTPSession(Endpoint(timeout=30), TLS(True))
    timer = threading.Timer(0.4, scope.cancel)  # Both attempts are under way by then.
    timer.start()
    with seconds() as spent, pytest.raises(Cancelled):
        client.get("http://many.test/", scope)
    assert spent() < 20
    timer.join()
    client.close()
    assert open_sockets() == before


@pytest.mark.parametrize("make", [lambda: None, hooked])
def test_both_routes(resolve: Callable[..., None], dead: Address, make: Any) -> None:
    """A dead address is survived on the fast route, and through requests."""
    with serving(lambda connection, line, head: connection.sendall(answer(b"x"))) as server:
        resolve(dead, ("127.0.0.1", server.port))
        client = HTTPSession(Endpoint(timeout=10), TLS(True), session=make())
        with client.get("http://many.test/", CancelScope()) as response:
            assert bytes(response.read(1)) == b"x"
        client.close()


def test_portal_and_proxy(
    resolve: Callable[..., None], dead: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead address of the proxy is survived by requests to the portal, too."""
    handler = lambda connection, line, head: connection.sendall(answer(b"{}"))  # noqa: E731
    with serving(handler) as portal, serving(proxy_handler()) as proxy:
        monkeypatch.setenv("http_proxy", "http://many.test:80")
        monkeypatch.setenv("no_proxy", "")
        resolve(dead, ("127.0.0.1", proxy.port))
        session = APISession(Endpoint(timeout=10), TLS(True))
        found = session.request("GET", f"http://127.0.0.1:{portal.port}/", CancelScope(), {})
        assert found.body == b"{}" and proxy.lines
        session.close()
