"""Responses of http.client that are as strict as those of the fast route."""

from __future__ import annotations

import http.client
import re
from typing import Any

from .current import current_request
from .response import HAS_PARSER, read_response_head, refuse_cut_tls
from .sockets import shut_down

__all__ = ["StrictResponse"]

_MAX_CHUNK_LINE_BYTES = 64 * 1024
#: The most that the trailers of a chunked body may take together.
_MAX_TRAILER_BYTES = 64 * 1024
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[^\r\n]*)?\r\n\Z")
#: A field of a head or of trailers (RFC 9112, section 5).
_FIELD_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n")


class StrictResponse(http.client.HTTPResponse):
    """A response to a request of the library that goes through `requests`.

    llhttp reads its head. An answer that the fast route refuses is refused here as well, where
    http.client would read something else into it.
    """

    #: Whether llhttp has read the head.
    _is_strict = False

    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._socket = sock

    def begin(self) -> None:
        """Read the head.

        Raises:
            TransportError: llhttp refuses it.
        """
        strict = current_request.get() is not None and HAS_PARSER and self._method == "GET"  # type: ignore[attr-defined]
        if self.headers is not None or not strict:
            super().begin()
            return
        head = read_response_head(self.fp)
        self.code = self.status = head.status
        self.version, self.reason = head.version, http.client.responses.get(head.status, "")
        self.headers = self.msg = http.client.HTTPMessage()
        for name, value in head.fields:
            self.headers[name.decode("latin-1")] = value.decode("latin-1")
        # A 204 or 304 has no body, whatever its headers say (RFC 9112, section 6.3).
        self.chunked, self.length = head.chunked and head.length is None, head.length
        self.chunk_left: int | None = None
        self.will_close = not head.keep_alive
        self._is_strict = True
        if head.length is None and not head.chunked:
            refuse_cut_tls(self._socket)

    # http.client has no public hooks for what follows.

    def _close_conn(self) -> None:
        """Shut the connection down if bytes follow the response.

        http.client drops what it has read ahead. The pool would take the connection for an unused one.
        """
        if self._is_strict and not self.will_close and _has_surplus(self.fp, self._socket):
            shut_down(self._socket)
        super()._close_conn()  # type: ignore[misc]

    def _get_chunk_left(self) -> int | None:
        """Check the end of a chunk, two bytes that http.client skips unseen."""
        if self.chunk_left == 0 and self._is_strict:
            end = self.fp.read(2)
            if len(end) < 2:
                raise http.client.IncompleteRead(b"")
            if end != b"\r\n":
                raise http.client.HTTPException("no end of a chunk")
            self.chunk_left = None
        left: int | None = super()._get_chunk_left()  # type: ignore[misc]
        return left

    def _read_and_discard_trailer(self) -> None:
        """Refuse trailers that are not fields, or that have no end."""
        remaining = _MAX_TRAILER_BYTES
        while remaining:
            line = self.fp.readline(remaining)
            if line == b"\r\n":
                return
            remaining -= len(line)
            if not line.endswith(b"\n"):
                if remaining:
                    raise http.client.IncompleteRead(b"")
            elif not _FIELD_LINE.fullmatch(line):
                break
        raise http.client.HTTPException("no trailers")

    def _read_next_chunk_size(self) -> int:
        """Refuse sizes that `int` accepts and llhttp does not, such as +5 (RFC 9112, 7.1)."""
        line = self.fp.readline(_MAX_CHUNK_LINE_BYTES)
        if not line.endswith(b"\n") and len(line) < _MAX_CHUNK_LINE_BYTES:
            raise http.client.IncompleteRead(b"")
        size = _CHUNK_SIZE.match(line)
        if size is None:
            raise http.client.HTTPException("no chunk size")
        return int(size.group(1), 16)


def _has_surplus(file: Any, sock: Any) -> bool:
    """Return whether a file over a socket has more bytes at hand, without waiting for any."""
    timeout_s = sock.gettimeout()
    sock.settimeout(0)
    try:
        return bool(file.peek(1))
    except (OSError, ValueError):  # TLS has no whole record, or the connection failed.
        return False
    finally:
        sock.settimeout(timeout_s)
