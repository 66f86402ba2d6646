"""Find files of equal content below a folder of the portal, and download as little as possible.

Install:  pip install ctera-direct-sync
Account:  ctera-direct login, or CTERA_DIRECT_URL, CTERA_DIRECT_USERNAME, ... in the environment
Run:      python find_duplicates.py '/My Files'

The listing tells the sizes. Only files of one size are read: first a little of each, and then whole those
that are alike. Each group of equal files is printed with its paths, the largest files first.
"""

from __future__ import annotations

import hashlib
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Callable

from ctera_direct_sync import ByteRange, DirectIO, DirectIOError, Entry, Namespace

HEAD = ByteRange(0, 4095)


def digest(client: DirectIO, entry: Entry, byte_range: ByteRange | None) -> bytes:
    """Return the SHA-256 of a file, or of a range of it."""
    found = hashlib.sha256()
    for block in client.stream(entry, byte_range):
        found.update(block.data)
    return found.digest()


def split(entries: Iterable[Entry], key: Callable[[Entry], object]) -> Iterator[list[Entry]]:
    """Yield the groups of two or more entries with one key. A key of None means: unknown."""
    groups: dict[object, list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[key(entry)].append(entry)
    groups.pop(None, None)
    yield from (group for group in groups.values() if len(group) > 1)


def main() -> int:
    """Print the groups; return 1 if something could not be compared."""
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} FOLDER")
    unread: list[str] = []

    def key(entry: Entry, byte_range: ByteRange | None = None) -> bytes | None:
        try:
            return digest(client, entry, byte_range)
        except DirectIOError as error:
            unread.append(f"{entry.path}: {error.strerror}")
            return None

    try:
        with Namespace() as names, DirectIO(namespace=names) as client:
            entries = names.walk(
                sys.argv[1], on_error=lambda error: unread.append(f"{error.filename}: {error}")
            )
            files = [entry for entry in entries if not entry.is_dir and entry.size]
            same_size = split(files, lambda entry: entry.size)
            for alike in sorted(same_size, key=lambda group: -(group[0].size or 0)):
                for same_head in split(alike, lambda entry: key(entry, HEAD)):
                    for equal in split(same_head, key):
                        print(f"{len(equal)} files of {equal[0].size} bytes:")
                        print("".join(f"  {entry.path}\n" for entry in equal), end="")
    except (DirectIOError, ValueError) as error:
        sys.exit(f"{sys.argv[1]}: {error}")
    for reason in unread:
        print(f"not compared: {reason}", file=sys.stderr)
    return 1 if unread else 0


if __name__ == "__main__":
    sys.exit(main())
