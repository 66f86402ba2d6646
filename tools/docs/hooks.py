"""What is filled in when the site is built, so that it cannot grow old.

Pages that ``nav`` of mkdocs.yml does not name are put at the end of their section. In pages,
``<!-- help: COMMAND -->`` becomes the command's ``--help``; ``<!-- include: FILE -->`` a Markdown file of
the repository, its links to ``docs/`` seen from the page; ``<!-- code: FILE -->`` a program of the
repository.
"""

from __future__ import annotations

import contextlib
import io
import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from mkdocs.exceptions import PluginError

from ctera_direct_sync.cli import program as cli

ROOT = Path(__file__).parents[2]
#: The sections of the navigation that take the other pages of a folder.
SECTIONS = {"howto": "How to", "development": "Development"}
HELP = re.compile(r"<!-- help: ([a-z ]*?) *-->")
INCLUDE = re.compile(r"<!-- include: (\S+) -->")
CODE = re.compile(r"^<!-- code: (\S+\.py) -->$", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|#)([^)]+)\)")


def on_config(config: Any) -> Any:
    """Complete the navigation."""
    sections = {title: pages for entry in config.nav for title, pages in entry.items()}
    named = set(_pages(config.nav))
    docs = Path(config.docs_dir)
    for path in sorted(docs.rglob("*.md")):
        name = path.relative_to(docs).as_posix()
        if name not in named:
            folder = name.partition("/")[0]
            sections[SECTIONS.get(folder, "Explanation")].append(name)
    return config


def _pages(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for entry in nav.values() if isinstance(nav, dict) else nav:
            yield from _pages(entry)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill in one page."""
    markdown = HELP.sub(lambda match: _help(match[1].split()), markdown)
    markdown = CODE.sub(lambda match: _code(match[1]), markdown)
    return INCLUDE.sub(lambda match: _include(match[1], page.file.src_uri), markdown)


def _code(name: str) -> str:
    try:
        text = (ROOT / name).read_text(encoding="utf-8")
    except OSError as error:
        raise PluginError(f"a page shows {name}: {error.strerror}") from None
    return f"```python\n{text.rstrip()}\n```"


def _help(command: list[str]) -> str:
    printed = io.StringIO()
    with mock.patch.dict(os.environ, COLUMNS="96"), contextlib.redirect_stdout(printed):
        try:
            cli.main([*command, "--help"])
        except SystemExit as done:
            if done.code:
                raise PluginError(f"there is no help on {command}") from None
    return f"```text\n{printed.getvalue().rstrip()}\n```"


def _include(name: str, page: str) -> str:
    """A file's text without its title, which the page has."""
    text = (ROOT / name).read_text(encoding="utf-8")
    text = re.sub(r"\A# .*\n", "", text)

    def relink(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(name), match[1]))
        if not target.startswith("docs/"):
            return f"] (`{target}`)"
        return f"]({posixpath.relpath(target, posixpath.join('docs', posixpath.dirname(page)))})"

    return LINK.sub(relink, text)
