"""
Faults on request: what goes wrong, for which requests, and how often.

An action is a function of an exchange (server.Exchange) and its fault. Actions are made by the
functions below::

    emulator.faults.add('storage', block=3, times=2, action=faults.status(503))
    hold = emulator.faults.add('storage', action=faults.stall(after=1000))
    hold.wait(1)            # a request is held
    hold.release()
"""

from __future__ import annotations

import gzip
import threading
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, Union

from .bodies import Body, BytesBody, Flipped
from .messages import PORTAL, STORAGE, Request, Response, json_response

if TYPE_CHECKING:
    from .server import Exchange


class Action(NamedTuple):
    """
    What a fault does.

    :ivar kind: its name in the log of requests.
    :ivar run: does it.
    :ivar enters: ``run`` calls ``Fault.enter`` itself, at the moment that counts.
    """

    kind: str
    run: Callable[[Exchange, Fault], None]
    enters: bool = False


class Fault:
    """
    A fault in the table: counts the requests that met it, and holds those that must wait.

    :ivar entered: an Event, set when the first request meets the fault.
    """

    def __init__(
        self,
        where: Optional[str],
        file_id: Optional[int],
        block: Optional[int],
        times: Optional[int],
        skip: int,
        action: Action,
        call: Optional[str] = None,
    ) -> None:
        self.action = action
        self.entered = threading.Event()
        self._where = where
        self._file_id = file_id
        self._block = block
        self._call = call
        self._left = times
        self._skip = skip
        self._hits = 0
        self._changed = threading.Condition()
        self._released = threading.Event()

    @property
    def hits(self) -> int:
        """How many requests have met the fault."""
        with self._changed:
            return self._hits

    def wait(self, hits: int = 1, timeout: float = 10.0) -> bool:
        """Wait until so many requests have met the fault; False when they did not in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._hits >= hits, timeout)

    def release(self) -> None:
        """Let the requests go on that the fault holds, and hold no more."""
        self._released.set()

    def hold(self) -> None:
        """Wait for release; called by actions."""
        self._released.wait()

    def matches(self, request: Request) -> bool:
        """Whether the request is one that the fault is for, however often it may still occur."""
        wanted = (
            (self._where, request.where),
            (self._file_id, request.file_id),
            (self._block, request.block),
            (self._call, request.call.name if request.call is not None else None),
        )
        return all(want is None or want == have for want, have in wanted)

    def take(self) -> bool:
        """Count a matching request; whether it meets the fault."""
        if self._skip > 0:
            self._skip -= 1
            return False
        if self._left == 0:
            return False
        if self._left is not None:
            self._left -= 1
        return True

    def enter(self) -> None:
        """Tell whoever waits that a request has met the fault."""
        with self._changed:
            self._hits += 1
            self._changed.notify_all()
        self.entered.set()


class FaultTable:
    """The faults, in the order in which they were added: a request meets the first that fits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(
        self,
        where: Optional[str] = None,
        file_id: Optional[int] = None,
        block: Optional[int] = None,
        *,
        times: Optional[int] = 1,
        skip: int = 0,
        call: Optional[str] = None,
        action: Action,
    ) -> Fault:
        """
        Add a fault.

        :param where: ``portal``, ``storage`` or None for both.
        :param file_id: requests for this file only.
        :param block: requests for this block only, numbered from 1.
        :param times: how many requests meet it; None: all.
        :param skip: how many matching requests pass before.
        :param call: requests to the portal's API that make this call only, such as ``login``,
         ``fetchResources`` or ``PROPFIND``.
        """
        if where not in (None, PORTAL, STORAGE):
            raise ValueError(f"where must be 'portal', 'storage' or None, not {where!r}")
        fault = Fault(where, file_id, block, times, skip, action, call)
        with self._lock:
            self._faults.append(fault)
        return fault

    def match(self, request: Request) -> Optional[Fault]:
        """Return the fault that a request meets, and count it."""
        with self._lock:
            for fault in self._faults:
                if fault.matches(request) and fault.take():
                    return fault
        return None

    def clear(self) -> None:
        """Release what is held, and remove all faults."""
        with self._lock:
            faults, self._faults = self._faults, []
        for fault in faults:
            fault.release()

    def release(self) -> None:
        """Release all that is held; the faults stay."""
        with self._lock:
            faults = list(self._faults)
        for fault in faults:
            fault.release()


