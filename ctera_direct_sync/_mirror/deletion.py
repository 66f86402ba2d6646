"""The choice that `DirectIO.mirror` takes for deleted files. It loads nothing else of the mirror."""

from __future__ import annotations

from typing import Literal

__all__ = ["Deletion"]

Deletion = Literal["trash", "remove", "keep"]
"""What happens to files that the portal deleted."""
