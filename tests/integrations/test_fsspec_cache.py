"""fsspec's cache of listings: off by default, and bounded in time and number where it is on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ctera_direct_sync import Settings
from ctera_direct_sync.emulator import Emulator
from ctera_direct_sync.filesystem import CteraFileSystem
from tests.support.file_systems import account_of, close_file_systems, count_requests

TREE: dict[str, Any] = {
    "t": {f"d{number}": {"a.csv": b"x\n1\n"} for number in range(4)} | {"top.csv": b"x\n2\n"}
}
FILE, FOLDER = "My Files/t/d1/a.csv", "My Files/t/d1"

Make = Callable[..., CteraFileSystem]


@pytest.fixture
def portal() -> Iterator[Emulator]:
    """A portal with TREE, and a cloud folder whose name is digits."""
    with Emulator(tree=TREE) as portal:
        portal.tree.add_cloud_folder("2026", {"a.csv": b"x\n"})
        yield portal
        close_file_systems()


@pytest.fixture
def make(portal: Emulator, quick: Settings) -> Make:
    """``make(max_paths=2)``: a file system of the portal's user with options of its cache."""

    def make(**options: Any) -> CteraFileSystem:
        return CteraFileSystem(**account_of(portal), settings=quick, **options)

    return make


READS: dict[str, Callable[[CteraFileSystem], object]] = {
    "cat": lambda fs: fs.cat(FILE),
    "open": lambda fs: fs.open(FILE).read(),
    "cat, pattern": lambda fs: next(iter(fs.cat("My Files/t/*1/*.csv").values())),
    "cat, recursive": lambda fs: next(iter(fs.cat(FOLDER, recursive=True).values())),
    "cat_ranges": lambda fs: fs.cat_ranges([FILE], None, None, on_error="raise")[0],
    "mapper": lambda fs: fs.get_mapper(FOLDER)["a.csv"],
}


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("new_id", [True, False], ids=["new ID", "same ID"])
def test_overwritten_file_is_found_at_once(
    portal: Emulator, make: Make, name: str, new_id: bool
) -> None:
    """By default nothing is cached between calls, so the next call reads the new content."""
    portal.portal_options.file_id_changes_on_write = new_id
    fs = make()
    assert READS[name](fs) == b"x\n1\n"
    portal.tree.overwrite("/My Files/t/d1/a.csv", b"x\n12345\n")
    assert READS[name](fs) == b"x\n12345\n"
    assert fs.size(FILE) == fs.du(FOLDER) == fs.ls(FOLDER)[0]["size"] == 8


def test_changed_folders_are_seen_at_once(portal: Emulator, make: Make) -> None:
    """By default a new, a renamed and a deleted file show in the next listing."""
    fs = make()
    top = f"{fs.host}/My Files/t"
    assert len(fs.find(top)) == 5
    portal.tree.create("/My Files/t/new.csv", b"")
    assert f"{top}/new.csv" in fs.glob(f"{top}/*.csv")
    portal.tree.rename("/My Files/t/new.csv", "newer.csv")
    assert f"{top}/newer.csv" in fs.ls(top, detail=False) and not fs.exists(f"{top}/new.csv")
    portal.tree.delete("/My Files/t/newer.csv")
    assert not fs.isfile(f"{top}/newer.csv") and len(fs.find(top)) == 5


@pytest.mark.parametrize("options", [{}, {"use_listings_cache": False}], ids=["default", "off"])
def test_no_listing_is_kept(portal: Emulator, make: Make, options: dict[str, Any]) -> None:
    """Each `ls` and each `info` asks the portal."""
    fs = make(**options)
    fs.ls(FOLDER)
    for _ in range(2):
        assert count_requests(portal, lambda: fs.ls(FOLDER)) == {"list": 1}
        assert count_requests(portal, lambda: fs.info(FILE)) == {"stat": 1}
    assert len(fs.dircache) == 0


def test_kept_listing_is_used(portal: Emulator, make: Make) -> None:
    """With `use_listings_cache` a folder is listed once, and its files are known by that."""
    fs = make(use_listings_cache=True)
    first = fs.ls(FOLDER)
    portal.tree.create("/My Files/t/d1/new.csv", b"")
    assert count_requests(portal, lambda: fs.ls(FOLDER)) == {}
    assert fs.ls(FOLDER) == first
    assert count_requests(portal, lambda: fs.info(FILE)) == {}
    assert count_requests(portal, lambda: fs.isfile(FILE)) == {}


