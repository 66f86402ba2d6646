"""``ctera-direct ls``, ``find``, ``stat`` and ``versions``: files and folders of the portal by their names.

Each line is written as soon as the portal's answer has its entry. A folder of a million files needs no
more memory than one of ten.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
from collections.abc import Iterator
from typing import Any, Callable

from .._readers.glob_pattern import GlobPattern
from ..exceptions import LoginError, NamespaceError, NotAFolderError
from ..namespace import Namespace
from ..settings import Settings
from ..types import Entry
from .arguments import portal_path
from .errors import UsageError, explain
from .folder_queue import FolderQueue
from .output import Output, complain, printable, standard_output
from .profiles import choose_portal, open_namespace

__all__ = [
    "add_account",
    "add_connection",
    "add_find_arguments",
    "add_ls_arguments",
    "add_stat_arguments",
    "add_versions_arguments",
    "find",
    "list_folder",
    "make_namespace",
    "show",
    "versions",
]

_UNITS = "KMGTPE"
#: Colours of names on a terminal (ECMA-48, SGR): bold blue, and red.
_FOLDER, _DELETED = "1;34", "31"
_FAILED = 1


# --- arguments ---------------------------------------------------------------------------------------


def add_ls_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``ls`` to its parser."""
    parser.add_argument(
        "path",
        nargs="?",
        default="/",
        type=portal_path,
        metavar="PATH",
        help="the folder, or one file (default: /, which holds the cloud folders)",
    )
    parser.add_argument(
        "-l",
        dest="long",
        action="store_true",
        help="show type, size, time of change (UTC) and file ID, too",
    )
    parser.add_argument(
        "-R", dest="recursive", action="store_true", help="list the folders below it, too"
    )
    parser.add_argument(
        "--human", action="store_true", help="with -l: sizes such as 1.5M, in powers of 1024"
    )
    parser.add_argument(
        "--deleted", action="store_true", help="list deleted entries, too; -l marks them with x"
    )
    _add_json(parser)
    add_account(parser)


def add_find_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``find`` to its parser."""
    _add_path(parser, "the folder; everything below it is looked at")
    parser.add_argument(
        "--name",
        dest="name_pattern",
        type=_name_pattern,
        metavar="GLOB",
        help="only names that match a pattern of *, ? and [abc]; quote it, or the shell expands it",
    )
    parser.add_argument("--type", choices=("f", "d"), help="only files (f), or only folders (d)")
    shape = parser.add_mutually_exclusive_group()
    _add_json(shape)
    shape.add_argument(
        "-0",
        dest="null",
        action="store_true",
        help="end each path with a NUL byte instead of a line break, for xargs -0",
    )
    add_account(parser)


def add_stat_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``stat`` to its parser."""
    _add_path(parser, "the file or folder")
    _add_json(parser)
    add_account(parser)


