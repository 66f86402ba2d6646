"""A Flask application that serves the portal's files to browsers.

pip install 'ctera-direct-sync[web]' flask gunicorn
export CTERA_DIRECT_URL=... CTERA_DIRECT_ACCESS_KEY_ID=... CTERA_DIRECT_SECRET_ACCESS_KEY=...
gunicorn --worker-class gthread --threads 8 flask_app:app
"""

from __future__ import annotations

from flask import Flask, Response, abort

from ctera_direct_sync import DirectIO, Settings
from ctera_direct_sync.wsgi import flask_response

app = Flask(__name__)

#: Which of the portal's files this site gives away, under which names. Yours are in a database.
FILES = {"report.pdf": 12345, "film.webm": 67890}

# One client for the whole process. A visitor's response holds at most 8 MiB; there may be many.
settings = Settings(memory=8 * 1024 * 1024, retries=2, retry_timeout=20)
settings.api.timeout = settings.storage.timeout = (5, 15)  # A visitor waits for no minutes.
direct = DirectIO(settings=settings)


@app.get("/files/<name>")
def file(name: str) -> Response:
    """A file, whole or in part, as the browser asks for it."""
    if name not in FILES:
        abort(404)
    return flask_response(direct, FILES[name], filename=name)


@app.get("/watch/<name>")
def watch(name: str) -> str:
    """A player that seeks in a file without downloading all of it."""
    if name not in FILES:
        abort(404)
    return f'<!doctype html><title>{name}</title><video src="/files/{name}" controls></video>'


if __name__ == "__main__":
    raise SystemExit(__doc__)  # A server imports it: the first lines say how.
