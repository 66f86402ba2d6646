"""Rows of the fault matrix for the portal that lists a file's blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ctera_direct_sync.emulator import faults
from tests.faults.matrix import (
    HTML,
    RECOVERED,
    RETRIES,
    Arrange,
    Row,
    both,
    chunk,
    edited,
    on_listing,
    soon,
    to_another_host,
)

DEEP = b'{"chunks": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"


def rows() -> Iterator[Row]:
    """Return every row of this module."""
    yield from _portal_connection()
    yield from _portal_status()
    yield from _portal_document()


def member(**members: Any) -> Arrange:
    """Give the listing other members. One that is None is left out."""

    def edit(listing: Any) -> Any:
        return {k: v for k, v in {**listing, **members}.items() if v is not None}

    return edited(edit)


def document(text: bytes) -> Arrange:
    """Let the portal answer 200 with a text, called JSON."""
    return on_listing(faults.replace(text))


def doubled(body: bytes) -> bytes:
    """Return a listing whose members are each there twice."""
    text = body.decode()
    return (text[:-1] + ", " + text[1:]).encode()


def padded(size: int) -> Callable[[bytes], bytes]:
    """Return a function that makes a listing longer, by an unknown member of some bytes."""
    return lambda body: b'{"padding": "' + b"x" * size + b'", ' + body[1:]


def _portal_connection() -> Iterator[Row]:
    group = "Portal: the connection"
    for name, action, outcome in (
        ("reset before headers", faults.reset(), "BlockListConnectionError"),
        ("reset mid-body", faults.reset(100), "BlockListConnectionError"),
        ("closed before headers", faults.cut(), "BlockListConnectionError"),
        ("closed mid-body", faults.cut(100), "BlockListConnectionError"),
        ("stall before headers", faults.stall(), "BlockListTimeout"),
        ("stall mid-body", faults.stall(100), "BlockListTimeout"),
        ("short body", faults.short(1), "BlockListConnectionError"),
        ("garbage for a status line", faults.garbage(), "BlockListConnectionError"),
    ):
        yield from both(group, name, action, outcome, {})
    yield Row(group, "chunked", on_listing(faults.chunked()), RECOVERED, {}, 1)
    yield Row(group, "gzip Content-Encoding", on_listing(faults.gzip_encoding()), RECOVERED, {}, 1)
    yield Row(group, "no Content-Length", on_listing(faults.content_length(None)), RECOVERED, {}, 1)
    yield Row(group, "Content-Length of 1 TB", on_listing(faults.content_length(10**12)),
              "DirectIOAPIError", {}, 1)  # fmt: skip


def _portal_status() -> Iterator[Row]:
    group = "Portal: statuses"
    for code, outcome in (
        (400, "NotFoundError"), (401, "UnAuthorized"), (403, "UnAuthorized"),
        (422, "UnprocessableContent"), (404, "DirectIOAPIError"),
        (204, "DirectIOAPIError"), (418, "DirectIOAPIError"),
    ):  # fmt: skip
        yield Row(group, f"{code}", on_listing(faults.status(code)), outcome, {}, 1)
    yield from both(group, "500", faults.status(500), "InvalidRequest", {})
    for code in (408, 429, 502, 503, 504, 520):
        yield from both(group, f"{code}", faults.status(code), "DirectIOAPIError", {})
    yield Row(group, "429, Retry-After in seconds, once",
              on_listing(faults.status(429, {"Retry-After": "0"}), 1), RECOVERED, {}, 2)  # fmt: skip
    yield Row(group, "503, Retry-After as a date, once",
              on_listing(faults.status(503, {"Retry-After": soon()}), 1), RECOVERED, {}, 2)  # fmt: skip
    yield Row(group, "503, Retry-After past the time allowed",
              on_listing(faults.status(503, {"Retry-After": "86400"})),
              "DirectIOAPIError", {}, 1)  # fmt: skip
    yield Row(group, "redirect on the same host, once", on_listing(faults.redirect(), 1),
              RECOVERED, {}, 2)  # fmt: skip
    yield Row(group, "redirect loop", on_listing(faults.redirect()), "DirectIOAPIError", {}, 6)
    yield Row(group, "redirect to another host", on_listing(to_another_host("portal")),
              "DirectIOAPIError", {}, 1)  # fmt: skip
    yield Row(group, "redirect to file:", on_listing(faults.redirect("file:///etc/passwd")),
              "DirectIOAPIError", {}, 1)  # fmt: skip
    yield Row(group, "wrong secret access key", lambda world: None, "DecryptKeyError", {}, 1,
              secret="d3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmc=")  # fmt: skip


def _with_negative_length(listing: Any) -> Any:
    listing["chunks"][1]["len"] = -1
    return listing


def _portal_document() -> Iterator[Row]:
    group = "Portal: the listing"
    api = "DirectIOAPIError"
    page = faults.replace(HTML, {"Content-Type": "text/html"})
    tries = RETRIES + 1  # What may be an accident is asked for again.
    for name, action in (
        ("an HTML page", page),
        ("truncated JSON", faults.replace(lambda body: body[:-9])),
        ("JSON of another shape", faults.replace(b"[1, 2]")),
        ("empty body", faults.replace(b"")),
        ("a negative length", faults.listing(_with_negative_length)),
    ):
        yield from both(group, name, action, api, {})
    yield Row(group, "no UTF-8", document(b'{"chunks": "\xff\xfe\xfa"}'), api, {}, tries)
    yield Row(group, "deeply nested", document(DEEP), api, {}, tries)
    yield Row(group, "a number of 5,000 digits", document(b'{"chunks": ' + b"9" * 5000 + b"}"),
              api, {}, tries)  # fmt: skip
    yield Row(group, "too many values", document(b'{"chunks": [' + b"0," * 4_000_001 + b"0]}"),
              api, {}, 1)  # fmt: skip
    yield Row(group, "100 MB", on_listing(faults.replace(padded(100_000_000))), RECOVERED, {}, 1)
    yield Row(group, "members twice", on_listing(faults.replace(doubled)), RECOVERED, {}, 1)
    yield Row(group, "unknown members", member(surprise=[1]), RECOVERED, {}, 1)
    yield Row(group, "no chunks", member(chunks=None), "BlocksNotFoundError", {}, 1)
    yield Row(group, "empty chunks", member(chunks=[]), "BlocksNotFoundError", {}, 1)
    yield Row(group, "chunks no list", member(chunks={"url": "x"}), api, {}, tries)
    yield Row(group, "a chunk that is null", member(chunks=[None]), api, {}, tries)
    for name, value in (("of 2**62", 2**62), ("of 2**70", 2**70), ("NaN", "NaN"),
                        ("fractional", 1.5), ("boolean", True), ("missing", None)):  # fmt: skip
        yield Row(group, f"length {name}", chunk(len=value), api, {}, tries)
    yield Row(group, "URL missing", chunk(url=None), api, {}, tries)
    yield Row(group, "URL no string", chunk(url=7), api, {}, tries)
    yield Row(group, "no encrypt_info", member(encrypt_info=None), api, {}, tries)
    yield Row(group, "wrapped key no base64",
              member(encrypt_info={"data_encrypted": True, "wrapped_key": "%%%"}),
              "DecryptKeyError", {}, 1)  # fmt: skip
    yield Row(group, "wrapped key missing", member(encrypt_info={"data_encrypted": True}),
              api, {}, tries)  # fmt: skip
    yield Row(group, "unknown cipher",
              member(encrypt_info={"data_encrypted": False, "cipher": "ROT13"}), api, {}, 1)  # fmt: skip
    yield Row(group, "unknown compression", member(compression_type="ZSTD"), api, {}, 1)
    yield Row(group, "file size below the blocks' end",
              member(actual_blocks_range={"file_size": 10, "range": "0-10"}), api, {}, tries)  # fmt: skip
