"""``wsgi.file_response``: what it answers to which request (RFC 9110, RFC 6266)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctera_direct_sync import DirectIO
from ctera_direct_sync.emulator import Emulator
from tests.support.wsgi import DATA, ask

from .conftest import Fetched

wsgi = pytest.importorskip("ctera_direct_sync.wsgi")


@pytest.fixture
def file_id(portal: Emulator) -> int:
    """DATA in five blocks."""
    return portal.add(DATA, block_size=10_000)


# --- the whole file --------------------------------------------------------------------------------------


def test_get(client: DirectIO, file_id: int) -> None:
    """A plain GET gives all, with the headers that let a client ask for parts."""
    answer = ask(client, file_id)
    assert (answer.status, answer.body) == ("200 OK", DATA)
    assert answer.headers["Content-Length"] == "50000"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["ETag"].startswith('"') and len(answer.headers["ETag"]) == 34


def test_head(client: DirectIO, file_id: int, fetched: Fetched) -> None:
    """HEAD has the headers of GET, no body, and fetches no block; it knows no ranges."""
    whole, head = ask(client, file_id), ask(client, file_id, "HEAD", range="bytes=0-1")
    assert (head.code, head.headers, head.body) == (200, whole.headers, b"")
    assert len(fetched()) == 5


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods(client: DirectIO, portal: Emulator, file_id: int, method: str) -> None:
    """Anything but GET and HEAD is 405 that says what is allowed, without asking the portal."""
    answer = ask(client, file_id, method)
    assert (answer.code, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert portal.log.total("portal") == 0


@pytest.mark.parametrize("options", [{}, {"native": True}, {"listing": "ranged"}])
def test_empty_file(client: DirectIO, portal: Emulator, options: dict[str, Any]) -> None:
    """An empty file is 200 with nothing."""
    file_id = portal.add(b"", **options)
    answer = ask(client, file_id)
    assert (answer.code, answer.body, answer.headers["Content-Length"]) == (200, b"", "0")


# --- ranges ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=0-49999", 0, 49_999),
        ("bytes=9990-10009", 9990, 10_009),
        ("bytes=40000-", 40_000, 49_999),
        ("bytes=-1", 49_999, 49_999),
        ("bytes=-20000", 30_000, 49_999),
        ("bytes=-50001", 0, 49_999),
        ("bytes=-999999999999", 0, 49_999),
        ("bytes=49999-99999999999999999999", 49_999, 49_999),
        ("BYTES=5-6", 5, 6),
    ],
)
def test_range(client: DirectIO, file_id: int, header: str, start: int, end: int) -> None:
    """Single, open and suffix ranges are 206 with what they name, cut at the end of the file."""
    answer = ask(client, file_id, range=header)
    assert answer.status == "206 Partial Content"
    assert answer.body == DATA[start : end + 1]
    assert answer.headers["Content-Range"] == f"bytes {start}-{end}/50000"


def test_range_fetches_its_blocks_alone(client: DirectIO, file_id: int, fetched: Fetched) -> None:
    """A range costs the blocks that it lies in."""
    ask(client, file_id, range="bytes=15000-25000")
    assert sorted(fetched()) == [2, 3]


@pytest.mark.parametrize("header", ["bytes=50000-", "bytes=50000-50001", "bytes=99999999-"])
def test_unsatisfiable_range(client: DirectIO, file_id: int, fetched: Fetched, header: str) -> None:
    """A range past the end is 416 that tells the size."""
    answer = ask(client, file_id, range=header)
    assert answer.status == "416 Range Not Satisfiable"
    assert answer.headers["Content-Range"] == "bytes */50000"
    assert fetched() == []


@pytest.mark.parametrize(
    "header",
    [
        "bytes=0-1,3-4", "bytes=0-1, -5", "bytes=5-2", "bytes=", "bytes=a-b", "bytes", "items=0-1",
        "bytes=-", "bytes=--5", "bytes=1-2-3", "bytes=+1-2", "0-5",
    ],
)  # fmt: skip
def test_ignored_range(client: DirectIO, file_id: int, header: str) -> None:
    """Several ranges, and a header that is not a range of bytes, give the whole file."""
    answer = ask(client, file_id, range=header)
    assert (answer.code, answer.body) == (200, DATA)
    assert "Content-Range" not in answer.headers


@pytest.fixture(scope="module")
def module_client() -> Any:
    """A client and a file for many requests."""
    with Emulator() as portal:
        file_id = portal.add(DATA[:700], block_size=97)
        keys = (portal.url, portal.access_key_id, portal.secret_access_key)
        with DirectIO(*keys) as client:
            yield client, file_id


@given(st.text("bytes=0123456789-, ", max_size=25) | st.from_regex(r"bytes=\d{0,3}-\d{0,4}"))
@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
def test_any_range_header(module_client: Any, header: str) -> None:
    """No Range header makes it fail, and a 206 is what its Content-Range says."""
    client, file_id = module_client
    answer = ask(client, file_id, range=header.strip())
    if answer.code == 206:
        first, last = answer.headers["Content-Range"][6:].partition("/")[0].split("-")
        assert answer.body == DATA[:700][int(first) : int(last) + 1]
        assert answer.body
    elif answer.code == 200:
        assert answer.body == DATA[:700]
    else:
        assert answer.code == 416


# --- conditions ------------------------------------------------------------------------------------------


def test_etag_changes_with_the_file(client: DirectIO, portal: Emulator, file_id: int) -> None:
    """The ETag stays over renewed URLs, and is another for another content or file."""
    etag = ask(client, file_id, "HEAD").headers["ETag"]
    portal.expire_urls()
    assert ask(client, file_id, "HEAD").headers["ETag"] == etag
    assert ask(client, portal.add(DATA), "HEAD").headers["ETag"] != etag
    portal.replace(file_id, DATA + b"!")
    assert ask(client, file_id, "HEAD").headers["ETag"] != etag


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ("{}", 304),
        ("W/{}", 304),
        ('"x", {}', 304),
        ('"x",W/{} , "y"', 304),
        ("*", 304),
        ('"x"', 200),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_if_none_match(
    client: DirectIO, file_id: int, fetched: Fetched, form: str, code: int, method: str
) -> None:
    """If-None-Match, compared weakly, in a list or as *: 304 with the ETag and no body."""
    etag = ask(client, file_id, "HEAD").headers["ETag"]
    answer = ask(client, file_id, method, if_none_match=form.format(etag))
    assert answer.code == code
    assert answer.headers["ETag"] == etag
    if code == 304:
        assert answer.body == b"" and fetched() == []
        assert not {"Content-Length", "Content-Type", "Content-Range"} & set(answer.headers)


@pytest.mark.parametrize(
    ("form", "code"), [("{}", 200), ('"x", {}', 200), ("*", 200), ("W/{}", 412), ('"x"', 412)]
)
def test_if_match(client: DirectIO, file_id: int, form: str, code: int) -> None:
    """If-Match, compared strongly: 412 if the file is another."""
    etag = ask(client, file_id, "HEAD").headers["ETag"]
    answer = ask(client, file_id, if_match=form.format(etag))
    assert answer.code == code
    assert ask(client, file_id, "HEAD", if_match=form.format(etag)).code == code


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ("{}", 206), ('"x"', 200), ("W/{}", 200), ("*", 200),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 200), ("Fri, 01 Jan 2100 00:00:00 GMT", 200),
    ],
)  # fmt: skip
def test_if_range(client: DirectIO, file_id: int, form: str, code: int) -> None:
    """If-Range, compared strongly: anything but the file's ETag, a date too, gives the whole file."""
    etag = ask(client, file_id, "HEAD").headers["ETag"]
    answer = ask(client, file_id, range="bytes=1-2", if_range=form.format(etag))
    assert answer.code == code
    assert answer.body == (DATA[1:3] if code == 206 else DATA)


