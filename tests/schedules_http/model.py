"""A server as bytes and times, without a thread or a clock.

A script says what the server does on one connection: what it sends, when it waits, how it ends.
The client works on real sockets, one end of a pair. The server does what is due before each of the client's
calls that could block. Time passes only while the client waits. So nothing ever hangs: a wait that no byte
can end is a timeout at once.
"""

from __future__ import annotations

import contextlib
import errno
import re
import socket
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any, Callable, Union

from tests.schedules_http.reference import Reading, read_response

__all__ = [
    "Connection",
    "Mark",
    "ModelError",
    "Network",
    "Script",
    "format_scripts",
    "parse_scripts",
]


class Mark(Enum):
    """What a server does besides sending."""

    #: Wait for the next request.
    REQUEST = "request"
    #: Wait until the client has taken all that was sent and waits for more.
    PAUSE = "pause"
    #: Send no more (a FIN), and go on reading.
    END = "end"
    #: Close the connection. A request that is sent later fails.
    CLOSE = "close"
    #: Read no more, and go on sending. A request that is sent later fails.
    REFUSE = "refuse"
    #: Reset the connection. What the client did not read is lost.
    RESET = "reset"


Script = tuple[Union[bytes, Mark], ...]

_NEXT_CONNECTION = b"|connection|"
_MARKS = {b"|%s|" % mark.value.encode(): mark for mark in Mark}
_TOKEN = re.compile(b"(" + b"|".join(map(re.escape, _MARKS)) + b")")
#: More calls on one socket than any script can cause.
_MAX_CALLS = 200_000


def parse_scripts(data: bytes) -> list[Script]:
    """Return the scripts that a text describes: bytes as they are, marks in bars, as `|pause|`."""
    return [
        tuple(_MARKS.get(part, part) for part in _TOKEN.split(text) if part)
        for text in data.split(_NEXT_CONNECTION)
    ]


def format_scripts(scripts: Iterable[Script]) -> bytes:
    """Return the text of scripts, for `parse_scripts`."""
    return _NEXT_CONNECTION.join(
        b"".join(
            part if isinstance(part, bytes) else b"|%s|" % part.value.encode() for part in script
        )
        for script in scripts
    )


class ModelError(AssertionError):
    """The client broke a rule of keep-alive."""


