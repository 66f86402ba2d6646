"""Loads an instance of the package whose statements are switch points.

Each `Package` has modules of its own, which live in this process beside the real ones. So a mutant is a
`Package` whose source text differs, and the files on disk stay as they are.
"""

from __future__ import annotations

import ast
import builtins
import copy
import importlib
import importlib.util
import itertools
import logging
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .blocking import Substitutes
from .scheduler import Scheduler

__all__ = ["Change", "Package", "TextNotFound"]

REAL = "ctera_direct_sync"

#: Loaded anew for each instance, because they block or import what does. All others are the real ones.
OWN = (
    "_base",
    "_core",
    "_engine",
    "_net.hedging",
    "_net.paced",
    "_net.session",
    "_readers",
    "_protocol.answers",
    "_protocol.block_list",
    "_protocol.portal",
    "_protocol.storage",
    "client",
)
#: Of these, the ones that share no state between threads: tasks are not switched within them.
PLAIN = (
    "_base.sync",
    "_base.buffers",
    "_base.retry",
    "_base.observer",
    "_base.round_trips",
    "_engine.tuner",
    "_net.paced",
    "_net.session",
    "_readers.folders",
    "_readers.journal",
    "_readers.locks",
    "_readers.manifest",
    "_readers.targets",
    "_protocol.answers",
    "_protocol.storage",
)

_numbers = itertools.count()

#: Compiled modules by path and whether they have switch points, for the source on disk.
_compiled: dict[tuple[str, bool], types.CodeType] = {}


class TextNotFound(Exception):
    """The source does not have the text that a change replaces, or has it more than once."""


class Change(NamedTuple):
    """A replacement in the source of one module.

    Attributes:
        module: The module's name within the package.
        old: The text, which the module has exactly once.
        new: What stands there instead.
    """

    module: str
    old: str
    new: str

    def apply(self, source: str) -> str:
        """Return the changed source."""
        count = source.count(self.old)
        if count != 1:
            raise TextNotFound(f"{self.module} has this text {count} times, not once:\n{self.old}")
        return source.replace(self.old, self.new)


class _Points(ast.NodeTransformer):
    """Puts a call of `__point__` before each statement of each function."""

    def __init__(self) -> None:
        self._depth = 0

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        depth, self._depth = self._depth, 0
        self.generic_visit(node)
        self._depth = depth
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self._depth += 1
        self.generic_visit(node)
        node.body = self._with_points(node.body)
        self._depth -= 1
        return node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if self._depth and not isinstance(node, (ast.FunctionDef, ast.Lambda, ast.ClassDef)):
            for field in ("body", "orelse", "finalbody"):
                block = getattr(node, field, None)
                if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
                    points = self._with_points(block)
                    if isinstance(node, ast.While) and field == "body":
                        points.append(_point(block[-1]))  # Before the condition is looked at again.
                    setattr(node, field, points)
        return node

    def _with_points(self, body: list[ast.stmt]) -> list[ast.stmt]:
        found: list[ast.stmt] = []
        for index, statement in enumerate(body):
            is_docstring = (
                not index
                and isinstance(statement, ast.Expr)
                and isinstance(statement.value, ast.Constant)
            )
            if not is_docstring and not isinstance(statement, (ast.Global, ast.Nonlocal)):
                found.append(_point(statement))
            found += _split(statement)
        return found


def _point(at: ast.stmt) -> ast.stmt:
    call = ast.Call(ast.Name("__point__", ast.Load()), [], [])
    return ast.copy_location(ast.Expr(call), at)


def _split(statement: ast.stmt) -> list[ast.stmt]:
    """Take ``a.b -= c`` apart into its read and its write, with a switch point between them."""
    if not isinstance(statement, ast.AugAssign) or not isinstance(statement.target, ast.Attribute):
        return [statement]
    target = copy.deepcopy(statement.target)
    target.ctx = ast.Load()
    value = ast.BinOp(target, statement.op, statement.value)
    read = ast.Assign([ast.Name("__read", ast.Store())], value)
    write = ast.Assign([statement.target], ast.Name("__read", ast.Load()))
    return [
        ast.copy_location(read, statement),
        _point(statement),
        ast.copy_location(write, statement),
    ]


def _is_in(name: str, names: Sequence[str]) -> bool:
    return any(name == each or name.startswith(each + ".") for each in names)


