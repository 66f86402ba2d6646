"""Check the links of the built site and of the repository's Markdown files.

    tools/docs/check-links.py                the files and anchors that links lead to; needs no network
    tools/docs/check-links.py --external     the pages of other sites, too, each of which is asked for once

Links of the site are those that a browser sees. A file that a page needs (a script, a style sheet, a
picture, a font) must be on the site itself. Markdown files are read as GitHub shows them: links lead to
files of the repository, and anchors are those that GitHub makes of headings.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urldefrag, urlsplit

import requests

ROOT = Path(__file__).parents[2]
SITE = ROOT / "build" / "site"
#: Hosts of examples. They answer nothing, or something else.
EXAMPLES = re.compile(
    r"(?:.*\.)?(?:ctera\.com|example\.(?:com|org)|localhost|[\d.]+|storage|portal)(?::\d+)?"
)
#: What other sites answer to programs that they take for robots.
REFUSED_TO_ROBOTS = {401, 403, 405, 406, 429, 999}
TIMEOUT_S = 30

_FENCE = re.compile(r"^( *)(```+|~~~+).*?^\1\2", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)", re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_LINK = re.compile(
    r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(<?([^()\s<>]+(?:\([^()\s]*\))?)>?(?:\s+\"[^\"]*\")?\)"
)
_HEADING = re.compile(r"^(#{1,6}) +(.*?) *#*$", re.MULTILINE)
_CSS_URL = re.compile(r"(?:url\(|@import\s+)\s*['\"]?((?:https?:)?//[^'\")]+)", re.IGNORECASE)


class Link(NamedTuple):
    """A link as it is written."""

    target: str
    is_needed: bool
    """Whether the page loads the target by itself."""


class Page(HTMLParser):
    """The anchors and links of an HTML page.

    Attributes:
        anchors: What a fragment may name.
        links: The links, in their order.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors = {""}
        self.links: list[Link] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag refers to."""
        values = {name: value or "" for name, value in attrs}
        self.anchors.update(values[name] for name in ("id", "name") if name in values)
        if tag == "a" and "href" in values:
            self.links.append(Link(values["href"], is_needed=False))
        elif tag == "link":
            # What search engines read is not loaded.
            is_needed = values.get("rel") not in ("canonical", "alternate", "next", "prev", "edit")
            self.links.append(Link(values.get("href", ""), is_needed))
        elif "src" in values:
            self.links.append(Link(values["src"], is_needed=True))


def is_elsewhere(target: str) -> bool:
    """Return whether a link leads to another site, or to no page at all (mail, data)."""
    return bool(urlsplit(target).scheme or target.startswith("//"))


def check_site(site: Path) -> Iterator[tuple[str, str]]:
    """Yield the page and the fault of each bad link of the site."""
    pages = {path: Page(path.read_text("utf-8")) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        where = path.relative_to(site).as_posix()
        for target, is_needed in page.links:
            if is_elsewhere(target):
                if is_needed and not target.startswith("data:"):
                    yield where, f"{target}: the page loads it from another site"
                continue
            place, anchor = urldefrag(target)
            place = unquote(place)
            # The page of errors names places from the root of the site.
            found = (site / place[1:] if place.startswith("/") else path.parent / place).resolve()
            found = path if not place else found / "index.html" if found.is_dir() else found
            if not found.is_file():
                yield where, f"{target}: there is no such file"
            elif found in pages and unquote(anchor) not in pages[found].anchors:
                yield where, f"{target}: the page has no such anchor"
    for path in sorted([*site.rglob("*.css"), *site.rglob("*.svg")]):
        for url in _CSS_URL.findall(path.read_text("utf-8")):
            yield path.relative_to(site).as_posix(), f"{url}: the file loads it from another site"


def prose_of(text: str) -> str:
    """Return Markdown without programs and comments, which may look like links."""
    return _CODE.sub("`", _COMMENT.sub("", _FENCE.sub("", text)))


def anchors_of(text: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a Markdown file."""
    anchors = {""}
    for _, title in _HEADING.findall(_FENCE.sub("", text)):
        title = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", title)
        anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        number, unique = 0, anchor
        while unique in anchors:
            number += 1
            unique = f"{anchor}-{number}"
        anchors.add(unique)
    # The site puts a description there, with an anchor for each name.
    anchors.update(re.findall(r"^::: (\S+)$", text, re.MULTILINE))
    return anchors | set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text))


def list_markdown(root: Path) -> list[Path]:
    """Return the Markdown files that git knows or would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return [
        root / name for name in sorted(done.stdout.split("\0")) if name and (root / name).is_file()
    ]


def check_markdown(root: Path, files: list[Path]) -> Iterator[tuple[str, str]]:
    """Yield the file and the fault of each bad link of the Markdown files."""
    texts = {path: path.read_text("utf-8") for path in files}
    for path, text in texts.items():
        where = path.relative_to(root).as_posix()
        for target in _LINK.findall(prose_of(text)):
            if is_elsewhere(target):
                continue
            place, anchor = urldefrag(target)
            found = (path.parent / unquote(place)).resolve() if place else path
            if not found.exists():
                yield where, f"{target}: there is no such file"
            elif found in texts and unquote(anchor) not in anchors_of(texts[found]):
                yield where, f"{target}: the file has no such heading"


def list_external(site: Path, files: list[Path]) -> dict[str, str]:
    """Return the URLs of other sites, with a place that names each."""
    found: dict[str, str] = {}
    for path in sorted(site.rglob("*.html")):
        for target, _ in Page(path.read_text("utf-8")).links:
            found.setdefault(urldefrag(target)[0], path.relative_to(site).as_posix())
    for path in files:
        for target in _LINK.findall(prose_of(path.read_text("utf-8"))):
            found.setdefault(urldefrag(target)[0], path.relative_to(ROOT).as_posix())
    return {
        url: where
        for url, where in found.items()
        if urlsplit(url).scheme in ("http", "https")
        and not EXAMPLES.fullmatch(urlsplit(url).netloc)
    }


def ask(url: str) -> str | None:
    """Return what is wrong with a page of another site, or None."""
    try:
        answer = requests.get(url, timeout=TIMEOUT_S, stream=True, headers={"Accept": "*/*"})
        answer.close()
    except requests.RequestException as error:
        return type(error).__name__
    is_good = answer.ok or answer.status_code in REFUSED_TO_ROBOTS
    return None if is_good else f"status {answer.status_code}"


def check_external(urls: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the place and the fault of each URL of another site that does not answer."""
    with ThreadPoolExecutor(8) as pool:
        for (url, where), fault in zip(urls.items(), pool.map(ask, urls)):
            if fault is not None:
                yield where, f"{url}: {fault}"


def main() -> int:
    """Print each bad link, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--external", action="store_true", help="ask other sites as well")
    arguments = parser.parse_args()
    if not (SITE / "index.html").is_file():
        sys.exit(f"{SITE} has no site: run `make docs` first")
    files = list_markdown(ROOT)
    faults = [*check_site(SITE), *check_markdown(ROOT, files)]
    if arguments.external:
        faults += check_external(list_external(SITE, files))
    for where, fault in faults:
        print(f"{where}: {fault}")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
