"""The applications that the servers of ``test_servers.py`` run: Flask and Django over one client.

Each line on standard output that says "closed" stands for a response that its server has closed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

from ctera_direct_sync import DirectIO, Settings
from ctera_direct_sync.wsgi import django_response, flask_response

MIB = 1024 * 1024
# A visitor's response holds this much at most: many visitors share a machine.
client = DirectIO(settings=Settings(memory=4 * MIB))


class Watched:
    """An application whose responses tell when they are closed."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        return _Watched(self._app(environ, start_response))


class _Watched:
    def __init__(self, body: Iterable[bytes]) -> None:
        self._body = body

    def __iter__(self) -> Any:
        return iter(self._body)

    def close(self) -> None:
        getattr(self._body, "close", lambda: None)()
        os.write(1, b"closed\n")


def flask_app() -> Any:
    """A Flask application: /<file ID>/<name>."""
    import flask

    app = flask.Flask(__name__)

    @app.route("/<int:file_id>/<name>")
    def serve(file_id: int, name: str) -> Any:
        return flask_response(client, file_id, filename=name)

    @app.route("/player/<int:file_id>/<name>")
    def player(file_id: int, name: str) -> str:
        style = 'controls muted preload="metadata" style="display: block"'
        return f'<!doctype html><title>{name}</title><video id="v" src="/{file_id}/{name}" {style}></video>'

    return Watched(app)


def django_app() -> Any:
    """The same in Django."""
    import django
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.urls import path

    def serve(request: Any, file_id: int, name: str) -> Any:
        return django_response(request, client, file_id, filename=name)

    settings.configure(
        ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="of a test", DEBUG=False
    )
    django.setup()
    sys.modules[__name__].urlpatterns = [path("<int:file_id>/<name>", serve)]  # type: ignore[attr-defined]
    return Watched(get_wsgi_application())


if __name__ == "__main__":
    import waitress

    server = waitress.create_server({"flask": flask_app, "django": django_app}[sys.argv[1]](),
                                    host="127.0.0.1", port=0, threads=4)  # fmt: skip
    print(f"listening on {server.effective_port}", file=sys.stderr, flush=True)
    server.run()
