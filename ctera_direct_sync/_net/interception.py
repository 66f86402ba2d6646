"""Find out whether a mock, recorder or tracer watches or replaces the requests of this process.

They replace methods of `requests`, `urllib3` or `http.client`, or the classes of connections, for a while
or for good. A request on the fast route would escape them, so each request looks first.

A replacement may be older than this module. So a function counts as original if its own module's
namespace is its global one, not if it was found on import.
"""

from __future__ import annotations

import enum
import http.client
from collections.abc import Mapping
from types import ModuleType
from typing import Any, NamedTuple

import requests.adapters
import requests.sessions
import urllib3.connection
import urllib3.connectionpool

__all__ = ["Interception", "Snapshot", "take_snapshot"]


class Interception(enum.IntEnum):
    """What is replaced."""

    NONE = 0
    #: Methods, which `requests` and the library's own connections call.
    METHODS = 1
    #: The classes of connections or pools: only urllib3's own pools make those.
    CLASSES = 2


class Snapshot(NamedTuple):
    """What was found, and where to look whether it is still so.

    It is current while `namespace[name] is value` for each place. `HTTPSession` compares them itself,
    because each request does. Identity decides: the wrappers of some libraries claim to equal what they
    wrap.

    Attributes:
        interception: The verdict.
        places: Namespaces of modules and classes, a name in each, and the value that was found there.
            The namespaces are live views.
    """

    interception: Interception
    places: tuple[tuple[Mapping[str, Any], str, Any], ...]


#: Never current. It stands for what is too different to be understood, so each request looks again.
_UNKNOWN = Snapshot(Interception.CLASSES, (({}, "", None),))

#: Classes, the modules where they are found, and the methods of them that matter.
_METHODS: tuple[tuple[ModuleType, str, tuple[str, ...]], ...] = (
    (requests.sessions, "Session", ("get", "request", "send", "get_adapter")),
    (requests.adapters, "HTTPAdapter", ("send",)),
    (urllib3.connectionpool, "HTTPConnectionPool", ("urlopen", "_new_conn")),
    (urllib3.connection, "HTTPConnection", ("request", "getresponse")),
    (http.client, "HTTPConnection", ("request", "putrequest", "getresponse", "connect")),
)
#: Methods that make connections. One that is replaced makes those of another class.
_FACTORIES = frozenset({"_new_conn"})
#: Pool classes, which say in `ConnectionCls` what they make.
_POOLS = ("HTTPConnectionPool", "HTTPSConnectionPool")


def take_snapshot() -> Snapshot:
    """Return how things are at this moment."""
    try:
        # Before the verdict: the next request then notices what changes in between.
        places = tuple((namespace, name, namespace[name]) for namespace, name in _find_places())
        return Snapshot(_judge(), places)
    except (AttributeError, KeyError, TypeError):  # Something else stands in the place of a class.
        return _UNKNOWN


def _find_places() -> list[tuple[Mapping[str, Any], str]]:
    """Return namespaces and the names in them that decide."""
    pools, connections = urllib3.connectionpool, urllib3.connection
    places: list[tuple[Mapping[str, Any], str]] = [
        (vars(connections), "HTTPSConnection"),
        (vars(pools), "HTTPSConnectionPool"),
    ]
    places += [(vars(getattr(pools, name)), "ConnectionCls") for name in _POOLS]
    for module, name, methods in _METHODS:
        places.append((vars(module), name))
        places += [(vars(getattr(module, name)), method) for method in methods]
    return places


def _judge() -> Interception:
    pools, connections = urllib3.connectionpool, urllib3.connection
    made = [getattr(pools, name).ConnectionCls for name in _POOLS]
    if any(
        found.__module__ != connections.__name__ for found in (*made, connections.HTTPSConnection)
    ):
        return Interception.CLASSES
    verdict = Interception.NONE
    for module, name, methods in _METHODS:
        owner = getattr(module, name)
        if owner.__module__ != module.__name__:
            return Interception.CLASSES
        for method in methods:
            if not _is_original(vars(owner)[method], module):
                if method in _FACTORIES:
                    return Interception.CLASSES
                verdict = Interception.METHODS
    return verdict


def _is_original(function: Any, module: ModuleType) -> bool:
    """Return whether a method is its module's own.

    A wrapper has another module's globals, or says what it wraps.
    """
    return getattr(function, "__globals__", None) is vars(module) and not hasattr(
        function, "__wrapped__"
    )
