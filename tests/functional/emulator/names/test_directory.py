"""The calls of administrators: cloud folders and users."""

from __future__ import annotations

import pytest

QUERY = "api/cloudDrives"


@pytest.fixture
def folders(emulator):
    """Three more cloud folders, two of another user."""
    emulator.accounts.add("ann", "secret", full_name="Ann Lee")
    emulator.tree.add_cloud_folder("Team")
    for name in ("One", "Two"):
        emulator.tree.add_cloud_folder(name, owner="ann")


@pytest.fixture
def query(admin):
    """Query the cloud folders; return names and whether there are more."""

    def ask(**parameter):
        told = admin.call("query", {"include": ["name"], **parameter}, path=QUERY)
        return [each["name"] for each in told["objects"]], told["hasMore"]

    return ask


def test_all(folders, query):
    """All cloud folders are listed, in pages."""
    assert query() == (["My Files", "Team", "One", "Two"], False)
    assert query(startFrom=0, countLimit=3) == (["My Files", "Team", "One"], True)
    assert query(startFrom=3, countLimit=3) == (["Two"], False)


def test_of_one_owner(emulator, folders, query):
    """Cloud folders are found by owner and by name."""
    assert query(ownedBy=emulator.accounts.get("ann").uid) == (["One", "Two"], False)
    named = {"field": "name", "restriction": "eq", "value": "Two"}
    assert query(filters=[named]) == (["Two"], False)


def test_one_by_id(emulator, folders, admin):
    """A cloud folder's ID leads to its path."""
    uid = emulator.tree.cloud_folders[2].uid
    told = admin.get(f"api/objs/{uid}").json()
    assert (told["name"], told["webDavPartialUrl"]) == ("One", "Users/Ann%20Lee/One")
    assert admin.get("api/objs/999").status_code == 404


def test_uid_matches_the_listing(folders, admin):
    """The ID of a cloud folder is the one in cloudFolderInfo."""
    told = admin.call("query", {"include": ["name", "uid"]}, path=QUERY)
    uids = {each["name"]: each["uid"] for each in told["objects"]}
    for item in admin.fetch("/Users/Ann Lee")["items"]:
        assert item["cloudFolderInfo"]["uid"] == uids[item["name"]]


def test_users(emulator, folders, admin):
    """A user's ID is told by name; there is no name where there is no user."""
    told = admin.call("get-multi", ["/name", "/uid"], path="api/users/ann")
    assert (told["name"], told["uid"]) == ("ann", emulator.accounts.get("ann").uid)
    assert admin.call("get-multi", ["/name"], path="api/users/none")["name"] is None
    emulator.accounts.add("bob", "secret", domain="corp")
    told = admin.call("get-multi", ["/displayName"], path="api/domains/corp/adUsers/bob")
    assert told["displayName"] == "bob"


def test_end_users_may_not(folders, make_caller):
    """An end user asks for none of it but for oneself."""
    ann = make_caller(name="ann", password="secret")
    assert ann.post("query", {"include": ["name"]}, path=QUERY).status_code == 403
    assert ann.get("api/objs/1").status_code == 403
    assert ann.post("get-multi", ["/uid"], path="api/users/demo").status_code == 403
    assert ann.call("get-multi", ["/name"], path="api/users/ann")["name"] == "ann"


def test_unknown_calls(admin):
    """Other calls are refused."""
    assert admin.post("delete", "1", path=QUERY).status_code == 500
    assert admin.post("get-multi", ["/a"], path="api/devices/1").status_code == 500
    assert admin.get("api/nothing").status_code == 404
    filters = [{"field": "name", "restriction": "like", "value": "T"}]
    assert admin.post("query", {"filters": filters}, path=QUERY).status_code == 500
