"""Fast, synchronous downloads from the CTERA global namespace through Direct IO.

::

    import ctera_direct_sync as ctera_direct

    with ctera_direct.DirectIO("https://tenant.ctera.com", access_key_id, secret_access_key) as client:
        client.download(12345, "example.pdf")
        for block in client.stream(12345):
            handle(block.data)
"""

from __future__ import annotations

from . import startup

if startup.is_command():
    startup.prepare()
try:
    from . import codec
except (ImportError, ValueError) as error:  # What the codec says of its environment variable.
    if startup.is_command():
        startup.end(error)
    raise
from . import client, exceptions, settings, types
from .batch import BatchItem, BatchResult
from .client import DirectIO
from .exceptions import *  # noqa: F403
from .exceptions import __all__ as _exception_names
from .settings import Settings
from .stream import Streamer
from .types import Block, ByteRange, Chunk, Download, Event, Metadata
from .version import __version__ as __version__

__all__ = [
    "BatchItem",
    "BatchResult",
    "Block",
    "ByteRange",
    "Chunk",
    "DirectIO",
    "Download",
    "Event",
    "Metadata",
    "Settings",
    "Streamer",
    "client",
    "codec",
    "exceptions",
    "settings",
    "types",
    *_exception_names,
]
