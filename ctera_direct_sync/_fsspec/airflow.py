"""What Airflow asks a provider of file systems: `ObjectStoragePath("ctera://...", conn_id=...)`.

Airflow finds the module by an entry point, and imports it when a path is used.
"""

from __future__ import annotations

from typing import Any

from fsspec import get_filesystem_class

from ..version import __version__

__all__ = ["get_fs", "get_provider_info", "schemes"]

#: The schemes of URLs that `get_fs` makes file systems for.
schemes = ["ctera"]

#: What a connection's extra may hold, beside what Airflow has fields for.
_EXTRA_OPTIONS = ("access_key_id", "secret_access_key", "bearer", "context")


def get_provider_info() -> dict[str, Any]:
    """Return what Airflow's list of providers shows, and the module that has `get_fs`."""
    return {
        "package-name": "ctera-direct-sync",
        "name": "CTERA Direct IO",
        "description": "Files of a CTERA portal by ctera:// URLs. They can only be read.",
        "versions": [__version__],
        "filesystems": [__name__],
    }


def get_fs(conn_id: str | None, storage_options: dict[str, Any] | None = None) -> Any:
    """Return the file system of a connection, or that of the environment.

    Args:
        conn_id: The connection's ID. Its host, port and schema (`http` or `https`, the default) name the
            portal, and login and password the account. Its extra has `access_key_id` and
            `secret_access_key`, or `bearer`, and perhaps `context`. None: all is in the environment.
        storage_options: Options of the file system, which win over the connection.
    """
    options = {} if conn_id is None else _options_of(conn_id)
    return get_filesystem_class("ctera")(**{**options, **(storage_options or {})})


def _options_of(conn_id: str) -> dict[str, Any]:
    """Return the options that a connection stands for."""
    from airflow.sdk import BaseHook

    connection = BaseHook.get_connection(conn_id)
    options: dict[str, Any] = {"username": connection.login, "password": connection.password}
    extra = connection.extra_dejson
    options.update((name, extra.get(name)) for name in _EXTRA_OPTIONS)
    host = connection.host
    if host:
        port = f":{connection.port}" if connection.port else ""
        is_url = "://" in host
        options["baseurl"] = host if is_url else f"{connection.schema or 'https'}://{host}{port}"
    return {name: value for name, value in options.items() if value}
