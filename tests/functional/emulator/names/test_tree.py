"""Changes of the tree from Python: what they do to names, IDs, the trash and versions."""

from __future__ import annotations

import threading

import pytest

from ctera_direct_sync.emulator import Emulator
from tests.support.portal_api import Caller


@pytest.fixture
def serves(emulator, session):
    """Tell whether Direct IO serves a file ID."""

    def ask(file_id: int) -> bool:
        headers = {"Authorization": f"Bearer {emulator.access_key_id}"}
        return session.get(f"{emulator.url}/directio/{file_id}", headers=headers).status_code == 200

    return ask


def test_folder_on_disk(tmp_path):
    """A folder on disk is My Files, under the IDs of the table of files, as it is on disk now."""
    (tmp_path / "sub" / "none").mkdir(parents=True)
    (tmp_path / "sub" / "a.txt").write_bytes(b"123")
    with Emulator(tmp_path) as portal:
        caller = Caller(portal)
        with caller.session:
            caller.login(portal.username, portal.password)
            assert caller.names("/My Files/sub") == ["a.txt", "none"]
            info = caller.stat("/My Files/sub/a.txt")
            assert portal.files[info["fileId"]].name == "sub/a.txt"
            (tmp_path / "sub" / "a.txt").write_bytes(b"12345")
            assert caller.stat("/My Files/sub/a.txt")["size"] == 5


def test_create_and_overwrite(emulator, caller, serves):
    """An overwritten file gets another ID; the old one is that of its previous version."""
    old = emulator.tree.create("/My Files/new/v.txt", b"one", modified=1_700_000_000)
    assert caller.stat("/My Files/new/v.txt")["lastmodified"] == "2023-11-14T22:13:20"
    new = emulator.tree.overwrite("/My Files/new/v.txt", b"longer")
    info = caller.stat("/My Files/new/v.txt")
    assert (info["fileId"], info["size"]) == (new, 6)
    assert (new != old, serves(old), serves(new)) == (True, True, True)


def test_overwrite_under_the_same_id(emulator, caller, serves):
    """A file keeps its ID if the option says so; its previous version gets one of its own."""
    emulator.portal_options.file_id_changes_on_write = False
    file_id = emulator.tree.file_id("/My Files/a.txt")
    assert emulator.tree.overwrite("/My Files/a.txt", b"longer than before") == file_id
    first, last = caller.versions("/My Files/a.txt")
    old, new = (
        caller.call("fetchResources", {"root": each["url"] + each["path"], "depth": "0"})["root"]
        for each in (first, last)
    )
    assert (old["size"], new["size"], new["fileId"]) == (5, 18, file_id)
    assert old["fileId"] != file_id and serves(old["fileId"])


@pytest.mark.parametrize("changes", [True, False])
def test_versions_without_ids(emulator, caller, serves, changes):
    """Where previous versions have no ID, an ID of before is served no more, or is today's."""
    options = emulator.portal_options
    options.versions_have_ids, options.file_id_changes_on_write = False, changes
    old = emulator.tree.file_id("/My Files/a.txt")
    emulator.tree.overwrite("/My Files/a.txt", b"again")
    first = caller.versions("/My Files/a.txt")[0]
    root = caller.call("fetchResources", {"root": first["url"] + first["path"], "depth": "0"})[
        "root"
    ]
    assert "fileId" not in root
    assert serves(old) is not changes


@pytest.mark.parametrize("changes", [True, False])
def test_rename_and_move(emulator, caller, serves, changes):
    """A renamed or moved file keeps size and time, and its ID unless the option says otherwise."""
    emulator.portal_options.file_id_changes_on_move = changes
    before = caller.stat("/My Files/a.txt")
    emulator.tree.rename("/My Files/a.txt", "b.txt")
    emulator.tree.move("/My Files/b.txt", "/My Files/docs/old/c.txt")
    after = caller.stat("/My Files/docs/old/c.txt")
    assert caller.stat("/My Files/a.txt") is None and caller.stat("/My Files/b.txt") is None
    assert (after["size"], after["lastmodified"]) == (before["size"], before["lastmodified"])
    assert (after["fileId"] != before["fileId"]) is changes
    assert (serves(before["fileId"]), serves(after["fileId"])) == (not changes, True)


def test_move_to_another_cloud_folder(emulator, caller):
    """In another cloud folder the object is a new one, and the old one is in the trash."""
    emulator.tree.add_cloud_folder("Team")
    guid = emulator.tree.node("/My Files/docs").guid
    emulator.tree.move("/My Files/docs", "/Team/docs")
    assert caller.names("/Team", "Infinity") == ["docs", "old", "report.pdf", "notes.TXT"]
    assert emulator.tree.node("/Team/docs").guid != guid
    assert caller.stat("/My Files/docs") is None
    assert caller.stat("/Team/docs/report.pdf")["cloudFolderInfo"]["name"] == "Team"


