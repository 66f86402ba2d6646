"""Requests to the WSGI application that answers with a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

from ctera_direct_sync import DirectIO, wsgi
from ctera_direct_sync.emulator import SyntheticSource

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