class Package:
    """One instance of the package, with a scheduler of its own.

    Args:
        changes: What is different from the source on disk.
        points: Whether statements are switch points. Without them, tasks are switched only where they
            block, and run much faster.
    """

    def __init__(self, changes: Sequence[Change] = (), *, points: bool = True) -> None:
        self._points = points
        self.alias = f"scheduled_{next(_numbers)}"
        self.scheduler = Scheduler()
        self.substitutes = Substitutes(self.scheduler)
        spec = importlib.util.find_spec(REAL)
        assert spec is not None and spec.origin is not None
        self._root = Path(spec.origin).parent
        self._changes = list(changes)
        self._modules: dict[str, types.ModuleType] = {}
        # Errors that tasks log are part of the runs: what counts is judged by the models.
        logging.getLogger(self.alias).setLevel(logging.CRITICAL + 1)
        self._builtins = {**vars(builtins), "__import__": self._import}
        self.standard_futures = self._load_futures()
        self.substitutes.use_futures(self.standard_futures)
        for change in changes:
            self.module(change.module)

    @property
    def futures(self) -> types.ModuleType:
        """`concurrent.futures` as this instance sees it."""
        return self.substitutes.modules["concurrent.futures"]

    @property
    def threading(self) -> types.ModuleType:
        """`threading` as this instance sees it."""
        return self.substitutes.modules["threading"]

    def module(self, name: str) -> Any:
        """Return a module of the package by its name within it."""
        if not _is_in(name, OWN):
            return importlib.import_module(f"{REAL}.{name}")
        if name not in self._modules:
            self._load(name)
        return self._modules[name]

    def own_modules(self) -> list[str]:
        """Return the names of all modules that an instance has for itself."""
        paths = [path.relative_to(self._root) for path in sorted(self._root.rglob("*.py"))]
        names = [".".join(path.with_suffix("").parts) for path in paths]
        return [name for name in names if _is_in(name, OWN) and not name.endswith("__init__")]

    def discard(self) -> None:
        """Take the instance out of the list of modules."""
        for name in list(sys.modules):
            if name.startswith(self.alias + "."):
                del sys.modules[name]

    def _load(self, name: str) -> None:
        path = self._root.joinpath(*name.split("."))
        is_package = path.is_dir()
        path = path / "__init__.py" if is_package else path.with_suffix(".py")
        module = types.ModuleType(f"{self.alias}.{name}")
        module.__file__ = str(path)
        module.__package__ = module.__name__ if is_package else module.__name__.rpartition(".")[0]
        if is_package:
            module.__path__ = []
        self._modules[name] = module
        changes = [each for each in self._changes if each.module == name]
        self._changes = [each for each in self._changes if each.module != name]
        # dataclasses look up the module of a class by its name.
        sys.modules[module.__name__] = module
        self._execute(module, path, points=not _is_in(name, PLAIN), changes=changes)

    def _load_futures(self) -> types.ModuleType:
        """Load a copy of the standard futures whose statements are switch points."""
        spec = importlib.util.find_spec("concurrent.futures._base")
        assert spec is not None and spec.origin is not None
        module = types.ModuleType(f"{self.alias}.futures")
        module.__file__ = spec.origin
        self._execute(module, Path(spec.origin), points=True)
        module.LOGGER = logging.getLogger(f"{self.alias}.futures")  # type: ignore[attr-defined]
        return module

    def _execute(
        self, module: types.ModuleType, path: Path, points: bool, changes: Sequence[Change] = ()
    ) -> None:
        points = points and self._points
        code = None if changes else _compiled.get((str(path), points))
        if code is None:
            source = path.read_text("utf-8")
            for change in changes:
                source = change.apply(source)
            tree: Any = ast.parse(source, str(path))
            if points:
                tree = ast.fix_missing_locations(_Points().visit(tree))
            code = compile(tree, str(path), "exec", dont_inherit=True)
            if not changes:
                _compiled[str(path), points] = code
        module.__dict__["__builtins__"] = self._builtins
        module.__dict__["__point__"] = self.scheduler.point
        exec(code, module.__dict__)

    def _import(
        self,
        name: str,
        globals: dict[str, Any] | None = None,
        locals: dict[str, Any] | None = None,
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> Any:
        """Import for the modules of this instance: substitutes, or modules of the instance itself."""
        if level == 0:
            substitute = self.substitutes.modules.get(name)
            if substitute is not None and (fromlist or "." not in name):
                return substitute
            return builtins.__import__(name, globals, locals, fromlist, level)
        assert globals is not None
        package = globals["__package__"].split(".")[1:]  # Without the alias.
        package = package[: len(package) - level + 1]
        target = ".".join([*package, *([name] if name else [])])
        found = self.module(target) if target else importlib.import_module(REAL)
        for each in fromlist or ():
            inner = f"{target}.{each}" if target else each
            if target and not _is_in(inner, OWN):
                continue
            if self._is_module(inner) and not hasattr(found, each):
                setattr(found, each, self.module(inner))
        return found

    def _is_module(self, name: str) -> bool:
        path = self._root.joinpath(*name.split("."))
        return path.is_dir() or path.with_suffix(".py").is_file()
