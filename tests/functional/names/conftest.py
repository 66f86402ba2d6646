"""A portal with a tree of odd names, and Namespaces of it that fail within milliseconds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Callable

import pytest

from ctera_direct_sync import Namespace, Settings
from ctera_direct_sync.emulator import Emulator

ODD_NAMES = [
    *("007", "1.50", "true", "null", " blanks ", "100% +#?.txt", "%41.txt", "a&b<c>'\".txt"),
    *("r\u00e9sum\u00e9.pdf", "re\u0301sume\u0301.pdf", "\U0001f4a7.bin", ".hidden", "a;b=c,d@e:f"),
]
TREE: dict[str, Any] = {
    "readme.txt": b"read me first",
    "reports": {
        "2025": {"budget.xlsx": b"old numbers"},
        "2026": {"budget.xlsx": b"numbers", "notes.txt": b"the quick brown fox"},
        "a.pdf": b"%PDF a",
        "b.pdf": b"%PDF b",
    },
    "odd": {name: name.encode() for name in ODD_NAMES},
    "empty": {},
}


@pytest.fixture(autouse=True)
def _clean_names_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take user name, password and context out of the environment."""
    for name in ("USERNAME", "PASSWORD", "CONTEXT"):
        monkeypatch.delenv(f"CTERA_DIRECT_{name}", raising=False)


@pytest.fixture
def portal() -> Iterator[Emulator]:
    """A running portal; the user's folder My Files holds TREE."""
    with Emulator(tree=TREE) as emulator:
        yield emulator


@pytest.fixture
def quick() -> Settings:
    """Settings whose retries take milliseconds.

    A busy machine is late, and tests count requests, so none is sent twice.
    """
    return Settings(backoff=0.001, max_backoff=0.002, retry_timeout=20.0, hedging=0)


@pytest.fixture
def make_names(portal: Emulator, quick: Settings) -> Iterator[Callable[..., Namespace]]:
    """Make a Namespace of the portal, signed in as its user unless told otherwise."""
    made: list[Namespace] = []

    def make(*arguments: str, **options: Any) -> Namespace:
        options.setdefault("settings", quick)
        if not arguments and not {"bearer", "cookie", "ticket"} & options.keys():
            arguments = (portal.username, portal.password)
        made.append(Namespace(portal.url, *arguments, **options))
        return made[-1]

    yield make
    for names in made:
        names.close()


@pytest.fixture
def names(make_names: Callable[..., Namespace]) -> Namespace:
    """A Namespace in the user's own view."""
    return make_names()
