"""What the sdist gives on a machine that has a compiler and the headers, and on one that has not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: What a source distribution is made of.
PARTS = [
    *(
        "setup.py",
        "pyproject.toml",
        "MANIFEST.in",
        "README.md",
        "LICENSE",
        "csrc",
        "ctera_direct_sync",
    ),
    *("recipe", "mkdocs.yml", "apt-packages.txt"),
]

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="the sources are not here"),
]


def run(*line: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python, and return what came of it."""
    return subprocess.run(
        [sys.executable, *line], cwd=cwd, env={**os.environ, **variables},
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make a source distribution of a copy of the sources."""
    pytest.importorskip("setuptools", minversion="77")
    tree = tmp_path_factory.mktemp("sdist") / "tree"
    tree.mkdir()
    unwanted = shutil.ignore_patterns("*.so", "*.o", "__pycache__", "_native.c", "build")
    for name in PARTS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=unwanted)
        else:
            shutil.copy(source, tree / name)
    done = run("setup.py", "-q", "sdist", cwd=tree)
    assert done.returncode == 0, done.stderr
    (made,) = (tree / "dist").iterdir()
    yield made


def make_wheel(sdist: Path, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Let pip make a wheel of the source distribution, as `pip install` does first."""
    line = ("-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-cache-dir")
    return run(*line, "-w", str(folder), str(sdist), cwd=folder, **variables)


def test_what_is_in_it(sdist: Path) -> None:
    """The sources of the codec and the recipe are in it, and nothing that was built is."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"csrc/ffi_build.py", "csrc/decode.c", "recipe/recipe.yaml", "mkdocs.yml"} <= names
    assert [name for name in names if name.endswith((".so", ".o", ".pyc"))] == []


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_with_compiler_and_headers(sdist: Path, tmp_path: Path) -> None:
    """The wheel has the native codec."""
    done = make_wheel(sdist, tmp_path)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert "none-any" not in wheel.name


@pytest.mark.parametrize("missing", ["compiler", "headers"])
def test_without(sdist: Path, tmp_path: Path, missing: str) -> None:
    """There is no wheel, and one sentence says what to install, and how to do without."""
    if missing == "headers" and sys.platform == "win32":
        pytest.skip("the compiler is a script here")
    compiler = tmp_path / "cc"
    compiler.write_text('#!/bin/sh\nexec cc -nostdinc "$@"\n')
    compiler.chmod(0o755)
    done = make_wheel(sdist, tmp_path, CC="/bin/false" if missing == "compiler" else str(compiler))
    assert done.returncode != 0
    said = " ".join((done.stdout + done.stderr).split())
    assert "The native codec could not be compiled" in said
    assert "CTERA_DIRECT_BUILD=portable" in said and "libdeflate-dev" in said
    assert not list(tmp_path.glob("*.whl"))


def test_portable_on_request(sdist: Path, tmp_path: Path) -> None:
    """Without a compiler the wheel may be pure Python, if that is asked for."""
    done = make_wheel(sdist, tmp_path, CC="/bin/false", CTERA_DIRECT_BUILD="portable")
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
