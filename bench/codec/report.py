"""The run's figures in bench/RESULTS.md, section "Codec"; the words around them stay as they are."""

from __future__ import annotations

import pathlib
import re
import time

SECTION = "## Codec"
FIGURES = "### The codec's figures"


def write(path: pathlib.Path, text: str) -> None:
    """Replace the figures in the file, or append the section."""
    old = path.read_text() if path.exists() else "# Results\n"
    figures = (
        f"{FIGURES}\n\n`make bench-codec` wrote these on {time.strftime('%Y-%m-%d')}.\n\n"
        f"![MB/s by combination](../docs/img/codec.svg)\n\n{text.strip()}\n"
    )
    pattern = re.compile(rf"^{FIGURES}\n.*?(?=^##|\Z)", re.MULTILINE | re.DOTALL)
    if pattern.search(old):
        new = pattern.sub(lambda match: figures + ("\n" if match.end() < len(old) else ""), old)
    else:
        new = f"{old.rstrip()}\n\n{SECTION}\n\n{figures}"
    path.write_text(new)