def status(code: int, headers: Optional[Mapping[str, str]] = None, body: bytes = b"") -> Action:
    """Answer with that status."""

    def run(exchange: Exchange, _: Fault) -> None:
        exchange.send(Response(code, dict(headers or {}), BytesBody(body)))

    return Action("status", run)


def delay(seconds: float) -> Action:
    """Answer rightly, but so many seconds later."""

    def run(exchange: Exchange, _: Fault) -> None:
        exchange.pause(seconds)
        exchange.send(exchange.respond())

    return Action("delay", run)


def reset(after: Optional[int] = None) -> Action:
    """Reset the connection (TCP RST): before the status line, or after so many body bytes."""

    def run(exchange: Exchange, _: Fault) -> None:
        if after is not None:
            exchange.send_part(exchange.respond(), after)
        exchange.reset()

    return Action("reset", run)


def cut(after: Optional[int] = None) -> Action:
    """Close the connection: before the status line, or after so many bytes of the full body."""

    def run(exchange: Exchange, _: Fault) -> None:
        if after is not None:
            exchange.send_part(exchange.respond(), after)
        exchange.close()

    return Action("cut", run)


def stall(after: Optional[int] = None) -> Action:
    """
    Say nothing until released: before the status line, or after so many body bytes.

    Once released (or when the emulator stops) the right answer goes on.
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
    """Send a body that lacks its last bytes under the full Content-Length, and close."""

    def run(exchange: Exchange, _: Fault) -> None:
        response = exchange.respond()
        exchange.send_part(response, max(0, response.body.size - missing))
        exchange.close()

    return Action("short", run)


def long(extra: bytes = b"\0") -> Action:
    """Send more bytes than the Content-Length says, and close."""

    def run(exchange: Exchange, _: Fault) -> None:
        response = exchange.respond()
        size = response.body.size
        exchange.send_head(response, {"Content-Length": str(size)})
        exchange.send_body(response.body, 0, size, last=False)
        exchange.send_body(BytesBody(extra), 0, len(extra))
        exchange.close()

    return Action("long", run)


def content_length(value: Union[int, str, None]) -> Action:
    """Send the body under another Content-Length (None: without one), and close."""

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


def chunked(cut: Optional[int] = None, size: int = 1000) -> Action:
    """
    Send the body in chunked transfer encoding.

    :param cut: close after so many bytes of the body, without the last chunk.
    :param size: bytes of a chunk.
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
    """Send the body compressed, under ``Content-Encoding: gzip``."""

    def run(exchange: Exchange, _: Fault) -> None:
        code, headers, body = exchange.respond()
        packed = gzip.compress(_all(body), 1)
        exchange.send(Response(code, {**headers, "Content-Encoding": "gzip"}, BytesBody(packed)))

    return Action("gzip_encoding", run)


def garbage(data: bytes = b"\x16\x03\x01 this is no HTTP\r\n\r\n") -> Action:
    """Send these bytes in place of a response, and close."""

    def run(exchange: Exchange, _: Fault) -> None:
        exchange.send_raw(data)
        exchange.close()

    return Action("garbage", run)


def redirect(url: Optional[str] = None, code: int = 302) -> Action:
    """Redirect to that URL; None: to the URL that was asked for."""

    def run(exchange: Exchange, _: Fault) -> None:
        location = exchange.target if url is None else url
        exchange.send(Response(code, {"Location": location}, BytesBody(b"")))

    return Action("redirect", run)


