"""Prints SOURCE_DATE_EPOCH: as the environment says, or the last commit's time, or a fixed one.

Timestamps inside archives come from it, so that two builds of the same sources give the same bytes.
"""

from __future__ import annotations

import os
import pathlib
import subprocess

ZIP_BEGINS = 315619200  # 1980-01-02: the earliest that a zip archive can hold in every time zone
ROOT = pathlib.Path(__file__).resolve().parent.parent


def epoch() -> int:
    """Seconds since 1970, the same wherever these sources are built."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given:
        return max(int(given), ZIP_BEGINS)
    try:
        if not (ROOT / ".git").exists():
            return ZIP_BEGINS
        command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
        return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    except (OSError, subprocess.CalledProcessError, ValueError):
        return ZIP_BEGINS


if __name__ == "__main__":
    print(epoch())
