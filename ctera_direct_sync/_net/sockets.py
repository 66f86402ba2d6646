"""Sockets that another thread can shut down while this one is blocked on them."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterable
from typing import Any, Callable

__all__ = ["open_connection", "shut_down"]


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
        timeout_s: Seconds to wait for each address; None waits without end.
        source_address: The local address to connect from, or None.
        options: Arguments for `setsockopt`.
        before_connect: Called with each socket before it may block.

    Raises:
        OSError: No address could be connected to. The error is that of the last one.
    """
    error: OSError | None = None
    addresses = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    for family, kind, protocol, _, address in addresses:
        sock = socket.socket(family, kind, protocol)
        try:
            for option in options:
                sock.setsockopt(*option)
            if timeout_s is not None:
                sock.settimeout(timeout_s)
            if source_address:
                sock.bind(source_address)
            before_connect(sock)
            sock.connect(address)
            return sock
        except OSError as caught:
            sock.close()
            error = caught
        except BaseException:
            sock.close()
            raise
    raise error or OSError(errno.EADDRNOTAVAIL, "the host name has no address")


def shut_down(sock: Any) -> None:
    """Shut a connection down, so that a thread that is blocked on it wakes up.

    Args:
        sock: A socket, or urllib3's object for TLS within TLS (an https:// proxy), which holds one.
    """
    plain = sock if isinstance(sock, socket.socket) else getattr(sock, "socket", None)
    # The plain method: SSLSocket.shutdown would drop the TLS layer under the thread that is reading.
    if isinstance(plain, socket.socket):
        with contextlib.suppress(OSError):
            socket.socket.shutdown(plain, socket.SHUT_RDWR)
