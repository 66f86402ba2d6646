"""The HTTP server: sockets and threads around the portal and the storage."""

from __future__ import annotations

import contextlib
import http.server
import itertools
import logging
import os
import re
import socket
import socketserver
import ssl
import struct
import threading
import weakref
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Optional
from urllib.parse import urlsplit

from .bodies import PIECE, Body, Bytes, pieces
from .catalog import Catalog
from .faults import Fault, FaultTable
from .log import RequestLog, RequestRecord
from .messages import PORTAL, STORAGE, Request, Response, html_response
from .portal import Portal
from .sources import SourceChanged
from .storage import Storage

logger = logging.getLogger(__name__)

_OBJECT = re.compile(r"/blocks/(\d{1,19})/(\d{1,9})/(\d{1,9})\Z")
_FILE = re.compile(r"/directio/(\d{1,19})\Z")
#: The largest body of a call that is read.
_MAX_BODY_BYTES = 1024 * 1024
_LINGER_NONE = struct.pack("ii", 1, 0)


class Backend:
    """What both servers share: the portal, the storage, the faults, the log and the pace."""

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
        self.rate: Optional[float] = None

    def serve(self, exchange: Exchange) -> None:
        """Answer a request, or do what the fault wants that it meets."""
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
    """One request and what is sent for it; faults use its parts in another order."""

    def __init__(self, handler: _Handler, request: Request, record: RequestRecord) -> None:
        self.request = request
        self.record = record
        self.target = handler.path
        self._handler = handler
        self._backend = handler.server.backend
        self._ended = False

    def respond(self, block: Optional[int] = None, whole: bool = False) -> Response:
        """
        Return the right response.

        :param block: the object of this block instead of the one asked for.
        :param whole: disregard a Range header.
        """
        if self.request.where == PORTAL:
            return self._backend.portal.answer(self.request)
        return self._backend.storage.answer(self.request, block, whole)

    def listing(self) -> dict[str, Any]:
        """Return the right listing, whoever asks for it."""
        if self.request.file_id is None:
            raise ValueError("a fault that edits a listing is for requests to the portal")
        portal = self._backend.portal
        secret = portal.secret(self.request) or self._backend.secret_access_key
        return portal.listing(self._backend.catalog.listed(self.request.file_id), secret)

    def edited(self, edit: Callable[[Any], Any]) -> Response:
        """Return the right response to a call, with what a function makes of its value."""
        if self.request.call is None:
            raise ValueError("a fault that edits an answer is for calls of the portal's API")
        return self._backend.portal.interface.answer(self.request, self.request.call, edit)

    def pause(self, seconds: float) -> None:
        """Wait, or until the emulator stops."""
        self._backend.stopping.wait(seconds)

    def send(self, response: Response, rate: Optional[float] = None) -> None:
        """Send a response as it should be sent."""
        size = response.body.size
        bodiless = response.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
        self.send_head(response, {} if bodiless else {"Content-Length": str(size)}, last=not size)
        if not bodiless:
            self.send_body(response.body, 0, size, rate=rate or self._backend.rate)

    def send_part(self, response: Response, stop: int) -> None:
        """Send the head of the full response, and the body up to an offset."""
        self.send_head(response, {"Content-Length": str(response.body.size)})
        self.send_body(response.body, 0, min(stop, response.body.size), last=False)

    def send_rest(self, response: Response, start: int) -> None:
        """Send the rest of a body from an offset."""
        self.send_body(response.body, min(start, response.body.size), response.body.size)

    def send_head(self, response: Response, framing: Mapping[str, str], last: bool = False) -> None:
        """Send status line and headers."""
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
        self, body: Body, start: int, stop: int, *, last: bool = True, rate: Optional[float] = None
    ) -> None:
        """
        Send a part of a body.

        :param last: nothing of the response follows.
        :param rate: bytes a second.
        """
        size = PIECE if rate is None else max(1, min(PIECE, int(rate / 20)))
        for piece in pieces(body, start, stop, size):
            start += len(piece)
            # Out of flight before the client can have the last byte, and come back with the
            # next request: so no client is ever seen with more in flight than it has.
            if last and start >= stop:
                self.end()
            self._send(piece)
            if rate is not None and start < stop:
                self.pause(len(piece) / rate)

    def send_chunks(self, body: Body, stop: int, size: int, complete: bool) -> None:
        """Send a body up to an offset in chunks (RFC 9112, 7.1), with the last one or without."""
        for piece in pieces(body, 0, stop, size):
            self.send_raw(b"%x\r\n%b\r\n" % (len(piece), bytes(piece)))
            self.record.sent += len(piece)
        if complete:
            self.end()
            self.send_raw(b"0\r\n\r\n")

    def send_raw(self, data: Bytes) -> None:
        """Send bytes that are not counted as a body's."""
        self._handler.wfile.write(data)

    def close(self) -> None:
        """Close the connection, once this request is done."""
        self._handler.close_connection = True

    def reset(self) -> None:
        """Reset the connection, once this request is done."""
        self._handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
        self._handler.server.close_hard(self._handler.connection)
        self._handler.close_connection = True

    def end(self) -> None:
        """Take the request out of flight; more than once is no harm."""
        if not self._ended:
            self._ended = True
            self._backend.log.end(self.record)

    def _send(self, piece: Bytes) -> None:
        self.record.sent += len(piece)
        self._handler.wfile.write(piece)


