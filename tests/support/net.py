"""Servers that answer what a test tells them: plain, over TLS, and as proxies. Loopback only."""

from __future__ import annotations

import base64
import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from socketserver import BaseServer
from typing import Any

Handler = Callable[[Any, str, bytes], object]


@contextlib.contextmanager
def serving_on_thread(server: BaseServer) -> Iterator[None]:
    """Let a server of the standard library serve on a thread, and close it afterwards."""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Server:
    """A server that calls ``handle(connection, request line, head)`` for each request.

    A handler that returns False ends the connection.

    Attributes:
        port: Where it listens.
        lines: The request lines that came.
        heads: The whole heads that came.
        connections: How many connections were accepted.
    """

    def __init__(
        self, handle: Handler, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
    ) -> None:
        self.lines: list[str] = []
        self.heads: list[bytes] = []
        self.connections = 0
        self._handle = handle
        self._tls = tls
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def _start(self, target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                with self._lock:
                    self._open.add(connection)
                self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        used: Any = connection
        with contextlib.suppress(OSError, ValueError):
            if self._tls is not None:
                used = self._tls.wrap_socket(
                    connection, server_side=True, do_handshake_on_connect=False
                )
                with self._lock:
                    self._open.add(used)
                try:
                    used.do_handshake()
                except ssl.SSLError:
                    # A reset, which unread data causes, would take the alert away again.
                    socket.socket.shutdown(used, socket.SHUT_WR)
                    while socket.socket.recv(used, 65536):
                        pass
                    raise
            while (head := self._head(used)) is not None:
                line = head.partition(b"\r\n")[0].decode("latin-1")
                self.lines.append(line)
                self.heads.append(head)
                if self._handle(used, line, head) is False:
                    break
        with contextlib.suppress(OSError):
            used.close()

    @staticmethod
    def _head(connection: Any) -> bytes | None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            data = connection.recv(1)
            if not data:
                return None
            if data == b"\x16":  # TLS where none is spoken.
                connection.sendall(answer(status=b"400 Bad Request"))
                return None
            head += data
        return head

    def close(self) -> None:
        """Close the listener and all connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join(5)
        with self._lock:
            opened = list(self._open)
        for connection in opened:
            with contextlib.suppress(OSError, ValueError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)


@contextlib.contextmanager
def serving(handle: Handler, tls: ssl.SSLContext | None = None, **more: Any) -> Iterator[Server]:
    """Run a :class:`Server`."""
    server = Server(handle, tls, **more)
    try:
        yield server
    finally:
        server.close()


def answer(body: bytes = b"", extra: bytes = b"", status: bytes = b"200 OK") -> bytes:
    """Return a response with a Content-Length."""
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%s" % (status, len(body), extra, body)


def always(reply: bytes) -> Handler:
    """Return a handler that answers each request alike, and then closes the connection."""

    def handle(connection: Any, line: str, head: bytes) -> bool:
        connection.sendall(reply)
        return False

    return handle


# --- proxies -------------------------------------------------------------------------------------------


def proxy_handler(
    *, login: str = "", connect: bytes = b"200 Established", everywhere: int | None = None
) -> Handler:
    """Return a handler that makes a server a proxy, for CONNECT and for whole URLs.

    Args:
        login: ``user:password`` that it wants; else it answers 407.
        connect: The status line's end that it answers to CONNECT.
        everywhere: A port of this machine that it connects to, whatever host is asked for.
    """
    wanted = b"Basic " + base64.b64encode(login.encode())

    def handle(connection: Any, line: str, head: bytes) -> bool:
        if login and wanted not in head:
            connection.sendall(answer(status=b"407 Proxy Authentication Required"))
            return False
        method, target, _ = line.split(" ", 2)
        netloc = target if method == "CONNECT" else target.split("/")[2]
        host, _, port = netloc.rpartition(":")
        if method == "CONNECT" and not connect.startswith(b"2"):
            connection.sendall(answer(status=connect))
            return False
        address = ("127.0.0.1", everywhere) if everywhere else (host.strip("[]"), int(port))
        with socket.create_connection(address, 5) as upstream:
            if method == "CONNECT":
                connection.sendall(b"HTTP/1.1 %s\r\n\r\n" % connect)
            else:
                path = "/" + target.split("/", 3)[3]
                head = head.replace(target.encode("latin-1"), path.encode("latin-1"), 1)
                upstream.sendall(head.replace(b"keep-alive", b"close"))
            pump(connection, upstream)
        return False

    return handle


def pump(left: Any, right: Any) -> None:
    """Carry bytes between two connections until one ends."""
    pairs = {left: right, right: left}
    while True:
        ready = [end for end in pairs if isinstance(end, ssl.SSLSocket) and end.pending()]
        for end in ready or select.select(list(pairs), [], [])[0]:
            data = end.recv(65536)
            if not data:
                return
            pairs[end].sendall(data)


class SOCKS(Server):
    """A SOCKS 5 proxy without a login (RFC 1928), for addresses of version 4 and names."""

    def __init__(self, refuse: int = 0) -> None:
        self.asked: list[tuple[str, int]] = []
        self._refuse = refuse
        super().__init__(lambda *_: None)

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, IndexError), connection:
            connection.recv(connection.recv(2)[1])
            connection.sendall(b"\x05\x00")
            kind = connection.recv(4)[3]
            size = 4 if kind == 1 else connection.recv(1)[0]
            raw = connection.recv(size)
            host = socket.inet_ntoa(raw) if kind == 1 else raw.decode()
            port = int.from_bytes(connection.recv(2), "big")
            self.asked.append((host, port))
            connection.sendall(bytes([5, self._refuse, 0, 1, 0, 0, 0, 0, 0, 0]))
            if not self._refuse:
                with socket.create_connection((host, port), 5) as upstream:
                    pump(connection, upstream)


__all__ = ["SOCKS", "Server", "always", "answer", "proxy_handler", "pump", "serving"]
