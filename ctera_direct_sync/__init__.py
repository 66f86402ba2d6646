"""Fast, synchronous downloads from the CTERA global namespace through Direct IO.

::

    import ctera_direct_sync as ctera_direct

    with ctera_direct.DirectIO("https://tenant.ctera.com", access_key_id, secret_access_key) as client:
        client.download(12345, "example.pdf")
        for block in client.stream(12345):
            handle(block.data)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .cli import startup

if startup.is_command():
    startup.prepare()
    try:
        importlib.import_module(f"{__name__}.codec")
    except (
        ImportError,
        ValueError,
    ) as error:  # Also a wrong CTERA_DIRECT_CODEC.
        startup.end(error)

from . import exceptions, settings, types
from .exceptions import *  # noqa: F403
from .exceptions import __all__ as _exception_names
from .settings import Settings
from .types import (
    Ancestor,
    BatchItem,
    BatchResult,
    Block,
    BlockEvent,
    ByteRange,
    ChangePage,
    Chunk,
    CloudFolder,
    Download,
    EndpointStats,
    Entry,
    Event,
    HostStats,
    KeyPair,
    Metadata,
    Mirrored,
    Quantiles,
    Stats,
    Version,
    Waits,
)
from .version import __version__ as __version__

if TYPE_CHECKING:
    from . import aio, client, codec, namespace
    from ._readers.stream import Streamer
    from .client import DirectIO
    from .namespace import Namespace

#: The module of each name that is imported at its first use: these import ssl and libraries for the
#: network. pytest loads the plugin before any conftest.py. A conftest.py may have to come first: gevent,
#: for example, must patch ssl before urllib3 imports it.
_LATE = {
    "DirectIO": "client",
    "Namespace": "namespace",
    "Streamer": "_readers.stream",
    "aio": "aio",
    "client": "client",
    "codec": "codec",
    "namespace": "namespace",
}

__all__ = [
    "Ancestor",
    "BatchItem",
    "BatchResult",
    "Block",
    "ByteRange",
    "ChangePage",
    "Chunk",
    "CloudFolder",
    "DirectIO",
    "Download",
    "BlockEvent",
    "EndpointStats",
    "Entry",
    "Event",
    "HostStats",
    "KeyPair",
    "Metadata",
    "Mirrored",
    "Namespace",
    "Quantiles",
    "Settings",
    "Stats",
    "Streamer",
    "Version",
    "Waits",
    "aio",
    "client",
    "codec",
    "exceptions",
    "namespace",
    "settings",
    "types",
    *_exception_names,
]


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_LATE[name]}")
    value = module if name == _LATE[name] else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATE})
