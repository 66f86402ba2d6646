"""What ``ctera-direct login`` stores: profiles, and their secrets in the keyring or in a file."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import platformdirs

from ..types import Token
from .errors import UsageError

__all__ = ["Account", "Profile", "ProfileStore", "apply_profile", "find_account", "full_url"]

_SERVICE = "ctera-direct-sync"
_KEY_VARIABLES = (
    *("CTERA_DIRECT_ACCESS_KEY_ID", "CTERA_DIRECT_BEARER"),
    *("cterasdk.io.direct.access_key_id", "cterasdk.io.direct.bearer"),
)


class Profile(NamedTuple):
    """A portal and a user of it. The secrets are stored apart."""

    url: str
    """The portal's URL."""
    username: str
    """The user name."""
    context: str
    """The view: "ServicesPortal" or "admin"."""
    in_keyring: bool
    """Whether the keyring has the secrets, and not the file."""


class ProfileStore:
    """The profiles of this user on this machine."""

    def __init__(self) -> None:
        self.folder = Path(platformdirs.user_config_path("ctera-direct", appauthor=False))
        self.file = self.folder / "profiles.json"
        self.secrets_file = self.folder / "secrets.json"

    def read(self, name: str) -> Profile | None:
        """Return a profile, or None."""
        fields = self._read(self.file).get(name)
        try:
            return None if fields is None else Profile(**fields)
        except TypeError:
            raise UsageError(f"{self.file}: profile {name} is malformed; log in again") from None

    def read_secrets(self, name: str, profile: Profile) -> dict[str, Token]:
        """Return the secrets of a profile, by name."""
        if profile.in_keyring:
            keyring = _keyring()
            try:
                text = keyring.get_password(_SERVICE, name) if keyring else None
            except Exception as error:  # noqa: BLE001 - backends raise what they like
                raise UsageError(
                    f"the keyring does not give the secrets of profile {name} "
                    f"({type(error).__name__}): unlock it, or log in again"
                ) from None
            secrets = json.loads(text) if text else None
        else:
            secrets = self._read(self.secrets_file).get(name)
        if not secrets:
            raise UsageError(f"the secrets of profile {name} are gone; run ctera-direct login")
        return {key: Token(value) for key, value in secrets.items()}

    def write(self, name: str, profile: Profile, secrets: dict[str, Token]) -> Profile:
        """Store a profile and its secrets, in the keyring if it works.

        Returns:
            The profile; `in_keyring` says where its secrets are.
        """
        values = {key: str(value) for key, value in secrets.items()}
        stored = _store_in_keyring(name, json.dumps(values))
        profile = profile._replace(in_keyring=stored)
        in_file = self._read(self.secrets_file)
        if not stored or name in in_file:
            in_file.pop(name, None)
            if not stored:
                in_file[name] = values
            self._write(self.secrets_file, in_file)
        self._write(self.file, {**self._read(self.file), name: profile._asdict()})
        return profile

    def delete(self, name: str, profile: Profile) -> None:
        """Delete a profile and its secrets."""
        if profile.in_keyring:
            keyring = _keyring()
            if keyring is None:
                raise UsageError("the keyring does not work, so it still has the secrets")
            try:
                if keyring.get_password(_SERVICE, name) is not None:
                    keyring.delete_password(_SERVICE, name)
            except Exception as error:  # noqa: BLE001 - backends raise what they like
                raise UsageError(
                    f"the keyring still has the secrets ({type(error).__name__}): unlock it"
                ) from None
        for path in (self.secrets_file, self.file):
            content = self._read(path)
            if content.pop(name, None) is not None:
                self._write(path, content)

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            fd = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        with open(fd, encoding="utf-8") as file:
            _check_private(path, os.fstat(fd), "600")
            try:
                content = json.load(file)
            except ValueError:
                content = None
        if not isinstance(content, dict):
            raise UsageError(f"{path}: not the JSON that login wrote; delete it, and log in again")
        return content

    def _write(self, path: Path, content: dict[str, Any]) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_private(self.folder, self.folder.stat(), "700")
        # mkstemp makes files of mode 0600.
        fd, temporary = tempfile.mkstemp(dir=self.folder, prefix=".new-")
        try:
            with open(fd, "w", encoding="utf-8") as file:
                json.dump(content, file, indent=2)
                file.flush()
                os.fsync(fd)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise


