"""WebDAV: PROPFIND with the properties that lead to Direct IO, and GET."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

DAV = "{DAV:}"
CTERA = "{http://www.ctera.com/ns}"


@pytest.fixture
def propfind(caller):
    """Ask for the properties of a path; return href, ID and GUID of each resource."""

    def ask(path: str, depth: str = "1"):
        url = caller.base[: -len(caller.context) - 1] + caller.reference(path)
        response = caller.session.request("PROPFIND", url, headers={"Depth": depth})
        assert response.status_code == 207, response.status_code
        return [
            (
                each.findtext(f"{DAV}href"),
                each.findtext(f".//{CTERA}fileid"),
                each.findtext(f".//{CTERA}guid"),
                each.findtext(f".//{DAV}getcontentlength"),
            )
            for each in ElementTree.fromstring(response.content)
        ]

    return ask


def test_file(emulator, propfind):
    """A file's properties have the ID that fetchResources tells, and the tree's GUID."""
    ((href, file_id, guid, size),) = propfind("/My Files/docs/report.pdf", "0")
    assert href == "/ServicesPortal/webdav/My%20Files/docs/report.pdf"
    assert file_id == str(emulator.tree.file_id("/My Files/docs/report.pdf"))
    assert (guid, size) == (emulator.tree.node("/My Files/docs/report.pdf").guid, "4")


def test_folder(propfind):
    """Depth 1 has the folder itself first, then its children; a folder's href ends in a slash."""
    hrefs = [href for href, *_ in propfind("/My Files/docs")]
    start = "/ServicesPortal/webdav/My%20Files/docs/"
    assert hrefs == [start, f"{start}old/", f"{start}report.pdf"]


def test_id_in_webdav_only(emulator, caller, propfind):
    """A portal may tell the ID of a file by WebDAV, and not in its listings."""
    emulator.portal_options.files_have_ids = False
    assert "fileId" not in caller.stat("/My Files/a.txt")
    ((_, file_id, _, _),) = propfind("/My Files/a.txt", "0")
    assert file_id == str(emulator.tree.file_id("/My Files/a.txt"))


def test_older_portal(emulator, propfind):
    """An older portal does not know the file ID."""
    emulator.portal_options.webdav_file_ids = False
    ((_, file_id, guid, _),) = propfind("/My Files/a.txt", "0")
    assert file_id is None and guid is not None


def test_refusals(emulator, caller):
    """Unknown paths are 404, denied ones 403, ended sessions 302."""
    emulator.tree.deny("/My Files/docs")
    for path, status in (("/My Files/none", 404), ("/My Files/docs", 403)):
        url = caller.base[: -len(caller.context) - 1] + caller.reference(path)
        response = caller.session.request("PROPFIND", url, headers={"Depth": "1"})
        assert response.status_code == status
    emulator.accounts.expire_sessions()
    response = caller.session.request("PROPFIND", url, allow_redirects=False)
    assert response.status_code == 302


def test_get(caller):
    """GET gives a file's content."""
    response = caller.session.get(f"{caller.base}/webdav/My%20Files/docs/report.pdf")
    assert (response.status_code, response.content) == (200, b"%PDF")
    assert caller.session.get(f"{caller.base}/webdav/My%20Files/docs").status_code == 405
