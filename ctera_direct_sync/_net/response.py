"""One GET and its response over a connected socket, parsed by llhttp.

`http.client` parses the headers of a response by the email package. That holds the interpreter for longer
than a small block takes to decode. llhttp (httptools) does it in C, and strictly.
"""

from __future__ import annotations

import functools
import http.client
from collections.abc import Mapping
from io import BufferedReader, RawIOBase
from ssl import SSLError
from typing import Any, Callable, NamedTuple

from urllib3.util import SKIP_HEADER

from .._base.buffers import PooledBuffer
from .errors import TransportError, is_tls_cut

try:
    import httptools
except ImportError:
    # A second interpreter of one process cannot load it, as in mod_wsgi with two sites.
    httptools = None  # type: ignore[assignment]

__all__ = [
    "HAS_PARSER",
    "ResponseHead",
    "WireResponse",
    "read_response_head",
    "refuse_cut_tls",
    "render_request_head",
]

#: Whether llhttp can be used. Without it, requests and http.client do all the work.
HAS_PARSER = httptools is not None

#: What one `recv` asks for while headers, or a body of unknown length, may come: a TLS record.
_RECV_SIZE_BYTES = 16 * 1024
#: The most that one read of a body of known length asks for. A server learns of the room in our buffer
#: when a read ends. With one read of 4 MiB it has to wait for that; with several it sends meanwhile.
_MAX_READ_BYTES = 1024 * 1024
#: The most that the headers of a response may take together: what http.client allows a single one.
#: Also the most that may come in a row in a chunked body without a byte of the body.
_MAX_HEAD_BYTES = 64 * 1024


# --- the request -----------------------------------------------------------------------------------------


@functools.cache
def _renderer() -> Any:
    """Return a class of connections that keep what they would send.

    It is made at first use. On import, a mock may be in the place of its base class.
    """

    class Renderer(http.client.HTTPConnection):
        rendered = b""

        def send(self, data: Any) -> None:
            self.rendered += data

    return Renderer


def render_request_head(
    host: str, port: int, default_port: int, headers: Mapping[str, str]
) -> bytes:
    """Return what follows the target in the head of a GET: the HTTP version and the headers.

    http.client renders it, because it checks names and values.

    Args:
        host: The host, for the Host header.
        port: The port.
        default_port: The port that the Host header leaves out.
        headers: The headers. One whose value is urllib3's `SKIP_HEADER` is left out.

    Raises:
        ValueError: A header's name or value is not valid.
    """
    renderer = _renderer()(host, port)
    renderer.default_port = default_port
    own_host = any(name.lower() == "host" for name in headers)
    renderer.putrequest("GET", "/", skip_host=own_host, skip_accept_encoding=True)
    for name, value in headers.items():
        if value != SKIP_HEADER:  # How a session tells requests to leave a header out.
            renderer.putheader(name, value)
    renderer.endheaders()
    rendered: bytes = renderer.rendered
    return rendered[len(b"GET /") :]


# --- the response's head ---------------------------------------------------------------------------------


class _UnexpectedResponse(Exception):
    """Raised in llhttp's callbacks, to make it stop."""


