"""What ``wsgi.file_response`` lets into a header, and what middleware may make of the response."""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctera_direct_sync import DirectIO
from ctera_direct_sync.emulator import Emulator
from tests.support.net import serving_on_thread

wsgi = pytest.importorskip("ctera_direct_sync.wsgi")

DATA = b"abcdefghij" * 2000
INJECTING = "data:text/html\r\nX-Injected: yes,report.pdf"


@pytest.fixture
def file_id(portal: Emulator) -> int:
    """DATA in two blocks."""
    return portal.add(DATA, block_size=10_000)


@pytest.fixture(scope="module")
def module_client() -> Iterator[Any]:
    """A client and a file for many requests."""
    with Emulator() as portal:
        file_id = portal.add(DATA)
        keys = (portal.url, portal.access_key_id, portal.secret_access_key)
        with DirectIO(*keys) as client:
            yield client, file_id


def head(client: DirectIO, file_id: int, **keywords: Any) -> dict[str, str]:
    """The headers of a HEAD request."""
    return dict(wsgi.file_response(client, file_id, {"REQUEST_METHOD": "HEAD"}, **keywords).headers)


# --- names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filename", "wanted"),
    [
        (INJECTING, "application/pdf"),
        ("data:text/html,report.pdf", "application/pdf"),
        ("data:text/html", "application/octet-stream"),
        ("data:text/html;base64,report", "application/octet-stream"),
        ("DATA:text/html,x.png", "image/png"),
        ("http://a/b?c.html", "text/html"),
        ("x:a.tar.gz", "application/octet-stream"),
        ("a.b.PDF", "application/pdf"),
        ("a.pdf ", "application/octet-stream"),
        ("a.pdf\r\nX: y", "application/octet-stream"),
        ("a.pdf\n", "application/octet-stream"),
        ("pdf", "application/octet-stream"),
        (".pdf", "application/pdf"),
        ("a.tgz", "application/octet-stream"),
        ("a.svgz", "application/octet-stream"),
    ],
)
def test_type_by_the_extension_alone(
    client: DirectIO, file_id: int, filename: str, wanted: str
) -> None:
    """The name's extension decides the type, nothing else in the name does."""
    assert head(client, file_id, filename=filename)["Content-Type"] == wanted


@given(st.text(max_size=40) | st.from_regex(r"(?i)data:.{0,20}[\r\n]?.{0,20}"))
@settings(deadline=None, max_examples=200, suppress_health_check=list(HealthCheck))
def test_any_name_gives_sendable_headers(module_client: Any, filename: str) -> None:
    """No name can put a control character or a character that latin-1 lacks into a header."""
    for name, value in head(*module_client, filename=filename).items():
        assert f"{name}{value}".isprintable()
        value.encode("latin-1")


