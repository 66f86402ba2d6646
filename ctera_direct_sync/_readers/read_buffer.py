"""The buffer that a caller passes to `readinto`, as bytes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["ReadBuffer"]


class ReadBuffer(NamedTuple):
    """A buffer to read into.

    Attributes:
        view: The bytes to fill.
        original: The caller's buffer, if `view` is a copy that `finish` must write back; else None.
    """

    view: memoryview
    original: WriteableBuffer | None

    @classmethod
    def over(cls, buffer: WriteableBuffer) -> ReadBuffer:
        """Return a read buffer over the caller's object.

        Args:
            buffer: Any writable object with the buffer protocol.

        Raises:
            TypeError: The buffer is read-only.
        """
        view = memoryview(buffer)
        if view.readonly:
            raise TypeError(f"a buffer to read into must be writable, not {type(buffer).__name__}")
        if not view.nbytes:
            return cls(memoryview(bytearray()), None)
        try:
            return cls(view.cast("B"), None)
        except (TypeError, ValueError):
            # memoryview cannot cast some items, such as big-endian numbers.
            if not view.c_contiguous:
                raise
            return cls(memoryview(bytearray(view.nbytes)), buffer)

    def finish(self, count: int) -> None:
        """Write the first `count` bytes to the caller's buffer, if `view` is a copy."""
        if self.original is not None:
            io.BytesIO(self.view[:count]).readinto(self.original)
