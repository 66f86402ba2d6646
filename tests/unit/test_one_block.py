"""The modules that a block passes on its worker thread, and the page that follows it through them."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType

import pytest

import ctera_direct_sync
from ctera_direct_sync import DirectIO, codec
from ctera_direct_sync.emulator import Emulator
from tests.vectors.plaintexts import plaintext

PACKAGE = Path(ctera_direct_sync.__file__).parent
ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "tools" / "one-block.py"
PAGE = ROOT / "docs" / "development" / "one-block.md"

MAX_MODULES = 10
BLOCK_SIZE = 64 * 1024
BLOCKS = 20

#: The standard library's primitives under the package's own names. Tests put others in their place.
ALIASES = {"_base/sync.py"}


class Recorder:
    """Records the modules of the package that run for each job, on one worker thread or several."""

    def __init__(self) -> None:
        self.jobs: list[list[str]] = []
        self._running: dict[int, list[str]] = {}

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        """Note a call or a return, as `threading.setprofile` says."""
        if event not in ("call", "return"):
            return
        try:
            module = Path(frame.f_code.co_filename).relative_to(PACKAGE).as_posix()
        except ValueError:
            return
        if module.startswith("emulator/"):
            return
        ident = threading.get_ident()
        is_job = module == "_engine/engine.py" and frame.f_code.co_name == "_run"
        if event == "return":
            if is_job:
                self.jobs.append(self._running.pop(ident))
        elif is_job:
            self._running[ident] = [module]
        elif ident in self._running and module not in self._running[ident]:
            self._running[ident].append(module)


@pytest.fixture(scope="module")
def modules() -> list[str]:
    """Return the modules that the blocks of an encrypted, compressed stream pass."""
    if codec.backend != "native":
        pytest.skip("the portable codec is made of several modules")
    data = plaintext("text", BLOCK_SIZE * BLOCKS)
    recorder = Recorder()
    before = getattr(threading, "_profile_hook", None)
    threading.setprofile(recorder)
    try:
        with Emulator() as portal:
            file_id = portal.add(
                data, block_size=BLOCK_SIZE, cipher="AES-CBC", compression="SNAPPY"
            )
            with DirectIO(portal.url, portal.access_key_id, portal.secret_access_key) as client:
                stream = client.stream(file_id, max_workers=1)
                assert b"".join(block.data for block in stream) == data
    finally:
        threading.setprofile(before)
    assert len(recorder.jobs) == BLOCKS
    # The first blocks also set things up once: imports, connections, the codec's state of a thread.
    passed = dict.fromkeys(module for job in recorder.jobs[BLOCKS // 2 :] for module in job)
    return [module for module in passed if module not in ALIASES]


def test_a_block_passes_few_modules(modules: list[str]) -> None:
    """A reader who follows a block through its worker thread opens at most ten files."""
    print(f"A block passes {len(modules)} modules:", *modules, sep="\n  ")
    assert len(modules) <= MAX_MODULES, modules


@pytest.mark.skipif(
    not PAGE.exists(), reason="an installed package is tested without its documentation"
)
def test_the_page_names_these_modules(modules: list[str]) -> None:
    """The page about a block's way leaves out no module, and names no other."""
    section = PAGE.read_text("utf-8").partition("## The block\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\d+\. `ctera_direct_sync/([\w/]+\.py):", section, re.MULTILINE))
    assert named == set(modules)


@pytest.mark.skipif(not PROGRAM.exists(), reason="an installed package is tested without the tools")
def test_the_page_is_up_to_date() -> None:
    """Each line of the page's steps is the one on which the function begins."""
    done = subprocess.run(
        [sys.executable, str(PROGRAM)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
