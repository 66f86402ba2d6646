"""The clients that unpickled files share."""

from __future__ import annotations

from typing import Any

from ctera_direct_sync._readers.client_lease import ClientLease, _registry


class Client:
    """Stands for a client."""

    def __init__(self) -> None:
        self.number = 0
        self.closed = False

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.number = state["number"]
        self.closed = False

    def close(self) -> None:
        """Note that the client was closed."""
        self.closed = True


def lease(number: int) -> ClientLease:
    """Return a lease of the client with a number."""
    kind: Any = Client
    return ClientLease(kind, {"number": number})


def test_leases_of_equal_state_share_a_client() -> None:
    """The client is closed with its last lease."""
    one, other, third = lease(1), lease(1), lease(2)
    assert one.client is other.client
    assert third.client is not one.client
    client: Any = one.client
    one.end()
    assert not client.closed
    other.end()
    assert client.closed
    third.end()


def test_lease_that_ends_twice() -> None:
    """A second end of a lease does not end that of another file."""
    one, other = lease(1), lease(1)
    client: Any = one.client
    one.end()
    one.end()
    assert not client.closed
    other.end()
    assert client.closed


def test_collected_lease_leaves_the_client_to_the_next() -> None:
    """The collector closes no client. A lease that begins next uses it, and its end closes it."""
    one = lease(1)
    client: Any = one.client
    one.end(close_client=False)
    assert not client.closed
    other = lease(1)
    assert other.client is client
    assert not client.closed
    other.end()
    assert client.closed


def test_lease_that_ends_amid_the_beginning_of_another() -> None:
    """A signal handler that closes a file amid the opening of another one does not wait for ever."""
    one = lease(1)
    client: Any = one.client
    _registry._lock.run(one.end)
    assert not client.closed
    lease(2).end()
    assert client.closed