class _ResponseParser:
    """Collects what llhttp finds in the bytes of one response.

    Attributes:
        status: The status code; 0 until the head is complete.
        headers: By lower-case name. The values of a header that comes several times are joined by
            commas (RFC 9110, section 5.3).
        length: Declared bytes of the body, None if they are not declared.
    """

    __slots__ = (
        "_complete",
        "_fields",
        "_keep_alive",
        "_parser",
        "_parts",
        "_tail",
        "headers",
        "length",
        "status",
    )

    def __init__(self) -> None:
        self._parser: Any = httptools.HttpResponseParser(self)
        self._fields: list[tuple[bytes, bytes]] = []
        #: Parts of the body that were received and not yet read.
        self._parts: list[bytes] = []
        #: Whether the response has ended.
        self._complete = False
        self._keep_alive = False
        #: The last bytes that llhttp was given.
        self._tail = b""
        self.status = 0
        self.headers: dict[str, str] = {}
        self.length: int | None = None

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            cause = error.__context__
            if cause is not None and not isinstance(cause, Exception):
                raise cause from None  # An interrupt that came during a callback.
            if self._complete:  # Bytes follow a response that closes its connection.
                self._keep_alive = False
                return
        else:
            if not self._complete:
                self._tail = (self._tail + data[-5:])[-5:]
            elif not self._has_ended_with(data):
                self._keep_alive = False
            return
        raise TransportError("protocol", "the answer is not valid HTTP")

    def _has_ended_with(self, data: bytes) -> bool:
        """Return whether the response, which is complete, ends where `data` does.

        llhttp skips line ends that follow a response, and does not tell. A head and a chunked body both
        end with one empty line: a surplus makes it several, or moves the body away from the end.
        """
        body = b"" if self.length is None else b"".join(self._parts)
        before_body = (self._tail + data)[: len(self._tail) + len(data) - len(body)]
        return (
            data.endswith(body)
            and before_body.endswith(b"\r\n\r\n")
            and before_body[-5:-4] not in (b"\r", b"\n")
        )

    def _receive_head(self, receive: Callable[[int], bytes]) -> None:
        received = 0
        while not self.status:
            data = receive(_RECV_SIZE_BYTES)
            if not data:
                if received:
                    raise TransportError("protocol", "the answer ended amid its headers")
                raise TransportError("connection", "the connection was closed without an answer")
            received += len(data)
            self._feed(data)
            if not self.status and received > _MAX_HEAD_BYTES:
                raise TransportError("protocol", "the headers of the answer have no end")

    def _is_chunked(self) -> bool:
        return self.headers.get("transfer-encoding", "").lower() == "chunked"

    # --- llhttp's callbacks, whose names it chose --------------------------------------------------------

    def on_message_begin(self) -> None:
        """Refuse a second response, which was not asked for."""
        if self._complete:
            raise _UnexpectedResponse

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note a header. The trailers that may follow a chunked body are dropped."""
        if not self.status:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Take the headers over. Those of an interim response (RFC 9110, section 15.2) are dropped."""
        fields, self._fields = self._fields, []
        status = self._parser.get_status_code()
        if status < 100 or not self._parser.get_http_version().startswith("1."):
            raise _UnexpectedResponse
        if status == http.client.SWITCHING_PROTOCOLS:
            raise _UnexpectedResponse  # No upgrade was offered (RFC 9110, section 7.8).
        if status < 200:
            if any(_header_name(name) == "transfer-encoding" for name, _ in fields):
                raise _UnexpectedResponse  # It cannot have content (RFC 9110, section 15.2).
            return
        headers = self.headers
        for name, value in fields:
            key, text = _header_name(name), value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        coding = headers.get("transfer-encoding")
        if coding is not None and coding.lower() not in ("identity", "chunked"):
            raise _UnexpectedResponse  # The library cannot remove any other coding.
        self.status = status
        self._keep_alive = self._parser.should_keep_alive()
        # llhttp keeps two things that RFC 9112 ends in HTTP/1.0: a Transfer-Encoding is faulty framing
        # (section 6.1), and "close" wins over "keep-alive" (section 9.3).
        if self._parser.get_http_version() == "1.0" and (
            coding is not None or "close" in headers.get("connection", "").lower()
        ):
            self._keep_alive = False
        if status in (http.client.NO_CONTENT, http.client.NOT_MODIFIED):
            self.length = 0
        elif "content-length" in headers:
            self.length = int(headers["content-length"])

    def on_body(self, part: bytes) -> None:
        """Note a part of the body that came with the headers, or that no length frames.

        An interim response cannot have one, but llhttp believes its Content-Length.
        """
        if not self.status:
            raise _UnexpectedResponse
        self._parts.append(part)

    def on_message_complete(self) -> None:
        """Note the end of the response."""
        self._complete = self.status != 0


@functools.lru_cache(maxsize=64)
def _header_name(name: bytes) -> str:
    """Return a header's name in lower case. Servers send the same few again and again."""
    return name.decode("latin-1").lower()


class ResponseHead(NamedTuple):
    """The head of a response that http.client is to read the body of.

    Attributes:
        status: The status code.
        version: 10 or 11, as http.client counts.
        fields: Name and value of each header, in the order in which they came.
        length: Declared bytes of the body, None if they are not declared.
        chunked: Whether the body comes in chunks.
        keep_alive: Whether the connection may serve another request.
    """

    status: int
    version: int
    fields: list[tuple[bytes, bytes]]
    length: int | None
    chunked: bool
    keep_alive: bool


