"""
A portal and its object storage in one process on loopback, for demos and for users' own tests.

It serves files as PROTOCOL.md has them: every cipher, compression, block size and listing shape,
signed URLs that expire, faults on request. See Emulator, FileOptions and the module faults.
"""

from __future__ import annotations

from . import faults
from .catalog import FileInfo
from .emulator import Emulator
from .log import RequestRecord
from .names.accounts import Accounts, User
from .names.options import PortalOptions
from .names.tree import Tree
from .options import FileOptions
from .sources import BytesSource, FileSource, SyntheticSource

__all__ = [
    "Accounts",
    "BytesSource",
    "Emulator",
    "FileInfo",
    "FileOptions",
    "FileSource",
    "PortalOptions",
    "RequestRecord",
    "SyntheticSource",
    "Tree",
    "User",
    "faults",
]
