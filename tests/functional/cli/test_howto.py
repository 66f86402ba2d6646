"""The code blocks of the page about the command line, run as a reader would after a login."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ctera_direct_sync.emulator import Emulator

from .test_login import log_in

PAGE = Path(__file__).parents[3] / "docs" / "howto" / "command-line.md"
BLOCK = re.compile(r"<!-- name: (\S+) -->\n```(\w+)\n(.*?)```", re.DOTALL)
SCRIPTS = Path(sys.executable).parent

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="bash"),
    pytest.mark.skipif(not PAGE.exists(), reason="an installed package is tested without the docs"),
]


@pytest.fixture
def portal() -> Iterator[Emulator]:
    """A portal with the file of the page."""
    with Emulator(tree={"reports": {"a.pdf": b"%PDF"}}) as emulator:
        yield emulator


def test_blocks(portal: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block runs, without any key or password in the environment."""
    pytest.importorskip("argcomplete")
    if not (SCRIPTS / "ctera-direct").exists():
        pytest.skip("the console script is not installed")
    monkeypatch.setenv("CTERA_DIRECT_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.setenv("PATH", f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}")
    assert log_in(portal, "--create-key")[0] == 0
    for name in ("URL", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.delenv(f"CTERA_DIRECT_{name}")
    blocks = BLOCK.findall(PAGE.read_text("utf-8"))
    assert len(blocks) == 4
    for _, language, code in blocks:
        (tmp_path / "a.pdf").unlink(missing_ok=True)
        program = {"bash": ["bash", "-euc"], "python": [sys.executable, "-c"]}[language]
        done = subprocess.run(
            [*program, code], cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        if ".pdf" in code:
            assert (tmp_path / "a.pdf").read_bytes() == b"%PDF"
