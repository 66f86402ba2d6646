"""fetchResources: what is listed where, in pages, in XML and in JSON, to whom."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from ctera_direct_sync.emulator import Emulator, faults
from tests.support.portal_api import Caller


def test_root_of_a_user(caller):
    """A user's root has the own cloud folders, and for an administrator all users."""
    root = caller.fetch("/")
    assert [item["name"] for item in root["items"]] == ["My Files", "Users"]
    assert root["root"]["href"] == "/ServicesPortal/webdav"
    assert root["root"]["cloudFolderInfo"] is None
    assert root["items"][0]["cloudFolderInfo"]["name"] == "My Files"


def test_root_of_an_administrator(admin):
    """The administration's root has users, and folders for backups, which are empty."""
    assert admin.names("/") == ["backupFolders", "backups", "Users"]
    assert admin.names("/Users") == ["Demo User"]
    assert admin.names("/Users/Demo User") == ["My Files"]
    assert admin.names("/Users/Demo User/My Files") == ["B.txt", "a.txt", "docs", "empty"]


def test_file(emulator, caller):
    """A file has its ID, size, time, extension and cloud folder."""
    info = caller.stat("/My Files/docs/report.pdf")
    assert info["fileId"] == emulator.tree.file_id("/My Files/docs/report.pdf")
    assert (info["name"], info["size"], info["isFolder"], info["isDeleted"]) == (
        *("report.pdf", 4),
        *(False, False),
    )
    assert (info["extension"], info["scope"]) == ("pdf", "InsideCloudFolder")
    assert info["cloudFolderInfo"]["ownerFriendlyName"] == "Demo User"


def test_listed_is_served(emulator, caller, session):
    """Direct IO serves what is listed, under the ID that is listed."""
    info = caller.stat("/My Files/docs/report.pdf")
    headers = {"Authorization": f"Bearer {emulator.access_key_id}"}
    listing = session.get(f"{emulator.url}/directio/{info['fileId']}", headers=headers).json()
    assert sum(chunk["len"] for chunk in listing["chunks"]) == info["size"]


def test_unknown_path(emulator, caller):
    """A stat of what is not there has no root; a listing says that it is not there."""
    told = caller.fetch("/My Files/none", 0)
    assert (told["root"], told["errorType"]) == (None, None)
    told = caller.fetch("/My Files/none", 1)
    assert (told["root"], told["errorType"], told["items"]) == (None, "DestinationNotExists", [])
    emulator.portal_options.stat_error_type = True
    assert caller.fetch("/My Files/none", 0)["errorType"] == "DestinationNotExists"


@pytest.mark.parametrize("path", ["/My Files/a.txt/b", "/My Files/..", "/Nobody's"])
def test_paths_that_lead_nowhere(caller, path):
    """A path through a file, upwards, or into an unknown cloud folder leads nowhere."""
    assert caller.stat(path) is None


def test_path_of_another_context(caller):
    """A reference that belongs to another context is not found."""
    told = caller.call("fetchResources", {"root": "/admin/webdav/Users", "depth": "1"})
    assert told["errorType"] == "DestinationNotExists"


def test_pages(emulator, caller):
    """Pages are as long as asked for, up to the portal's own limit."""
    for number in range(7):
        emulator.tree.create(f"/My Files/many/{number}", b"")
    page = caller.fetch("/My Files/many", start=0, limit=3)
    assert ([item["name"] for item in page["items"]], page["hasMore"]) == (["0", "1", "2"], True)
    page = caller.fetch("/My Files/many", start=6, limit=3)
    assert ([item["name"] for item in page["items"]], page["hasMore"]) == (["6"], False)
    emulator.portal_options.page_cap = 2
    page = caller.fetch("/My Files/many", start=3, limit=100)
    assert ([item["name"] for item in page["items"]], page["hasMore"]) == (["3", "4"], True)
    page = caller.fetch("/My Files/many", start=9, limit=100)
    assert (page["items"], page["hasMore"]) == ([], False)


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("name", ["B.txt", "a.txt", "docs", "empty"]),
        ("reversed", ["empty", "docs", "a.txt", "B.txt"]),
        ("folders-first", ["docs", "empty", "B.txt", "a.txt"]),
        ("created", ["a.txt", "B.txt", "docs", "empty"]),
    ],
)
def test_order(emulator, caller, order, names):
    """Items come in the order that the option names."""
    emulator.portal_options.order = order
    assert caller.names("/My Files") == names


def test_folders(emulator, caller):
    """IDs, sizes and slashes of folders are as the options say."""
    docs = caller.stat("/My Files/docs")
    assert ("fileId" in docs, docs["size"], docs["href"][-5:]) == (False, 0, "/docs")
    options = emulator.portal_options
    options.folders_have_ids, options.folder_size, options.href_ends_in_slash = True, "total", True
    docs = caller.stat("/My Files/docs")
    assert (docs["size"], docs["href"][-6:]) == (23, "/docs/")
    assert docs["fileId"] not in emulator.files
    options.folder_size = "null"
    assert caller.stat("/My Files/docs")["size"] is None


