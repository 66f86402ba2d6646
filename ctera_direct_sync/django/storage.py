"""The storage. Its client is one for the process, and its links are signed."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple, NoReturn

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured, SuspiciousFileOperation
from django.core.files import File
from django.core.files.storage import Storage
from django.core.signing import BadSignature, TimestampSigner
from django.urls import reverse
from django.utils import timezone

from ..client import DirectIO
from ..exceptions import IsAFolderError
from ..namespace import Namespace
from ..settings import Settings
from ..types import Entry, Token
from .aliases import alias_of

__all__ = ["DEFAULT_EXPIRES_S", "CteraStorage"]

DEFAULT_EXPIRES_S = 3600.0
"""Seconds that a link is valid if neither the storage nor the settings say `expires`."""

#: The options that `settings.CTERA_DIRECT` may hold, with their values if nothing gives them.
_DEFAULTS: dict[str, Any] = {
    "baseurl": None,
    "access_key_id": None,
    "secret_access_key": None,
    "bearer": None,
    "username": None,
    "password": None,
    "context": None,
    "settings": None,
    "location": "/",
    "expires": DEFAULT_EXPIRES_S,
    "timeout": None,
}
#: Those that a client is made of, and those that no repr and no migration may show.
_OF_CLIENT = tuple(name for name in _DEFAULTS if name not in ("location", "expires", "timeout"))
_SECRETS = {"access_key_id", "secret_access_key", "bearer", "password"}

_SALT = "ctera_direct_sync.django"


class _Connection(NamedTuple):
    """A client and the Namespace that it looks paths up in."""

    client: DirectIO
    names: Namespace
    #: Kept, so that its id stays its own: the key of the connection holds that.
    settings: Settings | None

    def close(self) -> None:
        """Close both."""
        self.client.close()
        self.names.close()


#: The connections of this process, by the options that they are made of. Both work after a fork.
_connections: dict[tuple[Any, ...], _Connection] = {}


class CteraStorage(Storage):  # type: ignore[misc]
    """A folder of the portal as a Django storage. It is read-only.

    Names are relative to `location`, with `/` between their parts. A name that leads elsewhere raises
    SuspiciousFileOperation: one with `.` or `..` as a part, with a backslash or a NUL, or with a slash at
    its beginning.

    Each argument that is None comes from the dictionary `settings.CTERA_DIRECT`, and then from where
    `DirectIO` and `Namespace` find it: the environment, or the profile that `ctera-direct login` stored.
    All storages of a process with the same account share one client, which works after a fork.

    Args:
        baseurl: The portal's URL.
        access_key_id: The access key ID.
        secret_access_key: The secret access key.
        bearer: A token in place of the key pair.
        username: The name of the user who lists folders and looks paths up.
        password: The user's password.
        context: `"ServicesPortal"` for a user's own view, `"admin"` for an administrator's.
        settings: The `Settings` of the client.
        location: The folder on the portal. By default all that the user sees.
        expires: Seconds that a link of `url` is valid. `math.inf`: for ever. By default an hour.
        timeout: Seconds to wait for the first byte of a file, as for `wsgi.django_response`.

    Example:
        >>> storage = CteraStorage(location="/My Files/media")
        >>> with storage.open("reports/a.pdf") as file:
        ...     head = file.read(1024)
    """

    def __init__(
        self,
        *,
        baseurl: str | None = None,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        bearer: str | None = None,
        username: str | None = None,
        password: str | None = None,
        context: str | None = None,
        settings: Settings | None = None,
        location: str | None = None,
        expires: float | None = None,
        timeout: float | None = None,
    ) -> None:
        given = {
            "baseurl": baseurl,
            "access_key_id": _hide(access_key_id),
            "secret_access_key": _hide(secret_access_key),
            "bearer": _hide(bearer),
            "username": username,
            "password": _hide(password),
            "context": context,
            "settings": settings,
            "location": location,
            "expires": expires,
            "timeout": timeout,
        }
        self._given = {name: value for name, value in given.items() if value is not None}

    # --- the portal ------------------------------------------------------------------------------

    @property
    def client(self) -> DirectIO:
        """The client, made at its first use."""
        return self._connect().client

    @property
    def names(self) -> Namespace:
        """The Namespace that paths are looked up in."""
        return self._connect().names

    @property
    def location(self) -> str:
        """The folder on the portal, without a slash at its end."""
        location = str(self._option("location")).rstrip("/")
        if location and not location.startswith("/"):
            raise ImproperlyConfigured(
                f"location {location!r}: a folder on the portal begins with '/', such as '/My Files'"
            )
        return location

    @property
    def timeout(self) -> float | None:
        """Seconds to wait for the first byte of a file that the view serves, or None."""
        timeout: float | None = self._option("timeout")
        return timeout

    def close(self) -> None:
        """Close the client, which other storages may share. The next use makes a new one."""
        connection = _connections.pop(self._key(), None)
        if connection is not None:
            connection.close()

    def _known_client(self) -> DirectIO | None:
        """Return the client if it was made already. The view calls this."""
        found = _connections.get(self._key())
        return None if found is None else found.client

    def _connect(self) -> _Connection:
        key = self._key()
        found = _connections.get(key)
        if found is not None:
            return found
        options = {name: self._option(name) for name in _OF_CLIENT}
        names = Namespace(
            options["baseurl"],
            options["username"],
            options["password"],
            context=options["context"],
            settings=options["settings"],
        )
        client = DirectIO(
            options["baseurl"],
            options["access_key_id"],
            options["secret_access_key"],
            options["bearer"],
            settings=options["settings"],
            namespace=names,
        )
        made = _Connection(client, names, options["settings"])
        # Two threads may come here at once. One connection is kept, and the other was never used.
        kept = _connections.setdefault(key, made)
        if kept is not made:
            made.close()
        return kept

    def _key(self) -> tuple[Any, ...]:
        values = [self._option(name) for name in _OF_CLIENT]
        return tuple(id(value) if isinstance(value, Settings) else value for value in values)

    def _option(self, name: str) -> Any:
        if name in self._given:
            return self._given[name]
        common = getattr(django_settings, "CTERA_DIRECT", {})
        if not isinstance(common, Mapping) or not common.keys() <= _DEFAULTS.keys():
            raise ImproperlyConfigured(
                f"CTERA_DIRECT is a dictionary, and its keys are among {', '.join(_DEFAULTS)}"
            )
        value = common.get(name)
        if value is None:
            return _DEFAULTS[name]
        return _hide(value) if name in _SECRETS else value

    # --- names -----------------------------------------------------------------------------------

    def portal_path(self, name: str) -> str:
        """Return the path on the portal of a file of this storage.

        Args:
            name: The name, relative to `location`.

        Raises:
            SuspiciousFileOperation: The name is empty, or leads elsewhere.
        """
        return "/".join([self.location, *_split(name)])

    def _folder_path(self, name: str) -> str:
        text = os.fspath(name)
        if text in ("", ".", "/"):
            return self.location or "/"
        return self.portal_path(text[:-1] if text.endswith("/") else text)

    def _stat(self, name: str) -> Entry:
        return self.names.stat(self.portal_path(name))

    # --- what Django asks for --------------------------------------------------------------------

    def _open(self, name: str, mode: str = "rb") -> File:
        if set(mode) & set("wax+"):
            _refuse("open(mode=%r)" % mode)  # noqa: UP031
        if mode not in ("rb", "r", "rt", "br", "tr"):
            raise ValueError(f"mode {mode!r}: use 'rb', or 'r' for text in UTF-8")
        file: Any = self.client.open(self.portal_path(name))
        if "b" not in mode:
            file = io.TextIOWrapper(file, encoding="utf-8")
        return File(file, name)

    def exists(self, name: str) -> bool:
        """Return whether the portal has a file or folder of that name.

        Args:
            name: The name, relative to `location`.

        Raises:
            NamespaceError: The portal cannot be asked.
            SuspiciousFileOperation: The name is empty, or leads elsewhere.
        """
        return self.names.exists(self.portal_path(name))

    def size(self, name: str) -> int:
        """Return the size of a file in bytes.

        Args:
            name: The name, relative to `location`.

        Raises:
            PathNotFoundError: There is no such file. It is a FileNotFoundError.
            IsAFolderError: It is a folder.
            SuspiciousFileOperation: The name is empty, or leads elsewhere.
        """
        entry = self._stat(name)
        if entry.is_dir:
            raise IsAFolderError("It is a folder, which has no size", entry.path)
        return self.client.metadata(entry).size if entry.size is None else entry.size

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        """Return the names of the folders and of the files in a folder.

        Args:
            path: The folder, relative to `location`. `""` is `location` itself.

        Raises:
            PathNotFoundError: There is no such folder. It is a FileNotFoundError.
            NotAFolderError: It is a file.
            SuspiciousFileOperation: The path leads elsewhere.
        """
        folders: list[str] = []
        files: list[str] = []
        for entry in self.names.listdir(self._folder_path(path)):
            (folders if entry.is_dir else files).append(entry.name)
        return folders, files

    def get_modified_time(self, name: str) -> datetime:
        """Return when the content of a file changed, as the portal tells it.

        Args:
            name: The name, relative to `location`.

        Returns:
            The time: aware if `USE_TZ` is set, else in the local time zone of Django.

        Raises:
            NotImplementedError: The portal tells no time.
            PathNotFoundError: There is no such file. It is a FileNotFoundError.
            SuspiciousFileOperation: The name is empty, or leads elsewhere.
        """
        modified = self._stat(name).modified
        if modified is None:
            raise NotImplementedError(f"{name}: the portal tells no time of its last change")
        return modified if django_settings.USE_TZ else timezone.make_naive(modified)

    def url(self, name: str) -> str:
        """Return a link to a file, which the view of `ctera_direct_sync.django.urls` serves.

        The link is signed by Django's `SECRET_KEY`. It is valid for `expires` seconds, for every visitor
        who has it. The portal is not asked.

        Args:
            name: The name, relative to `location`.

        Raises:
            ImproperlyConfigured: The storage is not in `STORAGES`, where the view finds it, or `expires`
                is not a positive number.
            SuspiciousFileOperation: The name is empty, or leads elsewhere.
        """
        name = "/".join(_split(name))
        self._expires()
        alias = alias_of(self)
        signed = TimestampSigner(salt=_SALT).sign(f"{alias}/{name}")
        signature = signed[len(alias) + len(name) + 2 :]
        return str(reverse("ctera_direct_sync:file", args=[alias, signature, name]))

    def _expires(self) -> float:
        expires = float(self._option("expires"))
        if not expires > 0:  # With NaN, no link would ever expire.
            raise ImproperlyConfigured(
                f"expires={expires}: not a positive number of seconds; math.inf is for ever"
            )
        return expires

    def _check_url(self, alias: str, signature: str, name: str) -> str:
        """Return the path on the portal that a link leads to. The view calls this.

        Args:
            alias: The key of the storage in `STORAGES`.
            signature: The signature, with its time.
            name: The name.

        Raises:
            BadSignature: The link was not made here, or has expired.
            SuspiciousFileOperation: The name leads elsewhere.
        """
        expires = self._expires()
        signed = TimestampSigner(salt=_SALT).unsign(
            f"{alias}/{name}:{signature}", max_age=None if expires == float("inf") else expires
        )
        # The signer splits at the last colons. A part of a signed name with a colon could otherwise move
        # into the signature, which leaves the name of another file.
        if signed != f"{alias}/{name}":
            raise BadSignature("The signature is of another name")
        return self.portal_path(name)

    def _has_options_of(self, other: CteraStorage) -> bool:
        """Return whether another storage was made with the same arguments."""
        return self._given == other._given

    # --- what a read-only storage refuses --------------------------------------------------------

    def save(self, name: str | None, content: Any, max_length: int | None = None) -> NoReturn:
        """Refuse to write.

        Args:
            name: The name.
            content: The content.
            max_length: The longest name that the field holds.

        Raises:
            NotImplementedError: Always.
        """
        _refuse("save()")

    def _save(self, name: str, content: Any) -> NoReturn:
        _refuse("save()")

    def delete(self, name: str) -> NoReturn:
        """Refuse to delete.

        Args:
            name: The name.

        Raises:
            NotImplementedError: Always.
        """
        _refuse("delete()")

    def deconstruct(self) -> tuple[str, tuple[()], dict[str, Any]]:
        """Return what a migration writes down: the constructor's arguments without the secrets."""
        shown = {name: value for name, value in self._given.items() if name not in _SECRETS}
        shown.pop("settings", None)
        return "ctera_direct_sync.django.CteraStorage", (), shown

    def __repr__(self) -> str:
        return f"<CteraStorage {self._given.get('location', '')!r}>"


def _split(name: Any) -> list[str]:
    """Return the parts of a name.

    Raises:
        SuspiciousFileOperation: The name is empty, or leads elsewhere.
    """
    text = os.fspath(name)
    parts = str(text).split("/")
    if any(part in ("", ".", "..") for part in parts) or "\\" in text or "\0" in text:
        raise SuspiciousFileOperation(
            f"{text!r} is not the name of a file here: use a relative path such as 'reports/a.pdf'"
        )
    return parts


def _hide(value: str | None) -> Token | None:
    return None if value is None else Token(value)


def _refuse(call: str) -> NoReturn:
    raise NotImplementedError(
        f"{call}: CteraStorage is read-only, since Direct IO has no uploads. Write by the portal, or to "
        "another storage"
    )
