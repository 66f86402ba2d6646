"""Imports that import-linter cannot see. `make lint` checks the floors, by pyproject.toml."""

from __future__ import annotations

import ast
from pathlib import Path

import ctera_direct_sync

PACKAGE = Path(ctera_direct_sync.__file__).parent


def test_one_importer_of_the_extension():
    """codec/native.py alone imports the compiled module."""
    importers = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [alias.name for alias in node.names]
                if any("_native" in part for part in [*names, getattr(node, "module", None) or ""]):
                    importers.append(path.relative_to(PACKAGE).as_posix())
    assert set(importers) == {"codec/native.py"}
