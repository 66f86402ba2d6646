"""The demo, in small: it passes when all is right, and fails when a byte is not."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The demo's module."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    before = set(sys.modules)
    yield importlib.import_module("demo")
    for name in set(sys.modules) - before:
        if name.startswith("demo"):
            del sys.modules[name]


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the demo as ``make demo`` does, with a largest file of 2 MB."""
    python = [sys.executable, "-X", "dev", "-W", "error"]
    return subprocess.run(
        [*python, str(EXAMPLES / "demo.py"), "--folder", str(folder), "--largest", "2"],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_every_file_by_every_way(tmp_path: Path) -> None:
    """Nine files come by three ways each, all verified; nothing but the files is left behind."""
    done = run(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    rows = re.findall(r"^(\S+) +(\d+) .* (stream|blocks|download) +\S+ +yes$", done.stdout, re.M)
    files = {path.name: path.stat().st_size for path in (tmp_path / "files").iterdir()}
    assert len(files) == 9
    assert sorted(rows) == sorted(
        (name, str(size), way)
        for name, size in files.items()
        for way in ("stream", "blocks", "download")
    )
    assert (files["empty"], files["one-byte"], files["mixed.img"]) == (0, 1, 2_000_000)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files", "files.made"]


def test_the_files_are_made_once(tmp_path: Path, demo: ModuleType) -> None:
    """A second run keeps the folder; another size makes it anew."""
    folder = tmp_path / "files"
    demo.demo_files.make(folder, 1_000_000)
    random = (folder / "random.bin").read_bytes()
    demo.demo_files.make(folder, 1_000_000)
    assert (folder / "random.bin").read_bytes() == random
    demo.demo_files.make(folder, 2_000_000)
    assert (folder / "random.bin").read_bytes() != random


def test_a_wrong_byte_fails(
    tmp_path: Path,
    demo: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One flipped bit, and one file that does not come, make the exit code 1 and say so."""

    def flipped(client: Any, file_id: int, target: Path, advance: Any) -> None:
        demo.by_download(client, file_id, target, advance)
        data = bytearray(target.read_bytes())
        if target.name == "python":
            data[len(data) // 2] ^= 1
        target.write_bytes(data)

    def missing(client: Any, file_id: int, target: Path, advance: Any) -> None:
        demo.by_stream(client, 1 if target.name == "empty" else file_id, target, advance)

    monkeypatch.setattr(demo, "WAYS", {"flipped": flipped, "missing": missing})
    assert demo.main(["--folder", str(tmp_path), "--largest", "1"]) == 1
    printed = capsys.readouterr().out
    assert re.search(r"^python .* flipped .*NO: its SHA-256 is another$", printed, re.M)
    assert re.search(r"^empty .* missing .*no: .*knows no such file", printed, re.M)
    assert "18 downloads, 2 wrong" in printed
