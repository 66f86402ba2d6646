"""Send a folder of the portal as one ZIP archive, which is made while the browser receives it.

Install:  pip install 'ctera-direct-sync[flask]' gunicorn
Account:  ctera-direct login, or CTERA_DIRECT_URL, CTERA_DIRECT_USERNAME, ... in the environment
Run:      FOLDER='/My Files' gunicorn --worker-class gthread --threads 8 zip_folder:app
          curl -fO http://127.0.0.1:8000/reports.zip

No archive is kept in memory or on disk. A file that fails ends the answer without its last part, so that
browser and curl report an error.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response

from ctera_direct_sync import DirectIO, DirectIOError, Entry, NotAFolderError, PathNotFoundError
from ctera_direct_sync.flask import Ctera

FOLDER = os.environ.get("FOLDER", "/My Files")

app = Flask(__name__)
ctera = Ctera(app)


class Pieces(io.RawIOBase):
    """A file that keeps what is written until it is taken. It cannot seek."""

    held = b""

    def writable(self) -> bool:
        """Return that it can be written to."""
        return True

    def write(self, data: Any) -> int:
        """Keep some bytes."""
        self.held += data
        return len(data)

    def take(self) -> bytes:
        """Return what was written since the last call."""
        taken, self.held = self.held, b""
        return taken


def zip_of(client: DirectIO, folder: str, entries: list[Entry]) -> Iterator[bytes]:
    """Yield the pieces of an archive, as the blocks of the files come."""
    pieces = Pieces()
    with zipfile.ZipFile(pieces, "w") as archive:
        for entry in entries:
            name = entry.path[len(folder) :].lstrip("/")
            info = zipfile.ZipInfo(name + "/" * entry.is_dir)
            if entry.modified is not None:
                info.date_time = entry.modified.timetuple()[:6]
            if entry.is_dir:
                archive.writestr(info, b"")
                continue
            info.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(info, "w", force_zip64=True) as member:
                for block in client.stream(entry):
                    member.write(block.data)
                    yield pieces.take()
    yield pieces.take()  # The table of contents, without which nothing opens the archive.


@app.get("/<path:name>.zip")
def send(name: str) -> Response:
    """Send a folder. Check here that this visitor may have it."""
    folder = f"{FOLDER}/{name}"
    entries = list(
        ctera.names.walk(folder)
    )  # Before the answer begins: what fails here is a status.
    return Response(zip_of(ctera.client, folder, entries), mimetype="application/zip")


@app.errorhandler(DirectIOError)
@app.errorhandler(ValueError)
def failed(error: Exception) -> tuple[str, int]:
    """Answer with 404 for a folder that is not there, or else 502, and tell the log why."""
    app.logger.error("%s", error)
    missing = isinstance(error, (PathNotFoundError, NotAFolderError, ValueError))
    return ("No such folder", 404) if missing else ("The folder cannot be read now", 502)


if __name__ == "__main__":
    raise SystemExit(__doc__)  # A server imports it: the first lines say how.
