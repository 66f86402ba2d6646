"""Give each new or changed file of the portal to a virus scanner, and remember how far it came.

Install:  pip install ctera-direct-sync; apt-get install clamav-daemon clamdscan
Account:  an administrator's, with CTERA_DIRECT_CONTEXT=admin (docs/howto/follow-changes.md)
Run:      python scan_changes.py scan.cursor -- clamdscan --no-summary -

The scanner reads a file from its standard input. Its exit code is 0 for a clean file, and 1 for a virus.
Exit codes here: 0 all clean, 1 a virus was found, 2 failed. The next run continues where this one ended.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from ctera_direct_sync import (
    DirectIO,
    DirectIOError,
    Event,
    Namespace,
    NotFoundError,
    PathNotFoundError,
)


def is_clean(client: DirectIO, event: Event, command: list[str]) -> bool:
    """Return whether the scanner finds nothing. No file touches the disk."""
    assert event.file_id is not None
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as scanner:
        assert scanner.stdin is not None
        try:
            with scanner.stdin:
                for block in client.stream(event.file_id):
                    scanner.stdin.write(block.data)
            is_whole = True
        except BrokenPipeError:
            is_whole = False  # A scanner that has found a virus need not read the rest.
        except BaseException:
            scanner.kill()  # It has read a part only, and so its exit code says nothing.
            raise
    if scanner.returncode == 1 or (scanner.returncode == 0 and is_whole):
        return scanner.returncode == 0
    raise ChildProcessError(f"{command[0]} ended with {scanner.returncode}, without a verdict")


def find_path(names: Namespace, event: Event) -> str | None:
    """Return the path of a file, or its name if it is gone meanwhile."""
    try:
        return names.path_of(event)
    except PathNotFoundError:
        return event.name


def main() -> int:
    """Scan what has changed since the last run, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("cursor", type=Path, help="the file that says how far the last run came")
    parser.add_argument("command", nargs="+", help="the scanner and its arguments")
    arguments = parser.parse_args()
    infected = 0
    try:
        cursor = arguments.cursor.read_text() if arguments.cursor.exists() else None
        with Namespace() as names, DirectIO(namespace=names) as client:
            for page in names.changes(cursor):
                for event in page.events:
                    if event.type != "file" or event.deleted or event.file_id is None:
                        continue
                    try:
                        clean = is_clean(client, event, arguments.command)
                    except NotFoundError:
                        continue  # It was deleted or replaced since, for which comes another event.
                    if not clean:
                        infected += 1
                        print(f"virus: {find_path(names, event)} (file ID {event.file_id})")
                # Only after the work: a page that was not finished comes again.
                new = arguments.cursor.with_suffix(".new")
                new.write_text(page.cursor)
                os.replace(new, arguments.cursor)
    except (DirectIOError, OSError, ValueError) as error:
        print(f"scan_changes: {error}", file=sys.stderr)
        return 2
    return 1 if infected else 0


if __name__ == "__main__":
    sys.exit(main())
