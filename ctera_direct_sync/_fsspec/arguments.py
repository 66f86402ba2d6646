"""Arguments of fsspec's methods, in the forms in which the library takes them."""

from __future__ import annotations

import operator
from typing import Any

from .._readers.multi_range import Span

__all__ = ["FILES_AT_ONCE", "batch_size_of", "bounds_of", "span_of"]

#: Files that one call fetches at the same time by default: small ones cost two round trips each.
FILES_AT_ONCE = 16


def batch_size_of(value: int | None) -> int | None:
    """Return the number of files at a time, None for the default. fsspec says -1 for all."""
    if value is None:
        return None
    number = operator.index(value)
    if number == -1:
        return FILES_AT_ONCE
    if number < 1:
        raise ValueError(f"batch_size {number} is below 1: give the number of files at a time")
    return number


def bounds_of(value: Any, count: int) -> list[Any]:
    """Return `count` bounds: those of a list or array, or the same one for all."""
    if value is None or (hasattr(value, "__index__") and not getattr(value, "ndim", 0)):
        return [value] * count
    return list(value)


def span_of(start: int | None, end: int | None, size: int) -> Span:
    """Return fsspec's Python-like bounds as the first byte and the one past the last."""
    first, stop, _ = slice(start, end).indices(size)
    return first, max(first, stop)
