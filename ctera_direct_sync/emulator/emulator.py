"""The emulator: a portal and its object storage, started and stopped together."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cache import BlockCache
from .catalog import Catalog, FileInfo
from .exchange import Backend
from .fault_table import FaultTable
from .keys import derive, key_encryption_key, new_access_key_id, new_secret_access_key
from .log import RequestLog, RequestRecord
from .messages import PORTAL, STORAGE, Where
from .names.accounts import Accounts
from .names.feed import Feed
from .names.interface import Interface
from .names.options import PortalOptions
from .names.tree import Folder, Tree
from .network import Network, NetworkProfile, as_network
from .options import (
    MIB,
    ChecksumHeader,
    ChecksumType,
    Cipher,
    Compression,
    FileOptions,
    FileOptionsGiven,
    KeySize,
    ListingShape,
)
from .portal import Portal
from .server import Server
from .signing import Signer
from .sources import Source, open_source
from .storage import Storage
from .tls import Certificates

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .relay import Relay

_TENANT = "emulator"


class Emulator:
    """A portal and its object storage in one process, on loopback.

    Files are encoded block by block when they are asked for. The options from `cipher` to `direct` are
    those of [FileOptions][ctera_direct_sync.emulator.FileOptions]. They hold for all files that are not
    added with options of their own.

    There is a default user, a team administrator called Demo User. This user owns the access keys and
    the cloud folder `My Files`, which holds `folder` and `tree`.

    Args:
        folder: A folder on disk. Each file below it is served, under an ID that depends on its relative
            path only.
        host: The address to listen on, IPv4 or IPv6 (`::1`).
        port: The port to listen on. 0: a free one, which is kept when the emulator is started again.
        cipher: How blocks are encrypted, or None.
        compression: How blocks are compressed.
        block_size: The plaintext bytes of a block, or a sequence of them.
        listing: The shape of block lists.
        listed_range: The part of a file that is listed.
        native: Whether files are stored as one plaintext object.
        azure_md5: Whether each object starts with the MD5 of the rest.
        checksums: The headers that declare a checksum.
        checksum_type: What `x-amz-checksum-type` says.
        etag_md5: Whether the ETag is the MD5 of the object.
        key_size: The size of file keys, in bytes.
        snappy_chunk: The plaintext bytes of a chunk of a snappy-java stream.
        gzip_members: The number of members of a gzip file.
        gzip_level: The effort of gzip, from 0 to 9.
        lz4: Arguments for `lz4.frame.compress`.
        declared_compression: What `compression_type` says if it is not the truth.
        direct: Whether all blocks are on storage nodes in direct mode.
        expire: How long a signed URL is valid, in seconds.
        tls: Whether to use HTTPS, with a certificate of the emulator's own authority (`ca_bundle`).
        prefix: What the portal's paths start with, such as `/tenant`.
        separate_storage: Whether the storage listens on a port of its own.
        storage_url: What listed URLs start with, if clients reach the storage under another name. For
            example, the emulator can be their forward proxy.
        access_key_id: The access key ID of the default user. None: a random one.
        secret_access_key: The secret access key, in base64. None: a random one.
        bearer: A bearer token of the default user. None: a random one.
        username: The user name of the default user.
        password: The password of the default user. None: a random one.
        tree: What is in `My Files`: names, and bytes, paths, sources, or further dicts for folders.
        portal_options: What the portal does where real portals differ or are not known.
        network: A simulated network between clients and the emulator: the name of one of
            `emulator.PROFILES`, a `NetworkProfile`, or a `Network`. None: the loopback alone.
        cache: How many bytes of encoded blocks to keep.
        clock: Returns the time, in seconds since the epoch.

    Attributes:
        access_key_id: The access key ID of the default user.
        secret_access_key: The secret access key of the default user.
        bearer: The bearer token of the default user.
        username: The user name of the default user.
        password: The password of the default user.
        accounts: The users, their sessions and their keys.
        tree: The cloud folders and what is in them.
        feed: The change feed.
        portal_options: What the portal does where real portals differ. Options may be changed any time.

    Raises:
        ValueError: An argument has a value that cannot be, or `folder` is not a folder.

    Example:
        >>> with Emulator("folder") as emulator:
        ...     client = DirectIO(emulator.url, emulator.access_key_id, emulator.secret_access_key)
        ...     for row in emulator.files.values():
        ...         client.download(row.file_id, row.name)
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        cipher: Cipher | None = "AES-CBC",
        compression: Compression = "SNAPPY",
        block_size: int | Sequence[int] = 4 * MIB,
        listing: ListingShape = "8.3",
        listed_range: tuple[int, int] | None = None,
        native: bool = False,
        azure_md5: bool = False,
        checksums: Sequence[ChecksumHeader] = (),
        checksum_type: ChecksumType | None = None,
        etag_md5: bool = False,
        key_size: KeySize = 32,
        snappy_chunk: int = 32 * 1024,
        gzip_members: int = 1,
        gzip_level: int = 1,
        lz4: Mapping[str, Any] | None = None,
        declared_compression: str | None = None,
        direct: bool = True,
        expire: float = 3600.0,
        tls: bool = False,
        prefix: str = "",
        separate_storage: bool = False,
        storage_url: str | None = None,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        bearer: str | None = None,
        username: str = "demo",
        password: str | None = None,
        tree: Folder | None = None,
        portal_options: PortalOptions | None = None,
        network: str | NetworkProfile | Network | None = None,
        cache: int = 128 * MIB,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.access_key_id = access_key_id or new_access_key_id()
        self.secret_access_key = secret_access_key or new_secret_access_key()
        self.bearer = bearer or secrets.token_hex(32)
        self.username = username
        self.password = password if password is not None else secrets.token_urlsafe(12)
        # The values as they were given: `native` of a file must not hide the cipher of the others.
        self._defaults: dict[str, Any] = {
            "cipher": cipher,
            "compression": compression,
            "block_size": block_size,
            "listing": listing,
            "listed_range": listed_range,
            "native": native,
            "azure_md5": azure_md5,
            "checksums": checksums,
            "checksum_type": checksum_type,
            "etag_md5": etag_md5,
            "key_size": key_size,
            "snappy_chunk": snappy_chunk,
            "gzip_members": gzip_members,
            "gzip_level": gzip_level,
            "lz4": {} if lz4 is None else lz4,
            "declared_compression": declared_compression,
            "direct": direct,
        }
        file_options = FileOptions(**self._defaults)
        self._address = (host, port)
        self._prefix = "/" + prefix.strip("/") if prefix.strip("/") else ""
        self._tls = tls
        self._separate = separate_storage
        self._storage_url = storage_url.rstrip("/") if storage_url else None
        self._storage_port = 0
        self._network = None if network is None else as_network(network)
        self._servers: list[Server] = []
        self._relays: list[Relay] = []
        self._certificates: Certificates | None = None
        self._signer = Signer(secrets.token_bytes(32), expire, clock)
        file_key_secret = derive(key_encryption_key(self.secret_access_key), "file-keys", 32)
        self._catalog = Catalog(file_key_secret, BlockCache(cache))
        self.portal_options = portal_options if portal_options is not None else PortalOptions()
        self.accounts = Accounts(self.portal_options, clock)
        self.tree = Tree(self._catalog, self.accounts, self.portal_options, file_options, clock)
        self.feed = Feed(self.tree, self.tree.log, self.portal_options, clock)
        self._add_default_user(tree, folder, file_options)
        self._backend = self._make_backend(clock)

    def __enter__(self) -> Emulator:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = self.url if self._servers else "stopped"
        return f"<Emulator {state}, {len(self.files)} files>"

    def start(self) -> Emulator:
        """Start to listen, and return the emulator.

        Raises:
            OSError: The port is taken.
            RuntimeError: The emulator runs already, or a package for TLS is missing.
        """
        if self._servers:
            raise RuntimeError("the emulator runs")
        host, port = self._address
        if self._tls:
            self._certificates = Certificates(host, "localhost")
        self._backend.stopping.clear()
        self.feed.start()
        try:
            if self._separate:
                self._servers.append(self._listen((host, port), PORTAL))
                self._servers.append(self._listen((host, self._storage_port), STORAGE))
            else:
                self._servers.append(self._listen((host, port), PORTAL, STORAGE))
        except BaseException:
            self.stop()
            raise
        ports = self._ports()
        self._address, self._storage_port = (host, ports[0]), ports[-1]
        return self

    def stop(self) -> None:
        """Release the requests that faults hold, close every socket and end every thread."""
        self._backend.stopping.set()
        self._backend.faults.release()
        self.feed.stop()
        for relay in self._relays:
            relay.stop()
        self._relays.clear()
        for server in self._servers:
            server.stop()
        self._servers.clear()
        if self._certificates is not None:
            self._certificates.remove()
            self._certificates = None

    @property
    def url(self) -> str:
        """The URL of the portal, with the prefix."""
        return f"{self._origin(self._ports()[0])}{self._prefix}"

    @property
    def storage_url(self) -> str:
        """What listed URLs start with."""
        return self._storage_url or self._origin(self._ports()[-1])

    @property
    def ca_bundle(self) -> str | None:
        """The path of the certificate to trust, in PEM. None without TLS."""
        return self._certificates.bundle if self._certificates is not None else None

    @property
    def files(self) -> dict[int, FileInfo]:
        """The table of files, by file ID."""
        return self._catalog.rows()

    @property
    def faults(self) -> FaultTable:
        """The table of faults."""
        return self._backend.faults

    @property
    def log(self) -> RequestLog:
        """The log of requests."""
        return self._backend.log

    @property
    def requests(self) -> list[RequestRecord]:
        """The records of the requests so far, oldest first."""
        return self._backend.log.records()

    @property
    def latency(self) -> float:
        """How long each request waits before it is answered, in seconds. It may be set at any time."""
        return self._backend.latency

    @latency.setter
    def latency(self, seconds: float) -> None:
        self._backend.latency = seconds

    @property
    def rate(self) -> float | None:
        """How fast each body is sent, in bytes per second, or None. It may be set at any time."""
        return self._backend.rate

    @rate.setter
    def rate(self, rate: float | None) -> None:
        self._backend.rate = rate

    @property
    def expire(self) -> float:
        """How long URLs are valid that are listed from now on, in seconds. It may be set at any time."""
        return self._signer.expire

    @expire.setter
    def expire(self, seconds: float) -> None:
        self._signer.expire = seconds

    def add(
        self,
        data: bytes | str | os.PathLike[str] | Source,
        *,
        name: str | None = None,
        file_id: int | None = None,
        **options: Unpack[FileOptionsGiven],
    ) -> int:
        """Add a file, and return its ID.

        The file has an ID, but no path in the tree of names. `emulator.tree.create` gives it one.

        Args:
            data: The content: bytes, a path on disk, or a source such as `SyntheticSource`.
            name: The file's name in the table. None: one that is made from the ID.
            file_id: The ID. None: the next free one.
            **options: How the file is stored and listed: options of
                [FileOptions][ctera_direct_sync.emulator.FileOptions]. One that is left out is the
                emulator's.

        Raises:
            OSError: There is no file at the path.
            ValueError: The ID is taken, or options do not go together.
        """
        chosen = FileOptions(**{**self._defaults, **options})
        return self._catalog.add(open_source(data), chosen, name, file_id)

    def replace(
        self,
        file_id: int,
        data: bytes | str | os.PathLike[str] | Source,
        *,
        keep_old: bool = True,
        **options: Unpack[FileOptionsGiven],
    ) -> None:
        """Give a file new content under its ID, and other options if there are any.

        Args:
            file_id: The file.
            data: The new content: bytes, a path on disk, or a source such as `SyntheticSource`.
            keep_old: Whether URLs that were listed before still give the old blocks. If not, they give
                404.
            **options: Options of [FileOptions][ctera_direct_sync.emulator.FileOptions] that change.

        Raises:
            KeyError: There is no file with this ID.
            OSError: There is no file at the path.
            ValueError: Options do not go together.
        """
        source = open_source(data)
        self._catalog.replace(file_id, source, options, keep_old)
        self.tree.note_replaced(file_id, source)

    def remove(self, file_id: int) -> None:
        """Remove a file, so that its ID is unknown and its objects are gone.

        Raises:
            KeyError: There is no file with this ID.
        """
        self._catalog.remove(file_id)

    def expire_urls(self) -> None:
        """Make every URL that was listed so far expired."""
        self._signer.expire_all()

    def listing(self, file_id: int) -> dict[str, Any]:
        """Return the block list that the portal would send for a file now.

        Raises:
            KeyError: There is no file with this ID.
        """
        return self._backend.portal.listing(self._catalog.listed(file_id), self.secret_access_key)

    def stored(self, file_id: int, block: int) -> bytes:
        """Return the stored object of a block. The first block has the number 1.

        Raises:
            KeyError: There is no file with this ID, or no such block.
        """
        version = self._catalog.listed(file_id)
        body = self._catalog.stored(file_id, version.number, block).body
        return bytes(body.read(0, body.size))

    def file_key(self, file_id: int) -> bytes:
        """Return the key of a file, not wrapped.

        Raises:
            KeyError: There is no file with this ID.
        """
        return self._catalog.listed(file_id).key

    def _add_default_user(
        self,
        tree: Folder | None,
        folder: str | os.PathLike[str] | None,
        file_options: FileOptions,
    ) -> None:
        user = self.accounts.add(
            self.username,
            self.password,
            full_name="Demo User",
            role="ReadWriteAdmin",
            bearer=self.bearer,
        )
        self.accounts.add_key(user, self.access_key_id, self.secret_access_key)
        self.tree.default_user = user
        self.tree.add_cloud_folder("My Files", tree)
        if folder is not None:
            path = _require_folder(folder)
            names = self._catalog.add_folder(path, file_options)
            root = self.tree.node("/My Files")
            self.feed.watch(self.tree.adopt_folder(root, path, names))

    def _make_backend(self, clock: Callable[[], float]) -> Backend:
        interface = Interface(
            self.tree, self.accounts, self.feed, self.portal_options, self._prefix, _TENANT, clock
        )
        portal = Portal(
            self._catalog, self.accounts.direct_secret, self._prefix, self._locate, interface
        )
        storage = Storage(self._catalog, self._signer)
        return Backend(self._catalog, portal, storage, self.secret_access_key)

    def _listen(self, address: tuple[str, int], *roles: Where) -> Server:
        context = self._certificates.context if self._certificates is not None else None
        host, _ = address
        behind = address if self._network is None else (host, 0)
        server = Server(behind, self._backend, roles, self._prefix, context)
        server.start()
        if self._network is not None:
            # It imports asyncio, which nothing else at the start of the command line needs.
            from .relay import Relay

            try:
                self._relays.append(Relay(self._network, address, (host, server.port)))
            except BaseException:
                server.stop()
                raise
        return server

    def _locate(self, path: str) -> str:
        return self.storage_url + self._signer.sign(path)

    def _origin(self, port: int) -> str:
        host = self._address[0]
        return f"{'https' if self._tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"

    def _ports(self) -> list[int]:
        """Return the ports that clients connect to: the portal's first, and the storage's last."""
        if not self._servers:
            raise RuntimeError("the emulator is not started")
        return [each.port for each in self._relays or self._servers]


def _require_folder(folder: str | os.PathLike[str]) -> Path:
    path = Path(folder)
    if not path.is_dir():
        raise ValueError(f"not a folder: {path}")
    return path