def test_trash(emulator, caller, serves):
    """Deleted things are listed on request, with their ID, and come back under it."""
    file_id = emulator.tree.file_id("/My Files/a.txt")
    emulator.tree.delete("/My Files/a.txt")
    assert "a.txt" not in caller.names("/My Files")
    deleted = [
        item
        for item in caller.fetch("/My Files", includeDeleted=True)["items"]
        if item["isDeleted"]
    ]
    assert [(item["name"], item["fileId"]) for item in deleted] == [("a.txt", file_id)]
    assert serves(file_id)
    emulator.tree.undelete("/My Files/a.txt")
    assert caller.stat("/My Files/a.txt")["fileId"] == file_id


def test_trash_without_ids(emulator, caller, serves):
    """Deleted files have no ID if the option says so, and get another one when they come back."""
    emulator.portal_options.deleted_have_ids = False
    file_id = emulator.tree.file_id("/My Files/a.txt")
    emulator.tree.delete("/My Files/a.txt")
    assert "fileId" not in caller.stat("/My Files/a.txt", includeDeleted=True)
    assert not serves(file_id)
    emulator.tree.undelete("/My Files/a.txt")
    back = caller.stat("/My Files/a.txt")["fileId"]
    assert back != file_id and serves(back)


def test_several_deleted_of_one_name(emulator, caller):
    """Several deleted files and a live one may share a name, and have different IDs."""
    ids = [emulator.tree.file_id("/My Files/a.txt")]
    for content in (b"second", b"third"):
        emulator.tree.delete("/My Files/a.txt")
        ids.append(emulator.tree.create("/My Files/a.txt", content))
    listed = caller.fetch("/My Files", includeDeleted=True)["items"]
    found = {item["fileId"]: item["isDeleted"] for item in listed if item["name"] == "a.txt"}
    assert found == {ids[0]: True, ids[1]: True, ids[2]: False}
    emulator.tree.delete("/My Files/a.txt")
    emulator.tree.undelete("/My Files/a.txt")
    assert caller.stat("/My Files/a.txt")["fileId"] == ids[2]


def test_folder_comes_back_as_it_was_deleted(emulator, caller):
    """An undeleted folder has what was deleted with it, and not what was deleted before."""
    emulator.tree.delete("/My Files/docs/report.pdf")
    emulator.tree.delete("/My Files/docs")
    assert sorted(caller.names("/My Files/docs", includeDeleted=True)) == ["old", "report.pdf"]
    emulator.tree.undelete("/My Files/docs")
    assert caller.names("/My Files/docs", "Infinity") == ["old", "notes.TXT"]


def test_deleted_cloud_folder(emulator, caller, admin):
    """A deleted cloud folder is gone from listings, and is listed as deleted on request."""
    emulator.tree.add_cloud_folder("Team", {"a": b"1"})
    emulator.tree.delete("/Team")
    assert caller.names("/") == ["My Files", "Users"]
    told = admin.call("query", {"include": ["name", "isDeleted"]}, path="api/cloudDrives")
    assert [each["name"] for each in told["objects"]] == ["My Files"]
    parameter = {"include": ["name", "isDeleted"], "includeDeleted": True}
    told = admin.call("query", parameter, path="api/cloudDrives")
    assert [(each["name"], each["isDeleted"]) for each in told["objects"]] == [
        *(("My Files", False), ("Team", True)),
    ]


def test_versions_of_a_folder(emulator, caller):
    """A folder's versions show what it held, under the names of then."""
    emulator.tree.rename("/My Files/docs/report.pdf", "renamed.pdf")
    emulator.tree.delete("/My Files/docs/old")
    listed = []
    for each in caller.versions("/My Files/docs"):
        parameter = {"root": each["url"] + each["path"], "depth": "1"}
        listed.append([item["name"] for item in caller.call("fetchResources", parameter)["items"]])
    assert listed == [["old", "report.pdf"], ["old", "renamed.pdf"], ["renamed.pdf"]]


def test_moved_away_and_back(emulator, caller):
    """An object that left its folder and came back is in each version once."""
    emulator.tree.move("/My Files/docs/report.pdf", "/My Files/report.pdf")
    emulator.tree.move("/My Files/report.pdf", "/My Files/docs/report.pdf")
    emulator.tree.delete("/My Files/docs/old")
    emulator.tree.undelete("/My Files/docs/old")
    listed = []
    for each in caller.versions("/My Files/docs"):
        parameter = {"root": each["url"] + each["path"], "depth": "1"}
        listed.append([item["name"] for item in caller.call("fetchResources", parameter)["items"]])
    both = ["old", "report.pdf"]
    assert listed == [both, ["old"], both, ["report.pdf"], both]


