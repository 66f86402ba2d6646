"""The process's defaults, and :class:`Settings`, one client's own copy.

``ctera_direct_sync.settings.max_workers = 8`` changes the default of every client made afterwards;
``DirectIO(settings=Settings(max_workers=8))`` of one. A name that does not exist or a value that makes
no sense raises at once: no setting is silently ignored.
"""

from __future__ import annotations

import operator
import sys
import types
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Union

__all__ = ["CHECKSUMS", "Endpoint", "Settings"]

MIB = 1024 * 1024

#: Digests that a storage may declare and that can be verified (PROTOCOL section 4).
CHECKSUMS = ("crc32c", "crc32", "crc64nvme", "md5", "sha1", "sha256", "etag")

_CHEAP = ("crc32c", "crc32", "crc64nvme")


def _ssl(value: Any) -> Union[bool, str]:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value:
        return value
    if hasattr(value, "__fspath__"):
        return str(value.__fspath__())
    raise ValueError("ssl is True (verify), False (do not), or the path of a CA bundle")


def _timeout(value: Any) -> tuple[float, float]:
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2:
        raise ValueError("timeout is a number of seconds or a (connect, read) pair of them")
    connect, read = (_seconds(part) for part in pair)
    if not connect or not read:
        raise ValueError("a timeout of 0 seconds would fail every request")
    return connect, read


def _seconds(value: Any) -> float:
    seconds = float(value)
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"{value!r} is no finite, non-negative number of seconds")
    return seconds


def _count(minimum: int) -> Any:
    def convert(value: Any) -> int:
        number = operator.index(value)
        if number < minimum:
            raise ValueError(f"{number} is below the minimum, {minimum}")
        return number

    return convert


def _checksums(value: Any) -> frozenset[str]:
    names = [value] if isinstance(value, str) else list(value)
    if names == ["all"]:
        names = list(CHECKSUMS)
    for name in names:
        if name not in CHECKSUMS:
            raise ValueError(
                f"unknown checksum {name!r}: choose from {', '.join(CHECKSUMS)}, or 'all'"
            )
    return frozenset(names)


class _Checked:
    """Attributes named in ``_fields`` only, each through its converter."""

    __slots__ = ("_values",)

    _fields: ClassVar[dict[str, tuple[Any, Any]]] = {}

    def __init__(self, **values: Any) -> None:
        object.__setattr__(self, "_values", {})
        for name, (default, _) in self._fields.items():
            setattr(self, name, values.pop(name, default))
        for name in values:
            raise TypeError(f"there is no setting {name!r}: choose from {', '.join(self._fields)}")

    def __getattr__(self, name: str) -> Any:
        if name != "_values" and name in self._values:
            return self._values[name]
        raise AttributeError(f"there is no setting {name!r}: choose from {', '.join(self._fields)}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._fields:
            raise AttributeError(
                f"there is no setting {name!r}: choose from {', '.join(self._fields)}"
            )
        try:
            self._values[name] = self._fields[name][1](value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"settings.{name}: {error}") from None

    def __dir__(self) -> Iterable[str]:
        return [*super().__dir__(), *self._fields]

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return bool(self._values == other._values)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}={value!r}" for name, value in self._values.items())
        return f"{type(self).__name__}({inner})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_restore, (type(self), self._values))


def _restore(cls: type[_Checked], values: dict[str, Any]) -> _Checked:
    return cls(**values)


class Endpoint(_Checked):
    """How to talk to one side: ``ssl`` (True, False or a CA bundle), ``timeout`` (connect, read) s."""

    __slots__ = ()
    _fields: ClassVar[dict[str, tuple[Any, Any]]] = {
        "ssl": (True, _ssl),
        "timeout": ((10.0, 60.0), _timeout),
    }

    ssl: Union[bool, str]
    timeout: tuple[float, float]


def _endpoint(value: Any) -> Endpoint:
    if not isinstance(value, Endpoint):
        raise TypeError("an Endpoint(ssl=..., timeout=...) is wanted")
    return Endpoint(ssl=value.ssl, timeout=value.timeout)


class _Sessions:
    """The older documented path, ``settings.sessions.ctera_direct.api.ssl``, to the same two."""

    __slots__ = ("api", "ctera_direct", "storage")

    def __init__(self, settings: Settings) -> None:
        self.ctera_direct = self
        self.api = settings.api
        self.storage = settings.storage


class Settings(_Checked):
    """One client's settings; what is not given is the process's default at that moment.

    ``api``, ``storage``: an :class:`Endpoint` each.
    ``max_workers``: most concurrent downloads that a client chooses by itself.
    ``memory``: bytes that one stream, iteration, download or open file may hold, in flight included.
    ``retries``: attempts after the first, per block and per listing; ``backoff``, ``max_backoff``:
    seconds of exponential, fully jittered waiting; ``retry_timeout``: seconds after which no further
    attempt starts.
    ``checksums``: digests to verify where the storage declares them (:data:`CHECKSUMS`, or ``'all'``).
    """

    __slots__ = ()
    _fields: ClassVar[dict[str, tuple[Any, Any]]] = {
        "api": (Endpoint(), _endpoint),
        "storage": (Endpoint(), _endpoint),
        "max_workers": (32, _count(1)),
        "memory": (64 * MIB, _count(1)),
        "retries": (4, _count(0)),
        "backoff": (0.25, _seconds),
        "max_backoff": (10.0, _seconds),
        "retry_timeout": (300.0, _seconds),
        "checksums": (_CHEAP, _checksums),
    }

    api: Endpoint
    storage: Endpoint
    max_workers: int
    memory: int
    retries: int
    backoff: float
    max_backoff: float
    retry_timeout: float
    checksums: frozenset[str]

    def __init__(self, **values: Any) -> None:
        defaults = globals().get("_defaults")
        base = {} if defaults is None else dict(defaults._values)
        super().__init__(**{**base, **values})

    @property
    def sessions(self) -> _Sessions:
        """``sessions.ctera_direct.api`` and ``.storage``: the same objects under their older names."""
        return _Sessions(self)


_defaults = Settings()


class _DefaultsModule(types.ModuleType):
    """Lets this module itself be read and written as the process's :class:`Settings`."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_defaults, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("__"):
            super().__setattr__(name, value)
        else:
            setattr(_defaults, name, value)

    def __dir__(self) -> Iterable[str]:
        return [*super().__dir__(), *Settings._fields, "sessions"]


sys.modules[__name__].__class__ = _DefaultsModule

if TYPE_CHECKING:
    # What the module has as attributes by that, for whoever checks the types of a user's program.
    api: Endpoint
    storage: Endpoint
    max_workers: int
    memory: int
    retries: int
    backoff: float
    max_backoff: float
    retry_timeout: float
    checksums: frozenset[str]
    sessions: _Sessions
