"""Faults on request: what goes wrong, for which requests, and how often.

Each function below returns an action for `emulator.faults.add`.

Example:
    >>> emulator.faults.add("storage", block=3, times=2, action=faults.status(503))
    >>> hold = emulator.faults.add("storage", action=faults.stall(after=1000))
    >>> hold.wait(1)            # until a request is held
    >>> hold.release()
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from .bodies import Body, BytesBody, FlippedBody
from .fault_table import Action, Fault, FaultTable
from .messages import Response, json_response

if TYPE_CHECKING:
    from .exchange import Exchange

__all__ = [
    "Action",
    "Fault",
    "FaultTable",
    "answer",
    "chunked",
    "content_length",
    "corrupt",
    "cut",
    "delay",
    "garbage",
    "gzip_encoding",
    "headers",
    "ignore_range",
    "listing",
    "long",
    "multipart",
    "page",
    "redirect",
    "replace",
    "reset",
    "send_framed",
    "short",
    "stall",
    "status",
    "swap",
    "throttle",
]

#: What tells a client where a body ends.
Framing = Literal["length", "chunked", "close"]
#: A Content-Encoding that a fault can apply.
Coding = Literal["gzip", "deflate"]


def status(code: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Action:
    """Answer with a status.

    Args:
        code: The HTTP status.
        headers: The headers.
        body: The body.
    """

    def run(exchange: Exchange, _: Fault) -> None:
        exchange.send(Response(code, dict(headers or {}), BytesBody(body)))

    return Action("status", run)


def delay(seconds: float) -> Action:
    """Send the right answer some seconds later."""

    def run(exchange: Exchange, _: Fault) -> None:
        exchange.pause(seconds)
        exchange.send(exchange.respond())

    return Action("delay", run)


def reset(after: int | None = None) -> Action:
    """Reset the connection (TCP RST).

    Args:
        after: How many bytes of the body are sent before. None: not even the status line.
    """

    def run(exchange: Exchange, _: Fault) -> None:
        if after is not None:
            exchange.send_part(exchange.respond(), after)
        exchange.reset()

    return Action("reset", run)


def cut(after: int | None = None) -> Action:
    """Close the connection.

    Args:
        after: How many bytes of the body are sent before. None: not even the status line.
    """

    def run(exchange: Exchange, _: Fault) -> None:
        if after is not None:
            exchange.send_part(exchange.respond(), after)
        exchange.close()

    return Action("cut", run)


def stall(after: int | None = None) -> Action:
    """Send nothing more until the fault is released or the emulator stops, then the rest of the answer.

    Args:
        after: How many bytes of the body are sent before. None: not even the status line.
    """

    def run(exchange: Exchange, fault: Fault) -> None:
        if after is None:
            fault.enter()
            fault.hold()
            exchange.send(exchange.respond())
            return
        response = exchange.respond()
        exchange.send_part(response, after)
        fault.enter()
        fault.hold()
        exchange.send_rest(response, after)

    return Action("stall", run, enters=True)


def short(missing: int = 1) -> Action:
    """Leave out the end of the body, keep the full Content-Length, and close the connection.

    Args:
        missing: How many bytes to leave out.
    """

    def run(exchange: Exchange, _: Fault) -> None:
        response = exchange.respond()
        exchange.send_part(response, max(0, response.body.size - missing))
        exchange.close()

    return Action("short", run)


def long(extra: bytes = b"\0") -> Action:
    """Send more bytes than the Content-Length says, and close the connection.

    Args:
        extra: The bytes after the body.
    """

    def run(exchange: Exchange, _: Fault) -> None:
        response = exchange.respond()
        size = response.body.size
        exchange.send_head(response, {"Content-Length": str(size)})
        exchange.send_body(response.body, 0, size, last=False)
        exchange.send_body(BytesBody(extra), 0, len(extra))
        exchange.close()

    return Action("long", run)


def content_length(value: int | str | None) -> Action:
    """Send the body with another Content-Length, and close the connection.

    Args:
        value: The value of the header. None: the header is not sent.
    """

    def run(exchange: Exchange, _: Fault) -> None:
        response = exchange.respond()
        exchange.send_head(
            response,
            {"Connection": "close"}
            if value is None
            else {"Content-Length": str(value), "Connection": "close"},
        )
        exchange.send_body(response.body, 0, response.body.size)
        exchange.close()

    return Action("content_length", run)


def chunked(cut: int | None = None, size: int = 1000) -> Action:
    """Send the body in chunked transfer encoding.

    Args:
        cut: Close the connection after that many bytes of the body, without the last chunk.
        size: The size of a chunk, in bytes.
    """

    def run(exchange: Exchange, _: Fault) -> None:
        response = exchange.respond()
        exchange.send_head(response, {"Transfer-Encoding": "chunked"})
        stop = response.body.size if cut is None else min(cut, response.body.size)
        exchange.send_chunks(response.body, stop, size, complete=cut is None)
        if cut is not None:
            exchange.close()

    return Action("chunked", run)


def gzip_encoding() -> Action:
    """Send the body compressed, with `Content-Encoding: gzip`."""

    def run(exchange: Exchange, _: Fault) -> None:
        code, headers, body = exchange.respond()
        packed = gzip.compress(_all(body), 1)
        exchange.send(Response(code, {**headers, "Content-Encoding": "gzip"}, BytesBody(packed)))

    return Action("gzip_encoding", run)


def garbage(data: bytes = b"\x16\x03\x01 this is no HTTP\r\n\r\n") -> Action:
    """Send something else than an HTTP response, and close the connection.

    Args:
        data: The bytes to send.
    """

    def run(exchange: Exchange, _: Fault) -> None:
        exchange.send_raw(data)
        exchange.close()

    return Action("garbage", run)


def redirect(url: str | None = None, code: int = 302) -> Action:
    """Redirect the client.

    Args:
        url: The URL to go to. None: the URL that was asked for.
        code: The HTTP status.
    """

    def run(exchange: Exchange, _: Fault) -> None:
        location = exchange.target if url is None else url
        exchange.send(Response(code, {"Location": location}, BytesBody(b"")))

    return Action("redirect", run)


def corrupt(bits: int = 1, at: int | None = None) -> Action:
    """Flip bits of the body.

    Args:
        bits: How many bits, spread evenly over the body.
        at: Flip only one bit, of the byte at this offset. A negative offset counts from the end.
    """

    def run(exchange: Exchange, _: Fault) -> None:
        code, headers, body = exchange.respond()
        if at is not None:
            offsets = [at if at >= 0 else body.size + at]
        else:
            offsets = [(2 * bit + 1) * body.size // (2 * bits) for bit in range(bits)]
        exchange.send(Response(code, headers, FlippedBody(body, offsets)))

    return Action("corrupt", run)


def swap(block: int) -> Action:
    """Send the object of another block of the file, with the headers of that object.

    Args:
        block: The number of the other block, from 1 on.
    """

    def run(exchange: Exchange, _: Fault) -> None:
        exchange.send(exchange.respond(block))

    return Action("swap", run)


def replace(
    body: bytes | Callable[[bytes], bytes], headers: Mapping[str, str] | None = None
) -> Action:
    """Send another body with the right length for it.

    Args:
        body: The body, or a function that returns it for the right one.
        headers: Headers that are added or changed.
    """

    def run(exchange: Exchange, _: Fault) -> None:
        code, given, right = exchange.respond()
        data = body if isinstance(body, bytes) else body(_all(right))
        exchange.send(Response(code, {**given, **(headers or {})}, BytesBody(data)))

    return Action("replace", run)


def headers(changes: Mapping[str, str | None]) -> Action:
    """Add, change or remove headers.

    Args:
        changes: The values by name. None removes a header.
    """

    def run(exchange: Exchange, _: Fault) -> None:
        code, given, body = exchange.respond()
        changed = {name.lower() for name in changes}
        kept = {name: value for name, value in given.items() if name.lower() not in changed}
        kept.update((name, value) for name, value in changes.items() if value is not None)
        exchange.send(Response(code, kept, body))

    return Action("headers", run)


def throttle(rate: float) -> Action:
    """Send the body slowly.

    Args:
        rate: How fast, in bytes per second.
    """

    def run(exchange: Exchange, _: Fault) -> None:
        exchange.send(exchange.respond(), rate=rate)

    return Action("throttle", run)


def ignore_range(
    framing: Framing = "length",
    coding: Coding | None = None,
    headers: Mapping[str, str] | None = None,
    cut: int = 0,
) -> Action:
    """Answer a range request with status 200 and the whole object.

    Args:
        framing: What tells the client where the body ends: its length, chunks, or the end of the
            connection.
        coding: The Content-Encoding of the body.
        headers: More headers.
        cut: Leave out that many bytes at the end of the body, and close the connection.
    """

    def run(exchange: Exchange, _: Fault) -> None:
        code, given, body = exchange.respond(whole=True)
        given = {**given, **(headers or {})}
        if coding is not None:
            given["Content-Encoding"] = coding
            body = BytesBody(_CODERS[coding](_all(body)))
        send_framed(exchange, Response(code, given, body), framing, cut)

    return Action("ignore_range", run)


def page(
    body: bytes = b"<!DOCTYPE html><html><body>Please sign in</body></html>",
    framing: Framing = "length",
) -> Action:
    """Answer with status 200 and a web page, as a captive portal does.

    Args:
        body: The page.
        framing: What tells the client where the body ends.
    """

    def run(exchange: Exchange, _: Fault) -> None:
        response = Response(200, {"Content-Type": "text/html"}, BytesBody(body))
        send_framed(exchange, response, framing)

    return Action("page", run)


def multipart() -> Action:
    """Answer a range request with `multipart/byteranges` (RFC 9110, section 14.6)."""

    def run(exchange: Exchange, _: Fault) -> None:
        code, given, body = exchange.respond()
        lines = [
            "--x",
            "Content-Type: application/octet-stream",
            f"Content-Range: {given.get('Content-Range', '')}",
            "",
            "",
        ]
        whole = "\r\n".join(lines).encode("ascii") + _all(body) + b"\r\n--x--\r\n"
        headers = {**given, "Content-Type": "multipart/byteranges; boundary=x"}
        exchange.send(Response(code, headers, BytesBody(whole)))

    return Action("multipart", run)


def listing(edit: Callable[[Any], Any]) -> Action:
    """Change the block list that the portal sends.

    Args:
        edit: Returns the value to send for the right one. Both are decoded JSON.
    """

    def run(exchange: Exchange, _: Fault) -> None:
        exchange.send(json_response(200, edit(exchange.listing())))

    return Action("listing", run)


def answer(edit: Callable[[Any], Any]) -> Action:
    """Change what a call of the portal's API returns.

    The new value is sent in the format that the client asked for, XML or JSON.

    Args:
        edit: Returns the value to send for the right one: a dict, list, text, number, bool or None.
    """

    def run(exchange: Exchange, _: Fault) -> None:
        exchange.send(exchange.edited(edit))

    return Action("answer", run)


def _all(body: Body) -> bytes:
    return bytes(body.read(0, body.size))


_CODERS: dict[Coding, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, 1),
    "deflate": lambda data: zlib.compress(data, 1),
}


def send_framed(exchange: Exchange, response: Response, framing: Framing, cut: int = 0) -> None:
    """Send a response. Actions call this.

    Args:
        exchange: The exchange to send it in.
        response: The response.
        framing: What tells the client where the body ends.
        cut: Leave out that many bytes at the end of the body, and close the connection.

    Raises:
        ValueError: There is no such framing.
    """
    size = response.body.size
    stop = max(0, size - cut)
    if framing == "chunked":
        exchange.send_head(response, {"Transfer-Encoding": "chunked"})
        exchange.send_chunks(response.body, stop, 64 * 1024, complete=not cut)
    elif framing == "length":
        exchange.send_head(response, {"Content-Length": str(size)})
        exchange.send_body(response.body, 0, stop)
    elif framing == "close":
        exchange.send_head(response, {"Connection": "close"})
        exchange.send_body(response.body, 0, stop)
    else:
        raise ValueError(f"framing must be 'length', 'chunked' or 'close', not {framing!r}")
    if cut or framing == "close":
        exchange.close(complete=not cut)