def test_replaced_by_id(emulator, caller, serves):
    """A file that was replaced by its ID is listed with its new size."""
    file_id = emulator.tree.file_id("/My Files/a.txt")
    emulator.replace(file_id, b"another content")
    info = caller.stat("/My Files/a.txt")
    assert (info["fileId"], info["size"]) == (file_id, 15)
    assert [each["current"] for each in caller.versions("/My Files/a.txt")] == [False, True]


def test_versions_of_a_renamed_file(emulator, caller):
    """A version of a file that was renamed is at the path that it had then."""
    emulator.tree.rename("/My Files/docs", "papers")
    emulator.tree.overwrite("/My Files/papers/report.pdf", b"new content")
    first = caller.versions("/My Files/papers/report.pdf")[0]
    assert first["path"] == "/docs/report.pdf"
    root = caller.call("fetchResources", {"root": first["url"] + first["path"], "depth": "0"})[
        "root"
    ]
    assert (root["size"], root["href"]) == (4, first["url"] + first["path"])


def test_versions_of_a_shared_folder(emulator, make_caller):
    """Versions are found through `Shared With Me`, too."""
    emulator.accounts.add("ann", "secret")
    emulator.tree.share("/My Files/docs", "ann")
    emulator.tree.overwrite("/My Files/docs/report.pdf", b"new content")
    ann = make_caller(name="ann", password="secret")
    first, _ = ann.versions("/Shared With Me/docs/report.pdf")
    assert first["url"].startswith(
        "/ServicesPortal/webdav/Shared%20With%20Me/docs/PreviousVersions/"
    )
    root = ann.call("fetchResources", {"root": first["url"] + first["path"], "depth": "0"})["root"]
    assert root["size"] == 4


def test_versions_that_are_not_there(emulator, caller):
    """Versions of nothing, of a container, or at an older portal are 500."""
    for path in ("/My Files/none", "/Users"):
        assert caller.post("listSnapshots", caller.reference(path)).status_code == 500
    emulator.portal_options.versions = False
    assert caller.post("listSnapshots", caller.reference("/My Files")).status_code == 500
    assert caller.stat("/My Files/PreviousVersions/yesterday") is None


@pytest.mark.parametrize(
    ("method", "arguments", "error"),
    [
        ("create", ("/My Files/a.txt", b""), FileExistsError),
        ("create", ("/My Files/a.txt/b", b""), NotADirectoryError),
        ("create", ("/None/a", b""), FileNotFoundError),
        ("create", ("/My Files/new\x01", b""), ValueError),
        ("create", ("/My Files/..", b""), ValueError),
        ("mkdir", ("/My Files/docs",), FileExistsError),
        ("overwrite", ("/My Files/none", b""), FileNotFoundError),
        ("overwrite", ("/My Files/docs", b""), IsADirectoryError),
        ("rename", ("/My Files/a.txt", "docs"), FileExistsError),
        ("rename", ("/My Files", "Other"), ValueError),
        ("move", ("/My Files/docs", "/My Files/docs/old/docs"), ValueError),
        ("move", ("/My Files/docs", "/My Files/empty"), FileExistsError),
        ("delete", ("/My Files/none",), FileNotFoundError),
        ("undelete", ("/My Files/a.txt",), FileNotFoundError),
        ("file_id", ("/My Files/docs",), FileNotFoundError),
        ("add_cloud_folder", ("My Files",), ValueError),
    ],
    ids=str,
)
def test_impossible_changes(emulator, caller, method, arguments, error):
    """A change that cannot be is an error, and changes nothing."""
    before = caller.fetch("/My Files", "Infinity")["items"]
    with pytest.raises(error):
        getattr(emulator.tree, method)(*arguments)
    assert caller.fetch("/My Files", "Infinity")["items"] == before


def test_options_are_checked(emulator):
    """An option that is misspelt, or cannot have a value, is an error."""
    with pytest.raises(AttributeError, match="page_capp"):
        emulator.portal_options.page_capp = 1
    with pytest.raises(ValueError, match="session_over"):
        emulator.portal_options.session_over = "404"
    with pytest.raises(ValueError, match="page_cap"):
        emulator.portal_options.page_cap = 0


def test_changes_while_it_is_listed(emulator, caller):
    """Threads that change a folder and those that list it do not disturb each other."""
    go = threading.Barrier(3)
    errors = []

    def change(name: str) -> None:
        try:
            go.wait(30)
            for number in range(60):
                path = f"/My Files/busy/{name}-{number}"
                emulator.tree.create(path, b"1")
                emulator.tree.overwrite(path, b"22")
                emulator.tree.rename(path, f"{name}-renamed-{number}")
        except BaseException as error:
            errors.append(error)

    emulator.tree.mkdir("/My Files/busy")
    threads = [threading.Thread(target=change, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    go.wait(30)
    while any(thread.is_alive() for thread in threads):
        for item in caller.fetch("/My Files/busy", limit=1000)["items"]:
            assert item["size"] in (1, 2)
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(caller.names("/My Files/busy", limit=1000)) == 120
