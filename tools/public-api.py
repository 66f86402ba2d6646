"""Print everything that users may rely on: names, signatures with defaults, fields, options.

One line per name, sorted. `tests/public_api.txt` keeps the output, and a test compares the two:
`python tools/public-api.py >tests/public_api.txt` updates it.
Annotations are left out, because a better annotation breaks no program.
"""

from __future__ import annotations

import argparse
import ast
import enum
import importlib
import inspect
import sys
import textwrap
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

PACKAGE = "ctera_direct_sync"
#: The modules that the documentation names. The first one that has an object is where it is described.
MODULES = [
    PACKAGE,
    *(
        f"{PACKAGE}.{name}"
        for name in (
            *("client", "types", "exceptions", "settings", "codec"),
            *("emulator", "emulator.faults", "filesystem", "otel", "pytest_plugin"),
            *("wsgi", "aio", "django", "flask"),
        )
    ),
]
#: Classes of objects that public methods return, and that no public module exports.
RETURNED = [f"{PACKAGE}._readers.file.DirectFile"]
#: What depends on the machine or on the release.
UNSTABLE = {"backend", "__version__"}


def is_ours(thing: Any) -> bool:
    """Return whether the package defines a class or function."""
    return str(getattr(thing, "__module__", "")).partition(".")[0] == PACKAGE


def show_default(value: Any) -> str:
    """Return a default value as text that is the same in each process."""
    if isinstance(value, (set, frozenset)):
        return f"{{{', '.join(sorted(map(repr, value)))}}}"
    text = repr(value)
    return f"<{type(value).__name__}>" if " at 0x" in text else text


def show_signature(function: Any, *, skip_first: bool = False) -> str:
    """Return the parameters of a callable with their kinds and defaults."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return "(...)"
    parameters, had_star, positional_only = [], False, False
    for each in list(signature.parameters.values())[skip_first:]:
        if positional_only and each.kind is not each.POSITIONAL_ONLY:
            parameters.append("/")
        positional_only = each.kind is each.POSITIONAL_ONLY
        if each.kind is each.KEYWORD_ONLY and not had_star:
            parameters.append("*")
            had_star = True
        had_star = had_star or each.kind is each.VAR_POSITIONAL
        prefix = {each.VAR_POSITIONAL: "*", each.VAR_KEYWORD: "**"}.get(each.kind, "")
        default = "" if each.default is each.empty else f"={show_default(each.default)}"
        parameters.append(prefix + each.name + default)
    if positional_only:
        parameters.append("/")
    return f"({', '.join(parameters)})"


def find_instance_attributes(kind: type) -> set[str]:
    """Return the public names that a class's own `__init__` sets on `self`."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError):
        return set()
    found = set()
    for function in tree.body[0].body:  # type: ignore[attr-defined]
        if isinstance(function, ast.FunctionDef) and function.name == "__init__":
            for node in ast.walk(function):
                is_set = isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
                if is_set and getattr(node.value, "id", "") == "self":
                    found.add(node.attr)
    return found


def find_annotated(kind: type) -> set[str]:
    """Return the names that a class's own body annotates."""
    if sys.version_info >= (3, 10):
        return set(inspect.get_annotations(kind))
    return set(vars(kind).get("__annotations__", ()))


def show_constructor(kind: type) -> str | None:
    """Return the parameters of a class's own constructor, or None if it inherits one."""
    for name in ("__init__", "__new__"):
        function = vars(kind).get(name)
        function = getattr(function, "__func__", function)
        if inspect.isfunction(function):
            return show_signature(function, skip_first=True)
    return None


def describe_class(name: str, kind: type) -> Iterator[str]:
    """Yield the lines of a class: its bases, its constructor, and its public members."""
    bases = [base.__name__ for base in kind.__bases__ if base is not object]
    yield f"{name}: class({', '.join(base for base in bases if not base.startswith('_'))})"
    if issubclass(kind, enum.Enum):
        for member in kind:
            yield f"{name}.{member.name} = {member.value!r}"
        return
    constructor = show_constructor(kind)
    if constructor is not None:
        yield name + constructor
    # A subclass of str has the methods of str, whether it wraps them or not.
    inherited = {each for base in (str, bytes) if issubclass(kind, base) for each in dir(base)}
    members: dict[str, str] = {}
    for base in filter(is_ours, reversed(kind.__mro__)):
        for member in find_annotated(base) | find_instance_attributes(base):
            members.setdefault(member, ": field")
        for member, value in vars(base).items():
            members[member] = describe_member(value)
    for member in sorted(members.keys() - inherited):
        if not member.startswith("_"):
            yield f"{name}.{member}{members[member]}"


