"""An emulator with a tree of names, and callers of its API."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from ctera_direct_sync.emulator import Emulator
from tests.support.portal_api import Caller

TREE = {
    "a.txt": b"alpha",
    "B.txt": b"beta!",
    "docs": {"report.pdf": b"%PDF", "old": {"notes.TXT": b"the quick brown fox"}},
    "empty": {},
}


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """A running emulator with a tree."""
    with Emulator(tree=TREE) as running:
        yield running


@pytest.fixture
def make_caller(emulator: Emulator) -> Iterator[Callable[..., Caller]]:
    """Make callers, and close their sessions at the end."""
    made = []

    def make(
        context: str = "ServicesPortal", name: str | None = None, password: str = ""
    ) -> Caller:
        caller = Caller(emulator, context)
        made.append(caller)
        if name is not None:
            assert caller.login(name, password).status_code == 200
        return caller

    yield make
    for caller in made:
        caller.session.close()


@pytest.fixture
def caller(emulator: Emulator, make_caller: Callable[..., Caller]) -> Caller:
    """A caller that is signed in as the default user."""
    return make_caller(name=emulator.username, password=emulator.password)


@pytest.fixture
def admin(emulator: Emulator, make_caller: Callable[..., Caller]) -> Caller:
    """A caller that is signed in as an administrator."""
    return make_caller("admin", emulator.username, emulator.password)
