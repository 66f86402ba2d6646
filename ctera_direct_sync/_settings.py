"""The classes behind `ctera_direct_sync.settings`.

They have a module of their own, so that `importlib.reload` of the public one keeps them. Clients and
pickles then still share one `Settings` class.
"""

from __future__ import annotations

import enum
import operator
import os
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Callable, ClassVar, Literal, Protocol

from ._timetable import parse_bandwidth

__all__ = [
    "CHECKSUMS",
    "ChecksumName",
    "Endpoint",
    "Sessions",
    "Settings",
    "Unset",
    "convert",
    "restore",
    "shipped",
    "unknown",
    "use_defaults",
    "use_settings",
]

_PUBLIC_MODULE = "ctera_direct_sync.settings"

MIB = 1024 * 1024

ChecksumName = Literal["crc32c", "crc32", "crc64nvme", "md5", "sha1", "sha256", "etag"]
"""A checksum that the storage may declare for an object, and that can be verified (PROTOCOL, section 4)."""

CHECKSUMS: tuple[ChecksumName, ...] = (
    *("crc32c", "crc32", "crc64nvme"),
    *("md5", "sha1", "sha256", "etag"),
)
"""All checksums that can be verified. `checksums="all"` means these."""

#: These cost next to nothing beside the decoding of a block.
_CHEAP: tuple[ChecksumName, ...] = ("crc32c", "crc32", "crc64nvme")


class Unset(enum.Enum):
    """What a setting is if a call does not give it: the default of the process at that moment."""

    UNSET = enum.auto()

    def __repr__(self) -> str:
        return self.name


UNSET = Unset.UNSET


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("give True or False")
    return value


def _ssl(value: Any) -> bool | str:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value:
        return value
    if hasattr(value, "__fspath__"):
        return str(value.__fspath__())
    raise ValueError('ssl is True (verify), False (do not), "system", or the path of a CA bundle')


def _cert(value: Any) -> str | tuple[str, str] | None:
    if value is None:
        return None
    if isinstance(value, (tuple, list)):
        if len(value) == 2:
            return _path(value[0]), _path(value[1])
    elif isinstance(value, str) or hasattr(value, "__fspath__"):
        return _path(value)
    raise ValueError("cert is the path of a client certificate, or (certificate, key)")


def _path(value: Any) -> str:
    path = os.fspath(value)
    if isinstance(path, str) and "\n" in path:
        raise ValueError("cert is the path of a file: write the PEM text to one") from None
    if isinstance(path, str) and path:
        return path
    raise ValueError("cert is the path of a client certificate, or (certificate, key)")


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
        raise ValueError(f"{value!r} is not a finite, non-negative number of seconds")
    return seconds


def _bandwidth(value: Any) -> float | str | None:
    if parse_bandwidth(value) is None:
        return None
    return " ".join(value.split()) if isinstance(value, str) else value


def _share(value: Any) -> float:
    if isinstance(value, (bool, str)) or not 0 <= float(value) <= 1:
        raise ValueError(f"{value!r} is not a share: give a number from 0 (none) to 1")
    return float(value)


def _speed(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, (bool, str)) or not 0 <= float(value) < float("inf"):
        raise ValueError(f"min_speed is {value!r}: give bytes per second, or None for any speed")
    return float(value) or None


def _count(minimum: int) -> Any:
    def convert(value: Any) -> int:
        number = operator.index(value)
        if number < minimum:
            raise ValueError(f"{number} is below the minimum, {minimum}")
        return number

    return convert


def _checksums(value: Any) -> frozenset[ChecksumName]:
    names: list[Any] = [value] if isinstance(value, str) else list(value)
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
    """Return a value in the form in which its setting keeps it.

    Args:
        fields: Shipped value and converter of each setting.
        name: The setting.
        value: The value as it was given.

    Raises:
        ValueError: The value makes no sense.
    """
    try:
        return fields[name][1](value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"settings.{name}: {error}") from None


