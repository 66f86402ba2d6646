"""``wsgi.file_response``: what it answers to which request (RFC 9110, RFC 6266)."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctera_direct_sync import DirectIO, StreamError
from ctera_direct_sync.emulator import Emulator, SyntheticSource, faults

from .conftest import Fetched

wsgi = pytest.importorskip("ctera_direct_sync.wsgi")

DATA = SyntheticSource(50_000, seed=2).read(0, 50_000)


class Answer:
    """A response, read to the end through wsgiref's validator."""

    def __init__(self, status: str, headers: list[tuple[str, str]], body: bytes) -> None:
        self.code = int(status[:3])
        self.status = status
        self.headers = dict(headers)
        assert len(self.headers) == len(headers), "a header comes twice"
        self.body = body


def ask(client: DirectIO, file_id: int, method: str = "GET", **headers: str) -> Answer:
    """Send a request through a validated WSGI application."""
    keywords = {name: headers.pop(name) for name in ("filename", "content_type") if name in headers}
    environ: dict[str, Any] = {"REQUEST_METHOD": method, "QUERY_STRING": ""}
    environ.update((f"HTTP_{name.upper()}", value) for name, value in headers.items())
    setup_testing_defaults(environ)
    started: list[Any] = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        answer = wsgi.file_response(client, file_id, environ, **keywords)
        assert answer.code == int(answer.status.split()[0])
        start_response(answer.status, answer.headers)
        return answer.body

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        started[:] = [status, headers]
        return lambda data: None

    body = validator(app)(environ, start_response)
    data = b"".join(body)
    body.close()
    answer = Answer(*started, data)
    if "Content-Length" in answer.headers and method != "HEAD":
        assert int(answer.headers["Content-Length"]) == len(data)
    return answer


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
    """Several ranges, and what is no range of bytes, give the whole file."""
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
        ("a\r\nSet-Cookie: x", "attachment; filename=\"a__Set-Cookie: x\"; "
         "filename*=UTF-8''a%0D%0ASet-Cookie%3A%20x"),
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


# --- what goes wrong -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "action", "code"),
    [
        ("portal", faults.status(400), 404),
        ("portal", faults.status(401), 403),
        ("portal", faults.status(403), 403),
        ("portal", faults.status(422), 502),
        ("portal", faults.status(500), 502),
        ("portal", faults.status(503), 502),
        ("portal", faults.garbage(), 502),
        ("storage", faults.status(404), 502),
        ("storage", faults.status(503), 502),
        ("storage", faults.corrupt(), 502),
        ("storage", faults.reset(), 502),
    ],
)
@pytest.mark.parametrize("header", [None, "bytes=3-4"])
def test_errors_before_the_first_byte(
    client: DirectIO,
    portal: Emulator,
    file_id: int,
    caplog: pytest.LogCaptureFixture,
    where: str,
    action: Any,
    code: int,
    header: str | None,
) -> None:
    """What fails up to the first block is a status; the visitor learns no more, the log does."""
    caplog.set_level(logging.WARNING, "ctera_direct_sync.wsgi")
    portal.faults.add(where, block=1 if where == "storage" else None, times=None, action=action)
    answer = ask(client, file_id, **({"range": header} if header else {}))
    assert answer.code == code
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert not {"ETag", "Accept-Ranges", "Content-Disposition"} & set(answer.headers)
    assert portal.url not in answer.body.decode() and str(file_id) not in answer.body.decode()
    assert f"file {file_id}: answered {code}" in caplog.text
    assert portal.access_key_id not in caplog.text and "Signature" not in caplog.text


@pytest.mark.parametrize("where", ["portal", "storage"])
def test_no_answer_in_time_is_504(
    make_client: Callable[..., DirectIO], portal: Emulator, file_id: int, where: str
) -> None:
    """A portal or a storage that does not answer is a gateway's timeout."""
    from ctera_direct_sync.settings import Endpoint

    impatient = {"api": Endpoint(timeout=0.1), "storage": Endpoint(timeout=0.1), "retries": 0}
    portal.faults.add(where, times=None, action=faults.stall())
    assert ask(make_client(**impatient), file_id).code == 504


def test_wrong_key_is_502(
    portal: Emulator, file_id: int, make_client: Callable[..., DirectIO]
) -> None:
    """A key that does not fit is the server's own trouble."""
    client = make_client(portal.url, portal.access_key_id, "d3Jvbmc=")
    assert ask(client, file_id).code == 502


def test_head_of_an_unknown_file(client: DirectIO) -> None:
    """HEAD of what is not there is 404 without a body."""
    answer = ask(client, 99, "HEAD")
    assert (answer.code, answer.body) == (404, b"")


def test_file_listed_in_part(client: DirectIO, portal: Emulator) -> None:
    """Never are the listed bytes sent as if they were the whole: 502, but a listed range is served."""
    file_id = portal.add(DATA, block_size=1000, listing="ranged", listed_range=(1000, 3000))
    assert ask(client, file_id).code == 502
    assert ask(client, file_id, range="bytes=0-10").code == 502
    assert ask(client, file_id, range="bytes=1000-2999").body == DATA[1000:3000]


def test_later_error_ends_the_body(client: DirectIO, portal: Emulator, file_id: int) -> None:
    """After the first byte an error ends the body, which is then shorter than was said."""
    portal.faults.add("storage", block=3, times=None, action=faults.status(404))
    answer = wsgi.file_response(client, file_id, {"REQUEST_METHOD": "GET"})
    body = iter(answer.body)
    got = next(body) + next(body)
    with pytest.raises(StreamError):
        next(body)
    answer.body.close()
    assert got == DATA[:20_000]


