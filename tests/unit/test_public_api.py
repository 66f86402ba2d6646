"""The checked list of everything that users may rely on."""

from __future__ import annotations

import difflib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "tools" / "public-api.py"
LIST = ROOT / "tests" / "public_api.txt"


@pytest.mark.skipif(not PROGRAM.exists(), reason="an installed package is tested without the tools")
def test_public_names_and_signatures():
    """What the package exports is what the list says, in both directions."""
    for module in ("fsspec", "django", "flask", "opentelemetry"):
        pytest.importorskip(module)
    done = subprocess.run(
        [sys.executable, str(PROGRAM)], capture_output=True, text=True, timeout=60, check=True
    )
    listed, found = LIST.read_text("utf-8").splitlines(), done.stdout.splitlines()
    difference = difflib.unified_diff(listed, found, "listed", "found", lineterm="", n=0)
    assert listed == found, (
        "The public interface is not what tests/public_api.txt lists:\n"
        + "\n".join(difference)
        + "\nIf that is wanted, run `python tools/public-api.py >tests/public_api.txt`, and tell users "
        "in a fragment (changelog.d/README.md)."
    )
