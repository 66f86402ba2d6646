"""Relay TCP connections as a simulated network would carry them.

    python bench/networks/relay.py office 127.0.0.1:8080

The relay listens on loopback, prints its port, and ends with its standard input. It does not read the
bytes, so TLS passes. The windows of TCP on loopback are not the limit: the relay accepts bytes at the
pace of the link and keeps those that are under way, up to `_MAX_IN_FLIGHT_BYTES` per direction.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import socket
import struct
import sys
from collections import deque

from ctera_direct_sync.emulator.network import DOWN, PROFILES, UP, Connection, Network

#: A link of 1 GB/s and 64 ms keeps that many bytes under way.
_MAX_IN_FLIGHT_BYTES = 64 * 1024 * 1024
_PIECE_SIZE_BYTES = 256 * 1024
#: Later than this is waited for; timers are not finer.
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
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        made = transport.get_extra_info("socket")
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._direction == UP:
            self.transport.pause_reading()  # until the server is connected

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

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

    _ended = False

    def _is_done(self) -> bool:
        return self._ended and not self._pieces


def reset(transport: asyncio.Transport) -> None:
    """End a connection with an RST."""
    made = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):  # it may be closed
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def start_relay(
    network: Network, host: str, port: int, listen_port: int = 0
) -> asyncio.AbstractServer:
    """Listen on loopback, and relay each connection to a server.

    Args:
        network: The network between the clients and the server.
        host: The host of the server.
        port: The port of the server.
        listen_port: The port to listen on. 0: any.

    Returns:
        The listening server.
    """
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    def accept() -> _End:
        connection = network.connect()
        client, server = _End(UP, connection), _End(DOWN, connection)
        client.other, server.other = server, client
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

    return await loop.create_server(accept, "127.0.0.1", listen_port, backlog=512)


async def _main() -> None:
    parser = argparse.ArgumentParser(description="Relay TCP through a simulated network.")
    parser.add_argument("profile", choices=sorted(PROFILES))
    parser.add_argument("server", help="HOST:PORT to relay to")
    parser.add_argument("--port", type=int, default=0, help="the port to listen on")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    host, _, port = arguments.server.rpartition(":")
    network = Network(PROFILES[arguments.profile], arguments.seed)
    server = await start_relay(network, host, int(port), arguments.port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_main())