def test_programming_errors_are_raised(client: DirectIO, file_id: int) -> None:
    """A closed client or a file ID that is none is no 502 but the developer's to see."""
    with pytest.raises(TypeError):
        wsgi.file_response(client, "12", {})
    client.close()
    with pytest.raises(ValueError, match="closed"):
        wsgi.file_response(client, file_id, {})


def test_close_stops_the_downloads(
    make_client: Callable[..., DirectIO], portal: Emulator, fetched: Fetched
) -> None:
    """close() ends what is under way; nothing more is fetched; it may come again and at any time."""
    client = make_client(memory=40_000)
    file_id = portal.add(DATA, block_size=1000)
    held = portal.faults.add("storage", block=2, times=None, action=faults.stall())
    answer = wsgi.file_response(client, file_id, {})
    assert held.wait()
    answer.body.close()
    with pytest.raises(StreamError):
        list(answer.body)
    answer.body.close()
    # The stream was stuck at block 2: what its memory held by then, at 2 bytes for each of a block.
    assert len(fetched()) <= 40
    assert ask(client, file_id, range="bytes=0-1").code == 206
    client.close()
    assert len(fetched()) <= 41


def test_close_while_waiting_for_a_block(client: DirectIO, portal: Emulator, file_id: int) -> None:
    """close() from another thread ends an iteration that waits, by an error."""
    held = portal.faults.add("storage", block=2, times=None, action=faults.stall())
    answer = wsgi.file_response(client, file_id, {})
    body = iter(answer.body)
    assert next(body) == DATA[:10_000]
    closer = threading.Thread(target=lambda: (held.wait(), answer.body.close()))
    closer.start()
    with pytest.raises(StreamError):
        list(body)
    closer.join()


def test_without_werkzeug(tmp_path: Any) -> None:
    """Without the extra, importing says which one to install, not the first Range request."""
    program = (
        "import sys; sys.modules['werkzeug'] = None\n"
        "try:\n    import ctera_direct_sync.wsgi\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "ctera-direct-sync[web]" in done.stdout


# --- frameworks, in process ------------------------------------------------------------------------------


def test_flask(client: DirectIO, file_id: int) -> None:
    """flask_response is a flask.Response with the same status, headers and body."""
    flask = pytest.importorskip("flask")
    app = flask.Flask(__name__)

    @app.route("/<int:number>", methods=["GET", "HEAD"])
    def serve(number: int) -> Any:
        return wsgi.flask_response(client, number, filename="a.mp4")

    visitor = app.test_client()
    with visitor.get(f"/{file_id}") as response:
        assert (response.status_code, response.data) == (200, DATA)
        assert response.headers["Content-Disposition"] == 'attachment; filename="a.mp4"'
        assert response.headers["Content-Type"] == "video/mp4"
    with visitor.get(f"/{file_id}", headers={"Range": "bytes=-10"}) as response:
        assert (response.status_code, response.data) == (206, DATA[-10:])
        assert response.headers["Content-Range"] == "bytes 49990-49999/50000"
        etag = response.headers["ETag"]
    with visitor.get(f"/{file_id}", headers={"If-None-Match": etag}) as response:
        assert (response.status_code, response.data) == (304, b"")
    with visitor.head(f"/{file_id}") as response:
        assert (response.content_length, response.data) == (50_000, b"")
    assert visitor.get("/99").status_code == 404


def test_flask_send_file(client: DirectIO, file_id: int) -> None:
    """Flask's own send_file takes an open file, too; without ranges, and with errors as exceptions."""
    flask = pytest.importorskip("flask")
    app = flask.Flask(__name__)

    @app.route("/")
    def serve() -> Any:
        return flask.send_file(client.open(file_id), download_name="a.bin")

    with app.test_client().get("/") as response:
        assert response.data == DATA


def test_django(client: DirectIO, file_id: int) -> None:
    """django_response is a StreamingHttpResponse with the same; FileResponse takes an open file."""
    django = pytest.importorskip("django")
    from django.conf import settings as django_settings

    if not django_settings.configured:
        django_settings.configure(ALLOWED_HOSTS=["*"], DEFAULT_CHARSET="utf-8")
        django.setup()
    from django.http import FileResponse
    from django.test import RequestFactory

    make = RequestFactory()
    response = wsgi.django_response(make.get("/"), client, file_id, filename="a.mp4")
    assert (response.status_code, response.streaming) == (200, True)
    assert b"".join(response) == DATA
    assert response["Content-Length"] == "50000" and response["Content-Type"] == "video/mp4"
    response.close()
    request = make.get("/", HTTP_RANGE="bytes=10000-", HTTP_IF_RANGE=response["ETag"])
    response = wsgi.django_response(request, client, file_id)
    assert response.status_code == 206 and b"".join(response) == DATA[10_000:]
    response.close()
    response = wsgi.django_response(make.head("/"), client, file_id)
    assert b"".join(response) == b"" and response["Content-Length"] == "50000"
    assert wsgi.django_response(make.get("/"), client, 99).status_code == 404
    response = FileResponse(client.open(file_id), as_attachment=True, filename="a.bin")
    assert response["Content-Length"] == "50000" and b"".join(response) == DATA
    response.close()
