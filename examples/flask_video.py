"""Serve the films of a folder of the portal to browsers, which play them and seek in them.

Install:  pip install 'ctera-direct-sync[flask]' gunicorn
Account:  ctera-direct login, or CTERA_DIRECT_URL, CTERA_DIRECT_USERNAME, ... in the environment
Run:      FILMS='/My Files/films' gunicorn --worker-class gthread --threads 8 flask_video:app

Then open http://127.0.0.1:8000/. A player that seeks fetches the blocks at that place alone.
"""

from __future__ import annotations

import os

from flask import Flask, Response, abort, render_template_string

from ctera_direct_sync import DirectIOError, Settings
from ctera_direct_sync.flask import Ctera, send_ctera_file

FOLDER = os.environ.get("FILMS", "/My Files/films")
TYPES = (".mp4", ".webm")

LIST = """<!doctype html><title>Films</title><ul>
{% for name in names %}<li><a href="{{ url_for('watch', name=name) }}">{{ name }}</a></li>
{% else %}<li>There are no films in this folder.</li>{% endfor %}</ul>"""
PLAYER = """<!doctype html><title>{{ name }}</title>
<video src="{{ url_for('film', name=name) }}" controls style="max-width: 100%"></video>"""

# A response holds at most 8 MiB. A portal that does not answer is given up after seconds, not minutes.
settings = Settings(memory=8 * 1024 * 1024, retries=2, retry_timeout=20)
settings.api.timeout = settings.storage.timeout = (5, 15)

app = Flask(__name__)
app.config["CTERA_SETTINGS"] = settings
ctera = Ctera(app)


@app.get("/")
def films() -> str:
    """Show the names of the films. Check here, and below, that this visitor may see them."""
    entries = ctera.names.listdir(FOLDER)
    names = sorted(each.name for each in entries if each.name.lower().endswith(TYPES))
    return render_template_string(LIST, names=names)


@app.get("/watch/<name>")
def watch(name: str) -> str:
    """Show a player."""
    return render_template_string(PLAYER, name=name)


@app.get("/films/<name>")
def film(name: str) -> Response:
    """Send a film, whole or in part, as the player asks for it."""
    # The rule of the route lets no slash through, so the path stays within the folder.
    if not name.lower().endswith(TYPES):
        abort(404)
    return send_ctera_file(f"{FOLDER}/{name}")


@app.errorhandler(DirectIOError)
def failed(error: DirectIOError) -> tuple[str, int]:
    """Tell the log why the folder cannot be listed, and the visitor only that it cannot."""
    app.logger.error("%s: %s", FOLDER, error)
    return "The films cannot be listed now.", 502


if __name__ == "__main__":
    raise SystemExit(__doc__)  # A server imports it: the first lines say how.
