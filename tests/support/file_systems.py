"""File systems of an emulator's user, and what they ask of the portal."""

from __future__ import annotations

from collections import Counter
from typing import Any, Callable

from ctera_direct_sync.emulator import Emulator


def account_of(portal: Emulator) -> dict[str, Any]:
    """Return the storage options of the portal's default user, keys included."""
    return {
        "baseurl": portal.url,
        "access_key_id": portal.access_key_id,
        "secret_access_key": portal.secret_access_key,
        "username": portal.username,
        "password": portal.password,
    }


def variables_of(portal: Emulator) -> dict[str, str]:
    """Return the environment of a program that reads from the portal as its default user."""
    return {
        "CTERA_DIRECT_URL": portal.url,
        "CTERA_DIRECT_USERNAME": portal.username,
        "CTERA_DIRECT_PASSWORD": portal.password,
        "CTERA_DIRECT_ACCESS_KEY_ID": portal.access_key_id,
        "CTERA_DIRECT_SECRET_ACCESS_KEY": portal.secret_access_key,
    }


def close_file_systems() -> None:
    """Close what the file systems of this process share, and forget the file systems."""
    from ctera_direct_sync._fsspec.instances import portal_clients
    from ctera_direct_sync._fsspec.names import portal_names
    from ctera_direct_sync.filesystem import CteraFileSystem

    CteraFileSystem.clear_instance_cache()
    for each in [*portal_clients.values(), *portal_names.values()]:
        each.close()


def count_requests(portal: Emulator, work: Callable[[], object]) -> dict[str, int]:
    """Return how many requests of each kind a function makes.

    The kinds are "login", "stat", "list" (of a folder), "blocks" (a block list) and "get" (of a stored
    object). Other calls of the portal count under their own names.
    """
    portal.log.clear()
    work()
    counts: Counter[str] = Counter()
    for each in portal.log.records():
        if each.where == "storage":
            counts["get"] += 1
        elif each.call == "fetchResources":
            counts["stat" if each.depth == "0" else "list"] += 1
        else:
            counts[each.call or "blocks"] += 1
    return dict(counts)
