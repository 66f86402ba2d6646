"""Rows of the fault matrix for proxies, and for answers that are odd: legal ones, and others."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from ctera_direct_sync.emulator import faults
from ctera_direct_sync.emulator.bodies import BytesBody
from ctera_direct_sync.emulator.messages import Response
from tests.faults.matrix import (
    RECOVERED,
    RETRIES,
    Row,
    World,
    closed_port,
    on_block,
    on_listing,
    url_of_block,
)
from tests.support.net import Handler, answer, proxy_handler, serving


def rows() -> Iterator[Row]:
    """Every row of this module."""
    yield from _storage_by_proxy()
    yield from _portal_by_proxy()
    yield from _odd_answers("Storage: odd answers", on_block, "DownloadError")
    yield from _odd_answers("Portal: odd answers", on_listing, "BlockListConnectionError")
    yield from _redirects()


# --- proxies -------------------------------------------------------------------------------------------

Around = Callable[[World], "contextlib.AbstractContextManager[object]"]


def through(proxy: str, no_proxy: str = "", **modules: Any) -> Around:
    """The environment names this proxy."""

    @contextlib.contextmanager
    def around(world: World) -> Iterator[None]:
        values = {"http_proxy": proxy, "no_proxy": no_proxy}
        with mock.patch.dict(os.environ, values), mock.patch.dict(sys.modules, modules):
            yield

    return around


def running(handler: Callable[[World], Handler], no_proxy: str = "") -> Around:
    """A proxy runs, and the environment names it."""

    @contextlib.contextmanager
    def around(world: World) -> Iterator[None]:
        with (
            serving(handler(world)) as server,
            through(f"http://127.0.0.1:{server.port}", no_proxy)(world),
        ):
            yield

    return around


def busy_once(world: World) -> Handler:
    """A proxy that answers 502 to its first request."""
    good, seen = proxy_handler(), []

    def handle(connection: Any, line: str, head: bytes) -> object:
        seen.append(line)
        if len(seen) == 1:
            connection.sendall(answer(status=b"502 Bad Gateway"))
            return False
        return good(connection, line, head)

    return handle


def garbled(connection: Any, line: str, head: bytes) -> bool:
    """Answer something else than HTTP."""
    connection.sendall(b"\x00\x01 this is no HTTP\r\n\r\n")
    return False


def _proxies(
    refused: str, unusable: str, no_proxy: str
) -> Iterator[tuple[str, Around, str, int | None]]:
    yield "that works", running(lambda world: proxy_handler(), no_proxy), RECOVERED, 1
    yield "answers 502 once", running(busy_once, no_proxy), RECOVERED, 1
    yield "closed port", through(f"http://127.0.0.1:{closed_port()}", no_proxy), refused, 0
    yield "no such host", through("http://proxy.invalid:3128", no_proxy), refused, 0
    yield "malformed URL", through("http://my proxy:port", no_proxy), refused, 0
    yield "unknown scheme", through("gopher://127.0.0.1:70", no_proxy), refused, 0
    yield (
        "wants a login", running(lambda world: proxy_handler(login="a:b"), no_proxy), refused, 0,
    )  # fmt: skip
    yield "SOCKS without PySocks", through("socks5://127.0.0.1:1", no_proxy, socks=None), refused, 0
    yield "garbage", running(lambda world: garbled, no_proxy), unusable, 0


def _storage_by_proxy() -> Iterator[Row]:
    group = "Storage: a proxy"
    elsewhere = url_of_block(lambda url: url.replace("127.0.0.1", "localhost"))
    for name, around, outcome, requests in _proxies(
        "DownloadConnectionError", "DownloadError", "127.0.0.1"
    ):
        yield Row(group, f"proxy: {name}", elsewhere, outcome, {}, requests, around=around)


def _portal_by_proxy() -> Iterator[Row]:
    group = "Portal: a proxy"
    refused = "BlockListConnectionError"
    for name, around, outcome, requests in _proxies(refused, refused, ""):
        yield Row(group, f"proxy: {name}", lambda world: None, outcome, {}, requests, around=around)


# --- odd answers ---------------------------------------------------------------------------------------


def raw(head: bytes, framed: bool = True, tail: bytes = b"") -> faults.Action:
    """Send the right body after this head; ``%d`` in the head is the body's length."""

    def run(exchange: Any, _: Any) -> None:
        body = exchange.respond().body
        data = bytes(body.read(0, body.size))
        exchange.record.status = 200
        exchange.send_raw((head % len(data) if framed else head) + data + tail)
        exchange.close()

    return faults.Action("raw", run)


