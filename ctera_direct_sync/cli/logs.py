"""Logging of a command: to standard error, without the query of any URL."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import Iterator

from tqdm import tqdm

from .output import complain

__all__ = ["log_to_stderr"]

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


@contextlib.contextmanager
def log_to_stderr(debug: bool) -> Iterator[None]:
    """Log to standard error while the ``with`` block runs.

    Args:
        debug: Whether to log all that this package does, or only warnings.
    """
    handler = _TerminalHandler()
    pattern = "%(asctime)s %(levelname)s %(name)s: %(message)s" if debug else "%(message)s"
    handler.setFormatter(_RedactingFormatter(pattern))
    levels = {"ctera_direct_sync": logging.DEBUG} if debug else {
        # They warn of each failed attempt. In the end the call succeeds, or its error says why not.
        "ctera_direct_sync._protocol.portal": logging.ERROR,
        "ctera_direct_sync._protocol.storage": logging.ERROR,
    }  # fmt: skip
    root = logging.getLogger()
    before = {name: logging.getLogger(name).level for name in levels}
    root.addHandler(handler)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    try:
        yield
    finally:
        root.removeHandler(handler)
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
