"""Hide the queries of URLs, which are signatures, in the lines that urllib3 logs."""

from __future__ import annotations

import logging
import os
import re

from .._base.sync import Lock
from .current import current_request

__all__ = ["install_log_filter"]

#: Each logger needs the filter: a logger's filters do not see what its children log.
_LOGGER_NAMES = (
    "urllib3.connection",
    "urllib3.connectionpool",
    "urllib3.poolmanager",
    "urllib3.util.retry",
)
_QUERY = re.compile(r"\?\S+")


class _QueryFilter(logging.Filter):
    """Replace the queries of URLs while this thread runs a request of the library."""

    def filter(self, record: logging.LogRecord) -> bool:
        # The application's own requests are logged as it is used to.
        if current_request.get() is not None and isinstance(record.args, tuple):
            record.args = tuple(
                _QUERY.sub("?...", arg) if isinstance(arg, str) else arg for arg in record.args
            )
        return True


_filter = _QueryFilter()
_lock = Lock()


def install_log_filter() -> None:
    """Add the filter to urllib3's loggers. Later calls change nothing.

    Any thread may call it. On return the filter is in place.
    """
    with _lock:
        for name in _LOGGER_NAMES:
            logging.getLogger(name).addFilter(_filter)


def _renew_lock() -> None:
    """Replace the lock in a forked child: a thread of the parent may have held it."""
    global _lock
    _lock = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