def test_kept_listing_cannot_be_changed_by_its_user(make: Make) -> None:
    """What a caller does to the result of `ls`, `find` or `info` does not change the listing."""
    fs = make(use_listings_cache=True)
    fs.ls(FOLDER)[0]["size"] = -1
    fs.info(FILE)["size"] = -1
    for info in fs.find(FOLDER, detail=True).values():
        info["size"] = -1
    for info in fs.glob(f"{FOLDER}/*", detail=True).values():
        info["size"] = -1
    assert fs.info(FILE)["size"] == fs.ls(FOLDER)[0]["size"] == 4


@pytest.mark.parametrize(
    ("seconds", "asked"), [(0, {"list": 1}), (1000, {}), (None, {})], ids=["0", "1000", "None"]
)
def test_kept_listing_expires(
    portal: Emulator, make: Make, seconds: float | None, asked: dict[str, int]
) -> None:
    """After `listings_expiry_time` seconds the portal is asked again. None is never."""
    fs = make(use_listings_cache=True, listings_expiry_time=seconds)
    fs.ls(FOLDER)
    assert count_requests(portal, lambda: fs.ls(FOLDER)) == asked
    assert count_requests(portal, lambda: fs.isdir(FILE)) == ({"stat": 1} if asked else {})


def test_max_paths_bounds_the_folders(portal: Emulator, make: Make) -> None:
    """The listing that was used longest ago makes room, also for those that `find` keeps."""
    fs = make(use_listings_cache=True, max_paths=2)
    for number in range(3):
        fs.ls(f"My Files/t/d{number}")
    assert count_requests(portal, lambda: fs.ls("My Files/t/d2")) == {}
    assert count_requests(portal, lambda: fs.ls("My Files/t/d0")) == {"list": 1}
    fs.find("My Files/t")
    assert len(fs.dircache) == 2


@pytest.mark.parametrize(
    "forgotten", [None, FILE, FOLDER], ids=["all", "a file in it", "the folder"]
)
def test_invalidate_cache(portal: Emulator, make: Make, forgotten: str | None) -> None:
    """`invalidate_cache` forgets all, a folder, or the folder of a file."""
    fs = make(use_listings_cache=True)
    fs.ls(FOLDER)
    fs.ls("My Files/t/d2")
    portal.tree.overwrite("/My Files/t/d1/a.csv", b"x\n12345\n")
    fs.invalidate_cache(forgotten)
    assert fs.cat(FILE) == b"x\n12345\n"
    assert fs.ls(FOLDER)[0]["size"] == 8
    other = count_requests(portal, lambda: fs.ls("My Files/t/d2"))
    assert other == ({"list": 1} if forgotten is None else {})


def test_invalidate_cache_of_a_folder_of_digits(portal: Emulator, make: Make) -> None:
    """The root lists the cloud folder `~/2026`, so forgetting the folder forgets that listing."""
    fs = make(use_listings_cache=True)
    fs.ls("")
    assert count_requests(portal, lambda: fs.isdir("~/2026")) == {}
    fs.invalidate_cache("~/2026")
    assert count_requests(portal, lambda: fs.isdir("~/2026")) == {"stat": 1}


def test_file_id_that_is_gone_is_looked_up(portal: Emulator, make: Make) -> None:
    """A kept listing may name a file ID that is gone. Then the file is looked up once more."""
    portal.portal_options.file_id_changes_on_write = True
    fs = make(use_listings_cache=True)
    file_id = fs.ls(FOLDER)[0]["file_id"]
    portal.tree.overwrite("/My Files/t/d1/a.csv", b"x\n12345\n")
    portal.remove(file_id)
    assert fs.cat(FILE) == b"x\n12345\n"


def test_directory_cache_does_not_cross_users(
    portal: Emulator, make: Make, quick: Settings
) -> None:
    """File systems of two users keep listings of their own."""
    first = make(use_listings_cache=True)
    first.ls(FOLDER)
    portal.accounts.add("bob", "bobs-own")
    options = {**account_of(portal), "username": "bob", "password": "bobs-own"}
    other = CteraFileSystem(**options, settings=quick, use_listings_cache=True)
    assert not other.exists(FILE)