class Server(http.server.ThreadingHTTPServer):
    """
    One listening socket, its threads and its connections.

    :param address: host and port.
    :param backend: what answers.
    :param roles: ``portal``, ``storage`` or both.
    :param prefix: of the portal's paths.
    :param tls: for HTTPS.
    """

    daemon_threads = True
    request_queue_size = 512

    def __init__(
        self,
        address: tuple[str, int],
        backend: Backend,
        roles: tuple[str, ...],
        prefix: str,
        tls: Optional[ssl.SSLContext],
    ) -> None:
        self.backend = backend
        self.roles = roles
        self.prefix = prefix
        self._tls = tls
        self._lock = threading.Lock()
        self._live: dict[socket.socket, threading.Thread] = {}
        self._hard: set[socket.socket] = set()
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)
        self._acceptor = threading.Thread(
            target=self.serve_forever, args=(0.02,), name="ctera-emulator", daemon=True
        )
        _servers.add(self)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.server_address[1])

    def start(self) -> None:
        """Accept connections, on a thread of their own."""
        self._acceptor.start()

    def stop(self) -> None:
        """Close the listening socket and every connection, and end every thread."""
        self.shutdown()
        self._acceptor.join()
        with self._lock:
            live = dict(self._live)
        for connection in live:
            _shut(connection)
        for thread in live.values():
            thread.join()
        self.server_close()
        _servers.discard(self)

    def server_bind(self) -> None:
        """Bind without the look-up of the host's name that HTTPServer does."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.port

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; the handshake is left to its thread."""
        connection, address = super().get_request()
        if self._tls is not None:
            connection = self._tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection."""
        thread = threading.Thread(
            target=self._serve,
            args=(request, client_address),
            name="ctera-emulator-connection",
            daemon=True,
        )
        with self._lock:
            self._live[request] = thread
        thread.start()

    def shutdown_request(self, request: Any) -> None:
        """Close a connection: with a FIN, or with an RST where a fault wants one."""
        with self._lock:
            hard = request in self._hard
            self._hard.discard(request)
        if hard:
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def close_hard(self, connection: socket.socket) -> None:
        """Close the connection without a FIN when its time comes."""
        with self._lock:
            self._hard.add(connection)

    def abandon(self) -> None:
        """Close, in a forked child, the copies of the parent's sockets: or no FIN would be one."""
        for connection in (*self._live, self.socket):
            os.close(connection.detach())  # close() would wait for its files to be closed

    def _serve(self, connection: Any, address: Any) -> None:
        try:
            if self._tls is not None:
                connection.do_handshake()
            self.finish_request(connection, address)
        except OSError as error:
            logger.debug("connection ended: %s", type(error).__name__)
        finally:
            self.shutdown_request(connection)
            with self._lock:
                del self._live[connection]


