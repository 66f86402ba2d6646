"""``ctera-direct login`` and ``logout``: store an account of a portal, and forget it."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import os
import sys
import warnings

from .._base.profiles import chosen_name
from ..exceptions import NamespaceError
from ..namespace import Namespace
from ..settings import Settings
from ..types import KeyPair, Token
from .errors import UsageError, explain
from .listing import add_account, add_connection
from .output import complain, print_text
from .profiles import Profile, ProfileError, ProfileStore, full_url

__all__ = ["add_login_arguments", "add_logout_arguments", "ask", "login", "logout", "open_stored"]

#: The longest password that is read from standard input, in bytes.
_MAX_PASSWORD_BYTES = 64 << 10


def add_login_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``login`` to its parser."""
    parser.add_argument(
        "--password-stdin", action="store_true", help="read the password from standard input"
    )
    keys = parser.add_mutually_exclusive_group()
    keys.add_argument(
        "--create-key",
        action="store_true",
        default=None,
        help="make a key pair for Direct IO, and store it, too (default: ask on a terminal)",
    )
    keys.add_argument(
        "--no-create-key", dest="create_key", action="store_false", help="make no key pair"
    )
    add_account(parser, "The password is asked for, and never comes from an option.")


def add_logout_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``logout`` to its parser."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--profile",
        metavar="NAME",
        help="the profile to delete (default: CTERA_DIRECT_PROFILE, or default)",
    )
    which.add_argument("--all", action="store_true", help="delete all profiles")
    parser.add_argument(
        "--delete-key",
        action="store_true",
        help="sign in, and delete the stored key pair at the portal, too",
    )
    add_connection(parser.add_argument_group("portal, for --delete-key"))
    parser.add_argument(
        "-d", "--debug", action="store_true", help="log each step to standard error"
    )


# --- login ---------------------------------------------------------------------------------------------


def ask(options: argparse.Namespace) -> Namespace:
    """Ask for what is missing, and return a view of the portal. Nothing is sent yet."""
    # What cannot be kept is told before the password is typed.
    ProfileStore().check()
    url = options.endpoint or os.environ.get("CTERA_DIRECT_URL") or _ask("Portal URL: ", "-e")
    user = options.user or os.environ.get("CTERA_DIRECT_USERNAME") or _ask("User name: ", "-u")
    options.user = user
    options.password = _read_password() if options.password_stdin else _ask_password()
    if not options.password:
        raise UsageError("the password is empty")
    context = "admin" if options.admin else None
    return _namespace(options, full_url(url), user, options.password, context)


def login(names: Namespace, options: argparse.Namespace) -> None:
    """Sign in, make a key pair if wanted, and store both."""
    names.stat("/")
    name = chosen_name(options.profile)
    store = ProfileStore()
    profile = Profile(names.baseurl, str(options.user), names.context, False)
    before = store.read(name)
    secrets = {**_kept_keys(store, name, before, profile), "password": options.password}
    pair: KeyPair | None = None
    if _wants_key(options, "access_key_id" in secrets):
        pair = _create_key_pair(names, options)
        if pair is not None:
            secrets.update(access_key_id=pair[0], secret_access_key=pair[1])
    try:
        profile, problem = store.write(name, profile, secrets)
    except BaseException:
        # The portal does not show the secret key again, so the pair would be of no use.
        if pair is not None:
            names.delete_key_pair(pair.access_key_id)
        raise
    what = "password and key pair" if "access_key_id" in secrets else "password"
    place = "the keyring" if profile.in_keyring else store.secrets_file
    reason = f" (the keyring does not work: {problem})" if problem else ""
    print_text(f"Signed in to {profile.url} as {profile.username}.\n")
    if before is not None and before[:2] != profile[:2]:
        print_text(f"Replaced profile {name}, which was of {before.username} at {before.url}.\n")
    print_text(f"Stored profile {name} in {store.file}, its {what} in {place}{reason}.\n")


def _kept_keys(
    store: ProfileStore, name: str, before: Profile | None, profile: Profile
) -> dict[str, Token]:
    """Return the key pair that an earlier login of the same user stored."""
    if before is None or before[:2] != profile[:2]:
        return {}
    try:
        secrets = store.read_secrets(name, before)
    except ProfileError as error:
        complain(f"ctera-direct login: no key pair of an earlier login is kept: {error}")
        return {}
    keys = ("access_key_id", "secret_access_key")
    return {key: secrets[key] for key in keys} if all(key in secrets for key in keys) else {}


