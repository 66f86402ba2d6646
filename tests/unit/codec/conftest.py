"""The codec under test: the public module on top of one backend, then of the other.

``CTERA_DIRECT_TEST_BACKENDS`` (names, comma separated) leaves one out where it cannot be had.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType

import pytest

BACKENDS = os.environ.get("CTERA_DIRECT_TEST_BACKENDS", "native,portable").split(",")


def load(name: str) -> ModuleType:
    """A backend's module; a failed test, rather than a skipped one, where it is missing."""
    try:
        return importlib.import_module(f"ctera_direct_sync.codec.{name}")
    except ImportError as error:
        pytest.fail(
            f"the {name} codec cannot be imported ({error}): build it with 'pip install -e .', or "
            "leave it out with CTERA_DIRECT_TEST_BACKENDS=portable",
            pytrace=False,
        )


@pytest.fixture(params=BACKENDS)
def codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """``ctera_direct_sync.codec`` working with one backend."""
    backend = load(request.param)
    module = importlib.import_module("ctera_direct_sync.codec")
    monkeypatch.setattr(module, "_backend", backend)
    monkeypatch.setattr(module, "backend", request.param)
    return module


@pytest.fixture(scope="session")
def both() -> tuple[ModuleType, ModuleType]:
    """The two backends' modules, native first."""
    if set(BACKENDS) != {"native", "portable"}:
        pytest.skip("CTERA_DIRECT_TEST_BACKENDS leaves nothing to compare")
    return load("native"), load("portable")
