"""Relay TCP connections as a simulated network would carry them.

The relay does not read the bytes, so TLS passes. The windows of TCP on loopback are not the limit: the
relay accepts bytes at the pace of the link and keeps those that are under way, up to
`_MAX_IN_FLIGHT_BYTES` per direction.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import socket
import struct
import threading
import weakref
from collections import deque

from .network import DOWN, UP, Connection, Network

#: A link of 1 GB/s and 64 ms keeps that many bytes under way.
_MAX_IN_FLIGHT_BYTES = 64 * 1024 * 1024
_PIECE_SIZE_BYTES = 256 * 1024
#: Rounds of the loop in which a step of a transport is surely done.
_ROUNDS = 5
#: What is due within this time is done at once. Timers are not finer.
_TICK_S = 0.0005


class _End(asyncio.BufferedProtocol):
    """One end of a relayed connection: it reads here, and writes to the other end."""

    def __init__(self, direction: str, connection: Connection) -> None:
        self._direction = direction
        self._connection = connection
        self._buffer = memoryview(bytearray(_PIECE_SIZE_BYTES))
        self._loop = asyncio.get_running_loop()
        self._pieces: deque[tuple[float, bytes | None]] = deque()
        self._in_flight = 0
        self._delivery: asyncio.TimerHandle | None = None
        self._wake_up: asyncio.TimerHandle | None = None
        self._full = False  # the other end takes nothing now
        self._arrived_at = 0.0
        self._ended = False
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        made = transport.get_extra_info("socket")
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._direction == UP:
            assert self.transport is not None
            self.transport.pause_reading()  # until the server is connected

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer[: self._connection.piece_size()]

    def buffer_updated(self, nbytes: int) -> None:
        now = self._loop.time()
        start = max(now, self._connection.ready_at(self._direction))
        arrival = self._connection.send(nbytes, self._direction, start)
        self._arrived_at = max(self._arrived_at, arrival)
        self._pieces.append((arrival, bytes(self._buffer[:nbytes])))
        self._in_flight += nbytes
        self._deliver()
        self._pace()

    def eof_received(self) -> bool:
        # An end arrives after all bytes before it, and one delay after it was sent.
        delay = self._connection.delay(self._direction)
        arrival = max(self._arrived_at, self._loop.time() + delay)
        self._pieces.append((arrival, None))
        self._deliver()
        return True  # the other direction stays open

    def connection_lost(self, error: Exception | None) -> None:
        for timer in (self._delivery, self._wake_up):
            if timer is not None:
                timer.cancel()
        self._pieces.clear()
        other = self.other
        if other is not None and other.transport is not None and not other.transport.is_closing():
            if error is not None:
                reset(other.transport)
            else:
                other.transport.close()

    def pause_writing(self) -> None:
        assert self.other is not None
        self.other._full = True

    def resume_writing(self) -> None:
        assert self.other is not None
        self.other._full = False
        self.other._deliver()
        self.other._pace()

    def _pace(self) -> None:
        """Read on when the link can take more."""
        self._wake_up = None
        assert self.transport is not None
        if self.transport.is_closing():
            return
        wait = self._connection.ready_at(self._direction) - self._loop.time()
        if self._full or self._in_flight >= _MAX_IN_FLIGHT_BYTES:
            self.transport.pause_reading()
        elif wait > _TICK_S:
            self.transport.pause_reading()
            self._wake_up = self._loop.call_later(wait, self._pace)
        else:
            self.transport.resume_reading()

    def _deliver(self) -> None:
        """Write what has arrived, and come back for the rest."""
        if self._delivery is not None:
            self._delivery.cancel()
            self._delivery = None
        assert self.other is not None
        target = self.other.transport
        if target is None or target.is_closing():
            return
        now = self._loop.time()
        while self._pieces and not self._full and self._pieces[0][0] <= now + _TICK_S:
            _, piece = self._pieces.popleft()
            if piece is None:
                with contextlib.suppress(OSError):  # the client may have reset the connection
                    target.write_eof()
                self._ended = True
                if self.other._is_done() and self._is_done():
                    target.close()
            else:
                self._in_flight -= len(piece)
                target.write(piece)
        if self._pieces and not self._full and self._pieces[0][0] < math.inf:
            self._delivery = self._loop.call_at(self._pieces[0][0], self._deliver)
        if self._wake_up is None:
            self._pace()

    def _is_done(self) -> bool:
        return self._ended and not self._pieces


def reset(transport: asyncio.Transport) -> None:
    """End a connection with an RST."""
    made = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):  # it may be closed
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def start_relay(
    network: Network, host: str, port: int, listen_port: int = 0, listen_host: str = "127.0.0.1"
) -> asyncio.AbstractServer:
    """Listen, and relay each connection to a server.

    Args:
        network: The network between the clients and the server.
        host: The host of the server.
        port: The port of the server.
        listen_port: The port to listen on. 0: any.
        listen_host: The address to listen on.

    Returns:
        The listening server.
    """
    return await _listen(network, host, port, listen_port, listen_host, weakref.WeakSet())


async def _listen(
    network: Network,
    host: str,
    port: int,
    listen_port: int,
    listen_host: str,
    ends: weakref.WeakSet[_End],
) -> asyncio.AbstractServer:
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    def accept() -> _End:
        connection = network.connect()
        client, server = _End(UP, connection), _End(DOWN, connection)
        client.other, server.other = server, client
        ends.add(client)
        ends.add(server)
        task = loop.create_task(join(client, server))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return client

    async def join(client: _End, server: _End) -> None:
        # A handshake takes a round trip: one delay each way.
        await asyncio.sleep(network.profile.latency * 2)
        try:
            await loop.create_connection(lambda: server, host, port)
        except OSError:
            if client.transport is not None:
                reset(client.transport)
            return
        if client.transport is None or client.transport.is_closing():
            if server.transport is not None:
                server.transport.close()
            return
        client.transport.resume_reading()
        # Python 3.9 and 3.10 read on although reading was paused before it began.
        client._deliver()

    return await loop.create_server(accept, listen_host, listen_port, backlog=512)


class Relay:
    """A relay on a thread of its own.

    Args:
        network: The network between the clients and the server.
        address: The host and port to listen on.
        target: The host and port of the server.

    Attributes:
        port: The port that it listens on.

    Raises:
        OSError: The port is taken.
    """

    def __init__(self, network: Network, address: tuple[str, int], target: tuple[str, int]) -> None:
        self.port = 0
        self._network = network
        self._address = address
        self._target = target
        self._ends: weakref.WeakSet[_End] = weakref.WeakSet()
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.AbstractServer | None = None
        self._started = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(
            target=self._run, name="ctera-emulator-network", daemon=True
        )
        self._thread.start()
        self._started.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error
        _relays.add(self)

    def stop(self) -> None:
        """Close every socket, and end the thread."""
        _relays.discard(self)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def abandon(self) -> None:
        """Close the copies of the parent's sockets in a forked child, as `Server.abandon` does."""
        sockets = [end.transport.get_extra_info("socket") for end in self._ends if end.transport]
        if self._server is not None:
            sockets += getattr(self._server, "sockets", ())
        for made in sockets:
            with contextlib.suppress(OSError):
                os.close(made.fileno())

    def _run(self) -> None:
        loop = self._loop
        asyncio.set_event_loop(loop)
        try:
            host, port = self._address
            self._server = loop.run_until_complete(
                _listen(self._network, *self._target, port, host, self._ends)
            )
            self.port = self._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        except BaseException as error:  # noqa: BLE001 - raised by the thread that starts the relay
            self._error = error
            loop.close()
            return
        finally:
            self._started.set()
        try:
            loop.run_forever()
        finally:
            self._close()

    def _close(self) -> None:
        loop = self._loop
        assert self._server is not None
        # A connection that was just accepted gets its transport in the next rounds of the loop. asyncio
        # fails to do so if the server is closed before.
        for each in self._server.sockets:  # type: ignore[attr-defined]
            loop.remove_reader(each.fileno())
        self._run_rounds()
        self._server.close()
        for end in list(self._ends):
            if end.transport is not None:
                end.transport.abort()
        self._run_rounds()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._run_rounds()
        loop.close()

    def _run_rounds(self) -> None:
        """Let transports that were aborted close their sockets, and others begin."""
        for _ in range(_ROUNDS):
            self._loop.run_until_complete(asyncio.sleep(0))


_relays: weakref.WeakSet[Relay] = weakref.WeakSet()


def _abandon_all() -> None:
    for relay in list(_relays):
        relay.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)
