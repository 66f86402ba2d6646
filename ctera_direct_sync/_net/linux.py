"""Read timeouts that the Linux kernel counts (ADR 7).

Python counts by a `poll` before each read: one more system call, and one more turn at the interpreter's
lock. A read that the kernel ends raises BlockingIOError.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading

__all__ = ["HAS_KERNEL_TIMEOUTS", "kernel_may_count", "set_kernel_timeout"]

#: Whether the kernel counts timeouts and takes them as two C longs (socket(7), SO_RCVTIMEO).
HAS_KERNEL_TIMEOUTS = sys.platform == "linux" and struct.calcsize("l") == 8


def kernel_may_count(sock: socket.socket) -> bool:
    """Return whether the kernel may count the timeouts of a socket that this thread is to use.

    The kernel starts to count anew after each signal, because Python repeats the call (PEP 475).
    Signals interrupt the main thread, so Python counts there.
    The sockets of gevent and the like are non-blocking, and wait in a way of their own.

    Args:
        sock: A socket without a timeout of Python's.
    """
    if threading.get_ident() == threading.main_thread().ident:
        return False
    return os.get_blocking(sock.fileno())


def set_kernel_timeout(sock: socket.socket, timeout_s: float | None) -> None:
    """Have the kernel end each read and write on a socket that takes longer.

    Args:
        sock: A blocking socket.
        timeout_s: Seconds, of which the kernel counts microseconds; None lets calls take any time.
    """
    # Zero means no timeout to the kernel: less than a microsecond must not become that.
    micros = 0 if timeout_s is None else max(1, round(timeout_s * 1_000_000))
    value = struct.pack("ll", *divmod(micros, 1_000_000))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)
