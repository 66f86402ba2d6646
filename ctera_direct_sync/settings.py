"""The defaults of the process, and `Settings`, one client's own copy.

`ctera_direct_sync.settings.max_workers = 8` changes the default of each client that is made
afterwards. `DirectIO(settings=Settings(max_workers=8))` sets it for one client. A name that does not
exist, or a value that makes no sense, raises at once. No setting is silently ignored.

`mock.patch`, pytest's `monkeypatch` and `importlib.reload` work on this module as on any other. A
reload puts the shipped values back.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ._settings import (
    CHECKSUMS,
    ChecksumName,
    Endpoint,
    Sessions,
    Settings,
    convert,
    shipped,
    unknown,
    use_defaults,
)
from ._settings import restore as _restore  # noqa: F401 - pickles name it

# For the other packages of the library.
from ._timetable import Timetable as Timetable
from ._timetable import minute_of_day as minute_of_day
from ._timetable import parse_bandwidth as parse_bandwidth

__all__ = ["CHECKSUMS", "ChecksumName", "Endpoint", "Settings"]


class _DefaultsModule(types.ModuleType):
    """A module that keeps the process's defaults among its names, and checks what they are set to."""

    def __getattr__(self, name: str) -> Any:
        if name == "sessions":
            return Sessions(self)
        raise AttributeError(unknown(Settings._fields, name))

    def __setattr__(self, name: str, value: Any) -> None:
        if name in Settings._fields:
            value = convert(Settings._fields, name, value)
        elif name not in self.__dict__ and not name.startswith("__"):
            raise AttributeError(unknown(Settings._fields, name))
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"setting {name!r} cannot be deleted: set another value")

    def __dir__(self) -> Iterable[str]:
        return [*super().__dir__(), "sessions"]


use_defaults(globals())
globals().update(shipped())
sys.modules[__name__].__class__ = _DefaultsModule

if TYPE_CHECKING:
    # The names that shipped() gives this module, for the type checkers of users.
    api: Endpoint
    storage: Endpoint
    max_workers: int
    memory: int
    retries: int
    backoff: float
    max_backoff: float
    retry_timeout: float
    bandwidth: float | str | None
    hedging: float
    checksums: frozenset[ChecksumName]
    tune_allocator: bool
    filter_logs: bool
    sessions: Sessions
