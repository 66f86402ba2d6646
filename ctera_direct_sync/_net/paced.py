"""Read a body in small steps: within a bandwidth, and not slower than a least speed."""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

from .._base.bandwidth import Share
from .._base.buffers import PooledBuffer
from .._base.cancellation import CancelScope
from .._base.sync import monotonic
from .errors import TransportError

__all__ = ["PacedBody", "SpeedWatch"]

#: The window of the least speed, in seconds of waiting for the network.
_SPEED_WINDOW_S = 30.0
#: What one read asks for if no bandwidth limits it.
_STEP_BYTES = 1024 * 1024


class _Body(Protocol):
    """A response whose body can be read by small parts."""

    def read_some(self, size: int, buffer: PooledBuffer | None = None) -> bytes | memoryview:
        """Return at least one of the next `size` bytes, none at the end."""

    def retire(self) -> None:
        """Have `close` give the connection up."""

    def close(self) -> None:
        """Release the connection."""


class _Rest(PooledBuffer):
    """The rest of a buffer that is filled part by part."""

    __slots__ = ("_whole", "offset")

    def __init__(self, whole: memoryview) -> None:
        super().__init__(bytearray())
        self._whole = whole
        #: Bytes that are filled.
        self.offset = 0

    def view(self, size: int) -> memoryview:
        """Return the next `size` bytes."""
        return self._whole[self.offset : self.offset + size]


class SpeedWatch:
    """Holds one body to a least speed.

    Only the time of reads counts. A reader may wait between them, for bandwidth say.

    Args:
        min_speed: The least speed in bytes per second.
    """

    __slots__ = ("_bytes", "_min_speed", "_reads", "_seconds")

    def __init__(self, min_speed: float) -> None:
        self._min_speed = min_speed
        #: Seconds and bytes of the last reads, and the sums of both.
        self._reads: deque[tuple[float, int]] = deque()
        self._seconds = 0.0
        self._bytes = 0

    def note(self, seconds: float, count: int) -> None:
        """Note a read.

        Args:
            seconds: How long it took.
            count: The bytes that it gave.

        Raises:
            TransportError: The body comes too slowly.
        """
        self._reads.append((seconds, count))
        self._seconds += seconds
        self._bytes += count
        while self._seconds - self._reads[0][0] >= _SPEED_WINDOW_S:
            oldest_seconds, oldest_count = self._reads.popleft()
            self._seconds -= oldest_seconds
            self._bytes -= oldest_count
        if self._seconds >= _SPEED_WINDOW_S and self._bytes < self._min_speed * self._seconds:
            raise TransportError("slow", f"{self._bytes} bytes came in {self._seconds:.0f} s")


class PacedBody:
    """The body of one response, read in small steps.

    Args:
        body: The response.
        share: What the body may use of the bandwidth. None: it is not limited.
        min_speed: The least speed in bytes per second. None: any.
        scope: What may end a read.

    Attributes:
        received: Bytes that were read so far.
        is_waiting: Whether the reader waits for its share of the bandwidth.
    """

    __slots__ = ("_body", "_scope", "_share", "_watch", "is_waiting", "received")

    def __init__(
        self, body: Any, share: Share | None, min_speed: float | None, scope: CancelScope
    ) -> None:
        self._body: _Body = body
        self._share = share
        self._watch = None if min_speed is None else SpeedWatch(min_speed)
        self._scope = scope
        self.received = 0
        self.is_waiting = False

    def read(self, size: int, buffer: PooledBuffer | None = None) -> bytes | memoryview:
        """Return the next `size` bytes, fewer at the end of the body.

        Args:
            size: The number of bytes.
            buffer: Memory for them, if their number is known. The result is then a view of it.

        Raises:
            TransportError: The body is malformed or too slow.
            Cancelled: The scope was cancelled.
        """
        if self._share is None:
            return self._read(size, buffer)
        with self._share:
            return self._read(size, buffer)

    def retire(self) -> None:
        """Have `close` give the connection up."""
        self._body.retire()

    def close(self) -> None:
        """Close the response."""
        self._body.close()

    def _read(self, size: int, buffer: PooledBuffer | None) -> bytes | memoryview:
        parts: list[bytes | memoryview] = []
        rest = None if buffer is None else _Rest(buffer.view(size))
        filled = 0
        while filled < size:
            part = self._read_part(size - filled, rest)
            if not part:
                break
            if rest is None:
                parts.append(part)
            else:
                if not isinstance(part, memoryview):
                    rest.view(len(part))[:] = part
                rest.offset += len(part)
            filled += len(part)
        return b"".join(parts) if buffer is None else buffer.view(filled)

    def _read_part(self, size: int, rest: _Rest | None) -> bytes | memoryview:
        share = self._share
        if share is None:
            step = min(size, _STEP_BYTES)
        else:
            self.is_waiting = True
            step = share.wait_for(size, self._scope)
            self.is_waiting = False
        began = monotonic()
        try:
            part = self._body.read_some(step, rest)
        except BaseException:
            # Nothing of the slice came, or so little that it does not matter.
            if share is not None:
                share.give_back(step)
            raise
        self.received += len(part)
        if share is not None and len(part) < step:
            share.give_back(step - len(part))
        if self._watch is not None and part:
            self._watch.note(monotonic() - began, len(part))
        return part
