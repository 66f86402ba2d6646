"""Imports that import-linter cannot see. `make lint` checks the floors, by pyproject.toml."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import ctera_direct_sync

PACKAGE = Path(ctera_direct_sync.__file__).parent
#: Methods and attributes of `NamedTuple` classes, which are documented in spite of the underscore.
OF_NAMED_TUPLES = {"_fields", "_asdict", "_make", "_replace"}
SOURCES = {path: ast.parse(path.read_text("utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}


def package_of(path: Path) -> str:
    """Return the package of a module: its folder, "." for the public modules and what is beside them."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else "."


def is_private(name: str | None) -> bool:
    """Return whether a name begins with one underscore."""
    return bool(name) and name.startswith("_") and not name.startswith("__")


def private_definitions() -> dict[str, set[str]]:
    """Return the packages that define each private function, class, variable or attribute."""
    found: dict[str, set[str]] = defaultdict(set)
    for path, tree in SOURCES.items():
        for node in ast.walk(tree):
            name = None
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                name = node.name
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                name = node.attr
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                name = node.id
            if is_private(name):
                found[name].add(package_of(path))
    return found


def imported_across(path: Path, node: ast.ImportFrom) -> Iterator[str]:
    """Yield the private names that one statement imports from another package of the library."""
    parents = len(path.relative_to(PACKAGE).parts) - 1
    if not node.level or node.level <= parents:
        return  # Another distribution, or the module's own package.
    module, *within = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
    if not module:
        module, *within = within
    target = module if (PACKAGE / module).is_dir() else "."
    if target == package_of(path):
        return
    if target == "." and is_private(module) and module != "_core":
        yield module
    yield from filter(is_private, within)


def reached_across() -> Iterator[str]:
    """Yield each use of a private name that only other packages define."""
    definitions = private_definitions()
    for path, tree in SOURCES.items():
        for node in ast.walk(tree):
            where = f"{path.relative_to(PACKAGE).as_posix()}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.ImportFrom):
                yield from (f"{where} imports {name}" for name in imported_across(path, node))
            elif isinstance(node, ast.Attribute) and is_private(node.attr):
                if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                    continue
                if ast.unparse(node.value) == "super()" or node.attr in OF_NAMED_TUPLES:
                    continue
                packages = definitions.get(node.attr, set())
                if packages and package_of(path) not in packages:
                    yield f"{where} {ast.unparse(node)}"


def test_private_names_stay_in_their_package():
    """No module imports or reaches a name with an underscore that another package defines."""
    assert list(reached_across()) == []


def test_a_reach_is_noticed():
    """The check sees imports and attributes across packages."""
    path = PACKAGE / "cli" / "x.py"
    for statement in ("from .._readers.batch import _WORKERS", "from .. import _settings"):
        assert list(imported_across(path, ast.parse(statement).body[0]))  # type: ignore[arg-type]
    for statement in (
        "from .._core import core_of",
        "from .batch import _Log",
        "from .. import codec",
    ):
        assert not list(imported_across(path, ast.parse(statement).body[0]))  # type: ignore[arg-type]
    assert "_readers" in private_definitions()["_finalizing"]


def test_one_importer_of_the_extension():
    """codec/native.py alone imports the compiled module."""
    importers = []
    for path, tree in SOURCES.items():
        for node in ast.walk(tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [alias.name for alias in node.names]
                if any("_native" in part for part in [*names, getattr(node, "module", None) or ""]):
                    importers.append(path.relative_to(PACKAGE).as_posix())
    assert set(importers) == {"codec/native.py"}
