"""One request and its response over a connected socket, read by llhttp.

``http.client`` parses a response's headers by the email package, holding the interpreter for longer
than a small block takes to decode. llhttp (httptools) does it in C, and strictly.
"""

from __future__ import annotations

import functools
import http.client
from collections.abc import Mapping
from io import BufferedReader, RawIOBase
from ssl import SSLEOFError
from typing import Any, Callable, Optional, Union

from urllib3.util import SKIP_HEADER

from .._base.buffers import PooledBuffer
from .errors import TransportError

try:
    import httptools
except ImportError:
    # A second interpreter of one process cannot load it, as in mod_wsgi with two sites.
    httptools = None  # type: ignore[assignment]

__all__ = ["HAS_PARSER", "ResponseHead", "WireResponse", "render_request_head"]

#: Whether llhttp is there. Without it, requests and http.client do all the work.
HAS_PARSER = httptools is not None

#: Bytes to ask the socket for while headers, or a body of unknown length, may come: a TLS record.
_STEP = 16 * 1024
#: Bytes to ask for at once of a body's rest. A server hears of the room in our buffer when a read ends:
#: with one of 4 MiB it has to wait for that, with several it sends meanwhile.
_READ = 1024 * 1024
#: What a response's headers may take together: as much as http.client grants a single one.
_MAX_HEAD = 64 * 1024


@functools.cache
def _renderer() -> Any:
    """Return the class of a connection that gives what it would send: a checked request.

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
    """What follows the request target in a GET to a host, by http.client, which checks the headers."""
    renderer = _renderer()(host, port)
    renderer.default_port = default_port
    own_host = any(name.lower() == "host" for name in headers)
    renderer.putrequest("GET", "/", skip_host=own_host, skip_accept_encoding=True)
    for name, value in headers.items():
        if value != SKIP_HEADER:  # How a session says to requests that a header is not to be sent.
            renderer.putheader(name, value)
    renderer.endheaders()
    rendered: bytes = renderer.rendered
    return rendered[len(b"GET /") :]


def _next_part(parts: list[bytes], size: int) -> bytes:
    """At most ``size`` bytes of the first part, taken out."""
    part = parts.pop(0)
    if len(part) > size:
        parts.insert(0, part[size:])
        part = part[:size]
    return part


class _Rest(RawIOBase):
    """``left`` bytes of a body: what came of it with the headers, then what the socket gives."""

    def __init__(self, parts: list[bytes], sock: Any, left: int) -> None:
        self._parts = parts
        self._sock = sock
        self._left = left

    def readable(self) -> bool:
        return True

    def readinto(self, memory: Any) -> int:
        memory = memory[: min(self._left, _READ)]
        if self._parts:
            part = _next_part(self._parts, len(memory))
            memory[: len(part)] = part
            count = len(part)
        else:
            count = self._sock.recv_into(memory) if self._left else 0
        self._left -= count
        return count


@functools.lru_cache(maxsize=64)
def _header_name(name: bytes) -> str:
    """A header's name in lower case. Servers send the same few again and again."""
    return name.decode("latin-1").lower()


class _UnexpectedResponse(Exception):
    """For llhttp, to make it stop."""


