"""The relay of simulated networks carries bytes, ends and resets over real sockets."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from ctera_direct_sync.emulator.network import Network, NetworkProfile
from ctera_direct_sync.emulator.relay import start_relay

FAST = NetworkProfile("fast")
LATE = NetworkProfile("late", bandwidth=50e6, latency=0.002, jitter=0.002)


async def through(profile, serve, use):
    """Run a client against a server behind the relay."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    relay = await start_relay(Network(profile), *server.sockets[0].getsockname())
    try:
        port = relay.sockets[0].getsockname()[1]
        return await asyncio.wait_for(use(port), 60)
    finally:
        relay.close()
        server.close()


async def echo_all(reader, writer):
    """Answer all bytes once the client has ended its direction."""
    data = await reader.read()
    writer.write(data)
    await writer.drain()
    writer.close()


async def ask(port, data):
    """Send bytes and an end, and return the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize("profile", [FAST, LATE], ids=lambda profile: profile.name)
def test_bytes_survive_and_a_half_close_passes(profile):
    """The server sees the client's end, and can still answer in full."""
    data = bytes(range(256)) * 8192
    assert asyncio.run(through(profile, echo_all, lambda port: ask(port, data))) == data


@pytest.mark.parametrize("profile", [FAST, LATE], ids=lambda profile: profile.name)
def test_many_connections_keep_apart(profile):
    """Each of many connections gets its own bytes back."""

    async def use(port):
        sent = [str(number).encode() * 5000 for number in range(100)]
        return sent, await asyncio.gather(*(ask(port, data) for data in sent))

    sent, got = asyncio.run(through(profile, echo_all, use))
    assert got == sent


def test_a_reset_of_the_server_reaches_the_client():
    """A reset must not look like the end of the bytes."""

    async def serve(reader, writer):
        await reader.readexactly(1)
        made = writer.get_extra_info("socket")
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async def use(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"x")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()

    asyncio.run(through(FAST, serve, use))