def add_versions_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``versions`` to its parser."""
    _add_path(parser, "the file or folder")
    _add_json(parser)
    add_account(parser)


def add_account(
    parser: argparse.ArgumentParser,
    text: str = "The password comes from CTERA_DIRECT_PASSWORD, or from the profile.",
) -> None:
    """Add the options that name the portal and the user. No option takes a secret."""
    group = parser.add_argument_group("portal", text)
    group.add_argument(
        "-e",
        "--endpoint",
        metavar="URL",
        help="the portal, such as https://tenant.ctera.com (default: CTERA_DIRECT_URL)",
    )
    group.add_argument(
        "-u",
        "--user",
        metavar="NAME",
        help="the user name, or domain\\user (default: CTERA_DIRECT_USERNAME)",
    )
    group.add_argument(
        "--admin",
        action="store_true",
        help="the administrator's view, whose paths begin with /Users (default: "
        "CTERA_DIRECT_CONTEXT)",
    )
    group.add_argument(
        "--profile",
        metavar="NAME",
        help="what login stored under this name (default: CTERA_DIRECT_PROFILE, or default)",
    )
    add_connection(group)
    parser.add_argument(
        "-d", "--debug", action="store_true", help="log each step to standard error"
    )


def add_connection(group: Any) -> None:
    """Add the options of the connection to the portal."""
    group.add_argument(
        "-k",
        "--no-verify-ssl",
        action="store_true",
        help="trust any certificate; to trust one authority more, set REQUESTS_CA_BUNDLE to its "
        "certificate's path instead",
    )


def _add_path(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("path", type=portal_path, metavar="PATH", help=text)


def _add_json(parser: Any) -> None:
    parser.add_argument("--json", action="store_true", help="write one JSON object per line")


def _name_pattern(text: str) -> GlobPattern:
    if not text or "/" in text:
        raise argparse.ArgumentTypeError("not a pattern of a name; put folders into PATH")
    try:
        return GlobPattern(f"/**/{text}")
    except ValueError:
        raise argparse.ArgumentTypeError("matches no name; use *, ? and [abc]") from None


def make_namespace(options: argparse.Namespace) -> Namespace:
    """Return the view of the portal that the options, or else the environment, name.

    Raises:
        UsageError: Something is missing or malformed.
    """
    settings = Settings()
    if options.no_verify_ssl:
        settings.api.ssl = False
    context = "admin" if options.admin else None
    try:
        choose_portal(options)
        return open_namespace(options, settings, options.user, context)
    except ValueError as error:
        raise UsageError(str(error)) from None


# --- commands ----------------------------------------------------------------------------------------


def list_folder(names: Namespace, options: argparse.Namespace) -> int:
    """Write the entries of a folder, or the one of a file.

    Returns:
        The exit code: 1 if a folder below could not be read. The others are listed all the same.
    """
    if options.human and not options.long:
        raise UsageError("--human shows sizes: give -l, too")
    if options.json and options.long:
        raise UsageError("--json shows everything: leave -l out")
    lines = _Lines(options)
    table = _Table(options.human) if options.long else None

    def write(entry: Entry) -> None:
        if options.json:
            lines.write_json(_fields(entry))
        else:
            lines.write_entry(table.cells(entry) if table else "", entry)

    try:
        listing = names.listdir(options.path, include_deleted=options.deleted)
    except NotAFolderError:
        write(names.stat(options.path))
        return 0
    if options.recursive:
        return _list_tree(names, options, listing, lines, write)
    for entry in listing:
        write(entry)
    return 0


def _list_tree(
    names: Namespace,
    options: argparse.Namespace,
    listing: Iterator[Entry],
    lines: _Lines,
    write: Callable[[Entry], None],
) -> int:
    """Write a folder and those below, each under its path, as ``ls -R`` does."""
    code = 0
    with FolderQueue(names, options.path, listing, options.deleted) as folders:
        for path, entries in folders:
            if not options.json:
                if path != options.path:
                    lines.write("")
                lines.write(f"{path}:")
            try:
                for entry in entries():
                    write(entry)
            except LoginError:
                raise
            except NamespaceError as error:
                if path == options.path:
                    raise
                complain(f"ctera-direct ls: {explain(error)}")
                code = _FAILED
    return code


def find(names: Namespace, options: argparse.Namespace) -> int:
    """Write what is below a folder and matches.

    Returns:
        The exit code: 1 if a folder could not be read. The others are listed all the same.
    """
    unreadable = 0

    def report(error: NamespaceError) -> None:
        nonlocal unreadable
        unreadable += 1
        complain(f"ctera-direct find: {explain(error)}")

    lines = _Lines(options)
    matches = _matcher(options)
    for entry in names.walk(options.path, report):
        if not matches(entry):
            continue
        if options.json:
            lines.write_json(_fields(entry))
        elif options.null:
            lines.write_null(entry.path)
        else:
            lines.write(entry.path)
    return _FAILED if unreadable else 0


def _matcher(options: argparse.Namespace) -> Callable[[Entry], bool]:
    pattern: GlobPattern | None = options.name_pattern

    def matches(entry: Entry) -> bool:
        if options.type and entry.is_dir != (options.type == "d"):
            return False
        if pattern is None:
            return True
        return pattern.matches(pattern.step(pattern.start(), entry.name))

    return matches


def show(names: Namespace, options: argparse.Namespace) -> None:
    """Write what the portal says of a file or folder."""
    entry = names.stat(options.path)
    lines = _Lines(options)
    if options.json:
        lines.write_json(_fields(entry))
        return
    lines.write(f"Path       {entry.path}")
    lines.write(f"Type       {'folder' if entry.is_dir else 'file'}")
    for label, value in (
        ("Size", None if entry.size is None else f"{entry.size} bytes"),
        ("Modified", _time(entry.modified)),
        ("File ID", entry.file_id),
        ("Folder ID", entry.folder_id),
    ):
        if value is not None:
            lines.write(f"{label:9}  {value}")


def versions(names: Namespace, options: argparse.Namespace) -> None:
    """Write the versions of a file or folder: their begin, and the path that leads to each."""
    lines = _Lines(options)
    for version in names.versions(options.path):
        started = _time(version.started)
        if options.json:
            lines.write_json({"path": version.path, "started": started, "current": version.current})
        else:
            mark = "current" if version.current else ""
            lines.write(f"{started or '-':20}  {mark:7}  {version.path}")


# --- lines -------------------------------------------------------------------------------------------


class _Lines:
    """Writes lines to standard output, one system call for each, so that a reader has them at once."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._output: Output = standard_output()
        # A name may hold what moves a cursor. A program that reads the output needs it unchanged.
        self._is_terminal = os.isatty(self._output.fileno())
        self._has_colours = self._is_terminal and _wants_colours()

    def write(self, text: str) -> None:
        """Write a line for people, or for programs that read lines."""
        self._write(f"{self._shown(text)}\n")

    def write_entry(self, cells: str, entry: Entry) -> None:
        """Write a line that ends in the name of an entry."""
        name = self._shown(entry.name)
        colour = _DELETED if entry.is_deleted else _FOLDER if entry.is_dir else ""
        if colour and self._has_colours:
            name = f"\x1b[{colour}m{name}\x1b[0m"
        self._write(f"{cells}{name}\n")

    def _shown(self, text: str) -> str:
        return printable(text) if self._is_terminal else text

    def write_null(self, text: str) -> None:
        """Write a text as it is, and a NUL byte."""
        self._write(f"{text}\0")

    def write_json(self, fields: dict[str, Any]) -> None:
        """Write a JSON object as a line of ASCII."""
        self._write(f"{json.dumps(fields)}\n")

    def _write(self, text: str) -> None:
        self._output.write(text.encode("utf-8", "backslashreplace"))


