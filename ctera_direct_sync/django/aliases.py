"""The keys of storages in Django's `STORAGES`, by which links name them."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import default_storage

try:
    from django.core.files.storage import storages
except ImportError:  # Django before 4.2 has one storage.
    storages = None

__all__ = ["alias_of", "find_storage"]

_DEFAULT = "default"


def find_storage(alias: str) -> Any:
    """Return the storage of a key, or None if there is none.

    Args:
        alias: The key. `DEFAULT_FILE_STORAGE` of Django before 4.2 has the key "default".
    """
    if storages is None:
        return default_storage if alias == _DEFAULT else None
    return storages[alias] if alias in storages.backends else None


def alias_of(storage: Any) -> str:
    """Return the key of a storage.

    Args:
        storage: The storage.

    Raises:
        ImproperlyConfigured: It has none, so that a view could not find it.
    """
    aliases = [_DEFAULT] if storages is None else list(storages.backends)
    for alias in aliases:
        found = find_storage(alias)
        # One that a field made itself serves as well, if it is equal. A subclass may lead elsewhere.
        if found.__class__ is type(storage) and found._has_options_of(storage):
            return alias
    raise ImproperlyConfigured(
        "A link names its storage by the key in STORAGES: put this CteraStorage there, and use "
        "storages[KEY] for the field"
    )