def test_if_range_does_not_hide_an_unsatisfiable_range(client: DirectIO, file_id: int) -> None:
    """If-Range fits: 416. If it does not, the range is not looked at."""
    etag = ask(client, file_id, "HEAD").headers["ETag"]
    assert ask(client, file_id, range="bytes=50000-", if_range=etag).code == 416
    assert ask(client, file_id, range="bytes=50000-", if_range='"x"').code == 200


def test_conditions_on_dates_do_not_apply(client: DirectIO, file_id: int) -> None:
    """Without a date of modification, If-Modified-Since and If-Unmodified-Since are ignored."""
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    assert ask(client, file_id, if_modified_since=date).code == 200
    assert ask(client, file_id, if_unmodified_since=date).code == 200


def test_if_none_match_goes_before_range(client: DirectIO, file_id: int) -> None:
    """A client that has the file gets 304, whatever range it asks for."""
    etag = ask(client, file_id, "HEAD").headers["ETag"]
    assert ask(client, file_id, range="bytes=0-1", if_none_match=etag).code == 304
    assert ask(client, file_id, range="bytes=99999-", if_none_match=etag).code == 304


# --- names and types -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filename", "disposition"),
    [
        ("report.pdf", 'attachment; filename="report.pdf"'),
        ("a b;c.txt", 'attachment; filename="a b;c.txt"'),
        ("Übung.txt", "attachment; filename=\"_bung.txt\"; filename*=UTF-8''%C3%9Cbung.txt"),
        ("日本.txt", "attachment; filename=\"__.txt\"; filename*=UTF-8''%E6%97%A5%E6%9C%AC.txt"),
        ('a"b\\c.txt', "attachment; filename=\"a_b_c.txt\"; filename*=UTF-8''a%22b%5Cc.txt"),
        ("100%.txt", "attachment; filename=\"100_.txt\"; filename*=UTF-8''100%25.txt"),
        ("a/b", "attachment; filename=\"a_b\"; filename*=UTF-8''a%2Fb"),
        ("a\r\nSet-Cookie: x", 'attachment; filename="a__Set-Cookie: x"'),
        ("\udcff.bin", "attachment; filename=\"_.bin\"; filename*=UTF-8''%3F.bin"),
    ],
)  # fmt: skip
def test_filename(client: DirectIO, file_id: int, filename: str, disposition: str) -> None:
    """Content-Disposition carries any name, safely."""
    assert (
        ask(client, file_id, "HEAD", filename=filename).headers["Content-Disposition"]
        == disposition
    )


def test_filenames_as_werkzeug_reads_them(client: DirectIO, file_id: int) -> None:
    """Another reader of RFC 6266 finds the name that was given."""
    from werkzeug.http import parse_options_header

    for name in ("plain.txt", "Übung 1.txt", "日本語.mp4", 'q"uote\\.txt'):
        header = ask(client, file_id, "HEAD", filename=name).headers["Content-Disposition"]
        assert parse_options_header(header) == ("attachment", {"filename": name})


@pytest.mark.parametrize(
    ("keywords", "wanted"),
    [
        ({"filename": "a.mp4"}, "video/mp4"),
        ({"filename": "a.html"}, "text/html"),
        ({"filename": "a.tar.gz"}, "application/octet-stream"),
        ({"filename": "a.unknown-thing"}, "application/octet-stream"),
        ({"filename": "a.mp4", "content_type": "video/webm"}, "video/webm"),
        ({"content_type": "text/plain; charset=utf-8"}, "text/plain; charset=utf-8"),
    ],
)
def test_content_type(
    client: DirectIO, file_id: int, keywords: dict[str, str], wanted: str
) -> None:
    """The type is as given, else told from the name."""
    assert ask(client, file_id, "HEAD", **keywords).headers["Content-Type"] == wanted
