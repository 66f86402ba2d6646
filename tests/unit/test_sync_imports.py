"""Locks, queues, threads and clocks come from `_base/sync.py`, where a test can replace them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import ctera_direct_sync

PACKAGE = Path(ctera_direct_sync.__file__).parent

#: What only `_base/sync.py` imports.
PRIMITIVES = {"_thread", "asyncio", "concurrent", "multiprocessing", "queue", "threading", "time"}

MODULES = sorted(
    path.relative_to(PACKAGE).as_posix()
    for folder in ("_base", "_engine", "_readers", "_mirror")
    for path in (PACKAGE / folder).rglob("*.py")
    if path.name != "sync.py"
)

#: Modules that still import primitives themselves.
UNCONVERTED: set[str] = set()


def imported(path: Path) -> set[str]:
    """Return the top-level names of the absolute imports in a module."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("module", [name for name in MODULES if name not in UNCONVERTED])
def test_primitives_come_from_sync(module: str) -> None:
    """No module of these packages imports a primitive itself."""
    assert not imported(PACKAGE / module) & PRIMITIVES


def test_no_lock_is_asked_for_its_owner() -> None:
    """`_is_owned` needs a re-entrant lock, which only `_base/sync.py` may still offer."""
    users = [name for name in MODULES if "_is_owned(" in (PACKAGE / name).read_text("utf-8")]
    assert users == []