class _Handler(http.server.BaseHTTPRequestHandler):
    """Reads the requests of one connection, by the standard library's means."""

    protocol_version = "HTTP/1.1"
    server_version = "CteraEmulator"
    disable_nagle_algorithm = True
    server: Server

    def setup(self) -> None:
        """Number the connection."""
        super().setup()
        self._number = next(self.server.backend.connections)

    def do_GET(self) -> None:
        """Answer a request of any method."""
        body = b""
        if self._is_call():
            read = self._read_body()
            if read is None:
                return
            body = read
        elif self.command != "GET":
            self.send_error(HTTPStatus.NOT_IMPLEMENTED)
            return
        elif "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            # A body that is not read must not be taken for the next request.
            self.close_connection = True
        request = self._route(body)
        record = self._record(request)
        log = self.server.backend.log
        log.begin(record)
        exchange = Exchange(self, request, record)
        try:
            self.server.backend.serve(exchange)
        except (OSError, EOFError, SourceChanged) as error:
            logger.debug("%s given up: %s", request.path, type(error).__name__)
            self.close_connection = True
        except Exception:
            logger.exception("the emulator failed at %s", request.path)
            self._apologize(exchange)
        finally:
            exchange.end()

    do_POST = do_PUT = do_PROPFIND = do_GET

    def _is_call(self) -> bool:
        target = urlsplit(self.path)
        return PORTAL in self.server.roles and self.server.backend.portal.interface.owns(
            target.path
        )

    def _read_body(self) -> Optional[bytes]:
        """Return the request's body, or None after an error was sent."""
        if "Transfer-Encoding" in self.headers:
            self.close_connection = True
            self.send_error(HTTPStatus.LENGTH_REQUIRED)
            return None
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > _MAX_BODY_BYTES:
            self.close_connection = True
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return None
        return self.rfile.read(int(length))

    def _apologize(self, exchange: Exchange) -> None:
        self.close_connection = True
        if exchange.record.status is None:
            exchange.send(html_response(500, "The emulator failed; its log says why"))

    def _route(self, body: bytes) -> Request:
        target = urlsplit(self.path)
        host = target.netloc or self.headers.get("Host", "")
        found = _OBJECT.match(target.path)
        roles = self.server.roles
        if roles == (STORAGE,) or (STORAGE in roles and target.path.startswith("/blocks/")):
            file_id, version, block = map(int, found.groups()) if found else (None, None, None)
            return Request(
                STORAGE, target.path, target.query, self.headers, host, file_id, version, block
            )
        listed = _FILE.match(target.path[len(self.server.prefix) :])
        return Request(
            PORTAL,
            target.path,
            target.query,
            self.headers,
            host,
            int(listed.group(1)) if listed else None,
            method=self.command,
            call=self.server.backend.portal.interface.identify(
                self.command, target.path, self.headers, body
            ),
        )

    def _record(self, request: Request) -> RequestRecord:
        call = request.call
        return RequestRecord(
            number=0,
            where=request.where,
            method=self.command,
            path=request.path,
            file_id=request.file_id,
            block=request.block,
            range=self.headers.get("Range"),
            had_authorization="Authorization" in self.headers,
            connection=self._number,
            host=request.host,
            call=call.name if call is not None else None,
            root=call.root if call is not None else None,
            depth=call.depth if call is not None else None,
            start=call.start if call is not None else 0,
        )

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing of a request line: it may hold a signature."""
        logger.debug("%s %s", self.command, urlsplit(getattr(self, "path", "")).path)


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # closed by its own thread, or by the client, meanwhile
        # Not the method of SSLSocket, which takes the TLS state from under a thread that reads.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


_servers: weakref.WeakSet[Server] = weakref.WeakSet()


def _abandon_all() -> None:
    for server in list(_servers):
        server.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)