class Connection(socket.socket):
    """The client's end of a connection, and the server behind it.

    Attributes:
        requests: The requests that were sent whole.
        sent: All bytes that the server has sent.
        taken: How many of them the client has read.
        lost: Whether a reset has thrown bytes away.
        ended: Whether the server sends no more.
    """

    def __init__(self, script: Script) -> None:
        ours, theirs = socket.socketpair()
        super().__init__(fileno=ours.detach())
        theirs.setblocking(False)
        self._peer = theirs
        self._script = list(script)
        self._request = b""
        self._awaited = 0
        self._closed_by_peer = False
        self._refuses = False
        self._failed = False
        self._calls = 0
        self._starts: list[int] = []
        self.requests = 0
        self.sent = b""
        self.taken = 0
        self.lost = False
        self.ended = False
        self._run()

    # --- the server --------------------------------------------------------------------------------------

    def _run(self, *, time_passes: bool = False) -> bool:
        """Go on until the script has to wait. Return whether anything was done."""
        before = len(self._script)
        skip_pauses = time_passes
        while self._script:
            step = self._script[0]
            if step is Mark.PAUSE:
                if not skip_pauses:
                    break
                skip_pauses = False
            elif step is Mark.REQUEST:
                if self.requests <= self._awaited:
                    break
                self._awaited += 1
            elif step is Mark.REFUSE:
                self._refuses = True
            elif isinstance(step, bytes):
                if not self._send(step):
                    return True
            else:
                self._end(step)
            self._script.pop(0)
        return len(self._script) < before

    def _send(self, data: bytes) -> bool:
        """Send what the connection has room for. Return whether that was all."""
        if self.ended:
            return True
        try:
            count = self._peer.send(data)
        except BlockingIOError:
            count = 0
        except (BrokenPipeError, ConnectionResetError):
            self.ended = True
            return True
        self.sent += data[:count]
        if count < len(data):
            self._script[0] = data[count:]
            return False
        return True

    def _end(self, mark: Mark) -> None:
        if self._closed_by_peer:
            return
        self.ended = True
        if mark is Mark.END:
            with contextlib.suppress(OSError):
                self._peer.shutdown(socket.SHUT_WR)
            return
        self._closed_by_peer = True
        self.lost = mark is Mark.RESET
        self._peer.close()
        if self.lost:
            self.setblocking(False)
            with contextlib.suppress(OSError):
                while super().recv(65536):
                    pass

    def let_time_pass(self) -> None:
        """Let the server do all that it does without another request."""
        while self._run(time_passes=True):
            if len(self.sent) - self.taken > 100_000:
                break  # No room: the rest waits until the client reads.

    def foresee(self) -> Reading:
        """Return what the answer to the last request means, once the server has sent all of it."""
        stream, ended = self.sent, self.ended
        awaited = self._awaited
        for step in self._script:
            if ended:
                break
            if step is Mark.REQUEST:
                awaited += 1
                if awaited > self.requests:
                    break
            elif isinstance(step, bytes):
                stream += step
            elif step not in (Mark.PAUSE, Mark.REFUSE):
                ended = True
        return read_response(stream, self._starts[-1], ended=ended)

    # --- the client's calls ------------------------------------------------------------------------------

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Take a request, or a part of it."""
        self._count_call()
        if not self._request:
            self._check_clean()
        if self._closed_by_peer or self._refuses:
            self._failed = True
            error = ConnectionResetError if self.lost else BrokenPipeError
            self._starts.append(self.taken)
            raise error(errno.ECONNRESET if self.lost else errno.EPIPE, "the model closed")
        self._request += bytes(data)
        if self._request.endswith(b"\r\n\r\n"):
            self._request = b""
            self._starts.append(self.taken)
            self.requests += 1
            self._run()

    def _check_clean(self) -> None:
        """Refuse a request over a connection whose last answer has not ended, or that has a surplus."""
        if self._failed:
            raise ModelError("a connection that a request could not be sent over is used again")
        if not self._starts:
            return
        if len(self.sent) > self.taken or self.ended:
            raise ModelError("a connection with unread bytes, or that was closed, is used again")
        last = read_response(self.sent, self._starts[-1], ended=self.ended)
        if last.problem or not last.keep_alive:
            raise ModelError(f"a connection is used again after {last}")
        if last.end != self.taken:
            raise ModelError(f"a connection is used again after {self.taken - last.end} bytes more")

    def _wait(self) -> bool:
        """Let time pass until a read would not block. Return False if the connection was reset."""
        self._count_call()
        while len(self.sent) == self.taken and not self.ended:
            if not self._run(time_passes=True):
                raise socket.timeout("the model sends nothing more")
        if self.lost:
            raise ConnectionResetError(errno.ECONNRESET, "the model reset the connection")
        return True

    def _count_call(self) -> None:
        self._calls += 1
        if self._calls > _MAX_CALLS:
            raise ModelError("the client does not stop")

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Receive what was sent."""
        self._wait()
        data = super().recv(size, flags)
        self.taken += len(data)
        return data

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Receive what was sent into memory."""
        self._wait()
        count = super().recv_into(buffer, nbytes, flags)
        self.taken += count
        return count

    def close(self) -> None:
        """Close both ends."""
        super().close()
        if self.fileno() < 0:
            self._peer.close()


class Network:
    """What the client connects to: one script for each connection, in their order.

    Args:
        scripts: The scripts. A client that opens more connections is refused.
    """

    def __init__(self, scripts: Iterable[Script]) -> None:
        self._scripts = list(scripts)
        self.connections: list[Connection] = []

    def open_connection(
        self, host: str, port: int, *, before_connect: Callable[[Any], object], **_: Any
    ) -> Connection:
        """Stand in for the function of the same name in `ctera_direct_sync._net.connect`."""
        if not self._scripts:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "the model has no more connections")
        connection = Connection(self._scripts.pop(0))
        self.connections.append(connection)
        before_connect(connection)
        return connection

    def let_time_pass(self) -> None:
        """Let all servers do what they do without another request."""
        for connection in self.connections:
            if connection.fileno() >= 0:
                connection.let_time_pass()

    def close(self) -> Iterator[Connection]:
        """Yield and close the connections that the client left open."""
        for connection in self.connections:
            if connection.fileno() >= 0:
                yield connection
            connection.close()
            connection._peer.close()
