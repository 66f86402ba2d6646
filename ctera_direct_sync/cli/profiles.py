"""What ``ctera-direct login`` stores: profiles, and their secrets in the keyring or in a file.

`ctera_direct_sync._base.profiles` reads them, for the library, too. Only this module writes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .._base.account import Password, choose_account
from .._base.credentials import find_credentials
from .._base.profiles import (
    KEYRING_SERVICE,
    Profile,
    ProfileError,
    ProfileFiles,
    check_private,
    find_profile,
    is_same_portal,
    load_keyring,
)
from .._readers.folders import Folder, ForeignFileError, flush
from .._readers.locks import LockedFile
from ..namespace import Namespace
from ..settings import Settings
from ..types import Token
from .errors import UsageError

__all__ = [
    "COMPLETION_MARK",
    "Profile",
    "ProfileError",
    "ProfileStore",
    "Stored",
    "choose_keys",
    "choose_portal",
    "full_url",
    "open_namespace",
]

_LOCK = ".lock"

#: How the names of files begin that are not complete yet.
_TEMPORARY = ".new-"

#: The file that says for which account completion does not ask the portal.
COMPLETION_MARK = ".completion"

#: Seconds to wait for another login or logout, which holds the lock for milliseconds.
_LOCK_WAIT_S = 10.0
_LOCK_POLL_S = 0.02


class Stored(NamedTuple):
    """What `ProfileStore.write` did."""

    profile: Profile
    """The profile; `in_keyring` says where its secrets are."""
    problem: str
    """Why they are not in the keyring, in a few words. Empty: they are, or there is no keyring."""


class ProfileStore(ProfileFiles):
    """The profiles of this user on this machine, to read and to change.

    A change holds a lock, so that two programs lose nothing of each other's. Each file is replaced as a
    whole. The secrets are written before the profile, and name its portal: so a program that is killed
    in between leaves secrets that are refused, and never those of one portal for another.
    """

    def check(self) -> None:
        """Raise ProfileError if a change would lose other profiles, since they cannot be read."""
        self.read_file(self.file)
        self.read_file(self.secrets_file, Token)

    def write(self, name: str, profile: Profile, secrets: dict[str, Token]) -> Stored:
        """Store a profile and its secrets, in the keyring if it works.

        Raises:
            ProfileError: What is stored already cannot be read.
            OSError: The files cannot be written.
        """
        fields = {"url": profile.url, "username": profile.username, **secrets}
        record = Token(json.dumps(fields))
        with self._locked():
            self.check()
            problem = self._store_in_keyring(name, record)
            profile = profile._replace(in_keyring=problem is None)
            in_file = self.read_file(self.secrets_file, Token)
            if problem is not None or name in in_file:
                in_file.pop(name, None)
                if problem is not None:
                    in_file[name] = fields
                self._write(self.secrets_file, in_file)
            self._write(self.file, {**self.read_file(self.file), name: profile._asdict()})
            # A portal has just accepted a password: completion may ask again.
            with contextlib.suppress(OSError):
                os.unlink(self.folder / COMPLETION_MARK)
        return Stored(profile, problem or "")

    def delete(self, name: str, profile: Profile) -> None:
        """Delete a profile and its secrets.

        Raises:
            UsageError: The keyring still has the secrets. Then the profile stays, too.
            ProfileError: What is stored cannot be read.
            OSError: The files cannot be written.
        """
        with self._locked():
            self.check()
            self._delete_from_keyring(name, needed=profile.in_keyring)
            for path in (self.secrets_file, self.file):
                content = self.read_file(path, Token)
                if content.pop(name, None) is not None:
                    self._write(path, content)

    def _store_in_keyring(self, name: str, record: Token) -> str | None:
        """Store the secrets in the keyring. Return why not, or None."""
        keyring = load_keyring()
        if keyring is None:
            return ""
        entry = self.keyring_entry(name)
        try:
            keyring.set_password(KEYRING_SERVICE, entry, str(record))
            if keyring.get_password(KEYRING_SERVICE, entry) == record:
                return None
        except Exception as error:  # noqa: BLE001 - locked, or no session bus: the file takes the secrets
            return type(error).__name__
        return "it does not keep what it is given"

    def _delete_from_keyring(self, name: str, *, needed: bool) -> None:
        keyring = load_keyring()
        problem = "there is no keyring that works"
        if keyring is not None:
            entry = self.keyring_entry(name)
            try:
                if keyring.get_password(KEYRING_SERVICE, entry) is not None:
                    keyring.delete_password(KEYRING_SERVICE, entry)
                return
            except Exception as error:  # noqa: BLE001 - backends raise what they like
                problem = type(error).__name__
        if needed:
            raise UsageError(
                f"the keyring still has the secrets of profile {name} ({problem}): unlock it"
            )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Make the folder if need be, and let no other program change the profiles meanwhile."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            # Another login may look at it at once, so it is never wider than this.
            self.folder.mkdir(mode=0o700)
            # The process's umask may have taken too much.
            self.folder.chmod(0o700)
        check_private(self.folder, self.folder.stat(), "700")
        deadline = time.monotonic() + _LOCK_WAIT_S
        with self._open_folder() as folder:
            while True:
                try:
                    lock = LockedFile(folder, _LOCK)
                    break
                except ForeignFileError as error:
                    raise ProfileError(f"{error.filename}: belongs to another; remove it") from None
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise UsageError(
                            f"another login or logout holds {folder.path_of(_LOCK)}: wait for it"
                        ) from None
                    time.sleep(_LOCK_POLL_S)
            try:
                # A login that was killed may have left its secrets in one of these.
                for path in self.folder.glob(f"{_TEMPORARY}*"):
                    path.unlink()
                yield
            finally:
                lock.release(remove=False)

    def _open_folder(self) -> Folder:
        # The folder itself may be kept elsewhere.
        return Folder.open(os.path.realpath(self.folder))

    def _write(self, path: Path, content: dict[str, Any]) -> None:
        # mkstemp makes files of mode 0600, or less by the process's umask.
        fd, temporary = tempfile.mkstemp(dir=self.folder, prefix=_TEMPORARY)
        try:
            with open(fd, "w", encoding="utf-8") as file:
                if hasattr(os, "fchmod"):
                    os.fchmod(fd, 0o600)
                # Not by json.dump: its frame would hold a part of the secrets if the disk were full.
                file.write(f"{json.dumps(content, indent=2)}\n")
                file.flush()
                flush(fd)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        # Some file systems flush no folder.
        with contextlib.suppress(OSError), self._open_folder() as folder:
            folder.flush()


def full_url(text: str) -> str:
    """Return a portal's URL with its scheme, and without a slash at the end."""
    text = text.strip()
    return (text if "://" in text else f"https://{text}").rstrip("/")


