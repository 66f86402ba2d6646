"""Follow a folder of the portal, keep a vector of each text in it, and find texts by a question.

Install:  pip install ctera-direct-sync
Account:  ctera-direct login, or CTERA_DIRECT_URL, CTERA_DIRECT_USERNAME, ... in the environment
Run:      python embed_text.py notes --follow '/My Files/notes'       # until Ctrl-C; --once: one round
          python embed_text.py notes --ask 'end of the lease'

The texts are mirrored into the folder `notes`, the vectors are in `notes.vectors`. `embed` is a stand-in
for a model: it finds texts that have the words of the question. With a model of your choice in its place,
the program finds texts of the same meaning.
"""

from __future__ import annotations

import argparse
import math
import re
import sqlite3
import sys
import zlib
from array import array
from contextlib import closing
from pathlib import Path

from ctera_direct_sync import DirectIO

TEXTS = ("*.txt", "*.md")
TABLE = "create table if not exists texts (path primary key, size, changed, vector)"


def embed(text: str) -> array[float]:
    """Return a vector of length 1 that says which words a text has."""
    vector = array("d", bytes(8 * 1024))
    for word in re.findall(r"\w+", text.lower()):
        vector[zlib.crc32(word.encode()) % len(vector)] += 1
    length = math.hypot(*vector) or 1
    return array("d", (value / length for value in vector))


def update(index: sqlite3.Connection, folder: Path) -> None:
    """Embed the texts that are new or changed, and forget those that are gone."""
    known = {path: stamp for path, *stamp in index.execute("select path, size, changed from texts")}
    found = {path for pattern in TEXTS for path in folder.rglob(pattern) if path.is_file()}
    for path in found:
        name, status = path.relative_to(folder).as_posix(), path.stat()
        stamp = [status.st_size, status.st_mtime_ns]
        # The mirror keeps its trash and its state in a folder whose name begins with a dot.
        if not name.startswith(".ctera-mirror/") and known.pop(name, None) != stamp:
            vector = embed(path.read_text("utf-8", "replace")).tobytes()
            index.execute("replace into texts values (?, ?, ?, ?)", (name, *stamp, vector))
            print(f"embedded: {name}", flush=True)
    index.executemany("delete from texts where path = ?", ((name,) for name in known))
    index.commit()


def ask(index: sqlite3.Connection, question: str) -> None:
    """Print the five texts whose vectors are nearest to that of a question."""
    asked = embed(question)
    rows = index.execute("select path, vector from texts").fetchall()
    near = [(sum(map(float.__mul__, asked, array("d", row))), path) for path, row in rows]
    for score, path in sorted(near, reverse=True)[:5]:
        print(f"{score:.3f}  {path}")


def main() -> None:
    """Follow the source, or answer a question."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="the local folder of the texts")
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--follow", metavar="SOURCE", help="the folder on the portal")
    task.add_argument("--ask", metavar="QUESTION", help="print the five texts that are nearest")
    parser.add_argument("--once", action="store_true", help="end after one round")
    arguments = parser.parse_args()
    database = arguments.folder.with_name(arguments.folder.name + ".vectors")
    try:
        with closing(sqlite3.connect(database)) as index:
            index.execute(TABLE)
            if arguments.ask:
                ask(index, arguments.ask)
                return
            with DirectIO() as client:
                for result in client.follow(arguments.follow, arguments.folder, include=TEXTS):
                    for path, reason in [*result.conflicts, *result.failed]:
                        print(f"not mirrored: {path}: {reason}", file=sys.stderr)
                    update(index, arguments.folder)
                    if arguments.once:
                        return
    except KeyboardInterrupt:
        pass  # The next start continues.
    except (OSError, ValueError, sqlite3.Error) as error:  # Each DirectIOError is an OSError.
        sys.exit(f"embed_text: {error}")


if __name__ == "__main__":
    main()