def _fields(entry: Entry) -> dict[str, Any]:
    return {
        "path": entry.path,
        "name": entry.name,
        "type": "folder" if entry.is_dir else "file",
        "file_id": entry.file_id,
        "size": entry.size,
        "modified": _time(entry.modified),
        "deleted": entry.is_deleted,
        "folder_id": entry.folder_id,
    }


def _wants_colours() -> bool:
    """Return whether a terminal shows colours, and its user wants them (no-color.org)."""
    # A console of Windows shows escape sequences only after a program has asked it to.
    return not (
        os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb" or os.name == "nt"
    )


class _Table:
    """The columns before the names. A column grows with its widest value so far.

    Later entries are not known yet when a line is written. The names come last, so wide characters in
    them move no column.

    Args:
        human: Whether sizes are short.
    """

    def __init__(self, human: bool) -> None:
        self._human = human
        self._size_width = 6 if human else 14
        self._id_width = 12

    def cells(self, entry: Entry) -> str:
        """Return the columns of an entry."""
        if entry.size is None:
            size = "-"
        else:
            size = _human_size(entry.size) if self._human else str(entry.size)
        kind = ("d" if entry.is_dir else "-") + ("x" if entry.is_deleted else "-")
        file_id = "-" if entry.file_id is None else str(entry.file_id)
        self._size_width = max(self._size_width, len(size))
        self._id_width = max(self._id_width, len(file_id))
        modified = _time(entry.modified) or "-"
        return f"{kind}  {size:>{self._size_width}}  {modified:20}  {file_id:>{self._id_width}}  "


def _human_size(size: int) -> str:
    """Return a size in powers of 1024, rounded up as ``ls -h`` does: never shown too small."""
    if size < 1024:
        return str(size)
    power = min((size.bit_length() - 1) // 10, len(_UNITS))
    tenths = -(-size * 10 >> 10 * power) if size < 10 << 10 * power else 0
    if 0 < tenths < 100:
        return f"{tenths // 10}.{tenths % 10}{_UNITS[power - 1]}"
    whole = -(-size >> 10 * power)
    if whole == 1024 and power < len(_UNITS):
        return f"1.0{_UNITS[power]}"
    return f"{whole}{_UNITS[power - 1]}"


def _time(moment: datetime.datetime | None) -> str | None:
    """Return a time as ISO 8601 in UTC, to the second."""
    if moment is None:
        return None
    if moment.tzinfo is not None:
        moment = moment.astimezone(datetime.timezone.utc)
    return moment.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
