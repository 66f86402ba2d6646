"""Print a pip constraint for each dependency's lower bound: ``python tools/lowest.py EXTRA ...``.

The bounds are those of the package's own dependencies in pyproject.toml, and of the extras that are
named. A dependency without a lower bound is a mistake, and ends the program with status 1.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import tomllib

ROOT = Path(__file__).parents[1]
_LOWER_BOUND = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*>=\s*([0-9][0-9.]*)")


def requirements(extras: list[str]) -> list[str]:
    """Return the requirements of the package and of its ``extras``, without those on itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    found = list(project["dependencies"])
    for extra in extras:
        found += project["optional-dependencies"][extra]
    return [each for each in found if not each.startswith(f"{project['name']}[")]


def main() -> int:
    """Print the constraints of the extras that the command line names."""
    for requirement in requirements(sys.argv[1:]):
        bound = _LOWER_BOUND.match(requirement)
        if bound is None:
            print(f"{requirement}: give it a lower bound in pyproject.toml", file=sys.stderr)
            return 1
        print(f"{bound[1]}=={bound[2]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