class _HeadParser(_ResponseParser):
    """Keeps the fields and the version that its parent class does not need."""

    __slots__ = ("fields", "version")

    def on_headers_complete(self) -> None:
        self.fields = self._fields
        super().on_headers_complete()
        self.version = 10 if self._parser.get_http_version() == "1.0" else 11

    def read(self, file: Any) -> ResponseHead:
        """Read the head, line by line: what follows it must stay in the file."""
        try:
            self._receive_head(file.readline)
        finally:
            # It refers to this object, and would keep it until the next collection.
            self._parser = None
        return ResponseHead(
            self.status,
            self.version,
            self.fields,
            self.length,
            self._is_chunked(),
            self._keep_alive,
        )


def read_response_head(file: Any) -> ResponseHead:
    """Read the head of a response from a file, and nothing more.

    Args:
        file: A buffered binary file.

    Raises:
        TransportError: It is not the head of a valid response.
    """
    return _HeadParser().read(file)


# --- the response ----------------------------------------------------------------------------------------


def refuse_cut_tls(sock: Any) -> None:
    """Have reads of a TLS socket fail if the connection is cut, where Python tells an end.

    RFC 9112, section 9.8: a body that ends with the connection is whole only after TLS's own end.

    Args:
        sock: A socket of any kind.
    """
    if hasattr(sock, "suppress_ragged_eofs"):
        sock.suppress_ragged_eofs = False


def _take_part(parts: list[bytes], size: int) -> bytes:
    """Remove and return at most `size` bytes of the first part."""
    part = parts.pop(0)
    if len(part) > size:
        parts.insert(0, part[size:])
        part = part[:size]
    return part


class _RemainingBody(RawIOBase):
    """The last `size` bytes of a body as a file: first what was received with the head, then the socket."""

    def __init__(self, response: WireResponse, parts: list[bytes], sock: Any, size: int) -> None:
        self._response = response
        self._parts = parts
        self._sock = sock
        self._remaining = size

    def readable(self) -> bool:
        return True

    def readinto(self, memory: Any) -> int:
        memory = memory[: min(self._remaining, _MAX_READ_BYTES)]
        if self._parts:
            part = _take_part(self._parts, len(memory))
            memory[: len(part)] = part
            count = len(part)
        else:
            count = self._sock.recv_into(memory) if self._remaining else 0
        self._remaining -= count
        self._response.received += count
        return count


