"""What is answered to a request for a file: status, headers, and which bytes (RFC 9110, RFC 6266)."""

from __future__ import annotations

import errno
import mimetypes
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from ..exceptions import (
    AccessDeniedError,
    BlockListTimeout,
    BlocksNotFoundError,
    DirectIOError,
    DownloadTimeout,
    IsAFolderError,
    NamespaceTimeout,
    NotFoundError,
    PathNotFoundError,
    StreamError,
    UnAuthorized,
)
from ..types import Block, ByteRange, Metadata
from .request import UNSATISFIABLE, match, none_match, wanted_range

__all__ = [
    "DEFAULT_TIMEOUT_S",
    "PHRASES",
    "Answer",
    "BodyCount",
    "answer_file",
    "apologize",
    "check_timeout",
    "check_value",
    "explain_silence",
    "name_of",
    "refuse_method",
    "status_of",
]

DEFAULT_TIMEOUT_S = 25.0
"""Seconds to wait for the first byte if a call does not give `timeout`.

gunicorn kills a worker that was silent for 30 seconds, and other servers and proxies wait for 60. The
answer comes before either.
"""

PHRASES = {
    200: "OK",
    206: "Partial Content",
    304: "Not Modified",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    412: "Precondition Failed",
    416: "Range Not Satisfiable",
    502: "Bad Gateway",
    504: "Gateway Timeout",
}
"""The reason phrase of each status that is answered."""

#: The text for the visitor. The whole error goes to the application's log.
_APOLOGIES = {
    403: "The file may not be read.",
    404: "There is no such file.",
    502: "The file's storage cannot deliver it.",
    504: "The file's storage did not answer in time.",
}


class Answer(NamedTuple):
    """What to answer.

    Attributes:
        code: The status.
        headers: The names and values of the headers.
        text: The body, unless it is a part of the file.
        wanted: The range of the file to send. None: the whole file.
        length: The number of the file's bytes that follow. 0: `text` is the body.
        start: The offset of the first of them.
    """

    code: int
    headers: list[tuple[str, str]]
    text: bytes = b""
    wanted: ByteRange | None = None
    length: int = 0
    start: int = 0


class BodyCount:
    """Counts the bytes of a body against its Content-Length.

    For a server, the end of the iteration is the end of the body. PEP 3333 lets it go on with the next
    request after a body that is too short. So each body that ends early raises what `ended` returns.
    """

    def __init__(self, file_id: int, start: int, length: int) -> None:
        self._file_id = file_id
        self._offset = start
        self._left = length
        self._failed = False

    def take(self, block: Block | None) -> bool:
        """Count a block. None: no block came.

        Returns:
            Whether the block is a part of the body. False: the body is complete.

        Raises:
            StreamError: The block is too large, or none came although bytes are due.
        """
        if block is None and not self._left and not self._failed:
            return False
        if block is None or len(block.data) > self._left:
            self._failed = True
            raise self.ended()
        self._left -= len(block.data)
        self._offset += len(block.data)
        return True

    def ended(self) -> StreamError:
        """Return the error of a body that ends here."""
        text = (
            f"The response ended at offset {self._offset} of the file, where its Content-Length leaves "
            f"{self._left} bytes: it was closed, or the client was"
        )
        return StreamError(text, self._file_id, self._offset, errno=errno.ECANCELED)


# --- the request ------------------------------------------------------------------------------------


def check_timeout(timeout: float | None, default: float) -> float:
    """Return the seconds to wait for the first byte.

    Raises:
        ValueError: `timeout` is not a positive number.
    """
    seconds = default if timeout is None else float(timeout)
    if not seconds > 0:
        raise ValueError(f"timeout={timeout!r}: not a positive number of seconds")
    return seconds


def name_of(filename: str | None, file: Any) -> str | None:
    """Return the name that a browser saves a file under: the given one, or the last part of its path.

    Args:
        filename: The name that the application gave, or None.
        file: The path or ID of the file.
    """
    if filename is None and isinstance(file, str):
        return file.rstrip("/").rpartition("/")[2]
    return filename


def refuse_method(method: str) -> Answer | None:
    """Return the answer to a method that reads no file, or None for GET and HEAD."""
    if method in ("GET", "HEAD"):
        return None
    return _plain(405, "Only GET and HEAD are possible.", [("Allow", "GET, HEAD")])