def test_infinity(emulator, caller):
    """Depth Infinity without filters gives all that is below, or the children, as the option says."""
    below = ["B.txt", "a.txt", "docs", "empty", "old", "report.pdf", "notes.TXT"]
    assert caller.names("/My Files", "Infinity") == below
    emulator.portal_options.infinity = "children"
    assert caller.names("/My Files", "Infinity") == ["B.txt", "a.txt", "docs", "empty"]


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ([("name", "contains", "NOTE")], ["notes.TXT"]),
        ([("name", "eq", "report.pdf")], ["report.pdf"]),
        ([("extension", "eq", "txt")], ["B.txt", "a.txt", "notes.TXT"]),
        ([("extension", "neq", "txt")], ["report.pdf"]),
        ([("content", "contains", "quick brown")], ["notes.TXT"]),
        ([("name", "contains", "t"), ("extension", "eq", "pdf")], ["report.pdf"]),
    ],
    ids=str,
)
def test_search(caller, filters, names):
    """A search finds what all of its filters accept."""
    values = [dict(zip(("field", "operator", "value"), each)) for each in filters]
    assert caller.names("/My Files", "Infinity", searchFilters=values) == names


def test_search_of_older_portals(emulator, caller):
    """An older portal knows searchCriteria only, and lists everything for filters."""
    assert caller.names("/My Files", "Infinity", searchCriteria="note") == ["notes.TXT"]
    emulator.portal_options.search_filters = False
    values = [{"field": "name", "operator": "contains", "value": "note"}]
    assert len(caller.names("/My Files", "Infinity", searchFilters=values)) == 7


def test_xml_and_json_say_the_same(caller):
    """An answer in XML has the attributes of the answer in JSON, as text."""
    parameter = {"root": caller.reference("/My Files/docs/report.pdf"), "depth": "0"}
    text = caller.post("fetchResources", parameter, query="").content
    root = next(each for each in ElementTree.fromstring(text) if each.get("id") == "root")[0]
    assert root.get("class") == "ResourceInfo"
    written = {each.get("id"): each for each in root}
    info = caller.stat("/My Files/docs/report.pdf")
    assert info.pop("$class") == "ResourceInfo"
    assert set(written) == set(info)
    assert written["fileId"][0].text == str(info["fileId"])
    assert written["isFolder"][0].text == "false"
    assert written["cloudFolderInfo"][0].get("class") == "CloudFolderInfo"


def test_portal_without_json(emulator, caller):
    """A portal that does not know jsonext answers in XML."""
    emulator.portal_options.json_answers = False
    response = caller.get("api/version")
    assert response.headers["Content-Type"].startswith("text/xml")
    assert ElementTree.fromstring(response.content).text == emulator.portal_options.version


@pytest.mark.parametrize("in_json", [False, True])
def test_errors_in_json(emulator, caller, in_json):
    """An unknown method is 500 with a message, in XML unless the option says otherwise."""
    emulator.portal_options.json_errors = in_json
    response = caller.post("noSuchMethod", "x")
    assert response.status_code == 500
    assert response.headers["Content-Type"].startswith(
        "application/json" if in_json else "text/xml"
    )
    assert "noSuchMethod" in response.text


@pytest.mark.parametrize(
    "name",
    [
        "007",
        "1.50",
        "true",
        " blanks ",
        "100% + #&?.txt",
        "\U0001f4a7",
        "e\u0301",
        "\u00e9",
        "<&>\"'",
    ],
)
def test_odd_names(emulator, caller, name):
    """Any name comes back as it is, in JSON and in XML, and its href leads to it."""
    file_id = emulator.tree.create(f"/My Files/odd/{name}", b"12")
    (item,) = caller.fetch("/My Files/odd")["items"]
    assert item["name"] == name
    assert (
        caller.call("fetchResources", {"root": item["href"], "depth": "0"})["root"]["fileId"]
        == file_id
    )
    parameter = {"root": caller.reference("/My Files/odd"), "depth": "1"}
    text = caller.post("fetchResources", parameter, query="").content
    found = ElementTree.fromstring(text).findall(".//att[@id='name']/val")
    assert name in [each.text for each in found]


def test_denied_folder(emulator, caller):
    """A folder without permission is visible, and what is in it is not."""
    emulator.tree.deny("/My Files/docs")
    assert caller.stat("/My Files/docs")["name"] == "docs"
    for path in ("/My Files/docs", "/My Files/docs/report.pdf", "/My Files/docs/old"):
        assert caller.fetch(path)["errorType"] == "PermissionDenied"
    emulator.portal_options.denied = "403"
    parameter = {"root": caller.reference("/My Files/docs"), "depth": "1"}
    assert caller.post("fetchResources", parameter).status_code == 403
    emulator.tree.allow("/My Files/docs")
    assert caller.names("/My Files/docs") == ["old", "report.pdf"]