class _Checked:
    """An object that has the attributes named in `_fields` alone, and checks what they are set to."""

    __slots__ = ("_is_fixed", "_values")

    _values: dict[str, Any]

    _fields: ClassVar[dict[str, tuple[Any, Any]]] = {}
    #: What may still be changed once a client uses the object.
    _live: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, values: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_values", {})
        object.__setattr__(self, "_is_fixed", False)
        for name, (default, _) in self._fields.items():
            setattr(self, name, values.get(name, default))

    @property
    def __dict__(self) -> Mapping[str, Any]:  # type: ignore[override]
        """The values, read-only. `mock.patch` sets back what it finds here, and deletes the rest."""
        return MappingProxyType(self._values)

    def __getattr__(self, name: str) -> Any:
        if name != "_values" and name in self._values:
            return self._values[name]
        raise AttributeError(unknown(self._fields, name))

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._fields:
            raise AttributeError(unknown(self._fields, name))
        if self._is_fixed and name not in self._live:
            raise AttributeError(
                f"setting {name!r} of a client cannot be changed: make another client with it"
            )
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
    """How to connect to the portal, or to the object storage.

    Args:
        ssl: How to verify certificates. True: by the usual authorities. False: not at all. A path: by
            the CA bundle in that file or folder. "system": by the operating system's trust store, which
            needs the extra `system` and Python 3.10.
        timeout: Seconds to wait: (for a connection, for further bytes), or one number for both.
        min_speed: Bytes per second below which an answer fails, and is tried again, if it has come so
            slowly for 30 seconds. None: any speed. What `bandwidth` slows down does not count.
        cert: The client certificate that a server may ask for: the path of a file in PEM form that holds
            the certificate and its key, or (certificate, key). The key must not be encrypted.

    Raises:
        ValueError: A value makes no sense.

    Example:
        >>> settings = Settings(storage=Endpoint(ssl="ca.pem", timeout=(5, 30)))
    """

    __module__ = _PUBLIC_MODULE
    __slots__ = ()
    _fields: ClassVar[dict[str, tuple[Any, Any]]] = {
        "ssl": (True, _ssl),
        "timeout": ((10.0, 60.0), _timeout),
        "min_speed": (None, _speed),
        "cert": (None, _cert),
    }

    ssl: bool | str
    """How certificates are verified: True, False (not at all), "system", or the path of a CA bundle."""
    timeout: tuple[float, float]
    """Seconds to wait for a connection, and for further bytes while reading."""
    min_speed: float | None
    """Bytes per second below which an answer fails after 30 seconds, or None."""
    cert: str | tuple[str, str] | None
    """The path of the client certificate, or (certificate, key), or None."""

    def __init__(
        self,
        *,
        ssl: bool | str | os.PathLike[str] = True,
        timeout: float | tuple[float, float] = (10.0, 60.0),
        min_speed: float | None = None,
        cert: str
        | os.PathLike[str]
        | tuple[str | os.PathLike[str], str | os.PathLike[str]]
        | None = None,
    ) -> None:
        super().__init__({"ssl": ssl, "timeout": timeout, "min_speed": min_speed, "cert": cert})


def _endpoint(value: Any) -> Endpoint:
    if not isinstance(value, Endpoint):
        raise TypeError("give an Endpoint(ssl=..., timeout=...)")
    return Endpoint(
        ssl=value.ssl, timeout=value.timeout, min_speed=value.min_speed, cert=value.cert
    )


class _HasEndpoints(Protocol):
    api: Endpoint
    storage: Endpoint


class Sessions:
    """The older documented path to the two endpoints: `settings.sessions.ctera_direct.api.ssl`."""

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
        """How to connect to the portal."""
        return self._owner.api

    @api.setter
    def api(self, value: Endpoint) -> None:
        self._owner.api = value

    @property
    def storage(self) -> Endpoint:
        """How to connect to the storage."""
        return self._owner.storage

    @storage.setter
    def storage(self, value: Endpoint) -> None:
        self._owner.storage = value

    _owner: _HasEndpoints


