"""Sockets that another thread can shut down while this one is blocked on them."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

__all__ = ["shut_down"]


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
