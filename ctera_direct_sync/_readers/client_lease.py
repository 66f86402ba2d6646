"""One client for all files of a process that were unpickled with the same keys."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from .error_checking_lock import ErrorCheckingLock

if TYPE_CHECKING:
    from .._core import ClientCore

__all__ = ["ClientLease"]


class ClientLease:
    """The right to use a client that several unpickled files share.

    The client is closed when the last of its leases ends.

    Args:
        kind: The class of the client.
        state: The state of the client, as its pickle holds it.

    Attributes:
        key: A digest of class and state. Leases of an equal key share their client.
        client: The client.
    """

    def __init__(self, kind: type[ClientCore], state: dict[str, Any]) -> None:
        self.key = hashlib.sha256(pickle.dumps((kind, state))).digest()
        client = kind.__new__(kind)
        client.__setstate__(state)
        self.client: ClientCore = _registry.add(self, client)
        _registry.close_unused()

    def end(self, *, close_client: bool = True) -> None:
        """End the lease.

        Args:
            close_client: Whether to close the client now if this was its last lease. The collector
                must not wait for that. It passes False, and the next use of any lease does it.
        """
        _registry.ended.append(self)
        if close_client:
            _registry.close_unused()


class _SharedClient(NamedTuple):
    """A client and its leases."""

    client: ClientCore
    leases: set[ClientLease]


class _Registry:
    """The shared clients of this process.

    Attributes:
        ended: Leases that have ended and are not removed yet. Finalizers may append to it.
    """

    def __init__(self) -> None:
        self.ended: deque[ClientLease] = deque()
        self._shared: dict[bytes, _SharedClient] = {}
        self._unused: deque[ClientCore] = deque()
        self.forget_parent()

    def forget_parent(self) -> None:
        """Make a new lock in a forked child: a thread of the parent may hold the old one."""
        self._lock = ErrorCheckingLock(
            "a signal handler used an unpickled file amid the opening of another: use it elsewhere"
        )

    def add(self, lease: ClientLease, client: ClientCore) -> ClientCore:
        """Add a lease.

        Args:
            lease: The lease.
            client: The client to use if the registry has none of the same key.

        Returns:
            The client that the lease shares.
        """
        return self._lock.run(self._add, lease, client)

    def _add(self, lease: ClientLease, client: ClientCore) -> ClientCore:
        shared = self._shared.setdefault(lease.key, _SharedClient(client, set()))
        shared.leases.add(lease)
        return shared.client

    def close_unused(self) -> None:
        """Close each client whose last lease has ended."""
        self._lock.defer(self._remove_ended)
        while self._unused:
            try:
                client = self._unused.popleft()
            except IndexError:  # Another thread took it.
                return
            client.close()

    def _remove_ended(self) -> None:
        while self.ended:
            # It stays in the deque until it is done: an interrupt must not lose it.
            lease = self.ended[0]
            shared = self._shared.get(lease.key)
            if shared is not None and shared.leases <= {lease}:
                self._unused.append(shared.client)
                del self._shared[lease.key]
            elif shared is not None:
                shared.leases.discard(lease)
            self.ended.popleft()


_registry = _Registry()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_registry.forget_parent)
