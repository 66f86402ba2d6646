"""What the portal does not take: unknown calls, missing rights, bodies that it does not read."""

from __future__ import annotations

import http.client
import os
import sys
from urllib.parse import urlsplit

import pytest

from ctera_direct_sync.emulator import Emulator, faults
from tests.support.portal_api import Caller


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Transfer-Encoding": "chunked"}, 411),
        ({"Content-Length": "9" * 30}, 413),
        ({"Content-Length": "2000000"}, 413),
        ({"Content-Length": "-1"}, 413),
    ],
    ids=str,
)
def test_bodies_that_are_not_read(emulator, headers, status):
    """A body without a length, or one that is too long, is refused, and the connection closed."""
    parts = urlsplit(emulator.url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
    connection.putrequest("POST", "/ServicesPortal/api")
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    assert (response.status, response.headers["Connection"]) == (status, "close")
    connection.close()


def test_unknown_attributes(caller):
    """An unknown attribute is 404."""
    for path in ("api/none", "api/rolesSettings/kingSettings", "public/none"):
        assert caller.get(path).status_code == 404


def test_settings_that_cannot_be_set(caller, admin):
    """Only an administrator chooses a portal, and only one that exists."""
    for each, value, status in ((caller, "emulator", 404), (admin, "other", 500)):
        url = f"{each.base}/api/currentPortal"
        assert each.session.put(url, data=f"<val>{value}</val>").status_code == status


def test_tickets_are_for_administrators(emulator, caller, admin):
    """Only an administrator gets a ticket, and only for a user that exists."""
    parameter = {"username": emulator.username, "portal": "emulator"}
    assert caller.post("getSessionToken", parameter).status_code == 403
    assert admin.post("getSessionToken", {"username": "none"}).status_code == 404


def test_keys_that_are_not_ones_own(emulator, make_caller):
    """Only the owner or an administrator deletes a key."""
    emulator.accounts.add("ann", "secret")
    ann = make_caller(name="ann", password="secret")
    owner = emulator.accounts.get(emulator.username).uid
    (key,) = emulator.accounts.keys(owner)
    assert ann.post("deleteApiKey", key.uid).status_code == 403
    assert ann.post("deleteApiKey", 9999).status_code == 404
    assert ann.post("createApiKey", "x").status_code == 500


def test_webdav_methods(caller):
    """Other methods than PROPFIND and GET, and other depths than 0 and 1, are refused."""
    url = f"{caller.base}/webdav/My%20Files"
    assert caller.session.put(url, data=b"x").status_code == 405
    headers = {"Depth": "infinity"}
    assert caller.session.request("PROPFIND", url, headers=headers).status_code == 403


def test_versions_below_a_denied_folder(emulator, caller):
    """The versions of a file below a denied folder are 403."""
    emulator.tree.deny("/My Files/docs")
    reference = caller.reference("/My Files/docs/report.pdf")
    assert caller.post("listSnapshots", reference).status_code == 403


def test_search_passes_denied_folders_over(emulator, caller):
    """A search finds nothing below a denied folder."""
    emulator.tree.deny("/My Files/docs")
    assert caller.names("/My Files", "Infinity", searchCriteria="t") == ["B.txt", "a.txt", "empty"]


@pytest.mark.parametrize(
    "value", ["text", {"field": "size", "operator": "eq", "value": "1"}], ids=str
)
def test_unknown_filters(caller, value):
    """An unknown filter is 500."""
    parameter = {"root": caller.reference("/"), "depth": "Infinity", "searchFilters": [value]}
    assert caller.post("fetchResources", parameter).status_code == 500


def test_edit_of_what_is_not_an_answer(emulator, caller, caplog):
    """A fault that edits an answer is an error of the test where no call returns a value."""
    emulator.faults.add("portal", action=faults.answer(lambda value: value))
    assert caller.session.get(f"{emulator.url}/directio/1").status_code == 500
    assert "the emulator failed" in caplog.text


def test_id_changes_on_undelete(emulator, caller):
    """An undeleted file gets another ID if the option says so."""
    emulator.portal_options.file_id_changes_on_undelete = True
    file_id = emulator.tree.file_id("/My Files/a.txt")
    emulator.tree.delete("/My Files/a.txt")
    emulator.tree.undelete("/My Files/a.txt")
    assert caller.stat("/My Files/a.txt")["fileId"] != file_id


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names cannot be any bytes")
def test_names_on_disk_that_xml_cannot_hold(tmp_path):
    """Files on disk of any name are served, each under a name that the API can hold."""
    for name in (b"a\x01b", b"a\x02b", b"\xff.bin"):
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
            file.write(b"1")
    (tmp_path / "d\x03").mkdir()
    (tmp_path / "d\x03" / "e").write_bytes(b"1")
    with Emulator(tmp_path) as portal:
        caller = Caller(portal)
        with caller.session:
            caller.login(portal.username, portal.password)
            listed = caller.fetch("/My Files", "Infinity")["items"]
    assert sorted(item["name"] for item in listed) == ["_.bin", "a_b", "a_b (2)", "d_", "e"]
    assert {item["size"] for item in listed if not item["isFolder"]} == {1}