def chunks() -> faults.Action:
    """Send the right body in chunks with extensions, and trailers after them."""

    def run(exchange: Any, _: Any) -> None:
        body = exchange.respond().body
        data = bytes(body.read(0, body.size))
        exchange.record.status = 200
        coded = b"%X;name=value\r\n%s\r\n0\r\nX-Trailer: 1\r\n\r\n" % (len(data), data)
        exchange.send_raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + coded)
        exchange.close()

    return faults.Action("chunks", run)


_OK = b"HTTP/1.1 200 OK\r\n"
_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
LEGAL = {
    "interim answers first": raw(_HINTS + b"HTTP/1.1 100 Continue\r\n\r\n" + _OK
                                 + b"Content-Length: %d\r\n\r\n"),
    "200 headers": raw(_OK + b"X-Header: value\r\n" * 200 + b"Content-Length: %d\r\n\r\n"),
    "no reason phrase": raw(b"HTTP/1.1 200\r\nContent-Length: %d\r\n\r\n"),
    "HTTP/1.0, ended by closing": raw(b"HTTP/1.0 200 OK\r\n\r\n", framed=False),
    "names in lower case, space around values": raw(_OK + b"content-length:  %d \r\nx:\r\n\r\n"),
    "bytes after the body": raw(_OK + b"Content-Length: %d\r\n\r\n", tail=b"HTTP/1.1 500 No\r\n\r\n"),
    "chunks with extensions, and trailers": chunks(),
}  # fmt: skip
ILLEGAL = {
    "two equal lengths": raw(_OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n", framed=False),
    "length and chunked": raw(_OK + b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "folded header": raw(_OK + b"X: a\r\n b\r\nContent-Length: %d\r\n\r\n"),
    "header without a colon": raw(_OK + b"Nonsense\r\nContent-Length: %d\r\n\r\n"),
    "transfer coding of gzip": raw(_OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", framed=False),
}


def _odd_answers(group: str, put: Any, outcome: str) -> Iterator[Row]:
    for name, action in LEGAL.items():
        yield Row(group, name, put(action), RECOVERED, {}, 1)
    for name, action in ILLEGAL.items():
        yield Row(group, f"{name}, once", put(action, 1), RECOVERED, {}, 2)
        yield Row(group, f"{name}, always", put(action), outcome, {}, RETRIES + 1)


# --- redirects -----------------------------------------------------------------------------------------


def to_raw_utf8() -> faults.Action:
    """Redirect to the same place, with a query whose UTF-8 is not percent-encoded."""

    def run(exchange: Any, _: Any) -> None:
        target = exchange.target + ("&" if "?" in exchange.target else "?") + "n=\xc3\xa4"
        exchange.send(Response(302, {"Location": target}, BytesBody(b"")))

    return faults.Action("redirect to raw UTF-8", run)


def _redirects() -> Iterator[Row]:
    nowhere = faults.status(301)
    yield Row("Portal: odd answers", "redirect without a Location", on_listing(nowhere),
              "DirectIOAPIError", {}, 1)  # fmt: skip
    yield Row("Portal: odd answers", "redirect to raw UTF-8, once", on_listing(to_raw_utf8(), 1),
              RECOVERED, {}, 2)  # fmt: skip
