"""The program ``ctera-direct``: parses arguments, makes a client, runs one command, explains its error.

Exit codes:

    0    done
    1    failed; one line on standard error says what, and what to do
    2    wrong usage
    3    changes: the portal no longer takes the cursor
    129, 130, 143    ended by SIGHUP, SIGINT, SIGTERM
    141  the reader of standard output stopped early
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
from collections.abc import Sequence
from typing import Any, Callable

from .. import codec
from .._base.account import MissingAccountError
from .._base.profiles import ProfileError
from .._readers.manifest import ManifestError
from ..client import DirectIO
from ..namespace import Namespace
from ..settings import Settings
from ..version import __version__
from . import batch, bench, changes, emulator, info, listing, login, mirror, startup, verify
from .arguments import Parser, add_file_id, add_portal
from .download import add_cat_arguments, add_download_arguments, cat, download
from .errors import UsageError, explain, explain_item, shortage
from .logs import CommandLog
from .output import (
    OutputClosed,
    TargetError,
    complain,
    settle,
    standard_output,
    write_output,
)
from .profiles import choose_keys, choose_portal, open_namespace
from .signals import Interrupts, Signalled

__all__ = ["main", "make_parser"]

_log = logging.getLogger(__name__)

_DONE, _FAILED, _USAGE = 0, 1, 2

#: A shell reports this and the signal's number for a process that a signal ended.
_SIGNAL_BASE = 128
_PIPE_CLOSED = _SIGNAL_BASE + 13  # SIGPIPE, which Windows does not have.


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments. None: those of this process. The process is then prepared for the command,
            and signals that end it keep their default action once the command is done.

    Returns:
        The exit code.

    Raises:
        SystemExit: ``--help`` was given, or the usage is wrong.
    """
    if argv is None:
        startup.prepare()
        if "_ARGCOMPLETE" in os.environ:
            # A shell asks what may follow. Imported late: no other command needs it.
            from .completion import complete

            complete(make_parser())
    else:
        startup.open_descriptors()
    options = argparse.Namespace(name=None, log=CommandLog())
    try:
        with Interrupts(own_process=argv is None, on_toggle=options.log.toggle) as interrupts:
            make_parser().parse_args(argv, options)
            run: Callable[[argparse.Namespace, Interrupts], int] = options.run
            return run(options, interrupts)
    except Signalled as signalled:
        return _end(options, signalled.text, _SIGNAL_BASE + signalled.number)
    except OutputClosed as closed:
        if closed.name is not None:
            _end(options, f"{closed.name}: its reader went away before all was written", 0)
        return _PIPE_CLOSED
    except TargetError as error:
        return _end(options, explain(error), _FAILED)
    finally:
        if argv is None:
            settle()


