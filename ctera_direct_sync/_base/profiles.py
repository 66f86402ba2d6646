"""Read what ``ctera-direct login`` stored: profiles, and their secrets in the keyring or in a file.

A profile fills in what neither an argument nor the environment gives. It is read only then. Its secrets
go to its own portal: each record of secrets names the portal and the user, and both are compared.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from typing import TYPE_CHECKING, Any, NamedTuple

from ..types import Token
from .portal_address import PortalAddress

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "DEFAULT_NAME",
    "Profile",
    "ProfileError",
    "ProfileFiles",
    "StoredProfile",
    "UnreadableProfileError",
    "chosen_name",
    "find_profile",
    "KEYRING_SERVICE",
    "check_private",
    "is_same_portal",
    "load_keyring",
]

#: The profile that is read if no other one is named.
DEFAULT_NAME = "default"

_NAME_VARIABLE = "CTERA_DIRECT_PROFILE"
_FOLDER_VARIABLE = "CTERA_DIRECT_CONFIG_DIR"

#: The service under which the keyring has the secrets.
KEYRING_SERVICE = "ctera-direct-sync"

_CONTEXTS = ("ServicesPortal", "admin")

# A named pipe in the file's place must not make the process wait.
_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
)

#: The errors of O_NOFOLLOW at a symbolic link: Linux and macOS, FreeBSD, NetBSD.
_LINK_ERRNOS = {errno.ELOOP, errno.EMLINK, getattr(errno, "EFTYPE", errno.ELOOP)}


class ProfileError(ValueError):
    """A stored profile cannot be used. The text says why, and what to do."""


class UnreadableProfileError(ProfileError):
    """The system does not let this process read the profiles."""


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


def chosen_name(name: str | None = None) -> str:
    """Return the name of the profile to use: `name`, that of the environment, or the default one."""
    return name or os.environ.get(_NAME_VARIABLE) or DEFAULT_NAME


# --- files and keyring ---------------------------------------------------------------------------------


class ProfileFiles:
    """The profiles of this user on this machine, to read.

    Attributes:
        folder: The folder of the two files.
        file: The file of the profiles. It holds no secret.
        secrets_file: The file of the secrets that are not in the keyring.

    Raises:
        ProfileError: CTERA_DIRECT_CONFIG_DIR is not an absolute path.
        UnreadableProfileError: The process has no home folder.
    """

    def __init__(self) -> None:
        from pathlib import Path

        given = os.environ.get(_FOLDER_VARIABLE)
        if given:
            self.folder = Path(given)
            if not self.folder.is_absolute():
                raise ProfileError(f"{_FOLDER_VARIABLE} is {given!r}: give an absolute path")
        else:
            import platformdirs

            try:
                self.folder = Path(platformdirs.user_config_path("ctera-direct", appauthor=False))
            except RuntimeError:
                self.folder = Path()
            # Older releases return a path that begins with a plain "~". Without a home folder, profiles
            # would then be looked for below the current folder.
            if not self.folder.is_absolute():
                raise UnreadableProfileError(
                    f"there is no home folder to hold profiles: set HOME or {_FOLDER_VARIABLE}"
                )
        self.file = self.folder / "profiles.json"
        self.secrets_file = self.folder / "secrets.json"
        self._entry_prefix = f"{self.folder}: " if given else ""

    def names(self) -> list[str]:
        """Return the names of all profiles.

        Raises:
            ProfileError: The file cannot be read, or others may change it.
        """
        return sorted(self.read_file(self.file))

    def read(self, name: str) -> Profile | None:
        """Return a profile, or None if there is none of the name.

        Raises:
            ProfileError: The file cannot be read, others may change it, or it is malformed.
        """
        fields = self.read_file(self.file).get(name)
        if fields is None:
            return None
        try:
            profile = Profile(**fields)
        except TypeError:
            profile = None
        if profile is None or not _is_sound(profile):
            raise ProfileError(f"{self.file}: profile {name} is malformed; log in again")
        return profile

    def read_secrets(self, name: str, profile: Profile) -> dict[str, Token]:
        """Return the secrets of a profile by their names.

        Raises:
            ProfileError: They cannot be read, are gone, or are those of another portal or user.
        """
        record = self._read_keyring(name) if profile.in_keyring else self._read_secrets_file(name)
        if record is None:
            raise ProfileError(f"the secrets of profile {name} are gone; {_login(name)}")
        # A login that was killed may have left the secrets of another portal.
        if (record.get("url"), record.get("username")) != profile[:2]:
            raise ProfileError(
                f"the stored secrets of profile {name} are not those of {profile.username} at "
                f"{profile.url}; {_login(name)}"
            )
        return record

    def keyring_entry(self, name: str) -> str:
        """Return the name under which the keyring has the secrets of a profile."""
        return self._entry_prefix + name

    def _read_keyring(self, name: str) -> dict[str, Token] | None:
        keyring = load_keyring()
        problem = "there is no keyring that works"
        text = Token("")
        if keyring is not None:
            try:
                text = Token(keyring.get_password(KEYRING_SERVICE, self.keyring_entry(name)) or "")
                problem = ""
            except Exception as error:  # noqa: BLE001 - backends raise what they like
                problem = type(error).__name__
        if problem:
            raise ProfileError(
                f"the keyring does not give the secrets of profile {name} ({problem}): unlock it, "
                f"or {_login(name)}"
            )
        return _record(_parse(text, Token))

    def _read_secrets_file(self, name: str) -> dict[str, Token] | None:
        return _record(self.read_file(self.secrets_file, Token).get(name))

    def read_file(self, path: Path, hide: type[str] = str) -> dict[str, Any]:
        """Return the JSON object in a file; an empty one if there is no file.

        Args:
            path: The file.
            hide: The type of the texts in the object.

        Raises:
            UnreadableProfileError: The system does not let this process read it.
            ProfileError: It is not this user's alone, or not what login wrote.
        """
        data = _read_private(path)
        if data is None:
            return {}
        content = _parse(data, hide)
        if not isinstance(content, dict):
            raise ProfileError(
                f"{path}: not the JSON that login wrote; mend it, or move it away and log in again"
            )
        return content


def _is_sound(profile: Profile) -> bool:
    return (
        all(isinstance(text, str) for text in profile[:3])
        and isinstance(profile.in_keyring, bool)
        and PortalAddress.of(profile.url) is not None
        and bool(profile.username)
        and profile.context in _CONTEXTS
    )


def _record(value: Any) -> dict[str, Token] | None:
    if not isinstance(value, dict) or not value:
        return None
    return {name: text for name, text in value.items() if isinstance(text, Token) and text}


def _parse(data: str, hide: type[str]) -> Any:
    """Return the value of a JSON text, or None. Its objects hold their texts as `hide`."""

    def make(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {name: hide(value) if isinstance(value, str) else value for name, value in pairs}

    # No exception leaves from here: those of json quote the whole text.
    try:
        return json.loads(data, object_pairs_hook=make)
    except (ValueError, RecursionError):
        return None


def _read_private(path: Path) -> Token | None:
    """Return the text of a file that belongs to this user alone, or None if there is none."""
    try:
        fd = os.open(path, _FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno in _LINK_ERRNOS:
            raise ProfileError(f"{path}: is a symbolic link; put the file itself there") from None
        raise UnreadableProfileError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        with open(fd, "rb") as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise ProfileError(f"{path}: is not a file; move it away, and log in again")
            check_private(path, status, "600")
            return Token(file.read().decode("utf-8", "replace"))
    except IsADirectoryError:
        raise ProfileError(f"{path}: is not a file; move it away, and log in again") from None
    except OSError as error:
        raise UnreadableProfileError(f"{path}: cannot be read: {error.strerror}") from None


def check_private(path: Path, status: os.stat_result, mode: str) -> None:
    """Raise ProfileError if another user may read or change a file or folder.

    Args:
        path: Its path, for the message.
        status: What `os.stat` says of it.
        mode: The mode that it should have, for the message.
    """
    if os.name != "posix":
        return
    if status.st_uid != os.geteuid():
        raise ProfileError(
            f"{path}: belongs to another user, so it is not used: set HOME or {_FOLDER_VARIABLE} to a "
            "folder of your own"
        )
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise ProfileError(f"{path}: others may read or change it; run chmod {mode} on it")


def load_keyring() -> Any:
    """Return the module of the keyring, or None if there is none that works."""
    try:
        import keyring
        from keyring.backends import fail, null

        backend = keyring.get_keyring()
    except Exception:  # noqa: BLE001 - backends raise what they like while they load
        return None
    return None if isinstance(backend, (fail.Keyring, null.Keyring)) else keyring


# --- the profile that fills in -------------------------------------------------------------------------


def is_same_portal(url: str, other: str) -> bool:
    """Return whether two URLs are of the same portal: scheme, host, port and path are equal."""
    address = PortalAddress.of(url)
    return address is not None and address == PortalAddress.of(other)


class StoredProfile(NamedTuple):
    """The profile that may fill in what is missing, or the reason why there is none."""

    files: ProfileFiles | None
    """Where it was read from."""
    name: str
    """Its name."""
    profile: Profile | None
    """The profile, or None if it does not apply."""
    advice: str
    """What to do if something is still missing, for the end of a message."""

    def secrets(self) -> dict[str, Token]:
        """Return its secrets by their names: none if no profile applies.

        Raises:
            ProfileError: They cannot be read.
        """
        if self.files is None or self.profile is None:
            return {}
        return self.files.read_secrets(self.name, self.profile)


def find_profile(baseurl: str | None, name: str | None = None) -> StoredProfile:
    """Read the profile that may fill in missing arguments.

    Args:
        baseurl: The portal that is known already. The profile of another portal does not apply.
            None: the profile names the portal.
        name: The profile's name. None: that of CTERA_DIRECT_PROFILE, or the default one.

    Raises:
        ProfileError: A profile was named and does not exist, or what is stored cannot be used.
    """
    named = name or os.environ.get(_NAME_VARIABLE)
    name = chosen_name(name)
    files = None
    try:
        files = ProfileFiles()
        profile = files.read(name)
    except UnreadableProfileError:
        # A service that runs as another user than the owner of its HOME has no profile.
        if named:
            raise
        profile = None
    if profile is None:
        if named:
            raise ProfileError(f"there is no profile {name}; {_login(name)}")
        return StoredProfile(files, name, None, f"or {_login(name)}")
    if baseurl is not None and not is_same_portal(baseurl, profile.url):
        advice = f"or run ctera-direct login for this portal (profile {name} is for {profile.url})"
        return StoredProfile(files, name, None, advice)
    return StoredProfile(files, name, profile, f"or {_login(name)}")


def _login(name: str) -> str:
    option = "" if name == DEFAULT_NAME else f" --profile {name}"
    return f"run ctera-direct login{option}"
