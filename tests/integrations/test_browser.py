"""A real browser plays and seeks in a video that Flask serves from the portal.

Opt in with ``pytest -m browser``; needs Debian's chromium, chromium-driver and ffmpeg. It writes the
picture ``docs/img/browser-seek.png`` when CTERA_DIRECT_SCREENSHOT names that path.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ctera_direct_sync.emulator import Emulator
from tests.support.browser import Browser, open_browser
from tests.support.servers import Site

from .conftest import Fetched
from .test_servers import started

pytest.importorskip("ctera_direct_sync.wsgi")
pytest.importorskip("flask")

_PROGRAMS = ("chromium", "chromedriver", "ffmpeg")
_MISSING = [program for program in _PROGRAMS if shutil.which(program) is None]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(bool(_MISSING), reason=f"not installed: {', '.join(_MISSING)}"),
]

SECONDS = 120
#: Resolves when the video has shown the frame at the place that was sought.
_SEEK = """
    const [place, done] = arguments, video = document.getElementById("v");
    const report = () => done([video.currentTime, video.duration, video.videoWidth, video.readyState]);
    const go = () => { video.addEventListener("seeked", report, {once: true}); video.currentTime = place; };
    video.addEventListener("error", () => done(["error", video.error.message]));
    video.readyState >= 1 ? go() : video.addEventListener("loadedmetadata", go, {once: true});
"""


#: Resolves when the player has enough to go on, so that it shows no sign of waiting.
_READY = """
    const done = arguments[0], video = document.getElementById("v");
    const look = () => video.readyState >= 4 ? setTimeout(done, 500, true) : setTimeout(look, 50);
    look();
"""


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    """Start Chromium without a window."""
    with open_browser(tmp_path / "profile") as browser:
        yield browser


@pytest.fixture
def site(portal: Emulator) -> Iterator[Site]:
    """Flask under gunicorn's threads."""
    yield from started("gunicorn gthread", "flask", portal)


@pytest.fixture
def video(tmp_path: Path) -> bytes:
    """Two minutes with a running clock, an index at the front, a key frame every second."""
    path = tmp_path / "clock.webm"
    picture = f"testsrc=duration={SECONDS}:size=640x360:rate=10"
    coding = [
        "-c:v",
        "libvpx",
        "-deadline",
        "realtime",
        "-cpu-used",
        "8",
        "-b:v",
        "600k",
        "-g",
        "10",
    ]
    subprocess.run(
        [
            "ffmpeg",
            "-loglevel",
            "error",
            "-f",
            "lavfi",
            "-i",
            picture,
            *coding,
            "-cues_to_front",
            "1",
            str(path),
        ],
        check=True,
    )
    return path.read_bytes()


def test_seeking(
    portal: Emulator, site: Site, browser: Browser, video: bytes, fetched: Fetched
) -> None:
    """Seeking far ahead and back fetches what lies there, by ranges, not all that lies between."""
    block = 64 * 1024
    file_id = portal.add(video, block_size=block, name="clock.webm")
    browser.post("timeouts", script=60_000)
    browser.post("url", url=f"http://127.0.0.1:{site.port}/player/{file_id}/clock.webm")
    for place in (100.0, 30.0, 110.0):
        found = browser.run(_SEEK, place)
        assert isinstance(found, list), found
        where, duration, width, state = found
        assert (round(where), round(duration), width) == (place, SECONDS, 640)
        assert state >= 2
    assert browser.run(_READY)
    picture = browser.screenshot()
    assert picture.startswith(b"\x89PNG") and len(picture) > 5000
    blocks = -(-len(video) // block)
    assert any(number > blocks * 3 // 4 for number in fetched())
    assert portal.log.records(where="storage", status=200)
    target = os.environ.get("CTERA_DIRECT_SCREENSHOT")
    if target:
        Path(target).write_bytes(picture)
