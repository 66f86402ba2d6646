"""Whether somebody watches or replaces the requests of this process: mocks, recorders, tracers.

They replace methods of ``requests``, ``urllib3`` or ``http.client``, or the classes of connections,
for a while or for good. What goes straight to the socket would escape them, so each request looks here
first. What is found may have been replaced before this module was imported: a function is original if
its own module's namespace is its global one, not if it is what was found on import.
"""

from __future__ import annotations

import enum
import http.client
from types import ModuleType
from typing import Any, NamedTuple

import requests.adapters
import requests.sessions
import urllib3.connection
import urllib3.connectionpool

__all__ = ["Interception", "interception"]


class Interception(enum.IntEnum):
    """How deep somebody intercepts."""

    NONE = 0
    #: Methods are replaced, which ``requests`` and our own connections call.
    METHODS = 1
    #: The classes of connections or pools are replaced: only urllib3's own pools make those.
    CLASSES = 2


_SESSION = ("get", "request", "send", "get_adapter")
_ADAPTER = ("send",)
_POOL = ("urlopen",)
_POOL_CLASSES = ("_new_conn",)
_CONNECTION = ("request", "getresponse")
_CLIENT = ("request", "putrequest", "getresponse", "connect")

#: A class, where it is found, and the methods of it that are looked at.
_LOOKS: tuple[tuple[ModuleType, str, tuple[str, ...]], ...] = (
    (requests.sessions, "Session", _SESSION),
    (requests.adapters, "HTTPAdapter", _ADAPTER),
    (urllib3.connectionpool, "HTTPConnectionPool", (*_POOL, *_POOL_CLASSES)),
    (urllib3.connection, "HTTPConnection", _CONNECTION),
    (http.client, "HTTPConnection", _CLIENT),
)


class _View(NamedTuple):
    """What was found, and where to look whether it is still so, which takes about 1 us."""

    classes: tuple[Any, ...]
    methods: tuple[tuple[Any, str, Any], ...]
    verdict: Interception


_view = _View((), (), Interception.NONE)


def interception() -> Interception:
    """Return how deep somebody intercepts at this moment."""
    global _view
    view = _view
    try:
        classes = _classes()
        if _is_same(view, classes):
            return view.verdict
        _view = view = _look(classes)
    except (AttributeError, KeyError, TypeError):  # A class was replaced by something else.
        return Interception.CLASSES
    return view.verdict


def _is_same(view: _View, classes: tuple[Any, ...]) -> bool:
    """Compare by identity: wrappers of some libraries say that they equal what they wrap."""
    if classes != view.classes:
        return False
    for namespace, name, found in view.methods:  # noqa: SIM110 - A generator takes twice the time.
        if namespace[name] is not found:
            return False
    return True


def _classes() -> tuple[Any, ...]:
    pools, connections = urllib3.connectionpool, urllib3.connection
    return (
        requests.sessions.Session,
        requests.adapters.HTTPAdapter,
        pools.HTTPConnectionPool,
        connections.HTTPConnection,
        http.client.HTTPConnection,
        pools.HTTPConnectionPool.ConnectionCls,
        pools.HTTPSConnectionPool.ConnectionCls,
        connections.HTTPSConnection,
    )


def _look(classes: tuple[Any, ...]) -> _View:
    found = []
    for module, name, methods in _LOOKS:
        # A class's namespace is a live view: looking again sees what was assigned since.
        namespace = vars(getattr(module, name))
        found += [(namespace, method, namespace[method]) for method in methods]
    return _View(classes, tuple(found), _judge())


def _judge() -> Interception:
    pools, connections = urllib3.connectionpool, urllib3.connection
    for made in (
        pools.HTTPConnectionPool.ConnectionCls,
        pools.HTTPSConnectionPool.ConnectionCls,
        connections.HTTPSConnection,
    ):
        if made.__module__ != connections.__name__:
            return Interception.CLASSES
    verdict = Interception.NONE
    for module, name, methods in _LOOKS:
        owner = getattr(module, name)
        if owner.__module__ != module.__name__:
            return Interception.CLASSES
        for method in methods:
            if not _is_original(vars(owner)[method], module):
                if method in _POOL_CLASSES:
                    return Interception.CLASSES
                verdict = Interception.METHODS
    return verdict


def _is_original(function: Any, module: ModuleType) -> bool:
    """Whether a method is its module's own: a wrapper is another's, or says what it wraps."""
    return getattr(function, "__globals__", None) is vars(module) and not hasattr(
        function, "__wrapped__"
    )
