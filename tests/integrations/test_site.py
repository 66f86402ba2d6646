"""The documentation in a browser: it fits a phone and a desk, is found, is copied, and is dark on request.

Opt in with ``pytest -m browser`` after ``make docs``; needs Debian's chromium and chromium-driver. With
CTERA_DIRECT_SCREENSHOTS each page's picture is written to that folder.
"""

from __future__ import annotations

import functools
import http.server
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.browser import Browser, open_browser
from tests.support.net import serving_on_thread

SITE = Path(__file__).parents[2] / "build" / "site"
_PROGRAMS = ("chromium", "chromedriver")
_MISSING = [program for program in _PROGRAMS if shutil.which(program) is None]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(bool(_MISSING), reason=f"not installed: {', '.join(_MISSING)}"),
    pytest.mark.skipif(not (SITE / "index.html").exists(), reason="run make docs first"),
]

DESKTOP, PHONE = (1366, 900), (390, 844)

#: What is wider than the window, by tag and text, if it cannot be scrolled within something. A phone makes
#: `innerWidth` larger for it, so the width of the root counts.
_TOO_WIDE = """
[...document.querySelectorAll(".md-content *")].filter(element => {
    const box = element.getBoundingClientRect();
    if (box.width === 0 || box.right <= document.documentElement.clientWidth + 1) return false;
    for (let parent = element.parentElement; !parent.matches(".md-content"); parent = parent.parentElement)
        if (getComputedStyle(parent).overflowX !== "visible") return false;
    return getComputedStyle(element).position !== "fixed";
}).map(element => element.tagName + ": " + element.textContent.trim().slice(0, 60))
"""
#: Whether the page, or its content, can be moved sideways.
_MOVES = """
document.documentElement.scrollWidth > document.documentElement.clientWidth
    || document.querySelector(".md-content").scrollWidth > document.querySelector(".md-content").clientWidth
"""
_PASTE = """
const done = arguments[arguments.length - 1];
navigator.clipboard.readText().then(done, error => done(String(error)));
"""
_SCHEME = "document.body.getAttribute('data-md-color-scheme')"
_SHADE = r"getComputedStyle(document.body).backgroundColor.match(/\d+/g).slice(0, 3).map(Number)"
_SEARCH = """
const [words, done] = arguments, field = document.querySelector(".md-search__input");
field.focus();
field.value = words;
field.dispatchEvent(new Event("keyup"));
field.dispatchEvent(new Event("input"));
let left = 100;
const look = () => {
    const found = [...document.querySelectorAll(".md-search-result__link")].map(link => link.href);
    found.length || !left-- ? done(found) : setTimeout(look, 100);
};
look();
"""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """A server of files that prints nothing."""

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """Serve the built documentation."""
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_Quiet, directory=str(SITE))
    )
    with serving_on_thread(server):
        yield f"http://127.0.0.1:{server.server_port}"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Start one browser for all pages."""
    with open_browser(tmp_path_factory.mktemp("browser") / "profile") as browser:
        browser.post("timeouts", script=30_000)
        yield browser


def list_pages() -> list[str]:
    """Return the pages of the site."""
    return sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html"))


def picture(browser: Browser, name: str) -> None:
    """Write a picture of the page, if one is asked for."""
    folder = os.environ.get("CTERA_DIRECT_SCREENSHOTS")
    if folder:
        (Path(folder) / f"{name}.png").write_bytes(browser.screenshot())


def test_wide_page_is_found(site: str, browser: Browser) -> None:
    """The check sees an element that does not fit, and leaves alone one that scrolls."""
    browser.resize(*PHONE, mobile=True)
    browser.post("url", url=f"{site}/index.html")
    assert browser.ask(_MOVES) is False
    add = "document.querySelector('.md-content article').insertAdjacentHTML('beforeend', arguments[0])"
    wide = '<div style="width: 900px">wide</div>'
    scrolling = f'<div style="overflow-x: auto">{wide}</div>'
    for code, found in ((scrolling, []), (wide, ["DIV: wide"])):
        browser.post("execute/sync", script=add, args=[code])
        assert browser.ask(_TOO_WIDE) == found
    assert browser.ask(_MOVES) is True


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_pages_fit(site: str, browser: Browser, size: tuple[int, int]) -> None:
    """No page is wider than the window. Tables and programs scroll within themselves."""
    browser.resize(*size, mobile=size == PHONE)
    wide = {}
    for page in list_pages():
        browser.post("url", url=f"{site}/{page}")
        found = browser.ask(_TOO_WIDE)
        if found or browser.ask(_MOVES):
            wide[page] = found
        picture(browser, f"{page.replace('/', '-')}-{size[0]}")
    assert wide == {}


def test_no_page_fails(site: str, browser: Browser) -> None:
    """Pictures are loaded, and nothing is asked of another site."""
    browser.resize(*DESKTOP)
    for page in list_pages():
        browser.post("url", url=f"{site}/{page}")
        asked = browser.ask("performance.getEntriesByType('resource').map(entry => entry.name)")
        assert [url for url in asked if not url.startswith(f"{site}/")] == [], page
        broken = "[...document.images].filter(image => !image.naturalWidth).map(image => image.src)"
        assert browser.ask(broken) == [], page


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("mirror", "howto/mirror.html"),
        ("read_into", "reference/client.html"),
        ("duckdb", "howto/cookbook.html"),
        ("hedging", "reference/settings.html"),
    ],
)
def test_search(site: str, browser: Browser, words: str, page: str) -> None:
    """The search finds the page that a word belongs to."""
    browser.resize(*DESKTOP)
    browser.post("url", url=f"{site}/index.html")
    found = browser.run(_SEARCH, words)
    assert any(url.startswith(f"{site}/{page}") for url in found), found


def test_code_is_copied(site: str, browser: Browser) -> None:
    """A click copies a program as it is."""
    browser.resize(*DESKTOP)
    browser.grant("clipboardReadWrite", "clipboardSanitizedWrite")
    browser.post("url", url=f"{site}/index.html")
    shown = browser.ask("document.querySelector('.md-content pre code').innerText")
    browser.click(".md-content pre [data-md-type=copy]")
    copied = browser.run(_PASTE)
    assert copied == shown.rstrip("\n")
    assert copied.startswith("import ctera_direct_sync")


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_dark(site: str, browser: Browser, size: tuple[int, int]) -> None:
    """The page follows the system's preference of dark colours, also one that changes later."""
    for wanted in ("dark", "light", "dark"):
        browser.resize(*size, mobile=size == PHONE, scheme=wanted)
        browser.post("url", url=f"{site}/howto/mirror.html")
        assert browser.ask(_SCHEME) == {"dark": "slate", "light": "default"}[wanted]
        assert (max(browser.ask(_SHADE)) < 128) is (wanted == "dark")
        picture(browser, f"{wanted}-{size[0]}")


def test_dark_by_choice(site: str, browser: Browser) -> None:
    """A reader may choose, and the choice stays on the next page."""
    browser.resize(*DESKTOP, scheme="light")
    browser.post("url", url=f"{site}/index.html")
    for _ in range(2):
        browser.click("form[data-md-component=palette] label:not([hidden])")
    assert browser.ask(_SCHEME) == "slate"
    browser.post("url", url=f"{site}/faq.html")
    assert browser.ask(_SCHEME) == "slate"
    browser.click("form[data-md-component=palette] label:not([hidden])")
    assert browser.ask(_SCHEME) == "default"