def _create_key_pair(names: Namespace, options: argparse.Namespace) -> KeyPair | None:
    try:
        return names.create_key_pair()
    except NamespaceError as error:
        # It was offered, not asked for: the password is still worth storing.
        if options.create_key:
            raise
        complain(f"ctera-direct login: no key pair was made: {explain(error)}")
        return None


def _wants_key(options: argparse.Namespace, has_key: bool) -> bool:
    if options.create_key is not None:
        return bool(options.create_key)
    if has_key or options.password_stdin or not _is_terminal():
        return False
    return _read_line("Make a key pair for Direct IO, which downloads need? [y/N] ").lower() in (
        "y",
        "yes",
    )


def _namespace(
    options: argparse.Namespace, url: str, user: str, password: Token, context: str | None
) -> Namespace:
    settings = Settings()
    if options.no_verify_ssl:
        settings.api.ssl = False
    try:
        return Namespace(url, user, password, context=context, settings=settings)
    except ValueError as error:
        raise UsageError(str(error)) from None


# --- logout --------------------------------------------------------------------------------------------


class _Nothing:
    """What ``logout`` works with: it signs in only to delete a key pair."""

    def close(self) -> None:
        """Do nothing."""


def open_stored(options: argparse.Namespace) -> _Nothing:
    """Return a client that does nothing."""
    return _Nothing()


def logout(_: _Nothing, options: argparse.Namespace) -> None:
    """Delete the profiles and their secrets, and the key pairs at the portal if wanted."""
    store = ProfileStore()
    names = store.names() if options.all else [chosen_name(options.profile)]
    if not names:
        raise UsageError(f"there is no profile in {store.file}")
    for name in names:
        profile = store.read(name)
        if profile is None:
            raise UsageError(f"there is no profile {name} in {store.file}")
        if options.delete_key:
            _delete_key_pair(store, name, profile, options)
        store.delete(name, profile)
        print_text(f"Deleted profile {name} and its secrets.\n")


def _delete_key_pair(
    store: ProfileStore, name: str, profile: Profile, options: argparse.Namespace
) -> None:
    secrets = store.read_secrets(name, profile)
    key = secrets.get("access_key_id")
    if key is None:
        if options.all:
            return
        raise UsageError(f"profile {name} has no key pair; leave --delete-key out")
    arguments = profile.url, profile.username, secrets["password"], profile.context
    with contextlib.closing(_namespace(options, *arguments)) as names:
        names.delete_key_pair(key)


# --- asking --------------------------------------------------------------------------------------------


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _need_terminal(option: str) -> None:
    # Without a terminal, getpass would echo.
    if not _is_terminal():
        raise UsageError(f"standard input is not a terminal; give {option}")


def _ask(prompt: str, option: str) -> str:
    _need_terminal(option)
    answer = _read_line(prompt)
    if not answer:
        raise UsageError(f"nothing was given; type it, or give {option}")
    return answer


def _read_line(prompt: str) -> str:
    sys.stderr.write(prompt)
    sys.stderr.flush()
    try:
        return sys.stdin.readline().strip()
    except UnicodeDecodeError:
        raise UsageError("what was typed is not text in the terminal's encoding") from None


def _ask_password() -> Token:
    _need_terminal("--password-stdin")
    try:
        with warnings.catch_warnings():
            # It warns where it cannot turn the echo off.
            warnings.simplefilter("error", getpass.GetPassWarning)
            return Token(getpass.getpass("Password: "))
    except EOFError:
        raise UsageError("no password was given; type it, or give --password-stdin") from None
    except (getpass.GetPassWarning, UnicodeDecodeError) as error:
        kind = type(error)
    if kind is getpass.GetPassWarning:
        raise UsageError("this terminal would show the password; give --password-stdin")
    raise UsageError("the password is not text in the terminal's encoding")


def _read_password() -> Token:
    """Return the first line of standard input."""
    if sys.stdin is None:
        raise UsageError("standard input is closed; give the password there")
    # Bytes: an error of decoding would quote the password.
    line = sys.stdin.buffer.readline(_MAX_PASSWORD_BYTES + 1)
    try:
        text = Token(line.decode("utf-8").rstrip("\r\n"))
    except UnicodeDecodeError:
        text = None
    is_long = len(line) > _MAX_PASSWORD_BYTES
    del line
    if text is None or is_long:
        raise UsageError("the password on standard input is not one line of UTF-8 text")
    return text