def _check_private(path: Path, status: os.stat_result, mode: str) -> None:
    if os.name != "posix":
        return
    if status.st_uid != os.geteuid():
        raise UsageError(f"{path}: belongs to another user; move it away, and log in again")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise UsageError(f"{path}: others may read or change it; run chmod {mode} on it")


def _keyring() -> Any:
    """Return the module of the keyring, or None if there is none that works."""
    try:
        import keyring
        from keyring.backends import fail, null

        backend = keyring.get_keyring()
    except Exception:  # noqa: BLE001 - backends raise what they like while they load
        return None
    return None if isinstance(backend, (fail.Keyring, null.Keyring)) else keyring


def _store_in_keyring(name: str, text: str) -> bool:
    keyring = _keyring()
    if keyring is None:
        return False
    try:
        keyring.set_password(_SERVICE, name, text)
        return bool(keyring.get_password(_SERVICE, name) == text)
    except Exception:  # noqa: BLE001 - locked, or no session bus: the file takes the secrets
        return False


def full_url(text: str) -> str:
    """Return a portal's URL with its scheme, and without a slash at the end."""
    return (text if "://" in text else f"https://{text}").strip().rstrip("/")


def apply_profile(options: Any) -> None:
    """Fill in what neither the options nor the environment give, from the profile.

    A profile's secrets go to the profile's portal only.
    """
    name = options.profile or os.environ.get("CTERA_DIRECT_PROFILE")
    if not name and not _needs_profile(options):
        return
    store = ProfileStore()
    try:
        profile = store.read(name or "default")
    except PermissionError as error:
        # A service that runs as another user than the owner of HOME has no profile.
        if name:
            raise UsageError(f"{store.file}: cannot be read: {error.strerror}") from None
        return
    if profile is None:
        if name:
            raise UsageError(f"there is no profile {name}; run ctera-direct login --profile {name}")
        return
    url = options.endpoint or os.environ.get("CTERA_DIRECT_URL")
    if url and full_url(url) != profile.url:
        if options.profile:
            raise UsageError(f"profile {name} is for {profile.url}, not for the portal given")
        return
    options.endpoint = profile.url
    if hasattr(options, "user"):
        _apply_account(options, store, name or "default", profile)
    elif not (options.access or options.bearer or any(map(os.environ.get, _KEY_VARIABLES))):
        secrets = store.read_secrets(name or "default", profile)
        options.access = secrets.get("access_key_id")
        options.secret = options.secret or secrets.get("secret_access_key")


def _needs_profile(options: Any) -> bool:
    """Return whether neither options nor environment give all that the command needs."""
    if not (options.endpoint or os.environ.get("CTERA_DIRECT_URL")):
        return True
    if hasattr(options, "user"):
        variables = ("CTERA_DIRECT_USERNAME", "CTERA_DIRECT_PASSWORD")
        return not (all(map(os.environ.get, variables)))
    return not (options.access or options.bearer or any(map(os.environ.get, _KEY_VARIABLES)))


class Account(NamedTuple):
    """Who signs in to look up paths."""

    username: str
    """The user name."""
    password: Token
    """The password."""
    context: str
    """The view: "ServicesPortal" or "admin"."""


def find_account(options: Any) -> Account | None:
    """Return the account of the profile for a portal, unless the environment has one.

    Raises:
        UsageError: Neither has one.
    """
    if all(map(os.environ.get, ("CTERA_DIRECT_USERNAME", "CTERA_DIRECT_PASSWORD"))):
        return None
    name = options.profile or os.environ.get("CTERA_DIRECT_PROFILE") or "default"
    store = ProfileStore()
    with contextlib.suppress(PermissionError):
        profile = store.read(name)
        url = options.endpoint or os.environ.get("CTERA_DIRECT_URL")
        if profile is not None and url and full_url(url) == profile.url:
            password = store.read_secrets(name, profile)["password"]
            return Account(profile.username, password, profile.context)
    raise UsageError(
        "a path is looked up with the account of a user: set CTERA_DIRECT_USERNAME and "
        "CTERA_DIRECT_PASSWORD, or run ctera-direct login"
    )


def _apply_account(options: Any, store: ProfileStore, name: str, profile: Profile) -> None:
    user = options.user or os.environ.get("CTERA_DIRECT_USERNAME")
    if not os.environ.get("CTERA_DIRECT_CONTEXT"):
        options.admin = options.admin or profile.context == "admin"
    if user in (None, "", profile.username) and not os.environ.get("CTERA_DIRECT_PASSWORD"):
        options.user = profile.username
        options.password = store.read_secrets(name, profile)["password"]
