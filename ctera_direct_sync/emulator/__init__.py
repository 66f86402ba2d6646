"""A portal and its object storage in one process on loopback, for demos and for tests.

`Emulator` serves files in each way that PROTOCOL.md describes: every cipher, compression, block size and
shape of the block list, with signed URLs that expire. Users sign in, list and search by name, as in
PORTAL.md. The module `faults` makes things go wrong on request.
"""

from __future__ import annotations

from . import faults
from .catalog import FileInfo
from .emulator import Emulator
from .log import RequestLog, RequestRecord
from .names.accounts import Accounts, User
from .names.feed import Feed
from .names.feed_options import FeedOptions
from .names.options import PortalOptions
from .names.tree import Tree
from .network import PROFILES, Network, NetworkProfile
from .options import FileOptions
from .sources import BytesSource, FileSource, SyntheticSource

__all__ = [
    "Accounts",
    "BytesSource",
    "Emulator",
    "Feed",
    "FeedOptions",
    "FileInfo",
    "FileOptions",
    "FileSource",
    "Network",
    "NetworkProfile",
    "PROFILES",
    "PortalOptions",
    "RequestLog",
    "RequestRecord",
    "SyntheticSource",
    "Tree",
    "User",
    "faults",
]