class WireResponse:
    """A GET over ``sock`` and its response, whose body is read once.

    ``rest`` is what `render_request_head` gave. ``release(reusable)`` is called when the connection is not
    needed any more, by :meth:`end`, and told whether it may serve another request.

    ``status``: the status code. ``headers``: by lower-case name; one that comes several times is joined
    by commas (RFC 9110, section 5.3). ``length``: bytes of the body still to be taken, if it is declared.
    """

    __slots__ = (
        "_complete",
        "_fields",
        "_file",
        "_keep_alive",
        "_parser",
        "_parts",
        "_release",
        "_sock",
        "headers",
        "length",
        "status",
    )

    def __init__(
        self, sock: Any, target: str, rest: bytes, release: Callable[[bool], object]
    ) -> None:
        self._sock = sock
        self._file: Optional[BufferedReader] = None
        self._release: Optional[Callable[[bool], object]] = release
        self._parser: Any = httptools.HttpResponseParser(self)
        self._fields: list[tuple[bytes, bytes]] = []
        self._parts: list[bytes] = []
        self._complete = self._keep_alive = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self.length: Optional[int] = None
        try:
            try:
                sock.sendall(b"GET " + target.encode("ascii") + rest)
            except (ConnectionError, SSLEOFError):
                self._receive_last_words()
            else:
                self._receive_head()
        except BaseException:
            self._parser = None
            raise

    def take(self, size: int, buffer: Optional[PooledBuffer] = None) -> Union[bytes, memoryview]:
        """The next ``size`` bytes of the body, fewer at its end; in ``buffer``'s memory where there is one.

        TransportError where the body is malformed; what sockets raise.
        """
        if self.length is None:
            return self._take_unframed(size)
        size = min(size, self.length)
        data = self._into(buffer.view(size)) if buffer is not None else self._as_bytes(size)
        self.length -= size
        self._complete = not self.length and len(data) == size
        return data

    def end(self) -> None:
        """The connection is no longer needed; one whose body was not read to its end is of no more use."""
        # It refers to this object, and would keep it until the next collection.
        self._parser = self._file = None
        release, self._release = self._release, None
        if release is not None:
            release(self._complete and self._keep_alive and not self._has_surplus())

    def _has_surplus(self) -> bool:
        """Whether more than the response came. On a bare socket the pool sees it: TLS has decrypted it."""
        # Not by its class: after a late patch by gevent, the sockets of either class may be in use.
        pending: Optional[Callable[[], int]] = getattr(self._sock, "pending", None)
        return pending is not None and pending() > 0

    def _receive_last_words(self) -> None:
        """Read what a server said before it closed the connection, amid the request.

        RFC 9112, section 9.5: it may have answered already. Over TLS 1.3 a server that wants a client
        certificate says so only after the handshake.
        """
        try:
            self._receive_head()
        except (ConnectionError, SSLEOFError, TransportError):
            pass
        else:
            self._keep_alive = False
        if not self.status:
            raise

    # --- how it is received --------------------------------------------------------------------------

    def _receive_head(self) -> None:
        received = 0
        while not self.status:
            data = self._sock.recv(_STEP)
            if not data:
                if received:
                    raise TransportError("protocol", "the answer ended amid its headers")
                raise TransportError("connection", "the connection was closed without an answer")
            received += len(data)
            self._feed(data)
            if not self.status and received > _MAX_HEAD:
                raise TransportError("protocol", "the headers of the answer have no end")

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            cause = error.__context__
            if cause is not None and not isinstance(cause, Exception):
                raise cause from None  # An interrupt that came during a callback.
            if self._complete:  # What follows a response that nothing can follow.
                self._keep_alive = False
                return
        else:
            return
        raise TransportError("protocol", "the answer is not valid HTTP")

    def _into(self, memory: memoryview) -> memoryview:
        """Fill ``memory`` straight from the socket; what is returned is shorter where the body is."""
        got = 0
        if self._file is None:
            for part in self._received(len(memory)):
                memory[got : got + len(part)] = part
                got += len(part)
        receive = self._sock.recv_into if self._file is None else self._file.readinto
        while got < len(memory):
            count = receive(memory[got : got + _READ])
            if not count:
                return memory[:got]
            got += count
        return memory

    def _as_bytes(self, size: int) -> bytes:
        if self._file is None:
            if size == sum(map(len, self._parts)):
                return b"".join(self._received(size))
            # The one way to read into new bytes without another copy of them. It may read ahead, so all
            # that follows has to come from it, too.
            assert self.length is not None
            self._file = BufferedReader(_Rest(self._parts, self._sock, self.length), _STEP)
        return self._file.read(size)

    def _take_unframed(self, size: int) -> bytes:
        """From a chunked body, or one that ends with the connection (RFC 9112, section 6.3)."""
        parts = self._received(size)
        left = size - sum(map(len, parts))
        while left and not self._complete:
            data = self._sock.recv(4 * _STEP)
            if not data:
                if self._is_chunked():
                    raise TransportError("short", "the body ended early")
                self._complete = True
                break
            self._feed(data)
            new = self._received(left)
            left -= sum(map(len, new))
            parts += new
        return b"".join(parts)

    def _is_chunked(self) -> bool:
        return self.headers.get("transfer-encoding", "").lower() == "chunked"

    def _received(self, size: int) -> list[bytes]:
        """What came already of the next ``size`` bytes; the rest of it stays."""
        parts: list[bytes] = []
        while size and self._parts:
            parts.append(_next_part(self._parts, size))
            size -= len(parts[-1])
        return parts

    # --- what llhttp calls ---------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """The beginning of a response; a second one, or what looks like it, nobody asked for."""
        if self._complete:
            raise _UnexpectedResponse

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header. Trailers, which may follow a chunked body, are of no use here."""
        if not self.status:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """The end of the headers; those of an interim response (RFC 9110, section 15.2) do not count."""
        fields, self._fields = self._fields, []
        status = self._parser.get_status_code()
        if status < 100 or not self._parser.get_http_version().startswith("1."):
            raise _UnexpectedResponse
        if status < 200 and status != http.client.SWITCHING_PROTOCOLS:
            return
        headers = self.headers
        for name, value in fields:
            key, text = _header_name(name), value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        coding = headers.get("transfer-encoding")
        if coding is not None and coding.lower() not in ("identity", "chunked"):
            raise _UnexpectedResponse  # A coding that nobody here takes off again.
        self.status = status
        self._keep_alive = self._parser.should_keep_alive()
        if status in (http.client.NO_CONTENT, http.client.NOT_MODIFIED):
            self.length = 0
        elif "content-length" in headers:
            self.length = int(headers["content-length"])

    def on_body(self, part: bytes) -> None:
        """Some of the body, which came with the headers or is not framed by a length."""
        self._parts.append(part)

    def on_message_complete(self) -> None:
        """The end of a response."""
        self._complete = self.status != 0


class ResponseHead(WireResponse):
    """The head of a response that http.client is about to read, judged as every other head is.

    So an answer that llhttp refuses is refused on requests' own route as well, where http.client
    would read something else into it.

    Attributes:
        fields: Each header's name and value, in order, as they came.
        version: 10 or 11, as http.client counts.
        keep_alive: Whether the connection may serve another request.
        chunked: Whether the body comes in chunks.
    """

    __slots__ = ("chunked", "fields", "keep_alive", "version")

    def __init__(self, file: Any) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.version = 11
        super().__init__(_Lines(file), "/", b"", lambda reusable: None)
        self.keep_alive = self._keep_alive
        self.chunked = self._is_chunked()
        self._parser = None

    def on_headers_complete(self) -> None:
        """Keep what the parent class joins."""
        self.fields = self._fields
        super().on_headers_complete()
        self.version = 10 if self._parser.get_http_version() == "1.0" else 11


class _Lines:
    """A file as a socket that gives one line at a time, so that nothing past the head is taken."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def sendall(self, data: bytes) -> None:
        """Send nothing: the request went out before."""

    def recv(self, size: int) -> bytes:
        """Return the next line, or a part of one that is longer than ``size``."""
        line: bytes = self._file.readline(size)
        return line
