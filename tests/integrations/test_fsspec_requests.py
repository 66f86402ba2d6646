"""What a call asks for: a listing has IDs and sizes, so no file below a folder is looked up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ctera_direct_sync import Settings
from ctera_direct_sync.emulator import Emulator
from ctera_direct_sync.filesystem import CteraFileSystem
from tests.support.file_systems import account_of, close_file_systems, count_requests

FOLDERS, FILES = 2, 6
TREE: dict[str, Any] = {
    "t": {f"d{d}": {f"{n}.csv": b"x\n%d\n" % n for n in range(3)} for d in range(FOLDERS)}
}
#: The folder itself and those below it.
LISTED = {"list": 1 + FOLDERS}
EACH_FILE = {"blocks": FILES, "get": FILES}


@pytest.fixture
def portal() -> Iterator[Emulator]:
    """A portal with TREE."""
    with Emulator(tree=TREE) as portal:
        yield portal
        close_file_systems()


@pytest.fixture
def fs(portal: Emulator, quick: Settings) -> CteraFileSystem:
    """The file system of its user, who has signed in."""
    fs = CteraFileSystem(**account_of(portal), settings=quick)
    fs.exists("My Files")
    return fs


LISTINGS: dict[str, tuple[Any, dict[str, int]]] = {
    "ls": (lambda fs, top: fs.ls(top), {"list": 1}),
    "info": (lambda fs, top: fs.info(top), {"stat": 1}),
    "find": (lambda fs, top: fs.find(top), LISTED),
    "find, detail": (lambda fs, top: fs.find(top, detail=True), LISTED),
    "find, one level": (lambda fs, top: fs.find(top, maxdepth=1), {"list": 1}),
    "find, folders": (lambda fs, top: fs.find(top, withdirs=True), LISTED),
    "walk": (lambda fs, top: list(fs.walk(top)), LISTED),
    "du": (lambda fs, top: fs.du(top), LISTED),
    "tree": (lambda fs, top: fs.tree(top), LISTED),
    "glob": (lambda fs, top: fs.glob(f"{top}/*/*.csv"), LISTED),
    "glob, detail": (lambda fs, top: fs.glob(f"{top}/*/*.csv", detail=True), LISTED),
    "expand_path, recursive": (lambda fs, top: fs.expand_path(top, recursive=True), LISTED),
    "expand_path, pattern": (
        lambda fs, top: fs.expand_path(f"{top}/*/*.csv"),
        {**LISTED, "stat": 1},
    ),
    "expand_path, file": (lambda fs, top: fs.expand_path(f"{top}/d0/0.csv"), {}),
}


@pytest.mark.parametrize("name", LISTINGS)
def test_listings_need_no_lookup_of_a_file(
    fs: CteraFileSystem, portal: Emulator, name: str
) -> None:
    """A call that lists asks once for each folder. A pattern is looked up once as a plain name."""
    call, expected = LISTINGS[name]
    assert count_requests(portal, lambda: call(fs, "My Files/t")) == expected


READS: dict[str, tuple[Any, dict[str, int]]] = {
    "cat, recursive": (lambda fs, top, _: fs.cat(top, recursive=True), {**LISTED, **EACH_FILE}),
    "cat, pattern": (
        lambda fs, top, _: fs.cat(f"{top}/*/*.csv"),
        {**LISTED, "stat": 1, **EACH_FILE},
    ),
    "get, recursive": (
        lambda fs, top, target: fs.get(top, target, recursive=True),
        {**LISTED, **EACH_FILE},
    ),
    "get, pattern": (
        lambda fs, top, target: fs.get(f"{top}/*/*.csv", f"{target}/"),
        {**LISTED, "stat": 1, **EACH_FILE},
    ),
    "get, one": (
        lambda fs, top, target: fs.get(f"{top}/d0/0.csv", f"{target}/x"),
        {"stat": 1, "blocks": 1, "get": 1},
    ),
    "cat, one": (
        lambda fs, top, _: fs.cat(f"{top}/d0/0.csv"),
        {"stat": 1, "blocks": 1, "get": 1},
    ),
    "open": (
        lambda fs, top, _: fs.open(f"{top}/d0/0.csv").read(),
        {"stat": 1, "blocks": 1, "get": 1},
    ),
    "cat, paths of one folder": (
        lambda fs, top, _: fs.cat([f"{top}/d0/{n}.csv" for n in range(3)]),
        {"list": 1, "blocks": 3, "get": 3},
    ),
    "cat_ranges, paths of one folder": (
        lambda fs, top, _: fs.cat_ranges([f"{top}/d0/{n}.csv" for n in range(3)], 0, 1),
        {"list": 1, "blocks": 3, "get": 3},
    ),
    "get, paths of one folder": (
        lambda fs, top, target: fs.get([f"{top}/d0/{n}.csv" for n in range(3)], f"{target}/"),
        {"list": 1, "blocks": 3, "get": 3},
    ),
    "get, lists": (
        lambda fs, top, target: fs.get(
            [f"{top}/d0/{n}.csv" for n in range(3)], [f"{target}/{n}" for n in range(3)]
        ),
        {"list": 1, "blocks": 3, "get": 3},
    ),
}


@pytest.mark.parametrize("name", READS)
def test_a_file_costs_its_block_list_and_its_blocks(
    fs: CteraFileSystem, portal: Emulator, tmp_path: Path, name: str
) -> None:
    """What a listing told of a file is not asked for again."""
    call, expected = READS[name]
    assert count_requests(portal, lambda: call(fs, "My Files/t", str(tmp_path))) == expected


def test_kept_listings_serve_programs_that_look_up_each_file(
    portal: Emulator, quick: Settings
) -> None:
    """With `use_listings_cache` a pattern's listings also serve what is asked of each match."""
    fs = CteraFileSystem(**account_of(portal), settings=quick, use_listings_cache=True)
    fs.exists("My Files")

    def read() -> None:
        for path in fs.glob("My Files/t/*/*.csv"):
            assert fs.isfile(path) and fs.size(path) == 4 and fs.modified(path)
            with fs.open(path) as file:
                file.read()

    assert count_requests(portal, read) == {**LISTED, **EACH_FILE, "stat": 1}


