"""The object storage: pre-signed GET of objects and their ranges (RFC 9110, section 14)."""

from __future__ import annotations

import re

from .bodies import RangeBody
from .catalog import Catalog, NoSuchObject, StoredObject
from .messages import Request, Response, s3_error
from .signing import Signer
from .sources import SourceChanged

_RANGE = re.compile(r"bytes=(\d*)-(\d*)\Z")


class Storage:
    """Answers `GET /blocks/{file_id}/{version}/{number}` with a signed query, as S3 does.

    Args:
        catalog: The files.
        signer: Verifies the signatures.
    """

    def __init__(self, catalog: Catalog, signer: Signer) -> None:
        self._catalog = catalog
        self._signer = signer

    def answer(self, request: Request, block: int | None = None, whole: bool = False) -> Response:
        """Return the response to a request.

        Args:
            request: The request.
            block: Send the object of this block instead (a fault).
            whole: Ignore the Range header (a fault).
        """
        if "Authorization" in request.headers:
            return s3_error(
                400,
                "InvalidArgument",
                "Only one auth mechanism allowed; only the "
                "X-Amz-Algorithm query parameter or the Authorization header should "
                "be specified",
            )
        refusal = self._signer.refusal(request.path, request.query)
        if refusal is not None:
            return s3_error(403, *refusal)
        try:
            stored = self._stored(request, block)
        except (NoSuchObject, SourceChanged):
            return s3_error(404, "NoSuchKey", "The specified key does not exist.")
        return self._serve(stored, request, whole)

    def _stored(self, request: Request, block: int | None) -> StoredObject:
        number = request.block if block is None else block
        if request.file_id is None or request.version is None or number is None:
            raise NoSuchObject(request.path)
        return self._catalog.stored(request.file_id, request.version, number)

    @staticmethod
    def _serve(stored: StoredObject, request: Request, whole: bool) -> Response:
        body, etag, checksums = stored
        if not _matches(request.headers.get("If-Match"), etag):
            return s3_error(
                412,
                "PreconditionFailed",
                "At least one of the pre-conditions you specified did not hold",
            )
        headers = {
            "Content-Type": "application/octet-stream",
            "ETag": etag,
            "Accept-Ranges": "bytes",
        }
        asked = _RANGE.match(request.headers.get("Range", ""))
        if whole or asked is None or asked.group(0) == "bytes=-":
            return Response(200, {**headers, **checksums}, body)
        start, stop = _resolve(asked.group(1), asked.group(2), body.size)
        if start >= stop:
            return s3_error(
                416,
                "InvalidRange",
                "The requested range is not satisfiable",
                Content_Range=f"bytes */{body.size}",
            )
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{body.size}"
        # Google sends the hash of the whole object with each range. S3 and Azure send none.
        headers.update((name, value) for name, value in checksums.items() if name == "x-goog-hash")
        return Response(206, headers, RangeBody(body, start, stop - start))


def _matches(condition: str | None, etag: str) -> bool:
    if condition is None or condition.strip() == "*":
        return True
    return etag in [each.strip() for each in condition.split(",")]


def _resolve(first: str, last: str, size: int) -> tuple[int, int]:
    """Return start and stop of a range. If they are equal, the range cannot be satisfied."""
    if not first:
        return max(0, size - int(last)), size
    return int(first), size if not last else min(int(last) + 1, size)
