"""Logging of a command: to standard error, without the query of any URL."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import Iterator

from tqdm import tqdm

from .output import complain

__all__ = ["CommandLog"]

#: The query of a URL in any text. The query of a pre-signed URL grants access.
_QUERY = re.compile(r"\?[^\s'\"<>)\]]+")


class _RedactingFormatter(logging.Formatter):
    """Removes the queries of URLs. This package logs none, but other packages may."""

    def format(self, record: logging.LogRecord) -> str:
        return _QUERY.sub("?...", super().format(record))


class _TerminalHandler(logging.Handler):
    """Writes to stderr, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
            with tqdm.external_write_mode(sys.stderr):
                complain(text)
        except Exception:  # noqa: BLE001 - logging's own way with errors of handlers
            self.handleError(record)


#: The format of a line, and the levels of loggers: usually, and with debug logging.
_PATTERN, _DEBUG_PATTERN = "%(message)s", "%(asctime)s %(levelname)s %(name)s: %(message)s"
_LEVELS = {
    # They warn of each failed attempt. In the end the call succeeds, or its error says why not.
    "ctera_direct_sync._protocol.portal": logging.ERROR,
    "ctera_direct_sync._protocol.storage": logging.ERROR,
}
_DEBUG_LEVELS = {"ctera_direct_sync": logging.DEBUG}

_log = logging.getLogger(__name__)


class CommandLog:
    """The log of one command.

    Attributes:
        is_on: Whether debug logging is on: all that this package logs goes to standard error.
    """

    def __init__(self) -> None:
        self.is_on = False
        self._handler: logging.Handler | None = None
        self._before: dict[str, int] = {}

    @contextlib.contextmanager
    def logging_to_stderr(self, debug: bool) -> Iterator[None]:
        """Log to standard error while the ``with`` block runs.

        Args:
            debug: Whether to log all that this package does, or only warnings. If `toggle` was called
                before, it means the opposite.
        """
        self.is_on = self.is_on != debug
        self._handler = handler = _TerminalHandler()
        self._before = {name: logging.getLogger(name).level for name in (*_LEVELS, *_DEBUG_LEVELS)}
        root = logging.getLogger()
        root.addHandler(handler)
        self._apply(handler)
        try:
            yield
        finally:
            self._handler = None
            root.removeHandler(handler)
            self._set(self._before)

    def toggle(self) -> None:
        """Log everything from now on, or only warnings again. Before the log begins, remember it."""
        self.is_on = not self.is_on
        handler = self._handler
        if handler is None:
            return
        if self.is_on:
            self._apply(handler)
            _log.debug("debug logging is on: SIGUSR2 turns it off")
        else:
            _log.debug("debug logging is off: SIGUSR2 turns it on")
            self._apply(handler)

    def _apply(self, handler: logging.Handler) -> None:
        pattern = _DEBUG_PATTERN if self.is_on else _PATTERN
        handler.setFormatter(_RedactingFormatter(pattern))
        self._set({**self._before, **(_DEBUG_LEVELS if self.is_on else _LEVELS)})

    @staticmethod
    def _set(levels: dict[str, int]) -> None:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
