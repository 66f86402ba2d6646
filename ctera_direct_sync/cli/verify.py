"""``ctera-direct verify FOLDER``: reads the folder of a mirror or batch again, against its checksums."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from typing import Callable

from .output import printable

__all__ = ["NoClient", "add_arguments", "run"]

_DONE, _FAILED = 0, 1


class NoClient:
    """Takes the place of a client: the command needs no portal."""

    def close(self) -> None:
        """Do nothing."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.add_argument(
        "folder", metavar="FOLDER", help="the folder that mirror or batch was given"
    )
    parser.add_argument("--json", action="store_true", help="write one JSON object per line")
    parser.add_argument("--quiet", action="store_true", help="set only the exit code")
    parser.add_argument(
        "-d", "--debug", action="store_true", help="log each step to standard error"
    )


def run(options: argparse.Namespace, write: Callable[[bytes], None]) -> int:
    """Report what is missing, changed or extra.

    Args:
        options: The command's options.
        write: Takes lines for standard output.

    Returns:
        The exit code: 1 if a file is missing or changed. What the user added is not an error.
    """
    from .._mirror.verify import verify

    counts: Counter[str] = Counter()

    def put(text: str) -> None:
        if not options.quiet:
            write(text.encode("utf-8", "backslashreplace") + b"\n")

    for finding in verify(options.folder):
        counts[finding.verdict] += 1
        if finding.verdict == "ok":
            continue
        if options.json:
            put(json.dumps(finding._asdict()))
        else:
            reason = f" ({finding.reason})" if finding.reason else ""
            put(f"{finding.verdict}: {printable(finding.path)}{reason}")
    figures = {name: counts[name] for name in ("ok", "missing", "changed", "extra")}
    if options.json:
        put(json.dumps({"verdict": "end", **figures}))
    else:
        put(", ".join(f"{count} {name}" for name, count in figures.items()))
    return _FAILED if counts["missing"] or counts["changed"] else _DONE
