"""The command line's arguments: a parser whose errors are one line, and the types of values."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from typing import IO, Any, Callable, NoReturn

from .._base.checksums import Checksum
from .._protocol.names import check_path
from ..settings import parse_bandwidth
from .output import complain, print_text

__all__ = [
    "ChecksumOption",
    "Option",
    "Parser",
    "add_bandwidth",
    "add_file_id",
    "add_files",
    "add_portal",
    "add_transfer",
    "add_workers",
    "file_id",
    "portal_path",
    "positive_number",
    "range_of_bytes",
]

_USAGE = 2


class Parser(argparse.ArgumentParser):
    """A parser that takes each option once, and tells of wrong usage in one line."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(allow_abbrev=False, **arguments)
        self.register("action", None, Option)
        self.register("action", "store", Option)

    def error(self, message: str) -> NoReturn:
        """End the process with one line and the exit code of wrong usage."""
        text = message[len("argument ") :] if message.startswith("argument ") else message
        self.exit(_USAGE, f"{self.prog}: {text} (see {self.prog} --help)\n")

    def _print_message(self, message: str, file: IO[str] | None = None) -> None:  # type: ignore[override]
        # Both are called for help and version with sys.stdout, which is None where it is closed.
        if file is not None and file is sys.stderr:
            complain(message.rstrip("\n"))
        elif message:
            print_text(message)


class Option(argparse.Action):
    """An argument with one value, which may be given once."""

    def __init__(
        self,
        option_strings: Sequence[str],
        dest: str,
        *,
        type: Callable[[str], Any] | None = None,
        choices: Iterable[str] | None = None,
        **arguments: Any,
    ) -> None:
        self._convert = type
        self._choices = None if choices is None else list(choices)
        if self._choices is not None and not arguments.get("metavar"):
            arguments["metavar"] = f"{{{','.join(self._choices)}}}"
        super().__init__(option_strings, dest, **arguments)
        self._given = False

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Store the value, converted."""
        if option_string is not None:
            if self._given:
                raise argparse.ArgumentError(None, f"{option_string}: given twice; give it once")
            self._given = True
        try:
            setattr(namespace, self.dest, self.convert(values))
        except argparse.ArgumentTypeError as error:
            given = values if isinstance(values, str) else " ".join(values or ())
            name = option_string or self.metavar or self.dest
            raise argparse.ArgumentError(None, f"{name} {given}: {error}") from None

    @property
    def known_values(self) -> Sequence[str]:
        """The values that it may have. Empty: any that can be converted."""
        return self._choices or ()

    def convert(self, values: Any) -> Any:
        """Return what is stored for the value given; ArgumentTypeError says what is wrong with it."""
        value = values if self._convert is None else self._convert(values)
        if self._choices is not None and value not in self._choices:
            raise argparse.ArgumentTypeError(f"not known; use one of {', '.join(self._choices)}")
        return value


class ChecksumOption(Option):
    """``--checksum ALGORITHM DIGEST``."""

    def convert(self, values: Any) -> Checksum:
        """Return the checksum."""
        try:
            return Checksum.of(*values)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None


def file_id(text: str) -> int:
    """Return a file ID."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError("not a file ID; give its number")
    return int(text)


def portal_path(text: str) -> str:
    """Return a path on the portal."""
    try:
        return check_path(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            "not a path on the portal; begin with '/', such as '/My Files', without . and .."
        ) from None


def positive_number(text: str) -> int:
    """Return a number of 1 or more."""
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError("not a number of 1 or more")
    return int(text)


def _bandwidth(text: str) -> str:
    """Return a rate or a timetable, as `settings.bandwidth` takes it."""
    try:
        parse_bandwidth(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            "not a rate; use bytes per second such as 2M, or times with rates such as "
            "'08:00,2M 19:00,off'"
        ) from None
    return text


