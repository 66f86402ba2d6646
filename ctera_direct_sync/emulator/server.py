"""The HTTP server: sockets and threads around the portal and the storage."""

from __future__ import annotations

import contextlib
import http.server
import logging
import os
import re
import socket
import socketserver
import ssl
import threading
import weakref
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from .exchange import Backend, Exchange
from .log import RequestRecord
from .messages import PORTAL, STORAGE, Request, Where, html_response
from .sources import SourceChanged

logger = logging.getLogger(__name__)

_OBJECT = re.compile(r"/blocks/(\d{1,19})/(\d{1,9})/(\d{1,9})\Z")
_FILE = re.compile(r"/directio/(\d{1,19})\Z")
#: The largest body of a call that is read.
_MAX_BODY_BYTES = 1024 * 1024


class Server(http.server.ThreadingHTTPServer):
    """One listening socket, its threads and its connections.

    Args:
        address: The host and port to listen on.
        backend: What answers the requests.
        roles: What the server is: the portal, the storage, or both.
        prefix: What the portal's paths start with.
        tls: The context for HTTPS. None: HTTP.

    Attributes:
        backend: What answers the requests.
        roles: What the server is.
        prefix: What the portal's paths start with.

    Raises:
        OSError: The port is taken.
    """

    daemon_threads = True
    request_queue_size = 512

    def __init__(
        self,
        address: tuple[str, int],
        backend: Backend,
        roles: tuple[Where, ...],
        prefix: str,
        tls: ssl.SSLContext | None,
    ) -> None:
        self.backend = backend
        self.roles = roles
        self.prefix = prefix
        self._tls = tls
        self._lock = threading.Lock()
        self._live: dict[socket.socket, threading.Thread] = {}
        self._hard: set[socket.socket] = set()
        self._complete: set[socket.socket] = set()
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, Handler)
        self._acceptor = threading.Thread(
            target=self.serve_forever, args=(0.02,), name="ctera-emulator", daemon=True
        )
        _servers.add(self)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.server_address[1])

    def start(self) -> None:
        """Accept connections on another thread."""
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
        """Bind, without the look-up of the host name that `HTTPServer` does."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.port

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection. The thread of the connection does the TLS handshake."""
        connection, address = super().get_request()
        if self._tls is not None:
            connection = self._tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start the thread of a connection."""
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
        """Close a connection with a FIN, or with an RST if a fault asked for it."""
        with self._lock:
            hard = request in self._hard
            self._hard.discard(request)
            complete = request in self._complete
            self._complete.discard(request)
        if hard:
            self.close_request(request)
            return
        if complete and isinstance(request, ssl.SSLSocket):
            # close_notify tells the client that nothing was cut off (RFC 8446, section 6.1). The
            # client's own is not waited for.
            with contextlib.suppress(OSError, ValueError):
                request.setblocking(False)
                request.unwrap()
        super().shutdown_request(request)

    def close_complete(self, connection: socket.socket) -> None:
        """Note that the end of a connection is the end of a body that is complete."""
        with self._lock:
            self._complete.add(connection)

    def close_hard(self, connection: socket.socket) -> None:
        """Note that a connection is to be closed with an RST."""
        with self._lock:
            self._hard.add(connection)

    def abandon(self) -> None:
        """Close the copies of the parent's sockets in a forked child.

        While the child holds a copy, the parent cannot end a connection.
        """
        for connection in (*self._live, self.socket):
            os.close(connection.detach())  # close() waits until the files of the socket are closed

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


class Handler(http.server.BaseHTTPRequestHandler):
    """Reads the requests of one connection."""

    protocol_version = "HTTP/1.1"
    server_version = "CteraEmulator"
    disable_nagle_algorithm = True
    server: Server

    def setup(self) -> None:
        """Give the connection a number."""
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

    def _read_body(self) -> bytes | None:
        """Return the request's body, or None after an error was sent."""
        if "Transfer-Encoding" in self.headers:
            self.close_connection = True
            self.send_error(HTTPStatus.LENGTH_REQUIRED)
            return None
        length = self.headers.get("Content-Length", "0")
        if not re.fullmatch(r"\d{1,9}", length) or int(length) > _MAX_BODY_BYTES:
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
        """Log method and path only, for the query may hold a signature."""
        logger.debug("%s %s", self.command, urlsplit(getattr(self, "path", "")).path)


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # its thread or the client may have closed it
        # The method of SSLSocket would drop the TLS state, which another thread may be using.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


_servers: weakref.WeakSet[Server] = weakref.WeakSet()


def _abandon_all() -> None:
    for server in list(_servers):
        server.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)