# --- arguments -----------------------------------------------------------------------------------------


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = Parser(
        prog="ctera-direct",
        description="Download files from the CTERA global namespace, straight from its object storage.",
        epilog="Keys are best given by the environment: CTERA_DIRECT_URL, CTERA_DIRECT_ACCESS_KEY_ID, "
        "CTERA_DIRECT_SECRET_ACCESS_KEY, or CTERA_DIRECT_BEARER.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    text = "download a file, or a range of it, to a path"
    add_download_arguments(_add(commands, "download", text, command=download))

    text = "download the files of a list to a folder; those that are there and unchanged stay"
    command = _add(commands, "batch", text, command=_batch)
    batch.add_arguments(command)
    add_portal(command)

    text = "make a local folder equal to a folder of the portal"
    command = _add(commands, "mirror", text, command=_mirror)
    mirror.add_arguments(command)
    add_portal(command)

    text = "read the folder of a mirror or batch again, and compare it with its checksums"
    command = _add(commands, "verify", text, command=_verify, connect=lambda _: verify.NoClient())
    verify.add_arguments(command)

    text = "write a file, or a range of it, to standard output"
    add_cat_arguments(_add(commands, "cat", text, command=cat))

    text = "show a file's size, encryption, compression and blocks"
    command = _add(commands, "info", text, command=_info)
    add_file_id(command)
    add_portal(command)
    info.add_arguments(command)

    text = "measure the way from the portal and the storage, and say what limits it"
    command = _add(commands, "bench", text, command=_bench)
    bench.add_arguments(command)
    add_portal(command)

    names = {"connect": listing.make_namespace}
    text = "list a folder of the portal"
    listing.add_ls_arguments(_add(commands, "ls", text, command=listing.list_folder, **names))

    text = "list everything below a folder of the portal, or what matches"
    listing.add_find_arguments(_add(commands, "find", text, command=listing.find, **names))

    text = "show what the portal says of a file or folder"
    listing.add_stat_arguments(_add(commands, "stat", text, command=listing.show, **names))

    text = "list the previous versions of a file or folder"
    listing.add_versions_arguments(
        _add(commands, "versions", text, command=listing.versions, **names)
    )

    text = "list what has changed on the portal, one JSON object per line"
    command = _add(commands, "changes", text, command=changes.changes, **names)
    changes.add_changes_arguments(command)

    text = "sign in to a portal, and store the account as a profile"
    command = _add(commands, "login", text, command=login.login, connect=login.ask)
    login.add_login_arguments(command)

    text = "delete a profile and its secrets"
    command = _add(commands, "logout", text, command=login.logout, connect=login.open_stored)
    login.add_logout_arguments(command)

    text = "serve a folder as a portal and its object storage, on loopback, for tests and demos"
    emulator.add_arguments(_add(commands, "emulator", text, run=_emulator))
    return parser


def _add(commands: Any, name: str, text: str, **defaults: Any) -> Any:
    """Add a command's parser.

    Args:
        commands: The subparsers.
        name: The command.
        text: What it does, in words.
        **defaults: ``command`` is called with a client and the options; ``connect`` makes the client from
            the options; ``run`` needs no client.
    """
    parser = commands.add_parser(name, help=text, description=text.capitalize() + ".")
    parser.set_defaults(
        **{"name": name, "run": _run, "connect": _client, "namespace": None, **defaults}
    )
    return parser


# --- one command's frame -------------------------------------------------------------------------------


def _run(options: argparse.Namespace, interrupts: Interrupts) -> int:
    """Run a command that needs a client. Each error becomes one line and an exit code."""
    with options.log.logging_to_stderr(options.debug):
        _log.debug(
            "ctera-direct %s, Python %s, %s codec",
            __version__,
            platform.python_version(),
            codec.backend,
        )
        try:
            with interrupts.watched():
                return _with_client(options, interrupts)
        except (UsageError, ProfileError) as error:
            return _end(options, str(error), _USAGE)
        except OSError as error:
            _log.debug("failed", exc_info=error)
            return _end(options, explain(error), _FAILED)
        except (RuntimeError, MemoryError) as error:
            text = shortage(error)
            if text is None:
                raise
            _log.debug("failed", exc_info=error)
            return _end(options, text, _FAILED)


def _with_client(options: argparse.Namespace, interrupts: Interrupts) -> int:
    client = options.connect(options)
    try:
        try:
            code: int | None = options.command(client, options)
        finally:
            with interrupts.held():
                _close(client, options)
    except Signalled:
        # The signal may have come after the command had ended and before the client was closed.
        with interrupts.held():
            _close(client, options)
        raise
    return code or _DONE


def _close(client: Any, options: argparse.Namespace) -> None:
    client.close()
    if options.namespace is not None:
        options.namespace.close()


def _end(options: argparse.Namespace, text: str, code: int) -> int:
    name = f"ctera-direct {options.name}" if options.name else "ctera-direct"
    complain(f"{name}: {' '.join(text.splitlines())}")
    return code


def _client(options: argparse.Namespace) -> DirectIO:
    settings = Settings()
    if options.no_verify_ssl:
        settings.api.ssl = settings.storage.ssl = False
    if getattr(options, "bwlimit", None) is not None:
        settings.bandwidth = options.bwlimit
    try:
        choose_portal(options)
        choose_keys(options)
        options.namespace = _namespace(options, settings)
        return DirectIO(
            options.endpoint,
            options.access,
            options.secret,
            options.bearer,
            settings=settings,
            namespace=options.namespace,
        )
    except ValueError as error:
        raise UsageError(_with_option(str(error))) from None


def _namespace(options: argparse.Namespace, settings: Settings) -> Namespace | None:
    """Return where the command looks up paths. None: the client finds out, if there are any."""
    is_path = isinstance(getattr(options, "file_id", None), str)
    if not is_path and not options.profile:
        return None
    try:
        return open_namespace(options, settings)
    except MissingAccountError as error:
        if not is_path:
            return None
        raise UsageError(
            "a path is looked up with the account of a user: set "
            f"{' and '.join(error.variables)}, {error.advice}"
        ) from None


#: The options for the arguments that DirectIO's messages name.
_OPTIONS = {"baseurl": "-e", "access_key_id": "-a", "secret_access_key": "-s", "bearer": "-b"}


def _with_option(text: str) -> str:
    name = text.partition(" ")[0]
    return f"{text} (it is the option {_OPTIONS[name]})" if name in _OPTIONS else text


# --- commands ------------------------------------------------------------------------------------------


def _batch(client: DirectIO, options: argparse.Namespace) -> int:
    if options.json or not options.quiet:
        standard_output()  # A batch begins only if its log can be written.
    try:
        return batch.run(client, options, write_output, explain_item)
    except ManifestError as error:
        raise UsageError(str(error)) from None


def _mirror(client: DirectIO, options: argparse.Namespace) -> int:
    if options.json or not options.quiet:
        standard_output()  # A mirror begins only if its log can be written.
    return mirror.run(client, options, write_output)


def _verify(_: verify.NoClient, options: argparse.Namespace) -> int:
    return verify.run(options, write_output)


def _info(client: DirectIO, options: argparse.Namespace) -> None:
    info.run(client, options, write_output)


def _bench(client: DirectIO, options: argparse.Namespace) -> None:
    bench.run(client, options, write_output)


def _emulator(options: argparse.Namespace, _: Interrupts) -> int:
    return emulator.run(options, write_output)
