"""The programs of tools/docs: the checker of links, and the pictures of commands."""

from __future__ import annotations

import html
import http.server
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.net import serving_on_thread
from tests.support.programs import load_program

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "tools" / "docs"

pytestmark = pytest.mark.skipif(
    not TOOLS.exists(), reason="an installed package is tested without the tools"
)


def load(name: str) -> ModuleType:
    """Return a program of tools/docs as a module."""
    return load_program(TOOLS / name)


# --- links -----------------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Make a site of two pages, whose links are right."""
    folder = tmp_path / "site"
    (folder / "in").mkdir(parents=True)
    (folder / "a b.html").write_text("<h1 id=top>A</h1><a href='in/'>in</a><img src=a.svg>")
    (folder / "in" / "index.html").write_text(
        "<a href='../a%20b.html#top'>A</a><a href='/a%20b.html'>A</a><a href=''>here</a>"
        "<a href='https://elsewhere.example.net/'>there</a><a href='mailto:a@example.com'>mail</a>"
    )
    (folder / "a.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'></svg>")
    return folder


def test_good_site(site: Path) -> None:
    """Links to files, folders and anchors of the site pass, and so do links to other sites."""
    assert list(load("check-links.py").check_site(site)) == []


@pytest.mark.parametrize(
    ("tag", "fault"),
    [
        ("<a href=gone.html>", "there is no such file"),
        ("<a href=in/index.html#gone>", "has no such anchor"),
        ("<a href=#gone>", "has no such anchor"),
        ("<img src=gone.png>", "there is no such file"),
        ("<script src=https://cdn.example.net/a.js>", "from another site"),
        ("<link rel=stylesheet href=//cdn.example.net/a.css>", "from another site"),
    ],
)
def test_bad_links_of_a_site(site: Path, tag: str, fault: str) -> None:
    """A link that leads nowhere is found, and so is a page that loads something from elsewhere."""
    (site / "bad.html").write_text(tag)
    ((where, found),) = load("check-links.py").check_site(site)
    assert where == "bad.html" and fault in found


def test_picture_that_loads_a_font(site: Path) -> None:
    """A picture or style sheet that loads something from another site is found."""
    (site / "a.svg").write_text(
        "<style>@font-face { src: url('https://cdn.example.net/f') }</style>"
    )
    assert [where for where, _ in load("check-links.py").check_site(site)] == ["a.svg"]


def test_links_of_markdown(tmp_path: Path) -> None:
    """Files and GitHub's anchors are checked; what is in programs and comments does not count."""
    (tmp_path / "b.md").write_text("# A `code` title, with *more*\n\n## Twice\n\n## Twice\n")
    good = (
        "[b](b.md#a-code-title-with-more) [c](b.md#twice-1) [d](#here) [e](https://a.example.net)\n"
    )
    code = "`[x](gone.md)`\n```\n[x](gone.md)\n```\n<!-- [x](gone.md) -->\n"
    bad = "[x](gone.md) [y](b.md#gone) [z](#gone)\n"
    (tmp_path / "a.md").write_text(f"# Here\n{good}{code}{bad}")
    found = load("check-links.py").check_markdown(tmp_path, [tmp_path / "a.md", tmp_path / "b.md"])
    assert [fault.partition(":")[0] for _, fault in found] == ["gone.md", "b.md#gone", "#gone"]


class _Site(http.server.BaseHTTPRequestHandler):
    """Answer with the status that the path names."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(int(self.path[1:]))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """Start another site, and return its URL."""
    server = http.server.HTTPServer(("127.0.0.1", 0), _Site)
    with serving_on_thread(server):
        yield f"http://127.0.0.1:{server.server_port}"


def test_links_to_other_sites(elsewhere: str) -> None:
    """A page that is gone is found. One that refuses programs is left to people."""
    check = load("check-links.py").check_external
    urls = {f"{elsewhere}/{status}": "a.md" for status in (200, 403, 404, 429, 500)}
    found = list(check({**urls, "http://127.0.0.1:9/": "b.md"}))
    assert [fault.rpartition(": ")[2] for _, fault in found] == [
        "status 404", "status 500", "ConnectionError"
    ]  # fmt: skip


# --- pictures --------------------------------------------------------------------------------------------


def shown(svg: Path) -> str:
    """Return the texts of a picture, with each digit as 0."""
    parts = re.findall(r"<text [^>]*>([^<]*)</text>", svg.read_text("utf-8"))
    return re.sub(r"\d", "0", "".join(html.unescape(part) for part in parts)).replace("\xa0", " ")


@pytest.mark.slow
def test_picture_shows_what_the_command_prints(tmp_path: Path) -> None:
    """The picture of `ls` is as the command prints today, but for times and numbers."""
    pytest.importorskip("rich")
    pytest.importorskip("pty", reason="Windows has no pseudo-terminals")
    program = load("screenshots.py")
    (tmp_path / "home").mkdir()
    with program.open_portal() as portal:
        program.draw("ls", portal, tmp_path / "home", tmp_path / "ls.svg")
    kept = program.IMAGES / "terminal-ls.svg"
    assert shown(tmp_path / "ls.svg") == shown(kept), "run make screenshots"


def test_pictures_are_used_and_load_nothing() -> None:
    """Each picture is on a page, and needs no other site."""
    pages = "".join(path.read_text("utf-8") for path in (ROOT / "docs").rglob("*.md"))
    pictures = sorted((ROOT / "docs" / "img").glob("terminal-*.svg"))
    assert len(pictures) == 4
    for picture in pictures:
        assert f"(../img/{picture.name})" in pages
        urls = set(re.findall(r"https?://[\w./-]+", picture.read_text("utf-8")))
        assert urls <= {"http://www.w3.org/2000/svg", "https://storage.example.com"}


def test_bar_that_is_drawn_again_is_shown_once() -> None:
    """What a carriage return writes over is not shown."""
    pytest.importorskip("rich")
    pytest.importorskip("pty", reason="Windows has no pseudo-terminals")
    settle = load("screenshots.py").settle
    assert settle("\r 0%\r100%\r\ndone\r\n") == ["100%", "done"]
