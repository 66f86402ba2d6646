"""One direction of imports: a module knows those on lower floors only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import ctera_direct_sync

PACKAGE = Path(ctera_direct_sync.__file__).parent

FLOORS = [
    "exceptions types settings _settings version startup interrupts sync",
    "ranges keys codec buffers retry scope tuning digests faults urls targets content_coding proxies "
    "interception",
    "worker_pool stream_start",
    "events transfer",
    "scheduler",
    "exchange output",
    "connections",
    "http",
    "answers",
    "portal storage",
    "engine",
    "iteration",
    "source folders locks journal partial stream spans download file_cache file batch",
    "client",
    "manifest",
    "arguments batch_command info_command filesystem_instances filesystem_files",
    "cli filesystem wsgi emulator pytest_plugin _pyinstaller",
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names.split()}
#: Not on any floor: the package itself stands on all of them.
ROOT = {"__init__", "__main__"}

#: Who else a module may import on its own floor.
NEIGHBOURS = {
    "settings": {"_settings"},
    "keys": {"codec"},
    "digests": {"codec"},
    "urls": {"faults"},
    "content_coding": {"faults"},
    "proxies": {"faults"},
    "storage": {"portal"},
    "stream": {"source"},
    "locks": {"folders"},
    "journal": {"folders"},
    "partial": {"folders", "journal", "locks"},
    "download": {"source", "folders", "partial", "stream"},
    "file": {"file_cache", "source"},
    "file_cache": {"source"},
    "spans": {"source", "stream"},
    "batch": {"folders", "locks", "partial"},
    "cli": {"emulator"},
    "pytest_plugin": {"emulator"},
}


def modules() -> list[str]:
    """The package's modules and folders."""
    names = {path.stem for path in PACKAGE.glob("*.py")}
    return sorted(names | {path.parent.name for path in PACKAGE.glob("*/__init__.py")})


def sources(name: str) -> list[Path]:
    """The files of a module or folder."""
    folder = PACKAGE / name
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [PACKAGE / f"{name}.py"]


def imports(path: Path) -> set[str]:
    """What a file imports of this package, anywhere in it: first names below the package."""
    package = [PACKAGE.name, *path.relative_to(PACKAGE).parent.parts]
    found: set[str] = set()
    tree = ast.parse(path.read_text("utf-8"))
    for_types = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and getattr(branch.test, "id", "") == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            targets = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = base + (node.module or "").split(".") * bool(node.module)
            targets = [[*base, alias.name] for alias in node.names]
        else:
            continue
        found |= {target[1] for target in targets if target[0] == PACKAGE.name and target[1:]}
    return found


def test_every_module_has_a_floor():
    """A new module is put on a floor."""
    assert set(modules()) - ROOT <= FLOOR.keys()


@pytest.mark.parametrize("name", [name for name in modules() if name in FLOOR])
def test_imports_go_down(name):
    """A module imports from lower floors, and from its own only where the list above says so."""
    allowed = {other for other, floor in FLOOR.items() if floor < FLOOR[name]}
    allowed |= NEIGHBOURS.get(name, set()) | {name}
    for path in sources(name):
        assert imports(path) <= allowed, path.name


def test_neighbours_are_needed():
    """The list of exceptions names no import that is gone."""
    for name in set(modules()) & NEIGHBOURS.keys():
        assert NEIGHBOURS[name] <= set().union(*map(imports, sources(name)))


def test_emulator_shares_only_the_types():
    """The emulator has nothing else from the client, so that a mistake cannot hide in both."""
    found = set().union(*map(imports, sources("emulator")))
    assert found <= {"emulator", "types"}


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
