"""The emulator: a portal and its object storage, started and stopped as one."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Optional, Union

from .cache import BlockCache
from .catalog import Catalog, FileInfo
from .faults import FaultTable
from .keys import derive, key_encryption_key, new_access_key_id, new_secret_access_key
from .log import RequestLog, RequestRecord
from .messages import PORTAL, STORAGE
from .names.accounts import Accounts
from .names.interface import Interface
from .names.options import PortalOptions
from .names.tree import Folder, Tree
from .options import MIB, FileOptions
from .portal import Portal
from .server import Backend, Server
from .signing import Signer
from .sources import Source, open_source
from .storage import Storage
from .tls import Certificates


class Emulator:
    """
    A portal and its object storage in one process, on loopback.

    ::

        with Emulator('folder') as emulator:
            client = DirectIO(emulator.url, emulator.access_key_id, emulator.secret_access_key)
            for row in emulator.files.values():
                client.download(row.file_id, row.name)

    Files are encoded a block at a time, when they are asked for.

    :param folder: every file below it is served, under an ID that its relative path determines.
    :param host: the address to listen on, IPv4 or IPv6 (``::1``).
    :param port: 0: the kernel chooses; kept when started again.
    :param cipher: of files for which ``add`` is not told otherwise; so are compression,
     block_size and options (see FileOptions).
    :param expire: seconds that a signed URL lives.
    :param tls: HTTPS, with a certificate of the emulator's own authority (``ca_bundle``).
    :param prefix: what the portal's paths start with, such as ``/tenant``.
    :param separate_storage: the storage listens on a port of its own.
    :param storage_url: what listed URLs start with, when clients reach the storage under another
     name, such as with the emulator as their forward proxy.
    :param access_key_id: random by default; so are secret_access_key (base64) and bearer.
    :param cache: bytes of encoded blocks to keep.
    :param clock: seconds since the epoch, for the signatures.
    :param username: the name of the default user, a team administrator called Demo User, who owns
     the cloud folder My Files and the access keys.
    :param password: the default user's password, random by default.
    :param tree: what is in My Files: names, and bytes, paths, sources, or dicts for folders.
    :param portal_options: what the portal does where real portals differ.
    :raises ValueError: an argument that cannot be.
    """

    def __init__(
        self,
        folder: Union[str, os.PathLike[str], None] = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        cipher: Optional[str] = "AES-CBC",
        compression: str = "SNAPPY",
        block_size: Union[int, Sequence[int]] = 4 * MIB,
        expire: float = 3600.0,
        tls: bool = False,
        prefix: str = "",
        separate_storage: bool = False,
        storage_url: Optional[str] = None,
        access_key_id: Optional[str] = None,
        secret_access_key: Optional[str] = None,
        bearer: Optional[str] = None,
        cache: int = 128 * MIB,
        clock: Callable[[], float] = time.time,
        username: str = "demo",
        password: Optional[str] = None,
        tree: Optional[Folder] = None,
        portal_options: Optional[PortalOptions] = None,
        **options: Any,
    ) -> None:
        self.access_key_id = access_key_id or new_access_key_id()
        self.secret_access_key = secret_access_key or new_secret_access_key()
        self.bearer = bearer or secrets.token_hex(32)
        self._defaults = {
            "cipher": cipher,
            "compression": compression,
            "block_size": block_size,
            **options,
        }
        self._address = (host, port)
        self._prefix = "/" + prefix.strip("/") if prefix.strip("/") else ""
        self._tls = tls
        self._separate = separate_storage
        self._storage_url = storage_url.rstrip("/") if storage_url else None
        self._storage_port = 0
        self._servers: list[Server] = []
        self._certificates: Optional[Certificates] = None
        self._signer = Signer(secrets.token_bytes(32), expire, clock)
        secret = derive(key_encryption_key(self.secret_access_key), "file-keys", 32)
        self._catalog = Catalog(secret, BlockCache(cache))
        file_options = FileOptions(**self._defaults)
        self.portal_options = portal_options if portal_options is not None else PortalOptions()
        self.accounts = Accounts(self.portal_options, clock)
        self.username = username
        self.password = password if password is not None else secrets.token_urlsafe(12)
        self.tree = Tree(self._catalog, self.accounts, self.portal_options, file_options, clock)
        self._add_default_user(tree, folder, file_options)
        interface = Interface(
            self.tree, self.accounts, self.portal_options, self._prefix, "emulator", clock
        )
        portal = Portal(
            self._catalog, self.accounts.direct_secret, self._prefix, self._locate, interface
        )
        storage = Storage(self._catalog, self._signer)
        self._backend = Backend(self._catalog, portal, storage, self.secret_access_key)

    def __enter__(self) -> Emulator:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = self.url if self._servers else "stopped"
        return f"<Emulator {state}, {len(self.files)} files>"

    def start(self) -> Emulator:
        """
        Start to listen; return the emulator.

        :raises OSError: the port is taken.
        :raises RuntimeError: it runs, or a package for TLS is missing.
        """
        if self._servers:
            raise RuntimeError("the emulator runs")
        host, port = self._address
        if self._tls:
            self._certificates = Certificates(host, "localhost")
        self._backend.stopping.clear()
        try:
            if self._separate:
                self._servers.append(self._listen((host, port), PORTAL))
                self._servers.append(self._listen((host, self._storage_port), STORAGE))
            else:
                self._servers.append(self._listen((host, port), PORTAL, STORAGE))
        except BaseException:
            self.stop()
            raise
        self._address = (host, self._servers[0].port)
        self._storage_port = self._servers[-1].port
        return self

    def stop(self) -> None:
        """Release what faults hold, close every socket and end every thread."""
        self._backend.stopping.set()
        self._backend.faults.release()
        for server in self._servers:
            server.stop()
        self._servers.clear()
        if self._certificates is not None:
            self._certificates.remove()
            self._certificates = None

    @property
    def url(self) -> str:
        """The portal's URL, prefix included."""
        return f"{self._origin(self._running()[0].port)}{self._prefix}"

    @property
    def storage_url(self) -> str:
        """What listed URLs start with."""
        return self._storage_url or self._origin(self._running()[-1].port)

    @property
    def ca_bundle(self) -> Optional[str]:
        """The path of the certificate to trust, in PEM, or None without TLS."""
        return self._certificates.bundle if self._certificates is not None else None

    @property
    def files(self) -> dict[int, FileInfo]:
        """The table of files, by ID."""
        return self._catalog.rows()

    @property
    def faults(self) -> FaultTable:
        """What goes wrong on request."""
        return self._backend.faults

    @property
    def log(self) -> RequestLog:
        """What was asked, counted."""
        return self._backend.log

    @property
    def requests(self) -> list[RequestRecord]:
        """The records of the requests so far, oldest first."""
        return self._backend.log.records()

    @property
    def latency(self) -> float:
        """Seconds that every request waits before it is answered; may be set."""
        return self._backend.latency

    @latency.setter
    def latency(self, seconds: float) -> None:
        self._backend.latency = seconds

    @property
    def rate(self) -> Optional[float]:
        """Bytes a second of each response's body, or None; may be set."""
        return self._backend.rate

    @rate.setter
    def rate(self, rate: Optional[float]) -> None:
        self._backend.rate = rate

    @property
    def expire(self) -> float:
        """Seconds that URLs live that are listed from now on; may be set."""
        return self._signer.expire

    @expire.setter
    def expire(self, seconds: float) -> None:
        self._signer.expire = seconds

    def add(
        self,
        data: Union[bytes, str, os.PathLike[str], Source],
        *,
        name: Optional[str] = None,
        file_id: Optional[int] = None,
        **options: Any,
    ) -> int:
        """
        Add a file, and return its ID.

        :param data: bytes, a path, or a source such as SyntheticSource.
        :param name: for the table.
        :param file_id: the next free one by default.
        :param options: members of FileOptions, over the emulator's own.
        :raises ValueError: the ID is taken, or options do not go together.
        """
        chosen = FileOptions(**{**self._defaults, **options})
        return self._catalog.add(open_source(data), chosen, name, file_id)

    def replace(
        self,
        file_id: int,
        data: Union[bytes, str, os.PathLike[str], Source],
        *,
        keep_old: bool = True,
        **options: Any,
    ) -> None:
        """Give a file other content, and other options if there are any: a changed file.

        Args:
            file_id: The file.
            data: Its new content: bytes, a path, or a source such as SyntheticSource.
            keep_old: Whether URLs that were listed before still give the old blocks. If not, they give 404.
            **options: Those of `add` that change.
        """
        self._catalog.replace(file_id, open_source(data), options, keep_old)

    def remove(self, file_id: int) -> None:
        """Remove a file: its ID is unknown, its objects are gone."""
        self._catalog.remove(file_id)

    def expire_urls(self) -> None:
        """Let every URL that was listed so far be expired."""
        self._signer.expire_all()

    def listing(self, file_id: int) -> dict[str, Any]:
        """Return what the portal would list for a file now."""
        return self._backend.portal.listing(self._catalog.listed(file_id), self.secret_access_key)

    def stored(self, file_id: int, block: int) -> bytes:
        """Return the stored object of a file's block, numbered from 1."""
        version = self._catalog.listed(file_id)
        body = self._catalog.stored(file_id, version.number, block).body
        return bytes(body.read(0, body.size))

    def file_key(self, file_id: int) -> bytes:
        """Return a file's key, unwrapped."""
        return self._catalog.listed(file_id).key

    def _add_default_user(
        self,
        tree: Optional[Folder],
        folder: Union[str, os.PathLike[str], None],
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
            path = _folder(folder)
            names = self._catalog.add_folder(path, file_options)
            self.tree.adopt_folder(self.tree.node("/My Files"), path, names)

    def _listen(self, address: tuple[str, int], *roles: str) -> Server:
        context = self._certificates.context if self._certificates is not None else None
        server = Server(address, self._backend, roles, self._prefix, context)
        server.start()
        return server

    def _locate(self, path: str) -> str:
        return self.storage_url + self._signer.sign(path)

    def _origin(self, port: int) -> str:
        host = self._address[0]
        return f"{'https' if self._tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"

    def _running(self) -> list[Server]:
        if not self._servers:
            raise RuntimeError("the emulator is not started")
        return self._servers


def _folder(folder: Union[str, os.PathLike[str]]) -> Path:
    path = Path(folder)
    if not path.is_dir():
        raise ValueError(f"not a folder: {path}")
    return path
