"""Connect to the first address of a host that answers: happy eyeballs (RFC 8305), without threads.

The order of the addresses, and what is remembered of them, are plain functions and a plain class.
Only `open_connection` and `_Race` touch sockets.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
from collections.abc import Iterable
from typing import Any, Callable

from .._base.sync import monotonic

__all__ = ["AddressMemory", "find_live_address", "interleave", "open_connection"]

#: What `getaddrinfo` returns for one address.
_AddressInfo = tuple[Any, ...]

#: Seconds before the next address is tried too (RFC 8305, section 5, recommends 250 ms).
_ATTEMPT_DELAY_S = 0.25
#: Seconds that a dead address goes last (RFC 6555, section 4.1, says "on the order of 10 minutes").
_MEMORY_S = 600.0
_MAX_REMEMBERED_HOSTS = 256
#: What a connect that goes on says. EAGAIN of POSIX is a failure: it leaves the socket unconnected.
_IN_PROGRESS = {errno.EWOULDBLOCK if os.name == "nt" else errno.EINPROGRESS}
#: What this machine lacks. It says nothing about the address.
_LOCAL_LACKS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
#: How long one wait lasts. Selectors refuse some weeks and more.
_MAX_WAIT_S = 3600.0


def interleave(addresses: Iterable[_AddressInfo]) -> list[_AddressInfo]:
    """Return addresses without duplicates, with their families in turns (RFC 8305, section 4).

    Args:
        addresses: What `getaddrinfo` returned. The family of the first one goes first.
    """
    families: dict[Any, list[_AddressInfo]] = {}
    for info in dict.fromkeys(addresses):
        families.setdefault(info[0], []).append(info)
    ordered: list[_AddressInfo] = []
    queues = list(families.values())
    while queues:
        ordered += [infos.pop(0) for infos in queues]
        queues = [infos for infos in queues if infos]
    return ordered


class AddressMemory:
    """Remember which addresses of a host failed, or answered too late, and which one worked.

    A host is remembered only if one of its addresses failed. The resolver's order stands for the others,
    so a host that spreads its load by that order still does. Each step is one operation of a dict, so
    threads share a memory without a lock.

    Args:
        clock: Returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        # For each host and port: the end of the memory, the address that worked, the dead ones.
        self._hosts: dict[tuple[str, int], tuple[float, Any, frozenset[Any]]] = {}

    def sort(self, host: str, port: int, addresses: list[_AddressInfo]) -> list[_AddressInfo]:
        """Return addresses with the one that worked first and the dead ones last."""
        expires, worked, dead = self._hosts.get((host, port), (0.0, None, frozenset[Any]()))
        if expires <= self._clock():
            return addresses

        def rank(info: _AddressInfo) -> int:
            return 0 if info[4] == worked else 2 if info[4] in dead else 1

        return sorted(addresses, key=rank)

    def record(self, host: str, port: int, worked: Any, dead: Iterable[Any]) -> None:
        """Remember the outcome of a connection.

        Args:
            host: The host's name.
            port: The TCP port.
            worked: The address that was connected to.
            dead: Addresses that failed, or did not answer in time.
        """
        now = self._clock()
        expires, _, known = self._hosts.get((host, port), (0.0, None, frozenset[Any]()))
        found = frozenset(dead)
        if expires <= now:
            expires, known = now + _MEMORY_S, frozenset()
        elif found - known:
            expires = now + _MEMORY_S
        every = (known | found) - {worked}
        if not every:
            self._hosts.pop((host, port), None)
            return
        if len(self._hosts) >= _MAX_REMEMBERED_HOSTS:
            self._hosts.clear()
        self._hosts[host, port] = expires, worked, every


#: The memory of the process: all clients meet the same dead addresses.
_memory = AddressMemory()


def open_connection(
    host: str,
    port: int,
    *,
    timeout_s: float | None,
    source_address: tuple[str, int] | None,
    options: Iterable[Any],
    before_connect: Callable[[socket.socket], object],
) -> socket.socket:
    """Return a socket that is connected to the first address of a host that answers.

    Args:
        host: The host's name or address.
        port: The TCP port.
        timeout_s: Seconds to wait in total; None waits without end.
        source_address: The local address to connect from, or None.
        options: Arguments for `setsockopt`.
        before_connect: Called with a socket before this thread may block. If another thread shuts that
            socket down, connecting ends. It is called again with the connected socket.

    Raises:
        OSError: No address could be connected to. The error is that of the last one.
    """
    found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    addresses = _memory.sort(host, port, interleave(found))
    options = tuple(options)

    def new_socket(info: _AddressInfo) -> socket.socket:
        sock = socket.socket(*info[:3])
        try:
            for option in options:
                sock.setsockopt(*option)
            if timeout_s is not None:
                sock.settimeout(timeout_s)
            if source_address:
                sock.bind(source_address)
        except BaseException:
            sock.close()
            raise
        return sock

    if not addresses:
        raise OSError(errno.EADDRNOTAVAIL, "the host name has no address")
    if len(addresses) == 1:
        sock = new_socket(addresses[0])
        try:
            before_connect(sock)
            sock.connect(addresses[0][4])
        except BaseException:
            sock.close()
            raise
        return sock
    # Only one object can be registered to be shut down. One end of this pair stands for all attempts.
    alarm, waker = socket.socketpair()
    with contextlib.closing(alarm), contextlib.closing(waker):
        before_connect(waker)
        race = _Race(addresses, new_socket, alarm, timeout_s)
        try:
            sock = race.run()
        except BaseException:
            race.close(None)
            raise
        try:
            # From here on the connected socket itself is shut down. If the waker was before this, the
            # callback raises, since what it registers with has ended.
            before_connect(sock)
        except BaseException:
            race.close(None)
            raise
        race.close(sock)
    _memory.record(host, port, race.winner, race.dead)
    return sock


