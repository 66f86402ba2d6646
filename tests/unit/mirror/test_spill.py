"""The collections of a plan: what leaves memory behaves as what stays."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator

import hypothesis
import pytest
from hypothesis import strategies as st

from ctera_direct_sync._mirror import spill as spill_module
from ctera_direct_sync._mirror.spill import ItemList, PathMap, Spill
from ctera_direct_sync._mirror.steps import Plan, Step
from ctera_direct_sync._mirror.values import Known, Local, Remote

#: The last two are a name that is not valid Unicode on the disk, and a letter beyond 16 bits.
PARTS = ("a", "a-b", "A", "\u00e9", "\udcff", "\U0001f600")

paths = st.lists(st.sampled_from(PARTS), min_size=1, max_size=3).map("/".join)
map_changes = st.lists(
    st.tuples(st.sampled_from(("set", "discard", "drop below", "default")), paths, st.integers()),
    max_size=30,
)


@pytest.fixture(params=(1, 3, 100), ids=lambda number: f"{number} in memory")
def spill(request: pytest.FixtureRequest) -> Iterator[Spill]:
    """The maker of collections, which keeps that many items of each in memory."""
    spill = Spill()
    spill.max_in_memory = request.param
    yield spill
    spill.close()


def check_map(found: PathMap[Remote], wanted: dict[str, Remote]) -> None:
    """Check that a map is equal to a dictionary."""
    assert list(found.items()) == sorted(wanted.items())
    assert list(found) == sorted(wanted)
    assert list(found.values()) == [wanted[path] for path in sorted(wanted)]
    assert bool(found) == bool(wanted)
    assert len(found) == len(wanted)


@hypothesis.given(map_changes, paths, st.sampled_from((1, 3, 100)))
@hypothesis.settings(max_examples=150, derandomize=True, deadline=None)
def test_map(changes: list[tuple[str, str, int]], where: str, max_in_memory: int) -> None:
    """A map is what a dictionary is after the same changes, in the order of the paths."""
    spill = Spill()
    spill.max_in_memory = max_in_memory
    found = spill.path_map(tuple, Remote._make)
    wanted: dict[str, Remote] = {}
    try:
        for kind, path, number in changes:
            value = Remote(path, False, number)
            if kind == "set":
                found[path] = wanted[path] = value
            elif kind == "default":
                assert found.setdefault(path, value) == wanted.setdefault(path, value)
            elif kind == "discard":
                found.discard(path)
                wanted.pop(path, None)
            else:
                found.drop_below(path)
                wanted = {p: v for p, v in wanted.items() if not p.startswith(f"{path}/")}
            assert found.get(path) == wanted.get(path)
            assert (path in found) == (path in wanted)
        below = {p: v for p, v in wanted.items() if p.startswith(f"{where}/")}
        assert list(found.below(where)) == sorted(below.items())
        check_map(found, wanted)
        found.clear()
        check_map(found, {})
    finally:
        spill.close()


def test_missing_path(spill: Spill) -> None:
    """A path that a map lacks is an error, as in a dictionary."""
    found = spill.texts()
    found["a"] = ""
    found["b"] = "x"
    assert (found["a"], found["b"]) == ("", "x")
    with pytest.raises(KeyError, match="c"):
        found["c"]


def test_set(spill: Spill) -> None:
    """A set has each path once, in order."""
    found = spill.path_set()
    assert not found
    found.update(("b/x", "a", "b", "b/x", "b0"))
    found.add("\udcff")
    assert list(found) == ["a", "b", "b/x", "b0", "\udcff"]
    assert list(found.below("b")) == ["b/x"]
    assert "b" in found
    assert "c" not in found
    found.clear()
    assert not found


@pytest.mark.parametrize("count", [0, 1, 3, 499, 500, 501, 1001])
def test_list(spill: Spill, count: int) -> None:
    """A list has its items in both directions, whatever part of it is in memory."""
    spill.max_in_memory *= 100
    found: ItemList[Remote] = spill.item_list(tuple, Remote._make)
    wanted = [Remote(f"{number}", number % 2 == 0, number) for number in range(count)]
    for each in wanted:
        found.append(each)
    assert list(found) == wanted
    assert list(reversed(found)) == wanted[::-1]
    assert (len(found), bool(found)) == (count, count > 0)
    found.clear()
    assert list(found) == []


@pytest.mark.parametrize("change", ["add", "discard", "drop below", "clear"])
@pytest.mark.parametrize("reading", ["paths", "items", "values", "below"])
def test_map_that_changes_while_it_is_read(spill: Spill, reading: str, change: str) -> None:
    """The reading ends with an error, as that of a dictionary, and never early."""
    found = spill.texts()
    for number in range(5):
        found[f"a/{number}"] = "x"
    items: dict[str, Iterator[object]] = {
        "paths": iter(found),
        "items": found.items(),
        "values": found.values(),
        "below": found.below("a"),
    }
    next(items[reading])
    if change == "add":
        found["a/9"] = "x"
    elif change == "discard":
        found.discard("a/3")
    elif change == "drop below":
        found.drop_below("a")
    else:
        found.clear()
    with pytest.raises(RuntimeError, match="changed"):
        list(items[reading])


@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize("change", ["append", "clear"])
def test_list_that_changes_while_it_is_read(spill: Spill, is_reversed: bool, change: str) -> None:
    """The reading ends with an error, and never early."""
    found: ItemList[tuple[int]] = spill.item_list(tuple, tuple)
    for number in range(5):
        found.append((number,))
    items = reversed(found) if is_reversed else iter(found)
    next(items)
    if change == "append":
        found.append((9,))
    else:
        found.clear()
    with pytest.raises(RuntimeError, match="changed"):
        list(items)


def test_values_are_the_same(spill: Spill) -> None:
    """Each kind of value comes back as it was, with numbers of 64 bits and names of any bytes."""
    big = 2**63 - 1
    remote = Remote("a/\udcff", False, big, 0, -big, 7, None)
    known = Known(
        1, "a/\udcff", True, None, None, 5, None, big, -1, big, 2**32 - 1, big, stale=True
    )
    local = Local("a/\udcff", "other", 5, -5, big, clean=True, ctime_ns=big)
    planned = Plan(spill)
    steps = [
        Step("move", "a", "b", remote, known, local, staged=True),
        Step("forget", "\ud800", "", None, known),
        Step("fetch", "c", "", remote),
        Step("trash", "d", "", None, None, local),
    ]
    for step in steps:
        planned.moves.append(step)
    found = list(planned.moves)
    assert found == steps
    assert [type(each) for each in found[0][3:6]] == [Remote, Known, Local]
    assert found[0].staged is True


def test_small_plans_need_no_database() -> None:
    """Without many items, nothing is written."""
    spill = Spill()
    found = spill.path_set()
    for number in range(spill.max_in_memory):
        found.add(str(number))
    assert spill._database is None
    found.add("one more")
    assert spill._database is not None
    spill.close()


def test_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the temporary folder is full, the error says so, and what to do."""

    def open_temporary() -> sqlite3.Connection:
        database = original()
        # SQLite takes a database of that many pages for a full disk.
        database.execute("PRAGMA max_page_count = 40")
        return database

    original = spill_module.open_temporary
    monkeypatch.setattr(spill_module, "open_temporary", open_temporary)
    spill = Spill()
    spill.max_in_memory = 1
    found = spill.path_set()
    try:
        with pytest.raises(OSError, match="SQLITE_TMPDIR") as caught:
            found.update(str(number) * 100 for number in range(1000))
        assert caught.value.errno == errno.ENOSPC
    finally:
        spill.close()


@pytest.mark.skipif(os.name == "nt", reason="the number of open files is not limited")
def test_no_temporary_file() -> None:
    """If the system gives no temporary file, the collections stay in memory."""
    program = """
import os, resource
from ctera_direct_sync._mirror.spill import Spill
spill = Spill()
free = os.dup(0)
os.close(free)
resource.setrlimit(resource.RLIMIT_NOFILE, (free, free))
found = spill.path_set()
for number in range(120_000):
    found.add(f"{number:05}" * 20)
assert sum(1 for _ in found) == 120_000
spill.close()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