def range_of_bytes(text: str) -> tuple[int | None, int | None]:
    """Return first and last byte, as in RFC 9110, section 14.1.1; without a first: the last ``last``."""
    match = re.fullmatch(r"([0-9]*)-([0-9]*)", text)
    first, last = (
        (int(part) if part else None for part in match.groups()) if match else (None, None)
    )
    if first is None and not last:
        raise argparse.ArgumentTypeError("not a range; use A-B, A- or -N")
    if first is not None and last is not None and last < first:
        raise argparse.ArgumentTypeError("ends before it begins; put the smaller number first")
    return first, last


def add_file_id(parser: argparse.ArgumentParser) -> None:
    """Add the two ways to name the file: its path on the portal, and its ID."""
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("-f", "--file-id", type=file_id, metavar="ID", help="file ID")
    group.add_argument(
        "file_id",
        nargs="?",
        type=portal_path,
        metavar="PATH",
        default=argparse.SUPPRESS,
        help="path on the portal, such as '/My Files/a.pdf', instead of an ID; user name and password "
        "come from CTERA_DIRECT_USERNAME and CTERA_DIRECT_PASSWORD, or from the profile of a login",
    )


def add_portal(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the portal and the credentials."""
    group = parser.add_argument_group("portal")
    group.add_argument(
        "-e",
        "--endpoint",
        metavar="URL",
        help="the portal, such as https://tenant.ctera.com (default: CTERA_DIRECT_URL)",
    )
    group.add_argument(
        "-a",
        "--access",
        metavar="ID",
        help="access key ID (default: CTERA_DIRECT_ACCESS_KEY_ID)",
    )
    group.add_argument(
        "-s",
        "--secret",
        metavar="KEY",
        help="secret access key (default: CTERA_DIRECT_SECRET_ACCESS_KEY, which is the better place: "
        "every user of this machine can read the arguments of a process)",
    )
    group.add_argument(
        "-b",
        "--bearer",
        metavar="TOKEN",
        help="bearer token, for files that are not encrypted (default: CTERA_DIRECT_BEARER)",
    )
    group.add_argument(
        "--profile",
        metavar="NAME",
        help="what login stored under this name (default: CTERA_DIRECT_PROFILE, or default)",
    )
    group.add_argument(
        "-k",
        "--no-verify-ssl",
        action="store_true",
        help="trust any certificate, of portal and storage; to trust one authority more, set "
        "REQUESTS_CA_BUNDLE to its certificate's path instead",
    )
    parser.add_argument(
        "-d",
        "--debug",
        action="store_true",
        help="log each step to standard error; the signal SIGUSR2 turns that on and off meanwhile",
    )


def add_bandwidth(parser: argparse.ArgumentParser) -> None:
    """Add the option that limits the bandwidth."""
    parser.add_argument(
        "--bwlimit",
        type=_bandwidth,
        metavar="RATE",
        help="the most bytes per second, such as 2M, or a timetable in local time, such as "
        "'08:00,2M 19:00,off'; K, M and G are powers of 1,000 (default: no limit)",
    )


def add_files(parser: argparse.ArgumentParser) -> None:
    """Add the option that says how many files are downloaded at once."""
    parser.add_argument(
        "--files",
        type=positive_number,
        metavar="N",
        help="the number of files that are downloaded at the same time (default: found by measuring)",
    )


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add the option that says how many blocks are downloaded at once."""
    parser.add_argument(
        "--workers",
        type=positive_number,
        metavar="N",
        help="concurrent downloads of blocks (default: found by measuring)",
    )


def add_transfer(parser: argparse.ArgumentParser) -> None:
    """Add the options of a transfer: range, number of workers and bandwidth."""
    parser.add_argument(
        "--range",
        type=range_of_bytes,
        metavar="A-B",
        help="bytes A to B, both included, counted from 0; A- to the end, -N the last N",
    )
    add_workers(parser)
    add_bandwidth(parser)
