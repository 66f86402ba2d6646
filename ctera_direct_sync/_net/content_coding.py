"""Content codings (RFC 9110, section 8.4): read the header, and remove gzip and deflate.

A storage repeats the header that an object was stored with, so `Content-Encoding` is metadata as often
as it is a coding. This module only removes codings. The protocol decides by the result which of the two
it was.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Union

from .errors import TransportError

__all__ = ["CodingError", "Decoder", "describe_codings", "removable_codings", "remove_codings"]

_REMOVABLE = frozenset({"gzip", "x-gzip", "deflate"})
#: Bytes of output that one step of a decoder may produce, whatever its input inflates to.
_STEP_BYTES = 256 * 1024
#: zlib's window bits for the gzip format, the zlib format, and deflate without either (zlib's manual).
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
#: The most characters of a header that a message shows.
_MAX_SHOWN_CHARS = 40

Buffer = Union[bytes, memoryview]


class CodingError(ValueError):
    """The body is not what its coding says, or bytes follow its end."""


def describe_codings(headers: Mapping[str, str]) -> str:
    """Return the words of Content-Encoding for a message, without those that mean "no coding"."""
    words = [word for word in _words(headers) if word != "identity"]
    text = ", ".join(words)
    return text if len(text) <= _MAX_SHOWN_CHARS else text[:_MAX_SHOWN_CHARS] + "..."


def removable_codings(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return the codings in Content-Encoding that can be removed, in the order of their application.

    Words such as `aws-chunked`, `utf-8` or `binary` describe the object, and change no byte.
    """
    return tuple(word for word in _words(headers) if word in _REMOVABLE)


def _words(headers: Mapping[str, str]) -> list[str]:
    text = headers.get("content-encoding", "")
    return [word for word in (part.strip().lower() for part in text.split(",")) if word]


class Decoder:
    """Removes codings from a body that comes piece by piece, in bounded memory.

    Args:
        codings: The result of `removable_codings`.
    """

    def __init__(self, codings: Iterable[str]) -> None:
        self._layers = [_Inflater(coding) for coding in reversed(tuple(codings))]

    def feed(self, data: Buffer) -> Iterator[Buffer]:
        """Yield what `data` adds to the result, in pieces of at most 256 KiB.

        Raises:
            CodingError: The body is not in its codings.
        """
        pieces: Iterator[Buffer] = iter([data])
        for layer in self._layers:
            pieces = _through(layer, pieces)
        return pieces

    @property
    def complete(self) -> bool:
        """Whether the end of every coding was seen."""
        return all(layer.complete for layer in self._layers)


def _through(layer: _Inflater, pieces: Iterator[Buffer]) -> Iterator[Buffer]:
    for piece in pieces:
        yield from layer.feed(piece)


class _Inflater:
    """One coding: gzip of one member or several (RFC 1952), or deflate with or without zlib's header.

    RFC 9110, section 8.4.1.2, says that "deflate" is the zlib format, and that some servers send it
    without its header.
    """

    def __init__(self, coding: str) -> None:
        self._is_gzip = coding != "deflate"
        self._stream = zlib.decompressobj(_GZIP) if self._is_gzip else None
        self._head = b""
        self._padded = False

    @property
    def complete(self) -> bool:
        return self._stream is not None and self._stream.eof

    def feed(self, data: Buffer) -> Iterator[bytes]:
        if self._stream is None:
            # Two bytes tell the two forms of deflate apart.
            self._head += bytes(data)
            if len(self._head) < 2:
                return
            data, self._head = self._head, b""
            self._stream = zlib.decompressobj(_ZLIB if _has_zlib_header(data) else _RAW)
        try:
            yield from self._inflate(data)
        except zlib.error:
            problem = CodingError("the coded body is malformed")
        else:
            return
        raise problem

    def _inflate(self, data: Buffer) -> Iterator[bytes]:
        assert self._stream is not None
        while True:
            if self._stream.eof:
                data = self._next_member(data)
                if not data:
                    return
            piece = self._stream.decompress(data, _STEP_BYTES)
            if piece:
                yield piece
            if self._stream.eof:
                data = self._stream.unused_data
            else:
                data = self._stream.unconsumed_tail
                # After a full step the stream may hold more output, even if all input is consumed.
                if not data and len(piece) < _STEP_BYTES:
                    return

    def _next_member(self, data: Buffer) -> bytes:
        """Return the beginning of the next gzip member, b"" if none follows.

        Zeros after the last member are padding.
        """
        rest = bytes(data)
        if not rest:
            return b""
        if self._is_gzip and (self._padded or not rest[0]):
            self._padded = True
            rest = rest.lstrip(b"\0")
            if not rest:
                return b""
        if self._padded or not self._is_gzip:
            raise CodingError("bytes follow the end of the coded body")
        self._stream = zlib.decompressobj(_GZIP)
        return rest


def _has_zlib_header(data: Buffer) -> bool:
    """Return whether two bytes are a zlib header (RFC 1950, section 2.2)."""
    return data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0


def remove_codings(body: Buffer, codings: Iterable[str], limit: int) -> bytes:
    """Return a body without its codings.

    Args:
        body: The body as received.
        codings: The result of `removable_codings`.
        limit: The most bytes that the result may have.

    Raises:
        TransportError: The body is cut short, is malformed, or inflates past `limit`.
    """
    decoder, parts, size = Decoder(codings), [], 0
    error = None
    try:
        for piece in decoder.feed(body):
            size += len(piece)
            if size > limit:
                text = f"the body inflates past the {limit} bytes that can be right"
                error = TransportError("long", text)
                break
            parts.append(piece)
    except CodingError:
        error = TransportError("protocol", "the body is not what its Content-Encoding says")
    if error is None and not decoder.complete:
        error = TransportError("short", "the coded body is cut short")
    if error is not None:
        raise error
    return b"".join(parts)
