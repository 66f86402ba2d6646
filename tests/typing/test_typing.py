"""Users' programs are checked with the types that the package ships, as their own checkers see them."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

import ctera_direct_sync

HERE = Path(__file__).parent

#: An editable installation is found by a hook that checkers do not run.
INSTALLED = Path(ctera_direct_sync.__file__).parents[1]

PROGRAMS = ["users.py", "mistakes.py"]

MYPY = """
[mypy]
strict = true
warn_unused_ignores = true
python_version = 3.10
mypy_path = {path}

[mypy-ctera_direct_sync.*]
follow_imports = silent
"""

PYRIGHT = {
    "extraPaths": [str(INSTALLED)],
    "typeCheckingMode": "strict",
    "pythonVersion": "3.9",
    "enableTypeIgnoreComments": False,
    "reportUnnecessaryTypeIgnoreComment": "error",
    "reportMissingTypeStubs": "none",
}


def needs(name: str) -> None:
    """Skip, with what to do, where a checker is missing."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed: pip install 'ctera-direct-sync[typing]'")


def copied(tmp_path: Path) -> list[str]:
    """The programs, away from the package's own settings."""
    for name in PROGRAMS:
        (tmp_path / name).write_text((HERE / name).read_text())
    return PROGRAMS


def test_the_package_says_that_it_is_typed() -> None:
    """The marker of PEP 561 is installed."""
    assert (Path(ctera_direct_sync.__file__).parent / "py.typed").is_file()


def test_mypy(tmp_path: Path) -> None:
    """mypy --strict finds the types that the programs assert, and each mistake."""
    needs("mypy")
    (tmp_path / "mypy.ini").write_text(MYPY.format(path=INSTALLED))
    command = [sys.executable, "-m", "mypy", *copied(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr


def test_pyright(tmp_path: Path) -> None:
    """pyright, in its strict mode, finds the same."""
    needs("pyright")
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(PYRIGHT))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(
        [*command, *copied(tmp_path)], cwd=tmp_path, capture_output=True, text=True, timeout=280
    )
    assert done.stdout.startswith("{"), done.stdout + done.stderr
    report = json.loads(done.stdout)
    told = [f"{each['file']}:{each['range']['start']['line'] + 1}: {each['message']}" for each
            in report["generalDiagnostics"]]  # fmt: skip
    assert not told
    assert report["summary"]["filesAnalyzed"] == len(PROGRAMS)
