"""A response of a session's `get`, with the methods of `WireResponse`."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from .._base.buffers import PooledBuffer
from .errors import TransportError

__all__ = ["RequestsResponse"]


class RequestsResponse:
    """The response of a session, or of what stands in for a session.

    Args:
        response: A `requests.Response`, or an object like one.

    Raises:
        TransportError: The answer is not valid HTTP.

    Attributes:
        status: The status code.
        headers: By lower-case name.
        length: Declared bytes of the body, None if they are not declared.
        received: -1: the bytes are not counted, since one read of urllib3's takes all of them.
    """

    received = -1

    def __init__(self, response: Any) -> None:
        self._response = response
        self.status: int = response.status_code
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        self._body: Any = getattr(response, "raw", None)
        self._options: dict[str, Any] = {"decode_content": False}
        # urllib3 forgets it when the body ends. Sessions belong to one thread, so no other one uses it.
        self._connection: Any = getattr(self._body, "connection", None)
        if getattr(response, "_content_consumed", False) or not hasattr(self._body, "read"):
            # A hook or a mock has read the body already, and removed its codings.
            # requests has no public attribute that says so.
            self._body, self._options = io.BytesIO(response.content), {}
            for name in ("content-encoding", "content-length", "transfer-encoding"):
                self.headers.pop(name, None)
        without_body = self.status in (204, 304)  # RFC 9110, section 6.4.1.
        self.length = 0 if without_body else _declared_length(self.headers)

    def read(self, size: int, buffer: PooledBuffer | None = None) -> bytes:
        """Return the next `size` bytes of the body, fewer at its end. `buffer` is not used."""
        parts: list[bytes] = []
        while size:
            part = self._body.read(size, **self._options)
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read_some(self, size: int, buffer: PooledBuffer | None = None) -> bytes:
        """Return what is there of the next `size` bytes of the body: at least one, none at its end.

        The body of a mock may have no `read1`. Then all `size` bytes are waited for.
        """
        if not size:
            return b""
        read = self._body.read1 if hasattr(self._body, "read1") else self._body.read
        data: bytes | None = read(size, **self._options)
        return data or b""

    def retire(self) -> None:
        """Give the connection up. If the body was read to its end, it is in its pool already."""
        connection = getattr(self._connection, "close", None)
        if connection is not None:
            connection()

    def close(self) -> None:
        """Release the connection. If the body was read to its end, it is in its pool already."""
        self._response.close()


def _declared_length(headers: Mapping[str, str]) -> int | None:
    """Return the Content-Length of a response, None without one.

    The session may use other connections than the library's, which are lenient. What the fast route
    refuses is refused here as well, as far as it can still be seen.

    Raises:
        TransportError: The headers do not tell where the body ends.
    """
    coding = headers.get("transfer-encoding")
    if coding is not None and coding.lower() not in ("identity", "chunked"):
        raise TransportError("protocol", "the answer is not valid HTTP")
    text = headers.get("content-length")
    if text is None or coding is not None:
        return None
    text = text.strip(" \t")
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise TransportError("protocol", "the answer is not valid HTTP")
    return int(text)