def test_administrator_without_access(emulator, make_caller):
    """An administrator without that right sees the names of users and their cloud folders only."""
    emulator.accounts.add("ann", "secret", role="ReadOnlyAdmin", can_access_end_user_folders=False)
    admin = make_caller("admin", "ann", "secret")
    assert admin.names("/Users") == ["Demo User", "ann"]
    assert admin.names("/Users/Demo User") == ["My Files"]
    assert admin.fetch("/Users/Demo User/My Files")["errorType"] == "PermissionDenied"
    assert admin.fetch("/Users/Demo User/My Files/docs", 0)["errorType"] == "PermissionDenied"
    settings = admin.get("api/rolesSettings/readOnlyAdminSettings").json()
    assert settings["canAccessEndUserFolders"] is False


def test_shared_folder(emulator, make_caller):
    """A shared folder is in `Shared With Me`, with the cloud folder of its owner."""
    emulator.accounts.add("ann", "secret", full_name="Ann Lee")
    ann = make_caller(name="ann", password="secret")
    assert ann.names("/") == []
    emulator.tree.share("/My Files/docs", "ann")
    assert ann.names("/") == ["Shared With Me"]
    (docs,) = ann.fetch("/Shared With Me")["items"]
    assert (docs["name"], docs["isShared"], docs["scope"]) == ("docs", True, "Shared")
    assert docs["cloudFolderInfo"]["ownerFriendlyName"] == "Demo User"
    assert ann.names("/Shared With Me/docs") == ["old", "report.pdf"]


def test_user_sees_no_other_user(emulator, make_caller):
    """An end user sees neither the folders of others nor the list of users."""
    emulator.accounts.add("ann", "secret")
    emulator.tree.add_cloud_folder("Own", owner="ann")
    ann = make_caller(name="ann", password="secret")
    assert ann.names("/") == ["Own"]
    assert ann.stat("/Users/Demo User/My Files") is None
    assert ann.stat("/My Files") is None


def test_record_of_a_listing(emulator, caller):
    """The log tells what was listed, how deep and from where."""
    caller.fetch("/My Files/docs", start=0, limit=5)
    record = emulator.requests[-1]
    assert (record.call, record.root, record.depth, record.start) == (
        *("fetchResources", "/My Files/docs"),
        *("1", 0),
    )
    assert emulator.log.records(call="login")[0].method == "POST"


def test_busy_portal(emulator, caller):
    """A fault for fetchResources alone answers it with any status."""
    action = faults.status(429, {"Retry-After": "1"})
    emulator.faults.add("portal", call="fetchResources", action=action)
    response = caller.post("fetchResources", {"root": caller.reference("/"), "depth": "1"})
    assert (response.status_code, response.headers["Retry-After"]) == (429, "1")
    assert caller.names("/") == ["My Files", "Users"]


def test_edited_answer(emulator, caller):
    """A fault may change what an answer says, in either format."""
    action = faults.answer(lambda value: {**value, "items": [], "hasMore": True})
    emulator.faults.add("portal", call="fetchResources", times=2, action=action)
    told = caller.fetch("/My Files")
    assert (told["items"], told["hasMore"]) == ([], True)
    parameter = {"root": caller.reference("/My Files"), "depth": "1"}
    text = caller.post("fetchResources", parameter, query="").text
    assert '<att id="items"><list></list></att>' in text
    assert caller.fetch("/My Files")["hasMore"] is False


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        ("text", "object"),
        ({"root": "/", "start": "x"}, "numbers"),
        ({"root": "/", "limit": "-1"}, "limit"),
    ],
    ids=str,
)
def test_bad_parameters(caller, parameter, words):
    """A parameter that is not right is 500 with a message."""
    response = caller.post("fetchResources", parameter)
    assert response.status_code == 500
    assert words in response.text


def test_body_that_is_not_xml(caller):
    """A body that is not XML is 500, and the session goes on."""
    url = f"{caller.base}/api"
    assert caller.session.post(url, data=b"<obj").status_code == 500
    assert caller.session.post(url, data=b"<html/>").status_code == 500
    assert caller.names("/") == ["My Files", "Users"]


def test_prefix_before_the_context():
    """A portal behind a path prefix answers below it."""
    with Emulator(prefix="/tenant", tree={"a": b"1"}) as portal:
        caller = Caller(portal)
        with caller.session:
            response = caller.login(portal.username, portal.password)
            assert "Path=/tenant/ServicesPortal;" in response.headers["Set-Cookie"]
            assert caller.names("/My Files") == ["a"]
