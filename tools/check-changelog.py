"""Check the fragments in changelog.d: their names, and that a change of the package has one.

The second check needs a base to compare with: the commit that CHANGELOG_BASE names, or the branch that a
pull request is merged into. Without one, a missing fragment is only mentioned, since the work goes on.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FRAGMENTS = "changelog.d"
KINDS = "added|changed|deprecated|removed|fixed|security|misc"
NAME = re.compile(rf"(\d+|\+[\w-]+)\.({KINDS})(\.\d+)?\.md")
PACKAGE = re.compile(r"ctera_direct_sync/.*|csrc/[^/]+\.(c|h|cdef|py)")


def git(*arguments: str) -> str | None:
    """Return what a git command prints, or None if it fails."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout


def find_base() -> tuple[str | None, bool]:
    """Return the base to compare with, and whether a missing fragment is an error."""
    if os.environ.get("CHANGELOG_BASE"):
        return os.environ["CHANGELOG_BASE"], True
    if os.environ.get("GITHUB_BASE_REF"):
        return "origin/" + os.environ["GITHUB_BASE_REF"], True
    return "origin/main", False


def find_misnamed() -> list[str]:
    """Return the names in changelog.d that towncrier would not take."""
    names = {path.name for path in (ROOT / FRAGMENTS).iterdir()} - {"README.md"}
    return sorted(name for name in names if not NAME.fullmatch(name))


def main() -> int:
    """Print what is wrong, and return the exit status."""
    misnamed = find_misnamed()
    for name in misnamed:
        print(f"{FRAGMENTS}/{name}: not a fragment's name; see {FRAGMENTS}/README.md")
    base, required = find_base()
    changed = git("diff", "--name-only", f"{base}...HEAD")
    if changed is None:
        if required:
            print(f"git cannot compare with {base}; fetch it, or correct CHANGELOG_BASE")
        return int(required or bool(misnamed))
    files = changed.splitlines()
    touches_package = any(PACKAGE.fullmatch(file) for file in files)
    # A release removes fragments, which counts as well.
    has_fragment = any(
        file.startswith(f"{FRAGMENTS}/") and NAME.fullmatch(Path(file).name) for file in files
    )
    missing = touches_package and not has_fragment
    if missing:
        print(f"The package changed since {base}, and {FRAGMENTS}/ did not: add a fragment.")
    return int(bool(misnamed) or (missing and required))


if __name__ == "__main__":
    sys.exit(main())