def describe_member(value: Any) -> str:
    """Return what follows the name of a class's member."""
    if isinstance(value, (classmethod, staticmethod)):
        return show_signature(value.__func__) + f" [{type(value).__name__}]"
    if isinstance(value, property):
        return ": property" if value.fset is None else ": property, settable"
    if inspect.isfunction(value):
        return show_signature(value)
    return ": field"


def describe(name: str, thing: Any, *, with_value: bool) -> Iterator[str]:
    """Yield the lines of one name of a module."""
    if inspect.isclass(thing):
        yield from describe_class(name, thing)
    elif isinstance(thing, types.ModuleType):
        yield f"{name}: module"
    elif typing.get_origin(thing) is typing.Literal:
        yield f"{name}: one of {', '.join(map(repr, typing.get_args(thing)))}"
    elif "ixture" in type(thing).__name__ or hasattr(thing, "_pytestfixturefunction"):
        yield f"{name}: pytest fixture"
    elif callable(thing) and hasattr(thing, "__name__"):
        yield name + show_signature(thing)
    elif with_value:
        yield f"{name} = {show_default(thing)}"
    else:
        yield f"{name}: constant"


def list_names(module: types.ModuleType) -> list[str]:
    """Return a module's public names: those in `__all__`, or those that it defines."""
    names = getattr(module, "__all__", None)
    if names is not None:
        return sorted(names)
    found = vars(module).items()
    return sorted(name for name, value in found if not name.startswith("_") and is_ours(value))


def describe_modules() -> Iterator[str]:
    """Yield the lines of all public modules; an object's second name only says what it equals."""
    places: dict[int, str] = {}
    for path in MODULES:
        module = importlib.import_module(path)
        names = list_names(module)
        if path == f"{PACKAGE}.settings":
            plain = {name for name, value in vars(module).items() if is_setting(name, value)}
            names = sorted({*names, *plain})
        for name in names:
            thing, full = getattr(module, name), f"{path}.{name}"
            if inspect.isclass(thing) and id(thing) in places:
                yield f"{full} = {places[id(thing)]}"
                continue
            if inspect.isclass(thing):
                places[id(thing)] = full
            with_value = path == f"{PACKAGE}.settings" and name not in UNSTABLE
            yield from describe(full, thing, with_value=with_value)
    for path in RETURNED:
        module, _, name = path.rpartition(".")
        yield from describe_class(path, getattr(importlib.import_module(module), name))


def is_setting(name: str, value: Any) -> bool:
    """Return whether a name of the module `settings` is a default of the process."""
    is_plain = isinstance(value, (int, float, str, tuple, frozenset)) or is_ours(type(value))
    return is_plain and name.islower() and not name.startswith("_")


def describe_options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the lines of a command: its arguments, and those of its subcommands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from describe_options(child)
            continue
        words = ["|".join(action.option_strings) or str(action.metavar or action.dest)]
        if action.option_strings and action.nargs != 0:
            metavar = action.metavar or action.dest.upper()
            words += [metavar] if isinstance(metavar, str) else list(metavar)
        if action.nargs not in (None, 0):
            words.append(f"nargs={action.nargs}")
        if action.default not in (None, False, argparse.SUPPRESS):
            words.append(f"default={show_default(action.default)}")
        if action.required:
            words.append("required")
        yield f"{parser.prog}: {' '.join(words)}"


def main() -> None:
    """Print all lines."""
    from ctera_direct_sync.cli import program as cli

    lines = [*describe_modules(), *describe_options(cli.make_parser())]
    print("\n".join(sorted(set(lines))))


if __name__ == "__main__":
    main()