def find_live_address(
    host: str,
    port: int,
    *,
    timeout_s: float | None,
    before_connect: Callable[[socket.socket], object],
) -> str:
    """Return the first address of a host that answers, for a library that makes its own connections.

    A host with several addresses is connected to, which costs a connection. A host with one is not.

    Args:
        host: The host's name or address.
        port: The TCP port.
        timeout_s: Seconds to wait in total; None waits without end.
        before_connect: As for `open_connection`.

    Raises:
        OSError: No address could be connected to. The error is that of the last one.
    """
    found = interleave(socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM))
    if len(found) == 1:
        return str(found[0][4][0])
    with open_connection(
        host,
        port,
        timeout_s=timeout_s,
        source_address=None,
        options=(),
        before_connect=before_connect,
    ) as sock:
        return str(sock.getpeername()[0])


class _Race:
    """Attempts to connect to several addresses at once, each of which gets a head start.

    Args:
        addresses: The addresses, best first.
        new_socket: Makes the socket for an address.
        alarm: A socket that becomes readable if the attempts are to end.
        timeout_s: Seconds for all attempts together, or None.

    Attributes:
        winner: The address that answered.
        dead: The addresses that failed, or that had a head start and did not answer.
    """

    def __init__(
        self,
        addresses: list[_AddressInfo],
        new_socket: Callable[[_AddressInfo], socket.socket],
        alarm: socket.socket,
        timeout_s: float | None,
    ) -> None:
        self.winner: Any = None
        self.dead: list[Any] = []
        self._waiting = addresses
        self._new_socket = new_socket
        self._alarm = alarm
        if timeout_s is None:
            timeout_s = socket.getdefaulttimeout()
        self._delay_s = _ATTEMPT_DELAY_S
        self._deadline: float | None = None
        if timeout_s is not None:
            self._deadline = monotonic() + timeout_s
            # A short timeout leaves time for each address.
            self._delay_s = min(self._delay_s, timeout_s / len(addresses))
        #: The socket, the start, the address and the socket's timeout of each attempt that is under way.
        self._attempts: dict[socket.socket, tuple[float, Any, float | None]] = {}
        self._sockets: list[socket.socket] = []
        self._error: OSError = OSError(errno.EADDRNOTAVAIL, "the host name has no address")
        self._selector = selectors.DefaultSelector()

    def run(self) -> socket.socket:
        """Return the first socket that is connected, blocking or with its timeout set.

        Raises:
            OSError: No attempt succeeded, or the alarm rang.
        """
        self._selector.register(self._alarm, selectors.EVENT_READ)
        next_start = monotonic()
        while self._waiting or self._attempts:
            now = monotonic()
            if self._deadline is not None and now >= self._deadline:
                raise socket.timeout("timed out")
            if self._waiting and (now >= next_start or not self._attempts):
                next_start = now + self._delay_s
                connected = self._start(self._waiting.pop(0), now)
                if connected is not None:
                    return connected
                continue
            for key, _ in self._selector.select(self._wait_time(now, next_start)):
                if key.fileobj is self._alarm:
                    raise ConnectionAbortedError(errno.ECONNABORTED, "connecting was ended")
                connected = self._finish(key.fileobj)
                if connected is not None:
                    return connected
                next_start = monotonic()  # An attempt that fails makes room for the next at once.
        raise self._error

    def close(self, kept: socket.socket | None) -> None:
        """Close the sockets of all attempts but `kept`."""
        self._selector.close()
        for sock in self._sockets:
            if sock is not kept:
                sock.close()

    def _wait_time(self, now: float, next_start: float) -> float | None:
        ends = [next_start] if self._waiting else []
        if self._deadline is not None:
            ends.append(self._deadline)
        return min(max(0.0, min(ends) - now), _MAX_WAIT_S) if ends else None

    def _start(self, info: _AddressInfo, now: float) -> socket.socket | None:
        """Begin an attempt. Return its socket if it is connected at once."""
        address = info[4]
        sock: socket.socket | None = None
        try:
            sock = self._new_socket(info)
            self._sockets.append(sock)
            self._attempts[sock] = now, address, sock.gettimeout()
            sock.setblocking(False)
            sock.connect(address)
        except OSError as error:
            if sock is not None and error.errno in _IN_PROGRESS:
                self._selector.register(sock, selectors.EVENT_WRITE)
                return None
            if sock is not None:
                self._attempts.pop(sock, None)
                sock.close()
            self._note(error)
            if error.errno not in _LOCAL_LACKS:
                self.dead.append(address)
            return None
        return self._win(sock)

    def _note(self, error: OSError) -> None:
        """Keep an error for the case that no address connects.

        What this machine lacks says most, then a server's refusal.
        """
        if error.errno in _LOCAL_LACKS or not (
            isinstance(self._error, ConnectionError) or self._error.errno in _LOCAL_LACKS
        ):
            self._error = error

    def _finish(self, sock: Any) -> socket.socket | None:
        """Take note of an attempt that has ended. Return its socket if it is connected."""
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not number:
            return self._win(sock)
        self._selector.unregister(sock)
        _, address, _ = self._attempts.pop(sock)
        sock.close()
        self.dead.append(address)
        self._note(OSError(number, os.strerror(number)))
        return None

    def _win(self, sock: socket.socket) -> socket.socket:
        _, self.winner, timeout_s = self._attempts.pop(sock)
        late = monotonic() - self._delay_s
        self.dead += [address for start, address, _ in self._attempts.values() if start <= late]
        sock.settimeout(timeout_s)
        return sock
