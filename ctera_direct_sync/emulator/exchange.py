"""One request and its answer: what the portal, the storage and the faults work with."""

from __future__ import annotations

import itertools
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from .bodies import PIECE_SIZE_BYTES, Body, Bytes, iter_pieces
from .catalog import Catalog
from .fault_table import Fault, FaultTable
from .log import RequestLog, RequestRecord
from .messages import PORTAL, Request, Response
from .portal import Portal
from .storage import Storage

if TYPE_CHECKING:
    from .server import Handler

#: SO_LINGER with a timeout of 0: close() sends RST instead of FIN.
_LINGER_NONE = struct.pack("ii", 1, 0)
#: How many pieces a throttled body is sent in each second.
_PIECES_PER_SECOND = 20


class Backend:
    """What the servers of one emulator share.

    Args:
        catalog: The files.
        portal: Answers requests to the portal.
        storage: Answers requests to the storage.
        secret_access_key: Wraps file keys for a caller without a valid key (a fault that edits the list).

    Attributes:
        faults: The table of faults.
        log: The log of requests.
        stopping: An event that is set when the emulator stops.
        connections: Numbers for connections.
        latency: How long each request waits before it is answered, in seconds.
        rate: How fast each body is sent, in bytes per second. None: as fast as possible.
    """

    def __init__(
        self, catalog: Catalog, portal: Portal, storage: Storage, secret_access_key: str
    ) -> None:
        self.secret_access_key = secret_access_key
        self.catalog = catalog
        self.portal = portal
        self.storage = storage
        self.faults = FaultTable()
        self.log = RequestLog()
        self.stopping = threading.Event()
        self.connections = itertools.count(1)
        self.latency = 0.0
        self.rate: float | None = None

    def serve(self, exchange: Exchange) -> None:
        """Answer a request, or run the fault that it meets."""
        fault = self.faults.match(exchange.request)
        if self.latency:
            exchange.pause(self.latency)
        if fault is None:
            exchange.send(exchange.respond())
        else:
            self._fail(exchange, fault)

    @staticmethod
    def _fail(exchange: Exchange, fault: Fault) -> None:
        exchange.record.fault = fault.action.kind
        if not fault.action.enters:
            fault.enter()
        fault.action.run(exchange, fault)


