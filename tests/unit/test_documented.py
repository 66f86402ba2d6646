"""Every public name, parameter and field has a docstring that says what it is.

The names come from the checked list of the public surface, so a new one cannot go without.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import Any

import pytest

PACKAGE = "ctera_direct_sync"
SURFACE = Path(__file__).parents[1] / "public_api.txt"
#: Classes whose objects only methods return.
RETURNED = (f"{PACKAGE}.Streamer", f"{PACKAGE}.types.FileRef")
#: fsspec describes the parameters of its own methods.
FSSPEC = f"{PACKAGE}.filesystem.CteraFileSystem."


def public_lines() -> list[str]:
    """Return the lines of the surface that this module checks."""
    lines = SURFACE.read_text("utf-8").splitlines()
    return [
        line
        for line in lines
        if line.startswith(f"{PACKAGE}.") and " = " not in line.partition("(")[0]
        if not line.startswith(FSSPEC)
    ]


def resolve(path: str) -> Any:
    """Return the object of a dotted name, and the object that holds it.

    If the extra of a module is not installed, the test is skipped.
    """
    parts = path.split(".")
    for count in range(len(parts), 0, -1):
        name = ".".join(parts[:count])
        try:
            found = importlib.import_module(name)
        except ImportError as error:
            root = (error.name or "").partition(".")[0]
            if root != PACKAGE:
                pytest.skip(f"{root} is not installed")
            continue
        holder = None
        for part in parts[count:]:
            holder, found = found, getattr(found, part, None)
        return holder, found
    raise LookupError(path)


@functools.cache
def documented_fields(module: str) -> set[str]:
    """Return the variables and fields of a module that a string follows, as "Class.name" or "name"."""
    found = set()
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    bodies = [("", tree.body)]
    bodies += [(f"{n.name}.", n.body) for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]
    for prefix, body in bodies:
        for field, text in zip(body, body[1:]):
            is_text = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
            targets = getattr(field, "targets", None) or [getattr(field, "target", None)]
            if is_text and isinstance(targets[0], ast.Name):
                found.add(prefix + targets[0].id)
    return found


def has_description(kind: type, name: str) -> bool:
    """Return whether a class or one of its bases describes a field, below it or as an attribute."""
    for base in kind.__mro__:
        if base.__module__.startswith(PACKAGE):
            # The classes of the settings say that they are of the public module.
            module = base.__module__.replace(".settings", "._settings")
            if f"{base.__name__}.{name}" in documented_fields(module):
                return True
            section = (base.__doc__ or "").partition("Attributes:\n")[2].partition("\n\n")[0]
            if re.search(rf"^ +{name}: \S", section, re.MULTILINE):
                return True
    return False


FIELDS = [line.partition(": ")[0] for line in public_lines() if re.search(r": field$", line)]
CALLS = [line.partition("(")[0] for line in public_lines() if re.match(r"[\w.]+\(", line)]
#: The emulator says in one sentence what a call with one obvious argument does.
BRIEF = f"{PACKAGE}.emulator."
CALLS = [path for path in CALLS if path not in RETURNED and not path.startswith(BRIEF)]


@pytest.mark.parametrize("path", FIELDS)
def test_fields(path: str) -> None:
    """Each field of a public class has its own description."""
    kind, _ = resolve(path)
    assert has_description(kind, path.rpartition(".")[2]), f"{path} has no docstring"


@pytest.mark.parametrize("path", CALLS)
def test_parameters(path: str) -> None:
    """Each parameter is described below `Args:`, and the call itself by a sentence."""
    _, call = resolve(path)
    text = inspect.getdoc(call)
    assert text, f"{path} has no docstring"
    described = set(re.findall(r"^    \*{0,2}(\w+): ", text.partition("Args:\n")[2], re.MULTILINE))
    function = call.__init__ if inspect.isclass(call) and "__init__" in vars(call) else call
    parameters = set(inspect.signature(function).parameters) - {"self", "cls"}
    if inspect.isclass(call):
        parameters = {name for name in parameters if not has_description(call, name)}
    assert parameters <= described, f"{path} does not describe {parameters - described}"


def test_every_method_of_the_client_is_shown_in_use() -> None:
    """Each method of the client has an example, and says what it returns and raises."""
    from ctera_direct_sync import DirectIO

    for name, method in vars(DirectIO).items():
        if inspect.isfunction(method) and not name.startswith("_"):
            text = inspect.getdoc(method) or ""
            assert "Example:\n" in text, name
            if name != "close":
                assert "Returns:\n" in text, name
            if name not in ("close", "stats"):  # They raise nothing.
                assert "Raises:\n" in text, name
