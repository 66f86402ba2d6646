"""``ctera-direct login`` and ``logout``: store an account of a portal, and forget it."""

from __future__ import annotations

import argparse
import getpass
import os
import sys

from ..namespace import Namespace
from ..settings import Settings
from ..types import KeyPair, Token
from .errors import UsageError
from .listing import add_account
from .output import print_text
from .profiles import Profile, ProfileStore, full_url

__all__ = ["add_login_arguments", "add_logout_arguments", "ask", "login", "logout", "open_stored"]


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
    add_account(parser)


def add_logout_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``logout`` to its parser."""
    parser.add_argument(
        "--delete-key", action="store_true", help="delete the stored key pair at the portal, too"
    )
    add_account(parser)


def ask(options: argparse.Namespace) -> Namespace:
    """Ask for what is missing, and return a view of the portal. Nothing is sent yet."""
    url = options.endpoint or os.environ.get("CTERA_DIRECT_URL") or _ask("Portal URL: ", "-e")
    user = options.user or os.environ.get("CTERA_DIRECT_USERNAME") or _ask("User name: ", "-u")
    options.user = user
    if options.password_stdin:
        password = Token(sys.stdin.readline().rstrip("\r\n"))
    else:
        _need_terminal("--password-stdin")
        password = Token(getpass.getpass("Password: "))
    if not password:
        raise UsageError("the password is empty")
    options.password = password
    return _namespace(options, full_url(url), user, password, "admin" if options.admin else None)


def login(names: Namespace, options: argparse.Namespace) -> None:
    """Sign in, make a key pair if wanted, and store both."""
    names.stat("/")
    name = _name(options)
    store = ProfileStore()
    profile = Profile(names.baseurl, str(options.user), names.context, False)
    secrets = {"password": options.password}
    before = store.read(name)
    if before is not None and before[:2] == profile[:2]:
        secrets = {**store.read_secrets(name, before), **secrets}
    pair: KeyPair | None = None
    if _wants_key(options):
        pair = names.create_key_pair()
        secrets.update(access_key_id=pair[0], secret_access_key=pair[1])
    try:
        profile = store.write(name, profile, secrets)
    except BaseException:
        # The portal does not show the secret key again, so the pair would be of no use.
        if pair is not None:
            names.delete_key_pair(pair.access_key_id)
        raise
    what = "password and key pair" if "access_key_id" in secrets else "password"
    place = "the keyring" if profile.in_keyring else store.secrets_file
    print_text(f"Signed in to {profile.url} as {profile.username}.\n")
    print_text(f"Stored profile {name} in {store.file}, its {what} in {place}.\n")


def open_stored(options: argparse.Namespace) -> Namespace:
    """Return a view of the portal as the stored profile signs in to it."""
    name, store = _name(options), ProfileStore()
    profile = store.read(name)
    if profile is None:
        raise UsageError(f"there is no profile {name}")
    # Without --delete-key nothing is sent, so the password does not matter.
    password = store.read_secrets(name, profile)["password"] if options.delete_key else Token("-")
    return _namespace(options, profile.url, profile.username, password, profile.context)


def logout(names: Namespace, options: argparse.Namespace) -> None:
    """Delete the profile and its secrets, and the key pair at the portal if wanted."""
    name, store = _name(options), ProfileStore()
    profile = store.read(name)
    assert profile is not None
    if options.delete_key:
        key = store.read_secrets(name, profile).get("access_key_id")
        if key is None:
            raise UsageError(f"profile {name} has no key pair; leave --delete-key out")
        names.delete_key_pair(key)
    store.delete(name, profile)
    print_text(f"Deleted profile {name} and its secrets.\n")


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


def _name(options: argparse.Namespace) -> str:
    return options.profile or os.environ.get("CTERA_DIRECT_PROFILE") or "default"


def _need_terminal(option: str) -> None:
    # Without a terminal, getpass would echo.
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(f"standard input is not a terminal; give {option}")


def _ask(prompt: str, option: str) -> str:
    _need_terminal(option)
    sys.stderr.write(prompt)
    sys.stderr.flush()
    answer = sys.stdin.readline().strip()
    if not answer:
        raise UsageError(f"nothing was given; type it, or give {option}")
    return answer


def _wants_key(options: argparse.Namespace) -> bool:
    if options.create_key is not None:
        return bool(options.create_key)
    if options.password_stdin or not sys.stdin.isatty():
        return False
    sys.stderr.write("Make a key pair for Direct IO, which downloads need? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