class Settings(_Checked):
    """The settings of one client.

    A setting that is not given has the value that the process's default has at that moment. A name
    that does not exist, or a value that makes no sense, raises at once.

    Args:
        api: How to connect to the portal.
        storage: How to connect to the object storage.
        max_workers: The most concurrent block downloads that the client chooses by itself. A call's
            own `max_workers` comes in addition.
        memory: Bytes that one stream, iteration or download may hold, including those in flight. All
            open files of the client together may hold as many.
        retries: Attempts after the first, for each block and each block list.
        backoff: Seconds before the second attempt. Each further wait is twice as long, and the actual
            time is a random part of it.
        max_backoff: The longest wait between attempts, in seconds.
        retry_timeout: Seconds after the first attempt began from which on no further one begins.
        bandwidth: Bytes per second that all block reads of the client may use together: a number, a text
            such as `"2M"`, or a timetable such as `"08:00,2M 19:00,off"` in local time. K, M and G are
            powers of 1,000. None: no limit. It may be assigned while downloads run.
        hedging: Requests that may be sent twice because they are late, as a share of all, from 0 to 1.
            The first whole answer wins. 0: none.
        checksums: Which checksums to verify if the storage declares them: names of `CHECKSUMS`, or
            `"all"`. By default those that cost next to nothing.
        tune_allocator: Whether the client tunes the memory allocator of glibc for the process.
            Elsewhere it changes nothing.
        filter_logs: Whether the client keeps the queries of signed URLs out of what urllib3 logs at
            level DEBUG.

    Raises:
        ValueError: A value makes no sense.

    Example:
        >>> client = DirectIO(settings=Settings(max_workers=8, memory=32 * 1024 * 1024))
    """

    __module__ = _PUBLIC_MODULE
    __slots__ = ("_follower",)
    _live: ClassVar[frozenset[str]] = frozenset({"bandwidth"})
    _fields: ClassVar[dict[str, tuple[Any, Any]]] = {
        "api": (Endpoint(), _endpoint),
        "storage": (Endpoint(), _endpoint),
        "max_workers": (128, _count(1)),
        "memory": (64 * MIB, _count(1)),
        "retries": (4, _count(0)),
        "backoff": (0.25, _seconds),
        "max_backoff": (10.0, _seconds),
        "retry_timeout": (300.0, _seconds),
        "bandwidth": (None, _bandwidth),
        "hedging": (0.05, _share),
        "checksums": (_CHEAP, _checksums),
        "tune_allocator": (True, _switch),
        "filter_logs": (True, _switch),
    }

    api: Endpoint
    """How to connect to the portal."""
    storage: Endpoint
    """How to connect to the object storage."""
    max_workers: int
    """The most concurrent block downloads that the client chooses by itself."""
    memory: int
    """Bytes that one stream, iteration or download may hold, and all open files together."""
    retries: int
    """Attempts after the first, for each block and each block list."""
    backoff: float
    """Seconds before the second attempt, at most."""
    max_backoff: float
    """The longest wait between attempts, in seconds."""
    retry_timeout: float
    """Seconds after the first attempt began from which on no further one begins."""
    bandwidth: float | str | None
    """Bytes per second of all block reads together, a timetable of them, or None for no limit."""
    hedging: float
    """Requests that may be sent twice because they are late, as a share of all, from 0 to 1."""
    checksums: frozenset[ChecksumName]
    """Which checksums to verify if the storage declares them."""
    tune_allocator: bool
    """Whether the client tunes the memory allocator of glibc for the process."""
    filter_logs: bool
    """Whether the client keeps the queries of signed URLs out of what urllib3 logs."""

    def __init__(
        self,
        *,
        api: Endpoint | Unset = UNSET,
        storage: Endpoint | Unset = UNSET,
        max_workers: int | Unset = UNSET,
        memory: int | Unset = UNSET,
        retries: int | Unset = UNSET,
        backoff: float | Unset = UNSET,
        max_backoff: float | Unset = UNSET,
        retry_timeout: float | Unset = UNSET,
        bandwidth: float | str | Unset | None = UNSET,
        hedging: float | Unset = UNSET,
        checksums: Iterable[ChecksumName] | ChecksumName | Literal["all"] | Unset = UNSET,
        tune_allocator: bool | Unset = UNSET,
        filter_logs: bool | Unset = UNSET,
    ) -> None:
        given = {
            "api": api,
            "storage": storage,
            "max_workers": max_workers,
            "memory": memory,
            "retries": retries,
            "backoff": backoff,
            "max_backoff": max_backoff,
            "retry_timeout": retry_timeout,
            "bandwidth": bandwidth,
            "hedging": hedging,
            "checksums": checksums,
            "tune_allocator": tune_allocator,
            "filter_logs": filter_logs,
        }
        chosen = {name: value for name, value in given.items() if value is not UNSET}
        object.__setattr__(self, "_follower", None)
        super().__init__({**_current_defaults(), **chosen})

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "bandwidth" and self._follower is not None:
            self._follower(self.bandwidth)

    _follower: Callable[[float | str | None], object] | None

    @property
    def sessions(self) -> Sessions:
        """The older names of the endpoints: `sessions.ctera_direct.api` and `.storage`."""
        return Sessions(self)


def use_settings(settings: Settings, follower: Callable[[float | str | None], object]) -> None:
    """Fix the settings of a client, apart from those that it follows.

    Args:
        settings: The client's own copy.
        follower: Called with the bandwidth, now and whenever it is assigned.
    """
    for each in (settings, settings.api, settings.storage):
        object.__setattr__(each, "_is_fixed", True)
    object.__setattr__(settings, "_follower", follower)
    follower(settings.bandwidth)


# --- the process's defaults ------------------------------------------------------------------------------

_defaults: dict[str, Any] = {}


def shipped() -> dict[str, Any]:
    """Return the values that the package ships with."""
    return {name: convert_to(value) for name, (value, convert_to) in Settings._fields.items()}


def use_defaults(namespace: dict[str, Any]) -> None:
    """Take the defaults from `namespace` from now on."""
    global _defaults
    _defaults = namespace


def _current_defaults() -> dict[str, Any]:
    return {name: _defaults[name] for name in Settings._fields if name in _defaults}