# --- the profile that --profile names ------------------------------------------------------------------


def choose_portal(options: argparse.Namespace) -> None:
    """Replace the endpoint by a whole URL: the option's, or that of the profile given by --profile.

    Without either, the endpoint stays None, and the library finds the portal.

    Raises:
        UsageError: --profile is for another portal than the one that is given.
        ProfileError: The profile does not exist, or cannot be read.
    """
    if options.endpoint:
        options.endpoint = full_url(options.endpoint)
    if not options.profile:
        return
    profile = find_profile(None, options.profile).profile
    assert profile is not None
    url = options.endpoint or os.environ.get("CTERA_DIRECT_URL")
    if url and not is_same_portal(url, profile.url):
        raise UsageError(
            f"profile {options.profile} is for {profile.url}, not for the portal that is given"
        )
    options.endpoint = options.endpoint or profile.url


def choose_keys(options: argparse.Namespace) -> None:
    """Fill in the keys from the profile given by --profile, if they are given nowhere else.

    Raises:
        ValueError: There are none, or the profile cannot be read.
    """
    if options.profile:
        # The library treats both kinds of tokens alike.
        options.bearer, options.secret = find_credentials(
            options.endpoint, options.access, options.secret, options.bearer, options.profile
        )
        options.access = None


def open_namespace(
    options: argparse.Namespace,
    settings: Settings,
    user: str | None = None,
    context: str | None = None,
) -> Namespace:
    """Return the view of the portal that the options name.

    Args:
        options: Those of the command, with the endpoint that `choose_portal` has found.
        settings: The settings of the view.
        user: The user name. None: that of the environment or the profile.
        context: "ServicesPortal" or "admin". None: that of the environment or the profile.

    Raises:
        MissingAccountError: The user name or the password is given nowhere.
        ValueError: Something is malformed, or the profile cannot be read.
    """
    password = None
    if options.profile:
        account = choose_account(options.endpoint, user, None, profile_name=options.profile)
        assert isinstance(account.credentials, Password)
        user, password = account.credentials
        context = context or account.context
    return Namespace(options.endpoint, user, password, context=context, settings=settings)
