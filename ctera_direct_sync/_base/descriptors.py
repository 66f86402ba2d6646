"""How many descriptors this process may have open."""

from __future__ import annotations

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

__all__ = ["max_descriptors"]

#: Windows counts sockets otherwise: its limit is far above what is needed here.
_MANY = 8192


def max_descriptors() -> int:
    """Return the most descriptors that this process may have open, or a number above all needs."""
    if resource is None:
        return _MANY
    limit: int = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MANY if limit == resource.RLIM_INFINITY else min(limit, _MANY)