class WireResponse(_ResponseParser):
    """A GET that is sent over a socket, and its response, whose body is read once.

    Args:
        sock: A connected socket.
        target: Path and query of the URL.
        head: The rest of the request's head, by `render_request_head`.
        release: Called once by `close`, with whether the connection may serve another request.

    Raises:
        TransportError: The answer is not valid HTTP.
        OSError: The connection failed.

    Attributes:
        length: Bytes of the body that are still to be read, None if they are not declared.
        received: Bytes of the body that were read so far. Another thread may look at it amid a read.
    """

    __slots__ = ("_file", "_release", "_sock", "received")

    def __init__(
        self, sock: Any, target: str, head: bytes, release: Callable[[bool], object]
    ) -> None:
        super().__init__()
        self._sock = sock
        self._file: BufferedReader | None = None
        self._release: Callable[[bool], object] | None = release
        self.received = 0
        try:
            try:
                sock.sendall(b"GET " + target.encode("ascii") + head)
            except (ConnectionError, SSLError) as error:
                if isinstance(error, SSLError) and not is_tls_cut(error):
                    raise
                self._receive_early_response()
            else:
                self._receive_head(sock.recv)
        except BaseException:
            self._parser = None
            raise

    def _receive_early_response(self) -> None:
        """Read what a server sent before it closed the connection, amid the request.

        It may have answered already (RFC 9112, section 9.5). Over TLS 1.3 a server that wants a client
        certificate says so only after the handshake.
        """
        try:
            self._receive_head(self._sock.recv)
        except (ConnectionError, TransportError):
            pass
        except SSLError as error:
            if not is_tls_cut(error):
                raise
        else:
            self._keep_alive = False
        if not self.status:
            raise

    def read(self, size: int, buffer: PooledBuffer | None = None) -> bytes | memoryview:
        """Return the next `size` bytes of the body, fewer at its end.

        Args:
            size: The number of bytes.
            buffer: Where to put them if the length of the body is declared. The result is then a view of
                its memory.

        Raises:
            TransportError: The body is malformed.
            OSError: The connection failed.
        """
        if self.length is None:
            return self._read_undeclared(size)
        size = min(size, self.length)
        data = self._read_into(buffer.view(size)) if buffer is not None else self._read_bytes(size)
        self.length -= size
        self._complete = not self.length and len(data) == size
        return data

    def read_some(self, size: int, buffer: PooledBuffer | None = None) -> bytes | memoryview:
        """Return what is there of the next `size` bytes of the body: at least one, none at its end.

        Args:
            size: The most bytes.
            buffer: As for `read`. A response that was read without one is read on without one.

        Raises:
            TransportError: The body is malformed.
            OSError: The connection failed.
        """
        if self.length is None:
            return self._read_undeclared(size, partial=True)
        size = min(size, self.length, _MAX_READ_BYTES)
        data: bytes | memoryview
        if self._parts:
            data = _take_part(self._parts, size)
            if buffer is not None:
                memory = buffer.view(len(data))
                memory[:] = data
                data = memory
        elif not size:
            data = b""
        elif buffer is None:
            data = self._sock.recv(size)
        else:
            memory = buffer.view(size)
            data = memory[: self._sock.recv_into(memory)]
        self.length -= len(data)
        self.received += len(data)
        self._complete = not self.length
        return data

    def retire(self) -> None:
        """Have `close` give the connection up."""
        self._keep_alive = False

    def close(self) -> None:
        """Release the connection. It can be used again only if the body was read to its end."""
        # The parser refers to this object, and would keep it until the next collection.
        self._parser = self._file = None
        release, self._release = self._release, None
        if release is not None:
            release(self._complete and self._keep_alive and not self._has_surplus())

    def _has_surplus(self) -> bool:
        """Return whether TLS has decrypted more than the response.

        On a plain socket the pool sees a surplus, before it uses the connection again.
        """
        # Not by its class: after a late patch by gevent, the sockets of either class may be in use.
        pending: Callable[[], int] | None = getattr(self._sock, "pending", None)
        return pending is not None and pending() > 0

    def _read_into(self, memory: memoryview) -> memoryview:
        """Fill `memory` straight from the socket. The result is shorter if the body ends early."""
        filled = 0
        if self._file is None:
            for part in self._take_received(len(memory)):
                memory[filled : filled + len(part)] = part
                filled += len(part)
        receive = self._sock.recv_into if self._file is None else self._file.readinto
        before = self.received
        self.received = before + filled
        while filled < len(memory):
            count = receive(memory[filled : filled + _MAX_READ_BYTES])
            if not count:
                return memory[:filled]
            filled += count
            self.received = before + filled
        return memory

    def _read_bytes(self, size: int) -> bytes:
        if self._file is None:
            if size == sum(map(len, self._parts)):
                return b"".join(self._take_received(size))
            # BufferedReader is the one way to read into new bytes without another copy of them.
            # It may read ahead, so all that follows must come from it, too.
            assert self.length is not None
            body = _RemainingBody(self, self._parts, self._sock, self.length)
            self._file = BufferedReader(body, _RECV_SIZE_BYTES)
        return self._file.read(size)

    def _read_undeclared(self, size: int, partial: bool = False) -> bytes:
        """Read a chunked body, or one that ends with the connection (RFC 9112, section 6.3).

        Args:
            size: The number of bytes.
            partial: Whether to return as soon as some are there.
        """
        is_chunked = self._is_chunked()
        if not is_chunked:
            refuse_cut_tls(self._sock)
        parts = self._take_received(size)
        remaining = size - sum(map(len, parts))
        overhead = 0
        while remaining and not self._complete and not (partial and remaining < size):
            try:
                data = self._sock.recv(
                    min(size, 4 * _RECV_SIZE_BYTES) if partial else 4 * _RECV_SIZE_BYTES
                )
            except SSLError as error:
                if is_tls_cut(error):
                    raise TransportError("short", "the body ended early") from None
                raise
            if not data:
                if is_chunked:
                    raise TransportError("short", "the body ended early")
                self._complete = True
                break
            self.received += len(data)
            self._feed(data)
            received = self._take_received(remaining)
            remaining -= sum(map(len, received))
            parts += received
            overhead = 0 if received else overhead + len(data)
            if overhead > _MAX_HEAD_BYTES and not self._complete:
                raise TransportError("protocol", "the chunks of the answer have no end")
        return b"".join(parts)

    def _take_received(self, size: int) -> list[bytes]:
        """Remove and return at most `size` bytes of what was received."""
        parts: list[bytes] = []
        while size and self._parts:
            parts.append(_take_part(self._parts, size))
            size -= len(parts[-1])
        return parts
