"""`get_mapper`: the files below a folder as a mapping, for Zarr and other stores of many small files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fsspec.mapping import FSMap

__all__ = ["CteraMap"]


class CteraMap(FSMap):  # type: ignore[misc]
    """fsspec's mapping, which omits missing files alone.

    fsspec's own omits each file whose reading failed. Zarr takes a missing file for a chunk of fill
    values, so a lost connection would change data without an error.
    """

    def getitems(self, keys: Iterable[str], on_error: str = "raise") -> dict[str, Any]:
        """Return the content of several files.

        Args:
            keys: Their keys.
            on_error: What to do with an error: "raise" it, or "return" it in place of the bytes. "omit"
                leaves out missing files; other errors raise.
        """
        if on_error != "omit":
            return super().getitems(keys, on_error)  # type: ignore[no-any-return]
        # A missing file is a KeyError here.
        found = super().getitems(keys, "return")
        for value in found.values():
            if isinstance(value, BaseException) and not isinstance(value, KeyError):
                raise value
        return {key: value for key, value in found.items() if not isinstance(value, KeyError)}