@pytest.mark.parametrize("first", ["find", "walk", "glob"])
def test_kept_listings_serve_the_next_call(portal: Emulator, quick: Settings, first: str) -> None:
    """`find`, `walk` and `glob` keep the listings that they fetched, and use those that are kept."""
    fs = CteraFileSystem(**account_of(portal), settings=quick, use_listings_cache=True)
    list(getattr(fs, first)("My Files/t/**" if first == "glob" else "My Files/t"))
    again = {
        "find": lambda: fs.find("My Files/t"),
        "walk": lambda: list(fs.walk("My Files/t")),
        "glob": lambda: fs.glob("My Files/t/*/*.csv"),
        "ls": lambda: fs.ls("My Files/t/d1"),
        "du": lambda: fs.du("My Files/t"),
    }
    for name, call in again.items():
        assert "list" not in count_requests(portal, call), name


def test_pyarrow_discovers_without_lookups(fs: CteraFileSystem, portal: Emulator) -> None:
    """A data set of a folder asks no more for many files than for one: one file tells the schema."""
    dataset = pytest.importorskip("pyarrow.dataset")
    top = f"{fs.host}/My Files/t"
    few = count_requests(portal, lambda: dataset.dataset(f"{top}/d0", filesystem=fs, format="csv"))
    all_files = count_requests(portal, lambda: dataset.dataset(top, filesystem=fs, format="csv"))
    assert all_files.pop("list") == few.pop("list") + FOLDERS
    assert all_files["stat"] == few["stat"] <= 5


def test_duckdb_finds_a_pattern_without_lookups(fs: CteraFileSystem, portal: Emulator) -> None:
    """DuckDB's `glob` lists folders, and looks up nothing."""
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:
        connection.register_filesystem(fs)
        found: list[Any] = []
        query = f"select file from glob('ctera://{fs.host}/My Files/t/*/*.csv')"
        asked = count_requests(portal, lambda: found.extend(connection.execute(query).fetchall()))
    assert len(found) == FILES
    assert asked == LISTED


def test_pandas_reads_with_few_lookups(portal: Emulator) -> None:
    """pandas opens a file by its path: one lookup, one block list."""
    pandas = pytest.importorskip("pandas")
    url = f"ctera://{portal.url.partition('://')[2]}/My Files/t/d0/1.csv"
    asked = count_requests(portal, lambda: pandas.read_csv(url, storage_options=account_of(portal)))
    assert (asked["stat"], asked["blocks"], asked["get"]) == (1, 1, 1)
