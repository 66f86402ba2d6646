"""`tools/probe-portal.py` against an emulated portal: right answers, and nothing that names anyone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ctera_direct_sync.emulator import Emulator, faults
from tests.support.programs import load_program

PROGRAM = Path(__file__).parents[3] / "tools" / "probe-portal.py"
FOLDER = "/My Files/Quarterly Figures"
FILES = {"Merger Plan.docx": b"a", "Salaries.xlsx": b"bb", "Notes": {"Todo.txt": b"c"}}
NAMES = [
    "Merger",
    "Plan",
    "Salaries",
    "Quarterly",
    "Figures",
    "Notes",
    "Todo",
    "My Files",
    "Old Draft",
]

pytestmark = pytest.mark.skipif(
    not PROGRAM.exists(), reason="an installed package is tested without the tools"
)


@pytest.fixture
def probe() -> Any:
    """Return the program as a module."""
    return load_program(PROGRAM)


@pytest.fixture
def portal() -> Any:
    """A portal whose names, IDs and hosts must not be told."""
    with Emulator(tree={"Quarterly Figures": FILES}) as emulator:
        emulator.accounts.add(
            "eve.adams", "pa55-w0rd", full_name="Eve Adams", role="ReadWriteAdmin"
        )
        emulator.tree.add_cloud_folder("My Files", {"Quarterly Figures": FILES}, owner="eve.adams")
        # The long poll of each report would take two seconds.
        emulator.portal_options.feed.poll = "at-once"
        yield emulator


def change(portal: Emulator) -> None:
    """Delete a file, and overwrite another."""
    folder = f"/Users/Eve Adams{FOLDER}"
    portal.tree.create(f"{folder}/Old Draft.txt", b"x")
    portal.tree.delete(f"{folder}/Old Draft.txt")
    portal.tree.overwrite(f"{folder}/Salaries.xlsx", b"ccc")


def ask(probe: Any, portal: Emulator, **options: Any) -> str:
    """Return the report about a portal."""
    return "\n".join(probe.report(portal.url, "eve.adams", "pa55-w0rd", FOLDER, **options))


def assert_anonymous(report: str, portal: Emulator) -> None:
    """Fail if a report tells a name, a host, an ID, a path or a token."""
    ids = [str(portal.tree.file_id(f"{FOLDER}/{name}")) for name in list(FILES)[:2]]
    ids += [str(node.state.file_id) for node in portal.tree.walk() if node.state.file_id]
    hosts = ["127.0.0.1", str(portal.url.rpartition(":")[2])]
    secrets = ["pa55-w0rd", "eve.adams", "Adams", "JSESSIONID", portal.access_key_id]
    for text in (*NAMES, *hosts, *secrets, *(each for each in ids if len(each) > 3)):
        assert not re.search(rf"\b{re.escape(text)}\b", report), text


OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "302": (
        {"session_over": "302"},
        "v1, no cookie: 302, text/html, Location /ServicesPortal/login.html",
    ),
    "302 elsewhere": (
        {"login_page": "/ServicesPortal/acme-inc/index.html"},
        "Location /<part>/<part>/<part>.html",
    ),
    "401": ({"session_over": "401"}, "v1, an unknown cookie: 401, text/xml, XML"),
    "html": ({"session_over": "html"}, "v1, no cookie: 200, text/html, a web page"),
    "folders have IDs": ({"folders_have_ids": True}, "folders have a fileId: [True]"),
    "folders have no IDs": ({"folders_have_ids": False}, "folders have a fileId: [False]"),
    "files have no IDs": ({"files_have_ids": False}, "files have a fileId: [False]"),
    "folder size": ({"folder_size": "null"}, "size of folders: ['null']"),
    "slash": ({"href_ends_in_slash": True}, "href of folders ends in a slash: [True]"),
    "WebDAV with IDs": (
        {},
        "fileId of the listing and ctera:fileid: {'the same': 2, 'different': 0",
    ),
    "WebDAV without IDs": ({"webdav_file_ids": False}, "'not told': 2}"),
    "versions with IDs": ({"versions_have_ids": True}, "versions 2; with a fileId: 2 of 2"),
    "versions without IDs": ({"versions_have_ids": False}, "versions 2; with a fileId: 1 of 2"),
    "no versions": ({"versions": False}, "500, text/xml, XML, msg: There is no method"),
    "zone": ({"utc_offset_s": 7200}, "lastmodified is ahead of WebDAV's by these minutes: [120]"),
    "page cap": ({"page_cap": 2}, "limit 5000 of a listing: 200, application/json, JSON; items 2"),
    "large pages are refused": (
        {"max_limit": 1000},
        "limit 5000 of a listing: 500, text/xml, XML, msg: limit must not exceed 1000",
    ),
    "infinity": ({"infinity": "children"}, "depth Infinity without filters: 200"),
    "stat": (
        {"stat_error_type": True},
        "stat of an unknown path: 200, application/json, JSON, errorType",
    ),
    "deleted with IDs": ({"deleted_have_ids": True}, "deleted items 1, with a fileId 1"),
    "deleted without IDs": ({"deleted_have_ids": False}, "deleted items 1, with a fileId 0"),
    "XML": ({"json_answers": False}, "a listing: 200, text/xml, XML"),
    "single sign-on": ({"has_web_sso": True}, "hasWebSSO True"),
}


@pytest.mark.parametrize(("options", "expected"), OPTIONS.values(), ids=OPTIONS)
def test_what_the_portal_does(
    probe: Any, portal: Emulator, options: dict[str, Any], expected: str
) -> None:
    """The report tells what the portal does, and nothing of what is on it."""
    for name, value in options.items():
        setattr(portal.portal_options, name, value)
    change(portal)
    report = ask(probe, portal)
    assert expected in report
    assert "acme" not in report
    assert_anonymous(report, portal)


def test_it_only_reads(probe: Any, portal: Emulator) -> None:
    """Nothing is created, changed or deleted, one password is sent, and the session is ended."""
    portal.portal_options.feed.poll = "wait"
    report = ask(probe, portal, access_key_id=portal.access_key_id)
    calls = {(record.method, record.call) for record in portal.requests}
    assert {call for method, call in calls if method == "POST"} <= {
        *("login", "logout", "fetchResources", "listSnapshots", "list", "longpoll"),
    } | {None, "metadata/list", "metadata/longpoll"}
    assert {method for method, _ in calls} <= {"GET", "POST", "PROPFIND"}
    assert [record.call for record in portal.requests].count("login") == 1
    assert portal.accounts.open_sessions == 0
    assert "/directio answers 200" in report
    assert "v1 with an access key ID: 200" in report
    assert "longpoll with timeout 2000: 200, application/json, JSON, after" in report
    assert_anonymous(report, portal)


def test_a_wrong_password_is_sent_once(probe: Any, portal: Emulator) -> None:
    """A refused sign-in ends the questions."""
    report = "\n".join(probe.report(portal.url, "eve.adams", "wrong-one", FOLDER))
    assert "the sign-in was refused" in report
    assert [record.call for record in portal.requests].count("login") == 1
    assert "wrong-one" not in report


def test_a_portal_that_is_not_there(probe: Any) -> None:
    """No address is told where nothing answers."""
    report = "\n".join(probe.report("http://127.0.0.1:9", "eve.adams", "x" * 5, FOLDER))
    assert "it failed: ConnectionError" in report
    assert "127.0.0.1" not in report


def test_malformed_xml_fails_its_question_alone(probe: Any, portal: Emulator) -> None:
    """WebDAV answers that are not XML cost two questions, and all others are answered."""
    portal.faults.add("portal", call="PROPFIND", times=None, action=faults.replace(b"<d:prop"))
    report = ask(probe, portal)
    assert report.count("it failed: ParseError") == 2
    assert "searchFilters: 200" in report
    assert portal.accounts.open_sessions == 0


def test_both_contexts_as_a_program(portal: Emulator) -> None:
    """The program takes the password from the environment, and asks in both contexts."""
    line = [sys.executable, str(PROGRAM), portal.url, "eve.adams", FOLDER]
    line += ["--context", "ServicesPortal", "--context", "admin"]
    environment = {**os.environ, "CTERA_DIRECT_PASSWORD": "pa55-w0rd"}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "## /admin" in done.stdout
    assert "role ReadWriteAdmin" in done.stdout
    assert_anonymous(done.stdout, portal)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("size must be between 0 and 250", "size must be between 0 and 250"),
        ("No permission for /My Files/a.doc", "No permission for / ... ... / a . ..."),
        ("User 4711 not found: eve@example.com", "User ... not found : ... @ ... . ..."),
    ],
)
def test_words_of_messages(probe: Any, text: str, shown: str) -> None:
    """Of a message only harmless words are shown, and numbers where they are limits."""
    assert probe.Anonymizer().words(text) == shown
