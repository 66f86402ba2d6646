"""How h11 and http.client read the same answer, and where the client may accept what h11 refuses."""

from __future__ import annotations

import http.client
import io
import re
import warnings
from collections.abc import Iterable
from typing import NamedTuple

import h11

from tests.schedules_http.exchange import Case, Take, check
from tests.schedules_http.model import Mark

__all__ = ["Answer", "compare", "read_by_client", "read_by_h11", "read_by_http_client"]

#: Headers that decide what an answer means.
_MEANINGFUL = frozenset(
    {"content-type", "content-length", "content-encoding", "content-range", "etag", "location",
     "retry-after", "transfer-encoding"}
)  # fmt: skip
#: http.client would make room for what a chunk only promises.
_MORE_THAN_ANY_BODY_BYTES = 1_000_000


class Answer(NamedTuple):
    """What a reader makes of an answer."""

    status: int
    headers: dict[str, str]
    body: bytes


class Difference(AssertionError):
    """Two readers make different things of the same bytes."""


def _join(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in fields:
        name, value = name.lower(), value.strip(" \t")
        if name == "transfer-encoding":
            value = value.lower()
        if name in _MEANINGFUL:
            joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def read_by_client(data: bytes) -> Answer | None:
    """Return the client's reading, None if it refuses the answer."""
    outcome = check(Case([(Mark.REQUEST, data, Mark.END)], [Take.WHOLE]))[0]
    if outcome.error:
        return None
    return Answer(outcome.status, _join(outcome.headers.items()), outcome.body)


def read_by_h11(data: bytes) -> Answer | None:
    """Return h11's reading, None if it refuses the answer."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=len(data) + 1)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    status, fields, body = 0, [], b""
    try:
        connection.receive_data(data)
        connection.receive_data(b"")
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Response):
                status = event.status_code
                fields = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in event.headers]
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return Answer(status, _join(fields), body)
            elif not isinstance(event, h11.InformationalResponse):
                return None
    except h11.ProtocolError:
        return None


class _Socket:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return the answer as a file."""
        return io.BufferedReader(io.BytesIO(self._data))  # type: ignore[arg-type]


def read_by_http_client(data: bytes) -> Answer | None:
    """Return the standard library's reading, None if it refuses the answer."""
    response = http.client.HTTPResponse(_Socket(data), method="GET")  # type: ignore[arg-type]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            response.begin()
            body = response.read(_MORE_THAN_ANY_BODY_BYTES)
    except (http.client.HTTPException, ValueError, OSError):
        return None
    return Answer(response.status, _join(response.getheaders()), body)


#: What the client accepts and h11 refuses, and why that is safe: no caller sees the bytes.
_TOLERATED = {
    "empty lines before a status line carry nothing, and come from servers that end a body by one":
        re.compile(rb"(.*\r\n\r\n)?[\r\n]+HTTP/1", re.DOTALL),
    "a control byte in the reason phrase, which is dropped":
        re.compile(rb"(.*\r\n)?HTTP/1\.[01] \d{3} [^\r\n]*[\x00\x0b\x0c]", re.DOTALL),
    "Transfer-Encoding: identity, which RFC 2616 knew, and which means no coding":
        re.compile(rb".*\r\ntransfer-encoding:[ \t]*identity[ \t]*\r\n", re.DOTALL | re.IGNORECASE),
    "a Transfer-Encoding among trailers, which are dropped":
        re.compile(
            rb".*\r\n0+(;[^\r\n]*)?\r\n([^\r\n]+\r\n)*transfer-encoding:", re.DOTALL | re.IGNORECASE
        ),
    "numbers with many zeros in front, of chunks or of the length":
        re.compile(rb".*(\r\n|:[ \t]*)0{15,}[0-9a-f]*", re.DOTALL | re.IGNORECASE),
}  # fmt: skip


def compare(data: bytes) -> tuple[bool, str]:
    """Compare the three readers.

    Args:
        data: All that a server sends before it closes the connection.

    Returns:
        Whether all three accept the answer, and why the client may accept what h11 refuses, or "".

    Raises:
        Difference: They accept it and read different things, or the client is lenient without a reason.
    """
    ours, by_h11, by_stdlib = read_by_client(data), read_by_h11(data), read_by_http_client(data)
    if ours is None:
        return False, ""
    # It takes each interim response but 100 for the final one, and reads the chunks of a response that
    # cannot have content (RFC 9112, section 6.3).
    if (
        by_stdlib is not None
        and by_stdlib.status >= 200
        and by_stdlib.status not in (204, 304)
        and by_stdlib != ours
        and by_h11 is not None
    ):
        raise Difference(f"the client reads {ours}, http.client reads {by_stdlib}\n    in {data!r}")
    if by_h11 is not None:
        if by_h11 != ours:
            raise Difference(f"the client reads {ours}, h11 reads {by_h11}\n    in {data!r}")
        return by_stdlib is not None, ""
    for reason, pattern in _TOLERATED.items():
        if pattern.match(data):
            return False, reason
    raise Difference(f"the client accepts {ours}, and h11 does not\n    in {data!r}")
