"""Docstrings are written for `help()`: this makes Markdown of them, with links between public names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import griffe

PACKAGE = "ctera_direct_sync"
SURFACE = Path(__file__).parents[2] / "tests" / "public_api.txt"
ROLE = re.compile(r":(?:class|meth|func|data|attr|mod|exc):`~?([^`]+)`")
CODE = re.compile(r"(?<!`)`([A-Za-z_][\w.]*)`(?!`)")


def find_targets() -> dict[str, str]:
    """Return the identifier of each public name, by what docstrings call it."""
    targets = {}
    for line in SURFACE.read_text("utf-8").splitlines():
        name = re.match(rf"{PACKAGE}\.([\w.]+)", line)
        if name is None or " = ctera" in line:
            continue  # An option of a command, or the second name of something.
        full = f"{PACKAGE}.{name[1]}"
        targets[full] = full
        targets.setdefault(name[1], full)
        parts = name[1].split(".")
        # "types.Token" is `Token`, and "settings.Endpoint.ssl" is `Endpoint.ssl`.
        first = next((n for n, part in enumerate(parts) if part[:1].isupper()), None)
        if first is not None:
            targets.setdefault(".".join(parts[first:]), full)
    return targets


TARGETS = find_targets()


def link(match: re.Match[str]) -> str:
    """Return a piece of code as a link, if it is a public name. The link is left out if no page has it."""
    target = TARGETS.get(match[1])
    if target is None:
        return match[0]
    return f'<autoref identifier="{target}" optional><code>{match[1]}</code></autoref>'


class Roles(griffe.Extension):
    """Roles of reST become code, `::` becomes a colon, and code that is a public name a link."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite one object's docstring."""
        if obj.docstring is None:
            return
        text = ROLE.sub(r"`\1`", obj.docstring.value)
        text = re.sub(r"^::$", "", text, flags=re.MULTILINE)
        text = re.sub(r"::$", ":", text, flags=re.MULTILINE)
        # The name of the section that griffe knows. It would make a quotation of the other.
        text = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)
        # Names that the docstring is about need no link to themselves.
        own = {obj.path, obj.name}
        obj.docstring.value = CODE.sub(
            lambda match: match[0] if match[1] in own else link(match), text
        )
