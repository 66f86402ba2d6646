"""Programs of the repository, as modules."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

__all__ = ["load_program"]


def load_program(path: Path) -> ModuleType:
    """Return a Python file as a new module, which nothing else can import."""
    name = path.stem.replace("-", "_")
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
