"""``file_response``: what goes wrong, and within Flask and Django."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from ctera_direct_sync import DirectIO, StreamError
from ctera_direct_sync.emulator import Emulator, faults
from tests.support.wsgi import DATA, ask

from .conftest import Fetched

wsgi = pytest.importorskip("ctera_direct_sync.wsgi")


@pytest.fixture
def file_id(portal: Emulator) -> int:
    """DATA in five blocks."""
    return portal.add(DATA, block_size=10_000)


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
    """A closed client or a malformed file ID is not a 502, but raised for the developer."""
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