def answer_file(
    metadata: Metadata,
    environ: Mapping[str, Any],
    method: str,
    filename: str | None,
    content_type: str | None,
) -> Answer:
    """Return the answer to a request for a file that was listed.

    Args:
        metadata: The block list.
        environ: The headers of the request, as WSGI names them.
        method: GET or HEAD.
        filename: The name that a browser saves the file under, or None.
        content_type: The Content-Type. None: by the extension of `filename`.

    Raises:
        ValueError: A header cannot be sent.
    """
    etag = metadata.fingerprint[:32]
    headers = [("ETag", f'"{etag}"'), ("Accept-Ranges", "bytes")]
    # In the order of RFC 9110, section 13.2.2. Conditions on dates do not apply: no date is known.
    if not match(environ, etag):
        return _plain(412, "The file has changed.", headers, method == "HEAD")
    if none_match(environ, etag):
        return Answer(304, headers)
    wanted = wanted_range(environ, method, etag, metadata.size)
    if wanted is UNSATISFIABLE:
        headers.append(("Content-Range", f"bytes */{metadata.size}"))
        return _plain(416, "The file has no such bytes.", headers)
    headers += _describe(filename, content_type)
    code, start, length = 200, 0, metadata.size
    if wanted is not None:
        assert wanted.end is not None
        code, start, length = 206, wanted.start, wanted.end - wanted.start + 1
        span = f"{wanted.start}-{wanted.end}"
        headers.append(("Content-Range", f"bytes {span}/{metadata.size}"))
        headers += _UNTRANSFORMED
    headers.append(("Content-Length", str(length)))
    _check_headers(headers)
    if method == "HEAD":
        return Answer(code, headers)
    return Answer(code, headers, b"", wanted, length, start)


# --- errors -----------------------------------------------------------------------------------------


def status_of(error: DirectIOError) -> int:
    """Return the status that tells a visitor about an error."""
    cause = error.__cause__ if isinstance(error, StreamError) else error
    if isinstance(cause, (NotFoundError, BlocksNotFoundError, PathNotFoundError, IsAFolderError)):
        return 404
    if isinstance(cause, (UnAuthorized, AccessDeniedError)):
        return 403
    if isinstance(cause, (BlockListTimeout, DownloadTimeout, NamespaceTimeout)):
        return 504
    return 502


def apologize(status: int, method: str) -> Answer:
    """Return the answer to a request for a file that cannot be read."""
    return _plain(status, _APOLOGIES[status], [], method == "HEAD")


def explain_silence(seconds: float, reason: str) -> str:
    """Return the reason of an answer that came too late, for the log."""
    return f"no byte came within {seconds:g} seconds (timeout=): {reason}"


def _plain(code: int, text: str, headers: list[tuple[str, str]], head: bool = False) -> Answer:
    body = f"{text}\n".encode()
    described = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    return Answer(code, headers + described, b"" if head else body)


# --- headers ----------------------------------------------------------------------------------------


#: Headers that keep middleware from compressing a part of a file, whose positions count. Django and
#: Flask-Compress look for a Content-Encoding, Apache and other proxies for no-transform.
_UNTRANSFORMED = [("Content-Encoding", "identity"), ("Cache-Control", "no-transform")]


def _describe(filename: str | None, content_type: str | None) -> list[tuple[str, str]]:
    if content_type is None:
        content_type = _guess_type(filename or "")
    headers = [("Content-Type", content_type), ("X-Content-Type-Options", "nosniff")]
    if filename is not None:
        headers.append(("Content-Disposition", _attachment(filename)))
    return headers


_EXTENSIONS = re.compile(r"(?:\.[A-Za-z0-9_+-]{1,16}){1,2}\Z")
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}")


def _guess_type(filename: str) -> str:
    """Return the media type of a name's extension.

    `mimetypes` reads a name as a URL: of `data:TYPE,x.pdf` it returns TYPE, whatever that is. So it gets
    the extension alone, or two extensions such as `.tar.gz`.
    """
    extensions = _EXTENSIONS.search(filename)
    guessed, encoding = mimetypes.guess_type(f"name{extensions[0]}" if extensions else "name")
    # A .tar.gz is sent as such, not as a tar that the browser should unpack.
    if guessed is None or encoding is not None or not _MEDIA_TYPE.fullmatch(guessed):
        return "application/octet-stream"
    return guessed


#: Line breaks and other control characters, and marks that turn the direction of what follows: with one
#: of those "fdp.exe" can look like "exe.pdf".
_MISLEADING = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def _attachment(filename: str) -> str:
    """Return the header for a file name: plain for old clients, and if it differs as RFC 8187 says."""
    filename = _MISLEADING.sub("_", filename)
    plain = "".join(
        letter if " " <= letter <= "~" and letter not in '"\\%/' else "_" for letter in filename
    )
    disposition = f'attachment; filename="{plain}"'
    if plain != filename:
        encoded = quote(filename, safe="", errors="replace")  # A name may hold lone surrogates.
        disposition += f"; filename*=UTF-8''{encoded}"
    return disposition


_UNSENDABLE = re.compile("[^ -~\x80-\xff]")


def check_value(name: str, value: str) -> None:
    """Raise ValueError for a value that would end its header, or that is not Latin-1."""
    if _UNSENDABLE.search(value):
        raise ValueError(f"{name} {value!r} cannot be a header: it holds a line break or the like")


def _check_headers(headers: list[tuple[str, str]]) -> None:
    """Raise ValueError if PEP 3333 does not allow one of the headers."""
    for name, value in headers:
        check_value(name, value)
