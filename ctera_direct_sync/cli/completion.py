"""Completion of commands, options and paths on the portal, by argcomplete.

A shell starts the command anew for each press of TAB, and waits for it. So all here is bounded in time,
and any failure means no proposals: nothing is written to standard error, and nothing is asked for.

Portals lock accounts after a few wrong passwords, and a person presses TAB often. Before the portal is
asked, a mark is left in the folder of the profiles. It goes away when the portal accepts the sign-in.
While it is there, the portal is not asked again by the same account.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .._base.profiles import ProfileFiles, find_profile
from ..exceptions import LoginError
from ..namespace import Namespace
from ..settings import Settings
from .arguments import ChecksumOption, Option
from .profiles import COMPLETION_MARK, choose_portal, open_namespace

__all__ = ["complete"]

#: Seconds that a shell waits for paths.
_DEADLINE_S = 2.0
#: Seconds for which an account is not tried again after a refusal, and after no answer in time.
_REFUSED_S = 600.0
_LATE_S = 30.0

#: The values of these options and arguments are files or folders of this machine.
_LOCAL = {"FILE", "FOLDER", "MANIFEST"}


def complete(parser: argparse.ArgumentParser) -> None:
    """Write the proposals for the shell's line, and end the process."""
    _leave_terminal()
    try:
        import argcomplete
        from argcomplete import completers, finders
    except ImportError:
        os._exit(1)
    finders.safe_actions.update({Option, ChecksumOption})
    for action in _actions_of(parser):
        completer: Any = None
        if action.metavar in ("PATH", "PATH|ID") and not action.option_strings:
            completer = _complete_path
        elif action.dest == "profile":
            completer = _complete_profile
        elif isinstance(action, Option) and action.known_values:
            completer = completers.ChoicesCompleter(dict.fromkeys(action.known_values, ""))
        elif action.metavar in _LOCAL:
            completer = completers.FilesCompleter()
        if completer is not None:
            action.completer = completer  # type: ignore[attr-defined]
    argcomplete.autocomplete(
        parser,
        always_complete_options=False,
        default_completer=_complete_nothing,  # type: ignore[arg-type]
    )


def _leave_terminal() -> None:
    """Cut the process off from its terminal, so that no part of it can ask for a password there."""
    with contextlib.suppress(AttributeError, OSError):
        os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    with contextlib.suppress(ImportError, OSError):
        import fcntl
        import termios

        # The leader of a process group cannot leave its session.
        with open("/dev/tty", "rb", buffering=0) as terminal:
            fcntl.ioctl(terminal, termios.TIOCNOTTY)
    sys.unraisablehook = lambda _: None
    threading.excepthook = lambda _: None


def _actions_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in dict.fromkeys(action.choices.values()):
                yield from _actions_of(command)
        else:
            yield action


# --- proposals -----------------------------------------------------------------------------------------


def _complete_nothing(**_: Any) -> Iterable[str]:
    return ()


def _complete_profile(prefix: str, **_: Any) -> Iterable[str]:
    with contextlib.suppress(Exception):
        return [name for name in ProfileFiles().names() if name.startswith(prefix)]
    return ()


def _complete_path(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> Iterable[str]:
    """Return the paths on the portal that begin with a prefix: all of them, or none."""
    if prefix and not prefix.startswith("/"):
        return ()
    found: list[list[str]] = []

    def run() -> None:
        with contextlib.suppress(Exception):
            found.append(_find_paths(prefix, parsed_args))

    # The process ends without waiting for a daemon thread.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(_DEADLINE_S)
    if not found:
        # Some of the paths would look like all of them, and a single one would be taken for the only one.
        _shorten_mark()
        return ()
    return found[0]


def _find_paths(prefix: str, options: argparse.Namespace) -> list[str]:
    folder, _, part = prefix.rpartition("/")
    found = []
    with contextlib.closing(_open(options)) as names, _marked(names, options):
        for entry in names.listdir(folder or "/"):
            # A shell could not show or quote the others.
            if entry.name.startswith(part) and entry.name.isprintable():
                found.append(f"{folder}/{entry.name}{'/' if entry.is_dir else ''}")
    return found


def _open(options: argparse.Namespace) -> Namespace:
    """Return the view of the portal that the command would have."""
    for name in ("endpoint", "user", "profile", "admin", "no_verify_ssl"):
        vars(options).setdefault(name, None)
    settings = Settings(retries=0)
    settings.api.timeout = (_DEADLINE_S, _DEADLINE_S)
    if options.no_verify_ssl:
        settings.api.ssl = False
    choose_portal(options)
    if _would_ask(options):
        raise LookupError
    return open_namespace(options, settings, options.user, "admin" if options.admin else None)


def _would_ask(options: argparse.Namespace) -> bool:
    """Return whether the desktop would ask the user to unlock the keyring."""
    profile = find_profile(options.endpoint, options.profile).profile
    if profile is None or not profile.in_keyring:
        return False
    import keyring

    backend: Any = keyring.get_keyring()
    modules = [type(each).__module__ for each in getattr(backend, "backends", [backend])]
    if not any(module.endswith(".SecretService") for module in modules):
        return False
    import secretstorage

    with contextlib.closing(secretstorage.dbus_init()) as bus:
        return bool(secretstorage.get_default_collection(bus).is_locked())


# --- the mark ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _marked(names: Namespace, options: argparse.Namespace) -> Iterator[None]:
    """Leave a mark while the portal is asked, and for good if it refuses the account.

    Raises:
        LookupError: The account was refused lately, or there was no answer in time.
        OSError: No mark can be left, so the portal is not asked.
    """
    mark = _mark()
    text = (
        f"{names.baseurl} {names.context} {options.user or os.environ.get('CTERA_DIRECT_USERNAME')}"
    )
    with contextlib.suppress(FileNotFoundError):
        is_recent = time.time() - mark.stat().st_mtime < _REFUSED_S
        if is_recent and mark.read_text("utf-8", "replace") == text:
            raise LookupError
    mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        mark.unlink()
    with open(
        os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write(text)
    try:
        yield
    except LoginError:
        raise
    except BaseException:
        mark.unlink()
        raise
    mark.unlink()


def _shorten_mark() -> None:
    """Let the mark of a portal that did not answer in time end soon."""
    with contextlib.suppress(Exception):
        mark = _mark()
        now = time.time()
        os.utime(mark, (now, now - _REFUSED_S + _LATE_S))


def _mark() -> Path:
    return ProfileFiles().folder / COMPLETION_MARK
