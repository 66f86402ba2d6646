"""The Python blocks of the documentation's pages."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["blocks"]

_PAGES = Path(__file__).parents[2] / "docs" / "howto"
_BLOCK = re.compile(r"(?P<marker><!--[^\n]*-->\n)?```python\n(?P<code>.*?)```", re.S)


def blocks(page: str, name: str | None = None) -> list[str]:
    """Return the blocks of a page that run as they are, or those of a name."""
    text = (_PAGES / page).read_text(encoding="utf-8")
    marker = None if name is None else f"<!-- name: {name} -->\n"
    return [match["code"] for match in _BLOCK.finditer(text) if match["marker"] == marker]
