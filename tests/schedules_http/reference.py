"""A small reader of whole HTTP/1 responses to GET, to judge the client's reader by.

It sees all bytes at once, and goes by regular expressions from RFC 9112. A comment says where it follows
the client and not the RFC, and why that does no harm.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

__all__ = ["MAX_HEAD_BYTES", "Reading", "read_response"]

MAX_HEAD_BYTES = 64 * 1024
#: One `recv` more than the limit may come before the client looks.
_RECV_BYTES = 64 * 1024

# A reason phrase may hold any byte but line ends: the client drops it unseen.
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([0-9]{3})(?: [^\r\n]*)?\r\n")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)\r\n")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]+)(;[^\r\n]*)?\r\n")
_PLAIN_EXTENSION = re.compile(rb"(;[0-9A-Za-z]+(=[0-9A-Za-z]+|=\"[0-9A-Za-z]*\")?)*")
# Empty lines before a status line carry nothing. RFC 9112, section 2.2, allows them before a request.
_FRAMING = {"connection", "content-length", "transfer-encoding", "upgrade"}
_EMPTY_LINES = re.compile(rb"[\r\n]*")


class Reading(NamedTuple):
    """What a stream of bytes means as the answer to one GET.

    Attributes:
        status: The final status; 0 if the head is not whole and valid.
        headers: Values by lower-case name, joined by commas.
        body: The bytes of the body before `problem`.
        end: Where the answer ends in the stream.
        length: The declared length, None without one.
        keep_alive: Whether the connection may serve another request.
        problem: "" for a whole answer. "cut": bytes are missing. "malformed": no bytes could mend it.
        doubtful: Whether the client may refuse the answer as well, for a reason of its own.
    """

    status: int = 0
    headers: Mapping[str, str] = MappingProxyType({})
    body: bytes = b""
    end: int = 0
    length: int | None = None
    keep_alive: bool = False
    problem: str = ""
    doubtful: bool = False


class _Problem(Exception):
    """The stream does not go on as it must."""


def _match(pattern: re.Pattern[bytes], data: bytes, at: int) -> re.Match[bytes]:
    found = pattern.match(data, at)
    if found is None:
        line_end = data.find(b"\n", at)
        raise _Problem("cut" if line_end < 0 else "malformed")
    return found


def _read_fields(data: bytes, at: int) -> tuple[list[tuple[str, str]], int]:
    fields = []
    while data[at : at + 2] != b"\r\n":
        found = _match(_FIELD, data, at)
        name, value = found.groups()
        fields.append((name.decode("latin-1").lower(), value.decode("latin-1").rstrip(" \t")))
        at = found.end()
    return fields, at + 2


def _read_chunks(data: bytes, at: int) -> tuple[bytes, int, str, bool]:
    """Return the body, where it ends, the problem that ended it, and whether it is doubtful."""
    body, doubtful = b"", False
    try:
        while True:
            line = _match(_CHUNK_LINE, data, at)
            size, at = int(line.group(1), 16), line.end()
            doubtful |= not _PLAIN_EXTENSION.fullmatch(line.group(2) or b"")
            # The client's two routes take long numbers of zeros, and sixteen digits.
            doubtful |= len(line.group(1)) > 16
            if size >= 2**64:
                raise _Problem("malformed")
            if not size:
                fields, at = _read_fields(data, at)
                doubtful |= bool(_FRAMING & {name for name, _ in fields})
                return body, at, "", doubtful
            body += data[at : at + size]
            at += size
            if data[at : at + 2] != b"\r\n":
                raise _Problem("cut" if b"\r\n".startswith(data[at : at + 2]) else "malformed")
            at += 2
    except _Problem as problem:
        return body, at, str(problem), doubtful


def read_response(data: bytes, start: int = 0, *, ended: bool) -> Reading:
    """Return what `data` means from `start` on.

    Args:
        data: All that the server sends.
        start: Where the answer begins.
        ended: Whether the server closes the connection after it.
    """
    at = start
    doubtful = False
    try:
        while True:
            blank = _EMPTY_LINES.match(data, at)
            at = blank.end() if blank is not None else at
            line = _match(_STATUS_LINE, data, at)
            status = int(line.group(2))
            fields, at = _read_fields(data, line.end())
            headers: dict[str, str] = {}
            for name, value in fields:
                headers[name] = f"{headers[name]}, {value}" if name in headers else value
            if not 100 <= status < 200:
                break
            # The client may refuse an interim response that has framing, or is of HTTP/1.0.
            doubtful |= bool(_FRAMING & set(headers)) or line.group(1) == b"0"
            if status == 101:
                raise _Problem("malformed")  # RFC 9110, section 7.8: only what was offered.
        if status < 100:
            raise _Problem("malformed")
    except _Problem as problem:
        too_long = len(data) - start > MAX_HEAD_BYTES
        return Reading(problem="malformed" if too_long else str(problem), doubtful=doubtful)
    if at - start > MAX_HEAD_BYTES + _RECV_BYTES:
        return Reading(problem="malformed")
    doubtful |= at - start > MAX_HEAD_BYTES
    return _read_body(data, at, status, headers, line.group(1) == b"1", doubtful, ended)


def _read_body(
    data: bytes,
    at: int,
    status: int,
    headers: dict[str, str],
    is_1_1: bool,
    doubtful: bool,
    ended: bool,
) -> Reading:
    words = {word.strip().lower() for word in headers.get("connection", "").split(",")}
    keep_alive = "close" not in words and (is_1_1 or "keep-alive" in words)
    coding, length = headers.get("transfer-encoding"), headers.get("content-length")
    # llhttp may refuse an upgrade, and a trailer that frames. Those are errors, never other bytes.
    doubtful |= "upgrade" in headers or "proxy-connection" in headers
    refused = Reading(problem="malformed", doubtful=doubtful)
    if coding is not None and (length is not None or coding.lower() not in ("identity", "chunked")):
        return refused
    if length is not None and not re.fullmatch("[0-9]+", length):
        return refused
    if length is not None and int(length) >= 2**64:
        return refused
    if coding is not None and not is_1_1:
        keep_alive = False  # RFC 9112, section 6.1: the framing is faulty.
    if status in (204, 304):
        return Reading(status, headers, b"", at, 0, keep_alive, doubtful=doubtful)
    if coding is not None and coding.lower() == "chunked":
        body, end, problem, odd = _read_chunks(data, at)
        doubtful |= odd
        # Lines that go on and on without a byte of the body are refused.
        doubtful |= len(data) - at - len(body) > MAX_HEAD_BYTES
        return Reading(status, headers, body, end, None, keep_alive, problem, doubtful)
    if length is not None:
        size = int(length)
        body = data[at : at + size]
        problem = "" if len(body) == size else "cut"
        return Reading(status, headers, body, at + size, size, keep_alive, problem, doubtful)
    problem = "" if ended else "cut"
    return Reading(status, headers, data[at:], len(data), None, False, problem, doubtful)
