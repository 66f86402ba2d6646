"""An extension for Flask: one client for the application, and `send_ctera_file` in its views.

::

    app = Flask(__name__)
    app.config["CTERA_URL"] = "https://tenant.ctera.com"
    ctera = Ctera(app)

    @app.get("/report")
    def report():
        return send_ctera_file("/My Files/report.pdf")

The extra `flask` installs what it needs.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from flask import current_app

from .client import DirectIO
from .namespace import Namespace
from .settings import Settings
from .types import FileRef, Token
from .wsgi import flask_response

if TYPE_CHECKING:
    from flask import Flask, Response

__all__ = ["Ctera", "send_ctera_file"]

#: The key of the extension in `app.extensions`.
_KEY = "ctera"

#: Configuration keys, with the arguments of `DirectIO` and `Namespace` that they give.
_CLIENT_KEYS = {
    "CTERA_ACCESS_KEY_ID": "access_key_id",
    "CTERA_SECRET_ACCESS_KEY": "secret_access_key",
    "CTERA_BEARER": "bearer",
}
_NAMES_KEYS = {
    "CTERA_USERNAME": "username",
    "CTERA_PASSWORD": "password",
    "CTERA_CONTEXT": "context",
}
_COMMON_KEYS = {"CTERA_URL": "baseurl", "CTERA_SETTINGS": "settings"}
_OTHER_KEYS = {"CTERA_TIMEOUT"}


class Ctera:
    """The extension. One object may serve several applications, each by a client of its own.

    The configuration of the application gives the account and the settings. What it does not give comes
    from where `DirectIO` and `Namespace` find it: the environment, or the profile of `ctera-direct login`.

    | Key | Means |
    | --- | --- |
    | `CTERA_URL` | the portal's URL |
    | `CTERA_ACCESS_KEY_ID`, `CTERA_SECRET_ACCESS_KEY`, `CTERA_BEARER` | the keys |
    | `CTERA_USERNAME`, `CTERA_PASSWORD`, `CTERA_CONTEXT` | who looks paths up |
    | `CTERA_SETTINGS` | a `Settings` |
    | `CTERA_TIMEOUT` | seconds to wait for the first byte, as for `wsgi.flask_response` |

    The client is made at its first use, and works after a server's fork. It lives as long as the process.

    Args:
        app: The application. None: call `init_app` later.

    Raises:
        ValueError: The configuration has a key that begins with `CTERA_` and is none of these.

    Example:
        >>> ctera = Ctera()
        >>> def create_app():
        ...     app = Flask(__name__)
        ...     ctera.init_app(app)
        ...     return app
    """

    def __init__(self, app: Flask | None = None) -> None:
        # The client and the Namespace of each application. They are dropped with the application.
        self._made: weakref.WeakKeyDictionary[Any, dict[str, Any]] = weakref.WeakKeyDictionary()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Attach the extension to an application.

        Args:
            app: The application.

        Raises:
            ValueError: The configuration has an unknown key that begins with `CTERA_`.
        """
        known = {*_CLIENT_KEYS, *_NAMES_KEYS, *_COMMON_KEYS, *_OTHER_KEYS}
        unknown = sorted(key for key in app.config if key.startswith("CTERA_") and key not in known)
        # `from_prefixed_env` and the like may bring the variables that DirectIO reads itself.
        unknown = [key for key in unknown if not key.startswith("CTERA_DIRECT_")]
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: use keys among {', '.join(sorted(known))}")
        self._made[app] = {}
        app.extensions[_KEY] = self

    @property
    def client(self) -> DirectIO:
        """The client of the current application, made at its first use."""
        held = self._of_application()
        if "client" not in held:
            # Without an account in the configuration, the client finds one itself, if a path needs it.
            names = self.names if any(_read(_NAMES_KEYS).values()) else None
            made = DirectIO(**_read(_COMMON_KEYS), **_read(_CLIENT_KEYS), namespace=names)
            _keep(held, "client", made)
        client: DirectIO = held["client"]
        return client

    @property
    def names(self) -> Namespace:
        """The Namespace of the current application, in which paths are looked up."""
        held = self._of_application()
        if "names" not in held:
            _keep(held, "names", Namespace(**_read(_COMMON_KEYS), **_read(_NAMES_KEYS)))
        names: Namespace = held["names"]
        return names

    def close(self) -> None:
        """Close the client of the current application. The next use makes a new one."""
        held = self._of_application()
        for name in ("client", "names"):
            made = held.pop(name, None)
            if made is not None:
                made.close()

    def _of_application(self) -> dict[str, Any]:
        app: Any = current_app._get_current_object()  # type: ignore[attr-defined]
        if app not in self._made:
            raise RuntimeError(f"{app}: call init_app() of this Ctera for it first")
        return self._made[app]


def _keep(held: dict[str, Any], name: str, made: DirectIO | Namespace) -> None:
    # Two threads may come here at once. One object is kept, and the other was never used.
    if held.setdefault(name, made) is not made:
        made.close()


def _read(keys: dict[str, str]) -> dict[str, Any]:
    """Return arguments that the configuration of the current application gives."""
    values = {argument: current_app.config.get(key) for key, argument in keys.items()}
    # As values that hide themselves in a traceback.
    hidden = {
        argument: Token(value)
        for argument, value in values.items()
        if isinstance(value, str) and argument not in ("baseurl", "username", "context")
    }
    settings = values.get("settings")
    if settings is not None and not isinstance(settings, Settings):
        raise TypeError("CTERA_SETTINGS is a Settings, such as Settings(memory=8 * 1024 * 1024)")
    return {**values, **hidden}


def send_ctera_file(
    file: FileRef,
    *,
    filename: str | None = None,
    content_type: str | None = None,
    timeout: float | None = None,
) -> Response:
    """Return the response to Flask's current request for a file: ranges, conditions, errors.

    Args:
        file: The file's ID, its path on the portal, or its `Entry`.
        filename: The name that a browser saves the file under. None: that of the path or `Entry`.
        content_type: The Content-Type. By default it is chosen by the filename's extension alone.
        timeout: Seconds to wait for the first byte. None: `CTERA_TIMEOUT` of the configuration, or 25.

    Returns:
        What `wsgi.flask_response` returns.

    Raises:
        RuntimeError: The application has no `Ctera`.
        TypeError: `file` does not name a file.
        ValueError: As `wsgi.flask_response` raises.

    Example:
        >>> @app.get("/files/<int:file_id>")
        ... def show(file_id):
        ...     return send_ctera_file(file_id, filename="report.pdf")
    """
    extension = current_app.extensions.get(_KEY)
    if not isinstance(extension, Ctera):
        raise RuntimeError("the application has no Ctera: call Ctera(app) first")
    if timeout is None:
        timeout = current_app.config.get("CTERA_TIMEOUT")
    return flask_response(
        extension.client, file, filename=filename, content_type=content_type, timeout=timeout
    )
