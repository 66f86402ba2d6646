"""Something that happens at a chosen statement of the package, on the thread that runs it.

A signal handler, an exception out of one, and the garbage collector can strike between any two
statements. A trace function does the same at the statement that a test names by its number.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Callable

import ctera_direct_sync

_PACKAGE = str(Path(ctera_direct_sync.__file__).parent)


class Statements:
    """Counts the package's statements on this thread, and acts once, at the one of a number."""

    def __init__(self, number: int, action: Callable[[], object]) -> None:
        self.number = number
        self.action = action
        self.count = 0

    def trace(self, frame: FrameType, event: str, argument: object) -> Any:
        """For ``sys.settrace``."""
        if not frame.f_code.co_filename.startswith(_PACKAGE):
            return None
        if event == "line":
            self.count += 1
            if self.count == self.number:
                self.action()
        return self.trace


@contextmanager
def at_statement(number: int, action: Callable[[], object]) -> Iterator[Statements]:
    """In the body, call ``action`` before the package's statement of that number on this thread."""
    statements = Statements(number, action)
    before = sys.gettrace()
    sys.settrace(statements.trace)
    try:
        yield statements
    finally:
        sys.settrace(before)


def interrupt() -> None:
    """What Ctrl-C does."""
    raise KeyboardInterrupt
