"""Responses to files that are named by a path on the portal or by an `Entry`."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

import pytest

from ctera_direct_sync import DirectIO, Namespace, Settings
from ctera_direct_sync.emulator import Emulator, faults
from tests.support.wsgi import ask

wsgi = pytest.importorskip("ctera_direct_sync.wsgi")

DATA = b"%PDF a"
#: Names that are dangerous or lost where they are put into a header as they are.
ODD_NAMES = [
    *(
        'say "hi".pdf',
        "back\\slash.pdf",
        "100%41.pdf",
        "a;b=c,d.pdf",
        " blanks .pdf",
        "tab\there.pdf",
    ),
    *(
        "r\u00e9sum\u00e9.pdf",
        "re\u0301sume\u0301.pdf",
        "\U0001f4a7.pdf",
        "line\r\nX-Injected: yes.pdf",
    ),
    *("..hidden.pdf", "data:text,x.pdf", "a'b*c.pdf", "filename=x.pdf", "report\u202efdp.exe"),
]


@pytest.fixture
def portal() -> Iterator[Emulator]:
    """A portal with a file."""
    with Emulator(tree={"a.pdf": DATA, "folder": {}}) as emulator:
        yield emulator


@pytest.fixture
def names(portal: Emulator, quick: Settings) -> Iterator[Namespace]:
    """The view of the portal's user."""
    account = portal.username, portal.password
    with Namespace(portal.url, *account, settings=quick) as names:
        yield names


@pytest.fixture
def client(portal: Emulator, quick: Settings, names: Namespace) -> Iterator[DirectIO]:
    """A client that looks paths up in `names`."""
    keys = portal.access_key_id, portal.secret_access_key
    with DirectIO(portal.url, *keys, settings=quick, namespace=names) as client:
        yield client


def call(client: DirectIO, file: Any, method: str = "GET", **keywords: Any) -> Any:
    """Return the response to a request."""
    return wsgi.file_response(client, file, {"REQUEST_METHOD": method}, **keywords)


def parse(disposition: str) -> tuple[str, str]:
    """Return the plain file name of a Content-Disposition, and the extended one or the plain again.

    The grammar is that of RFC 6266, section 4.1, with the quoted-string that all browsers read alike.
    """
    match = re.fullmatch(
        r"attachment; filename=\"([ !#-\[\]-~]*)\"(?:; filename\*=UTF-8''([A-Za-z0-9._~%-]*))?",
        disposition,
    )
    assert match is not None, disposition
    plain, extended = match.groups()
    return plain, plain if extended is None else unquote(extended, errors="strict")


def test_a_path_names_the_file(client: DirectIO) -> None:
    """A path gives the response its name and type. So does an entry."""
    with_path = ask(client, "/My Files/a.pdf")
    assert with_path.code == 200
    assert with_path.body == DATA
    assert with_path.headers["Content-Type"] == "application/pdf"
    assert with_path.headers["Content-Disposition"] == 'attachment; filename="a.pdf"'


def test_an_entry_names_the_file(client: DirectIO, names: Namespace) -> None:
    """An entry gives the response its name and type."""
    answer = ask(client, names.stat("/My Files/a.pdf"))
    assert answer.body == DATA
    assert answer.headers["Content-Type"] == "application/pdf"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="a.pdf"'


def test_an_id_names_nothing(client: DirectIO, portal: Emulator) -> None:
    """Of an ID no name is known."""
    answer = ask(client, portal.tree.file_id("/My Files/a.pdf"))
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert "Content-Disposition" not in answer.headers


def test_flask_names_the_file(client: DirectIO) -> None:
    """A response of Flask has the name and type of the path."""
    flask = pytest.importorskip("flask")
    app = flask.Flask(__name__)
    app.add_url_rule("/", "file", lambda: wsgi.flask_response(client, "/My Files/a.pdf"))
    answer = app.test_client().get("/")
    assert answer.data == DATA
    assert answer.headers["Content-Type"] == "application/pdf"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="a.pdf"'


def test_the_caller_decides(client: DirectIO) -> None:
    """A file name and a type that the caller gives win over those of the path."""
    answer = call(client, "/My Files/a.pdf", filename="b.txt", content_type="text/x-other")
    headers = dict(answer.headers)
    assert headers["Content-Type"] == "text/x-other"
    assert headers["Content-Disposition"] == 'attachment; filename="b.txt"'


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_is_safe_in_the_header(client: DirectIO, portal: Emulator, name: str) -> None:
    """Any name of the portal arrives as it is, except for what could mislead, and adds no header."""
    portal.tree.create(f"/My Files/odd/{name}", DATA)
    answer = ask(client, f"/My Files/odd/{name}")
    assert answer.code == 200
    assert "X-Injected" not in answer.headers
    plain, found = parse(answer.headers["Content-Disposition"])
    assert "/" not in plain
    expected = re.sub("[\r\n\t\u202e]", "_", name)
    assert found == expected
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("file", ["/My Files/none.pdf", "/My Files/folder", "/"])
def test_what_is_no_file_is_not_found(client: DirectIO, file: str) -> None:
    """A path that leads to nothing, or to a folder, is answered 404."""
    assert call(client, file).code == 404


def test_a_denied_path_is_forbidden(client: DirectIO, portal: Emulator) -> None:
    """A path that the user may not look at is answered 403."""
    portal.tree.create("/My Files/secret/a.pdf", DATA)
    portal.tree.deny("/My Files/secret")
    assert call(client, "/My Files/secret/a.pdf").code == 403


def test_a_portal_without_an_answer_is_a_timeout(client: DirectIO, portal: Emulator) -> None:
    """The time limit counts for the lookup of the path as well, and the log names the path."""
    portal.faults.add("portal", call="fetchResources", times=None, action=faults.stall())
    assert call(client, "/My Files/a.pdf", timeout=0.2).code == 504


@pytest.mark.parametrize("make", [lambda path, names: path, lambda path, names: names.stat(path)])
def test_the_log_names_the_path(
    client: DirectIO,
    portal: Emulator,
    names: Namespace,
    make: Callable[[str, Namespace], Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log line of a failed response names the path, on one line."""
    path = "/My Files/two\nlines.pdf"
    portal.tree.create(path, DATA)
    file = make(path, names)
    portal.remove(portal.tree.file_id(path))
    with caplog.at_level(logging.WARNING, "ctera_direct_sync.wsgi"):
        assert call(client, file).code == 404
    (line,) = [record.getMessage() for record in caplog.records if record.name.endswith("wsgi")]
    assert repr(path) in line
    assert "\n" not in line
    assert "permalink" not in line


def test_errors_of_a_cut_listing_name_the_path(
    client: DirectIO, names: Namespace, portal: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """The error of a wait that was cut off has the path of an entry as its file name."""
    entry = names.stat("/My Files/a.pdf")
    portal.faults.add("portal", entry.file_id, times=None, action=faults.stall())
    with caplog.at_level(logging.WARNING, "ctera_direct_sync.wsgi"):
        assert call(client, entry, timeout=0.2).code == 504
    (line,) = [record.getMessage() for record in caplog.records if record.name.endswith("wsgi")]
    assert "cut off: file '/My Files/a.pdf'" in line
    assert "Entry(" not in line
