"""Programs that PyInstaller froze: the native codec comes along."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from ctera_direct_sync import _pyinstaller, codec
from ctera_direct_sync.emulator import Emulator

DATA = bytes(range(256)) * 4000

PROGRAM = """
import sys
import ctera_direct_sync
from ctera_direct_sync import DirectIO

if __name__ == "__main__":
    with DirectIO() as client:
        client.download(int(sys.argv[1]), sys.argv[2])
    print(ctera_direct_sync.codec.backend, bool(getattr(sys, "frozen", False)))
"""


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """PROGRAM, frozen into a folder."""
    pytest.importorskip("PyInstaller")
    folder = tmp_path_factory.mktemp("frozen")
    (folder / "fetch.py").write_text(PROGRAM)
    command = [
        sys.executable, "-m", "PyInstaller", "--onedir", "--noconfirm", "--log-level", "WARN",
        "--specpath", str(folder), "--workpath", str(folder / "work"),
        # tqdm names these, and they bring half of the tests' own environment.
        "--exclude-module", "pandas", "--exclude-module", "numpy", "--exclude-module", "rich",
        "--distpath", str(folder / "dist"), "--paths", str(Path(codec.__file__).parents[2]),
        str(folder / "fetch.py"),
    ]  # fmt: skip
    variables = {**os.environ, "PYINSTALLER_CONFIG_DIR": str(folder / "configuration")}
    done = subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    yield folder / "dist" / "fetch" / ("fetch.exe" if sys.platform == "win32" else "fetch")


@pytest.mark.nightly
@pytest.mark.parametrize("backend", ["native", "portable"])
def test_frozen_program_downloads(
    frozen: Path, portal: Emulator, tmp_path: Path, backend: str
) -> None:
    """A frozen program downloads by the native codec, and by the portable one where that is asked."""
    if backend == "native" and codec.backend != "native":
        pytest.skip("the native codec is not built here")
    file_id = portal.add(DATA, block_size=100_000)
    target = tmp_path / "target"
    variables = {
        "CTERA_DIRECT_URL": portal.url,
        "CTERA_DIRECT_ACCESS_KEY_ID": portal.access_key_id,
        "CTERA_DIRECT_SECRET_ACCESS_KEY": portal.secret_access_key,
        **({"CTERA_DIRECT_CODEC": "portable"} if backend == "portable" else {}),
    }
    done = subprocess.run(
        [str(frozen), str(file_id), str(target)],
        env=variables, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == f"{backend} True\n", done.stderr
    assert done.stderr == ""
    assert target.read_bytes() == DATA


@pytest.mark.nightly
def test_frozen_program_is_small(frozen: Path) -> None:
    """Frameworks that only other programs use are not in it, though they are installed here."""
    pytest.importorskip("django")
    names = {path.name for path in frozen.parent.rglob("*")}
    assert "lz4" in names
    assert names.isdisjoint({"django", "starlette", "PIL"})


def test_hook_names_what_exists() -> None:
    """The hook names modules that exist, and the page for other freezers names the same ones."""
    hook = Path(_pyinstaller.__file__).with_name("hook-ctera_direct_sync.py").read_text("utf-8")
    hidden = hook.partition("excludedimports")[0]
    needed = set(re.findall(r'"([\w.]+)"', hidden)) - {
        "isal.isal_zlib",
        "anycrc",
    }  # not dependencies
    optional = set() if codec.backend == "native" else {"ctera_direct_sync.codec._native"}
    assert all(importlib.util.find_spec(name) for name in needed - optional)
    page = Path(__file__).parents[2] / "docs" / "howto" / "pyinstaller.md"
    table = page.read_text("utf-8").partition("| Module |")[2]
    assert set(re.findall(r"`([\w.]+)`", table)) == needed


def test_hook_is_found() -> None:
    """The package's entry point names a folder with the hook."""
    entry_points = metadata.distribution("ctera-direct-sync").entry_points
    (found,) = [each for each in entry_points if each.group == "pyinstaller40"]
    (folder,) = found.load()()
    assert (Path(folder) / "hook-ctera_direct_sync.py").is_file()