class Exchange:
    """One request and what is sent for it. Faults call its methods in an order of their own.

    Attributes:
        request: The request.
        record: The request's record in the log.
        target: The URL or path in the request line.
    """

    def __init__(self, handler: Handler, request: Request, record: RequestRecord) -> None:
        self.request = request
        self.record = record
        self.target = handler.path
        self._handler = handler
        self._backend = handler.server.backend
        self._ended = False

    def respond(self, block: int | None = None, whole: bool = False) -> Response:
        """Return the right response.

        Args:
            block: Send the object of this block instead of the one that was asked for.
            whole: Ignore the Range header.
        """
        if self.request.where == PORTAL:
            return self._backend.portal.answer(self.request)
        return self._backend.storage.answer(self.request, block, whole)

    def listing(self) -> dict[str, Any]:
        """Return the right block list, even if the caller may not have it.

        Raises:
            ValueError: The request does not ask for a block list.
        """
        if self.request.file_id is None:
            raise ValueError("a fault that edits a listing is for requests to the portal")
        portal = self._backend.portal
        secret = portal.secret(self.request) or self._backend.secret_access_key
        return portal.listing(self._backend.catalog.listed(self.request.file_id), secret)

    def edited(self, edit: Callable[[Any], Any]) -> Response:
        """Return the right response to a call of the API with another value.

        Args:
            edit: Returns the value to send for the right one.

        Raises:
            ValueError: The request does not make a call.
        """
        if self.request.call is None:
            raise ValueError("a fault that edits an answer is for calls of the portal's API")
        return self._backend.portal.interface.answer(self.request, self.request.call, edit)

    def pause(self, seconds: float) -> None:
        """Wait for some seconds, or until the emulator stops."""
        self._backend.stopping.wait(seconds)

    def send(self, response: Response, rate: float | None = None) -> None:
        """Send a response.

        Args:
            response: The response.
            rate: How fast to send the body, in bytes per second. None: as the emulator says.
        """
        size = response.body.size
        bodiless = response.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
        self.send_head(response, {} if bodiless else {"Content-Length": str(size)}, last=not size)
        if not bodiless:
            self.send_body(response.body, 0, size, rate=rate or self._backend.rate)

    def send_part(self, response: Response, stop: int) -> None:
        """Send the head of the full response, and its body up to the offset `stop`."""
        self.send_head(response, {"Content-Length": str(response.body.size)})
        self.send_body(response.body, 0, min(stop, response.body.size), last=False)

    def send_rest(self, response: Response, start: int) -> None:
        """Send the rest of a body, from the offset `start` on."""
        self.send_body(response.body, min(start, response.body.size), response.body.size)

    def send_head(self, response: Response, framing: Mapping[str, str], last: bool = False) -> None:
        """Send status line and headers.

        Args:
            response: The response.
            framing: The headers that tell where the body ends.
            last: Whether nothing of the response follows.
        """
        self.record.status = response.status
        if last:
            self.end()
        handler = self._handler
        handler.send_response(response.status)
        for name, value in {**response.headers, **framing}.items():
            handler.send_header(name, value)
        if handler.close_connection and "Connection" not in framing:
            handler.send_header("Connection", "close")
        handler.end_headers()

    def send_body(
        self, body: Body, start: int, stop: int, *, last: bool = True, rate: float | None = None
    ) -> None:
        """Send a part of a body.

        Args:
            body: The body.
            start: Where the part starts, in bytes.
            stop: Where the part ends, in bytes.
            last: Whether nothing of the response follows.
            rate: How fast to send it, in bytes per second. None: as fast as possible.
        """
        size = PIECE_SIZE_BYTES
        if rate is not None:
            size = max(1, min(size, int(rate / _PIECES_PER_SECOND)))
        for piece in iter_pieces(body, start, stop, size):
            start += len(piece)
            # A client that has the last byte may send its next request at once. So this request
            # leaves the count before that, or the client would seem to have two in flight.
            if last and start >= stop:
                self.end()
            self._send(piece)
            if rate is not None and start < stop:
                self.pause(len(piece) / rate)

    def send_chunks(self, body: Body, stop: int, size: int, complete: bool) -> None:
        """Send a body in chunks (RFC 9112, section 7.1).

        Args:
            body: The body.
            stop: Where to stop, in bytes.
            size: The size of a chunk, in bytes.
            complete: Whether to send the last chunk, which ends the body.
        """
        for piece in iter_pieces(body, 0, stop, size):
            self.send_raw(b"%x\r\n%b\r\n" % (len(piece), bytes(piece)))
            self.record.sent += len(piece)
        if complete:
            self.end()
            self.send_raw(b"0\r\n\r\n")

    def send_raw(self, data: Bytes) -> None:
        """Send bytes that do not count as a body."""
        self._handler.wfile.write(data)

    def close(self, *, complete: bool = False) -> None:
        """Close the connection after this request.

        Args:
            complete: Whether the end of the connection is the end of a complete body. TLS then says so.
        """
        if complete:
            self._handler.server.close_complete(self._handler.connection)
        self._handler.close_connection = True

    def reset(self) -> None:
        """Reset the connection after this request."""
        self._handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
        self._handler.server.close_hard(self._handler.connection)
        self._handler.close_connection = True

    def end(self) -> None:
        """Note that the request is not in flight any more. Further calls have no effect."""
        if not self._ended:
            self._ended = True
            self._backend.log.end(self.record)

    def _send(self, piece: Bytes) -> None:
        self.record.sent += len(piece)
        self._handler.wfile.write(piece)