def corrupt(bits: int = 1, at: Optional[int] = None) -> Action:
    """
    Flip bits of the body.

    :param bits: how many, spread evenly.
    :param at: just one, at this offset (negative: from the end).
    """

    def run(exchange: Exchange, _: Fault) -> None:
        code, headers, body = exchange.respond()
        if at is not None:
            offsets = [at if at >= 0 else body.size + at]
        else:
            offsets = [(2 * bit + 1) * body.size // (2 * bits) for bit in range(bits)]
        exchange.send(Response(code, headers, Flipped(body, offsets)))

    return Action("corrupt", run)


def swap(block: int) -> Action:
    """Send the object of another block of the file, with its own headers."""

    def run(exchange: Exchange, _: Fault) -> None:
        exchange.send(exchange.respond(block))

    return Action("swap", run)


def replace(
    body: Union[bytes, Callable[[bytes], bytes]], headers: Optional[Mapping[str, str]] = None
) -> Action:
    """Send another body, or what a function makes of the right one, under its own length."""

    def run(exchange: Exchange, _: Fault) -> None:
        code, given, right = exchange.respond()
        data = body if isinstance(body, bytes) else body(_all(right))
        exchange.send(Response(code, {**given, **(headers or {})}, BytesBody(data)))

    return Action("replace", run)


def headers(changes: Mapping[str, Optional[str]]) -> Action:
    """Send other headers beside the right ones, or in their place; None removes one."""

    def run(exchange: Exchange, _: Fault) -> None:
        code, given, body = exchange.respond()
        changed = {name.lower() for name in changes}
        kept = {name: value for name, value in given.items() if name.lower() not in changed}
        kept.update((name, value) for name, value in changes.items() if value is not None)
        exchange.send(Response(code, kept, body))

    return Action("headers", run)


def throttle(rate: float) -> Action:
    """Send the body at so many bytes a second."""

    def run(exchange: Exchange, _: Fault) -> None:
        exchange.send(exchange.respond(), rate=rate)

    return Action("throttle", run)


def ignore_range(
    framing: str = "length",
    coding: Optional[str] = None,
    headers: Optional[Mapping[str, str]] = None,
    cut: int = 0,
) -> Action:
    """
    Answer a range request with 200 and the whole object.

    :param framing: what tells the end of the body: ``length``, ``chunked`` or ``close``.
    :param coding: code the body, under that Content-Encoding: ``gzip`` or ``deflate``.
    :param headers: send these headers as well.
    :param cut: leave out that many bytes at the end of the body, and close.
    """

    def run(exchange: Exchange, _: Fault) -> None:
        code, given, body = exchange.respond(whole=True)
        given = {**given, **(headers or {})}
        if coding is not None:
            given["Content-Encoding"] = coding
            body = BytesBody(_CODERS[coding](_all(body)))
        _send_framed(exchange, Response(code, given, body), framing, cut)

    return Action("ignore_range", run)


def page(
    body: bytes = b"<!DOCTYPE html><html><body>Please sign in</body></html>",
    framing: str = "length",
) -> Action:
    """Answer 200 with a web page, as a captive portal does. ``framing`` as for ignore_range."""

    def run(exchange: Exchange, _: Fault) -> None:
        response = Response(200, {"Content-Type": "text/html"}, BytesBody(body))
        _send_framed(exchange, response, framing)

    return Action("page", run)


def multipart() -> Action:
    """Answer a range request with multipart/byteranges (RFC 9110, section 14.6)."""

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
    """Send what a function makes of the portal's listing (the decoded JSON), as JSON."""

    def run(exchange: Exchange, _: Fault) -> None:
        exchange.send(json_response(200, edit(exchange.listing())))

    return Action("listing", run)


def answer(edit: Callable[[Any], Any]) -> Action:
    """Send what a function makes of the value that a call of the portal's API returns.

    The value is that of the JSON answer: a dict, list, text, number or None. It goes out in the format
    that the client asked for.
    """

    def run(exchange: Exchange, _: Fault) -> None:
        exchange.send(exchange.edited(edit))

    return Action("answer", run)


def _all(body: Body) -> bytes:
    return bytes(body.read(0, body.size))


_CODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, 1),
    "deflate": lambda data: zlib.compress(data, 1),
}


def _send_framed(exchange: Exchange, response: Response, framing: str, cut: int = 0) -> None:
    """Send a response whose end is told by its length, by chunks or by the connection's end."""
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
        exchange.close()
