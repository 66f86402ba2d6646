"""Checks of the memory that a caller gave away for a while."""

from __future__ import annotations

from ctera_direct_sync.emulator.fault_table import Fault

__all__ = ["check_left_alone"]


def check_left_alone(buffer: bytearray, held: Fault) -> None:
    """Check that a buffer is neither written nor locked once a stalled block for it arrives.

    Args:
        buffer: The buffer, after the call that read into it.
        held: The fault that stalls the block.
    """
    buffer[:] = bytes(len(buffer))
    held.release()
    assert not any(buffer)
    buffer.append(0)
