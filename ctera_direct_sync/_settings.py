"""The classes behind :mod:`ctera_direct_sync.settings`.

They have a module of their own, so that ``importlib.reload`` of the public one keeps them: clients
and pickles go on to share one ``Settings`` class.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, Union

__all__ = [
    "CHECKSUMS",
    "Endpoint",
    "Sessions",
    "Settings",
    "convert",
    "restore",
    "shipped",
    "unknown",
    "use_defaults",
]

_PUBLIC_MODULE = "ctera_direct_sync.settings"

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


def unknown(fields: Iterable[str], name: str) -> str:
    """Return the message for a name that is not a setting."""
    return f"there is no setting {name!r}: choose from {', '.join(fields)}"


def convert(fields: Mapping[str, tuple[Any, Any]], name: str, value: Any) -> Any:
    """Return ``value`` as setting ``name`` keeps it; ValueError where it makes no sense."""
    try:
        return fields[name][1](value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"settings.{name}: {error}") from None


class _Checked:
    """Attributes named in ``_fields`` only, each through its converter."""

    __slots__ = ("_values",)

    _fields: ClassVar[dict[str, tuple[Any, Any]]] = {}

    def __init__(self, **values: Any) -> None:
        object.__setattr__(self, "_values", {})
        for name, (default, _) in self._fields.items():
            setattr(self, name, values.pop(name, default))
        for name in values:
            raise TypeError(unknown(self._fields, name))

    @property
    def __dict__(self) -> Mapping[str, Any]:  # type: ignore[override]
        """The values, read-only. ``mock.patch`` sets back what it finds here, and deletes the rest."""
        return MappingProxyType(self._values)

    def __getattr__(self, name: str) -> Any:
        if name != "_values" and name in self._values:
            return self._values[name]
        raise AttributeError(unknown(self._fields, name))

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._fields:
            raise AttributeError(unknown(self._fields, name))
        self._values[name] = convert(self._fields, name, value)

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"setting {name!r} cannot be deleted: set another value")

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
        return (restore, (type(self), self._values))


def restore(cls: type[_Checked], values: dict[str, Any]) -> _Checked:
    """Return what was pickled."""
    return cls(**values)


restore.__module__, restore.__qualname__, restore.__name__ = _PUBLIC_MODULE, "_restore", "_restore"


class Endpoint(_Checked):
    """How to talk to one side: ``ssl`` (True, False or a CA bundle), ``timeout`` (connect, read) s."""

    __module__ = _PUBLIC_MODULE
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


class _HasEndpoints(Protocol):
    api: Endpoint
    storage: Endpoint


class Sessions:
    """The older documented path, ``settings.sessions.ctera_direct.api.ssl``, to the same two."""

    __slots__ = ("_owner",)

    def __init__(self, owner: _HasEndpoints) -> None:
        object.__setattr__(self, "_owner", owner)

    @property
    def ctera_direct(self) -> Sessions:
        """The next step of the path."""
        return self

    @property
    def __dict__(self) -> Mapping[str, Any]:  # type: ignore[override]
        return MappingProxyType({"api": self.api, "storage": self.storage})

    @property
    def api(self) -> Endpoint:
        """The portal's."""
        return self._owner.api

    @api.setter
    def api(self, value: Endpoint) -> None:
        self._owner.api = value

    @property
    def storage(self) -> Endpoint:
        """The storage's."""
        return self._owner.storage

    @storage.setter
    def storage(self, value: Endpoint) -> None:
        self._owner.storage = value

    _owner: _HasEndpoints


class Settings(_Checked):
    """One client's settings; what is not given is the process's default at that moment.

    ``api``, ``storage``: an :class:`Endpoint` each.
    ``max_workers``: most concurrent downloads that a client chooses by itself.
    ``memory``: bytes that one stream, iteration or download may hold, in flight included; and all open
    files of a client together.
    ``retries``: attempts after the first, per block and per listing; ``backoff``, ``max_backoff``:
    seconds of exponential, fully jittered waiting; ``retry_timeout``: seconds after which no further
    attempt starts.
    ``checksums``: digests to verify where the storage declares them (:data:`CHECKSUMS`, or ``'all'``).
    """

    __module__ = _PUBLIC_MODULE
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
        super().__init__(**{**_current_defaults(), **values})

    @property
    def sessions(self) -> Sessions:
        """``sessions.ctera_direct.api`` and ``.storage``: the same objects under their older names."""
        return Sessions(self)


# --- the process's defaults ------------------------------------------------------------------------------

_defaults: dict[str, Any] = {}


def shipped() -> dict[str, Any]:
    """Return the values that the package ships with."""
    return {name: convert_to(value) for name, (value, convert_to) in Settings._fields.items()}


def use_defaults(namespace: dict[str, Any]) -> None:
    """Take the defaults from ``namespace`` from now on."""
    global _defaults
    _defaults = namespace


def _current_defaults() -> dict[str, Any]:
    return {name: _defaults[name] for name in Settings._fields if name in _defaults}
