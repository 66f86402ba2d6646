"""``ctera-direct mirror PATH FOLDER``: a local folder that is equal to a folder of the portal.

Standard output gets one line per action, and one for the whole run; with ``--json`` each is a JSON object.
Standard error gets one line per conflict and per failure, and a progress bar if it is a terminal.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any, Callable

from tqdm import tqdm

from .._core import core_of
from ..client import DirectIO
from ..types import Mirrored
from .arguments import add_bandwidth, add_files, portal_path
from .errors import UsageError
from .output import complain, json_event, printable

if TYPE_CHECKING:
    from .._mirror.planner import Step

__all__ = ["add_arguments", "run"]

_DONE, _FAILED = 0, 1

#: The steps that users are told of, and the words for them.
_WORDS = {
    "fetch": "download",
    "compare": "compare",
    "move": "move",
    "mkdir": "make folder",
    "rmdir": "remove folder",
    "trash": "trash",
    "remove": "remove",
    "conflict": "keep as",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments to its parser."""
    parser.add_argument(
        "file_id",
        type=portal_path,
        metavar="PATH",
        help="the folder on the portal, such as '/My Files/reports'; user name and password come from "
        "CTERA_DIRECT_USERNAME and CTERA_DIRECT_PASSWORD, or from the profile of a login",
    )
    parser.add_argument(
        "folder", metavar="FOLDER", help="the local folder; made if it does not exist"
    )
    parser.add_argument(
        "--delete",
        choices=("trash", "remove", "keep"),
        default="trash",
        help="what happens to files that the portal deleted (default: trash, which is in FOLDER's "
        ".ctera-mirror and keeps them for 30 days; remove: only what the change feed named deleted, the "
        "rest goes to the trash)",
    )
    parser.add_argument(
        "--max-delete",
        type=_number,
        default=1000,
        metavar="N",
        help="change nothing if more than N files would be deleted (default: 1000)",
    )
    parser.add_argument(
        "--include",
        action="append",
        default=[],
        metavar="GLOB",
        help="only files that match, as in .gitignore; may be given several times",
    )
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="GLOB",
        help="leave alone what matches, as in .gitignore; may be given several times",
    )
    parser.add_argument(
        "--follow",
        action="store_true",
        help="mirror again as soon as the portal's change feed tells of something, until a signal comes; "
        "without a feed every five minutes",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="tell what a run would do, and do nothing"
    )
    add_files(parser)
    add_bandwidth(parser)
    parser.add_argument(
        "--json", action="store_true", help="log to standard output, one JSON object per line"
    )
    parser.add_argument("--quiet", action="store_true", help="report only conflicts and failures")


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError("not a number of files")
    return int(text)


def run(client: DirectIO, options: argparse.Namespace, write: Callable[[bytes], None]) -> int:
    """Run a mirror once.

    Args:
        client: The client.
        options: The command's options.
        write: Takes lines for standard output.

    Returns:
        The exit code: 1 if an entry could not be mirrored.
    """
    with contextlib.closing(_Log(options, write)) as log:
        arguments = {
            "delete": options.delete,
            "max_delete": options.max_delete,
            "include": options.include,
            "exclude": options.exclude,
            "dry_run": options.dry_run,
            "max_files": options.files,
            "progress": log.progress if log.has_bar else None,
            "on_step": log.step,
        }
        core = core_of(client)
        try:
            if not options.follow:
                result = core.mirror(options.file_id, options.folder, **arguments).mirrored
                log.end(result)
                return _FAILED if result.failed else _DONE
            rounds = core.follow(options.file_id, options.folder, **arguments)
            with contextlib.closing(rounds):
                for result in rounds:
                    log.end(result)
        except ValueError as error:
            raise UsageError(str(error)) from None
    return _DONE


class _Log:
    """Says what happens.

    Args:
        options: The command's options.
        write: Takes lines for standard output.
    """

    def __init__(self, options: argparse.Namespace, write: Callable[[bytes], None]) -> None:
        self._json = bool(options.json)
        self._quiet = bool(options.quiet)
        self._dry_run = bool(options.dry_run)
        self._folder = os.path.abspath(options.folder)
        self._source = options.file_id
        self._write = write
        self.has_bar = sys.stderr is not None and sys.stderr.isatty() and not self._quiet
        self._bar: tqdm[Any] | None = None

    def progress(self, done: int, total: int) -> None:
        """Show how many bytes of the run are done."""
        if self._bar is None:
            self._bar = tqdm(desc="mirror", total=total, unit="B", unit_scale=True)
        self._bar.update(done - self._bar.n)

    def step(self, step: Step, outcome: str) -> None:
        """Report a step."""
        word = _WORDS.get(step.kind)
        if word is None or self._quiet:
            return
        if self._json:
            size = None if step.remote is None else step.remote.size
            members = {"path": step.path, "target": step.target or None, "size": size}
            self._event(step.kind, outcome=outcome or None, **members)
            return
        target = f" -> {printable(step.target)}" if step.target else ""
        self._print(f"{word}: {printable(step.path)}{target}{f' ({outcome})' if outcome else ''}")

    def end(self, result: Mirrored) -> None:
        """Report the end of a run."""
        self.close()
        for path, reason in result.conflicts:
            self._tell("conflict", path, reason)
        for path, reason in result.failed:
            self._tell("failed", path, reason)
        if self._quiet:
            return
        counts = result._asdict()
        counts["conflicts"], counts["failed"] = len(result.conflicts), len(result.failed)
        counts["seconds"] = round(result.seconds, 3)
        if self._json:
            self._event(
                "end", source=self._source, folder=self._folder, dry_run=self._dry_run, **counts
            )
            return
        names = ("added", "updated", "moved", "deleted", "unchanged", "conflicts", "failed")
        text = ", ".join(f"{counts[name]} {name}" for name in names)
        begin = "a run would give: " if self._dry_run else ""
        self._print(f"{begin}{text}; {result.nbytes} bytes in {result.seconds:.1f} s")

    def close(self) -> None:
        """Remove the progress bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _tell(self, event: str, path: str, reason: str) -> None:
        if self._json:
            self._event(event, path=path, reason=reason)
        else:
            with self._aside():
                complain(f"ctera-direct mirror: {event}: {printable(path)}: {printable(reason)}")

    def _event(self, event: str, **members: Any) -> None:
        self._print(json_event(event, members))

    def _print(self, text: str) -> None:
        with self._aside():
            self._write(text.encode("utf-8", "backslashreplace") + b"\n")

    def _aside(self) -> contextlib.AbstractContextManager[object]:
        if self._bar is None:
            return contextlib.nullcontext()
        manager: contextlib.AbstractContextManager[object] = tqdm.external_write_mode(sys.stderr)
        return manager
