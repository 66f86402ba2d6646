"""Responses of http.client that are as strict as those of the fast route."""

from __future__ import annotations

import http.client
import re
from typing import Optional

from .current import current_request
from .response import HAS_PARSER, read_response_head

__all__ = ["StrictResponse"]

_MAX_CHUNK_LINE_BYTES = 64 * 1024
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\r\n\Z")


class StrictResponse(http.client.HTTPResponse):
    """A response to a request of the library that goes through `requests`.

    llhttp reads its head. An answer that the fast route refuses is refused here as well, where
    http.client would read something else into it.
    """

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
        self.chunked, self.length = head.chunked, head.length
        self.chunk_left: Optional[int] = None
        self.will_close = not head.keep_alive

    # http.client has no public hook for the sizes of chunks.
    def _read_next_chunk_size(self) -> int:
        """Refuse sizes that `int` accepts and the protocol does not, such as +5 (RFC 9112, 7.1)."""
        line = self.fp.readline(_MAX_CHUNK_LINE_BYTES)
        if not line.endswith(b"\n") and len(line) < _MAX_CHUNK_LINE_BYTES:
            raise http.client.IncompleteRead(b"")
        size = _CHUNK_SIZE.match(line)
        if size is None:
            raise http.client.HTTPException("no chunk size")
        return int(size.group(1), 16)