@pytest.mark.parametrize(
    "content_type", ["text/html\r\nX-Injected: yes", "text/html\n", "a\0b", "a\tb", "tëxt/日本"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_content_type_that_cannot_be_sent(
    client: DirectIO, portal: Emulator, file_id: int, content_type: str, method: str
) -> None:
    """A Content-Type of the caller's with a line break or the like is a ValueError, at once."""
    with pytest.raises(ValueError, match="content_type"):
        wsgi.file_response(client, file_id, {"REQUEST_METHOD": method}, content_type=content_type)
    assert portal.log.total("portal") == 0


# --- names, under real servers -----------------------------------------------------------------------


class _Quiet(WSGIRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@contextmanager
def _wsgiref(app: Any) -> Iterator[int]:
    server = make_server("127.0.0.1", 0, app, handler_class=_Quiet)
    with serving_on_thread(server):
        yield server.server_port


@contextmanager
def _werkzeug(app: Any) -> Iterator[int]:
    from werkzeug.serving import WSGIRequestHandler as Handler
    from werkzeug.serving import make_server as make

    class Quiet(Handler):
        def log(self, *arguments: Any) -> None:
            """Say nothing."""

    server = make("127.0.0.1", 0, app, request_handler=Quiet)
    with serving_on_thread(server):
        yield server.server_port


@contextmanager
def _cheroot(app: Any) -> Iterator[int]:
    cheroot = pytest.importorskip("cheroot.wsgi")
    server = cheroot.Server(("127.0.0.1", 0), app, numthreads=2)
    server.prepare()
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server.bind_addr[1]
    finally:
        server.stop()
        thread.join()


@pytest.mark.parametrize("serve", [_wsgiref, _werkzeug, _cheroot])
def test_name_injects_no_header(
    client: DirectIO, file_id: int, serve: Callable[[Any], Any]
) -> None:
    """Servers that send headers unchecked send none that a name made up."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        answer = wsgi.file_response(client, file_id, environ, filename=INJECTING)
        start_response(answer.status, answer.headers)
        return answer.body

    with serve(app) as port, socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
        received = b"".join(iter(lambda: sock.recv(65536), b""))
    headers, _, body = received.partition(b"\r\n\r\n")
    assert b"200 OK" in headers.splitlines()[0]
    assert b"\nX-Injected" not in headers
    assert b"application/pdf" in headers
    assert body == DATA


# --- ranges that leave nothing -----------------------------------------------------------------------


@pytest.mark.parametrize("header", ["bytes=-0", "bytes=-000", "BYTES = -0", " bytes=-0 "])
def test_last_zero_bytes(client: DirectIO, file_id: int, header: str) -> None:
    """A suffix of no bytes cannot be satisfied (RFC 9110, section 14.1.2), whatever werkzeug says."""
    answer = wsgi.file_response(client, file_id, {"HTTP_RANGE": header})
    assert answer.code == 416
    assert dict(answer.headers)["Content-Range"] == f"bytes */{len(DATA)}"


@pytest.mark.parametrize("options", [{}, {"native": True}, {"listing": "ranged"}])
@pytest.mark.parametrize("header", ["bytes=0-", "bytes=-5", "bytes=0-0", "bytes=7-9", "bytes=-0"])
def test_range_of_an_empty_file(
    client: DirectIO, portal: Emulator, options: dict[str, Any], header: str
) -> None:
    """A range of an empty file is 200 with nothing, as nginx answers."""
    answer = wsgi.file_response(client, portal.add(b"", **options), {"HTTP_RANGE": header})
    headers = dict(answer.headers)
    assert (answer.code, headers["Content-Length"], b"".join(answer.body)) == (200, "0", b"")
    assert "Content-Range" not in headers


# --- middleware that compresses ----------------------------------------------------------------------


def _flask_visitor(client: DirectIO, file_id: int) -> Callable[[str], tuple[int, Any, bytes]]:
    flask, compress = pytest.importorskip("flask"), pytest.importorskip("flask_compress")
    app = flask.Flask(__name__)
    compress.Compress(app)

    @app.route("/")
    def serve() -> Any:
        return wsgi.flask_response(client, file_id, filename="a.txt")

    def visit(header: str) -> tuple[int, Any, bytes]:
        with app.test_client().get(
            "/", headers={"Accept-Encoding": "gzip", "Range": header}
        ) as response:
            return response.status_code, response.headers, response.data

    return visit


def _django_visitor(client: DirectIO, file_id: int) -> Callable[[str], tuple[int, Any, bytes]]:
    django = pytest.importorskip("django")
    from django.conf import settings as django_settings

    if not django_settings.configured:
        django_settings.configure(ALLOWED_HOSTS=["*"], DEFAULT_CHARSET="utf-8")
        django.setup()
    from django.middleware.gzip import GZipMiddleware
    from django.test import RequestFactory

    serve = GZipMiddleware(
        lambda request: wsgi.django_response(request, client, file_id, filename="a.txt")
    )

    def visit(header: str) -> tuple[int, Any, bytes]:
        response = serve(RequestFactory().get("/", HTTP_ACCEPT_ENCODING="gzip", HTTP_RANGE=header))
        body = b"".join(response)
        response.close()
        return response.status_code, response.headers, body

    return visit


VISITORS = [_flask_visitor, _django_visitor]


@pytest.mark.parametrize("make_visitor", VISITORS)
def test_part_is_not_compressed(client: DirectIO, file_id: int, make_visitor: Any) -> None:
    """Compressing middleware leaves a 206 alone: its bytes are those that Content-Range names."""
    code, headers, body = make_visitor(client, file_id)("bytes=5000-14999")
    assert (code, body) == (206, DATA[5000:15000])
    assert headers["Content-Encoding"] == "identity"
    assert headers["Content-Length"] == "10000"
    assert headers["ETag"].startswith('"')
    assert ":" not in headers["ETag"]
    assert "no-transform" in headers["Cache-Control"]


@pytest.mark.parametrize("make_visitor", VISITORS)
def test_whole_file_may_be_compressed(client: DirectIO, file_id: int, make_visitor: Any) -> None:
    """A 200 is the site's to compress, since its ETag changes with that."""
    code, headers, body = make_visitor(client, file_id)("")
    assert code == 200
    assert (gzip.decompress(body) if headers.get("Content-Encoding") == "gzip" else body) == DATA


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"HTTP_IF_NONE_MATCH": "{etag}," + 5000 * " "}, 200),
        ({"HTTP_IF_MATCH": "{etag}," + 5000 * " "}, 412),
        ({"HTTP_RANGE": "bytes=0-" + 5000 * "0" + "9"}, 200),
        ({"HTTP_RANGE": "bytes=0-9", "HTTP_IF_RANGE": "{etag}" + 5000 * " "}, 200),
    ],
)
def test_headers_without_end(
    client: DirectIO, file_id: int, headers: dict[str, str], status: int
) -> None:
    """A header of thousands of characters is not parsed, which could take minutes: it names nothing."""
    etag = head(client, file_id)["ETag"]
    environ = {name: value.format(etag=etag) for name, value in headers.items()}
    response = wsgi.file_response(client, file_id, environ)
    getattr(response.body, "close", int)()
    assert response.code == status
