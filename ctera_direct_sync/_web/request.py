"""What a request asks for: conditions and ranges (RFC 9110). werkzeug parses the headers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

try:
    from werkzeug.http import parse_etags, parse_if_range_header, parse_range_header, unquote_etag
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "werkzeug reads the requests' headers here: pip install 'ctera-direct-sync[web]'",
        name=_missing.name,
    ) from None


from ..types import ByteRange

__all__ = ["UNSATISFIABLE", "match", "none_match", "wanted_range"]

#: The value of `wanted_range` for a range that lies past the end of the file.
UNSATISFIABLE = ByteRange(0, 0)

#: A suffix of no bytes is valid, and cannot be satisfied (RFC 9110, section 14.1.2). werkzeug 3.0 reads
#: it as the whole file, and 3.1 as malformed.
_LAST_ZERO_BYTES = re.compile(r"\s*bytes\s*=\s*-0+\s*", re.IGNORECASE)


#: A longer header counts as one that names no version and no range. werkzeug 3.0 needs a time for ETags
#: that grows with the square of the length: 30 ms for this one, and minutes for some that servers let in.
_MAX_HEADER = 4096


def match(environ: Mapping[str, Any], etag: str) -> bool:
    """Return whether If-Match holds, compared strongly (RFC 9110, section 13.1.1), or is not there."""
    value = environ.get("HTTP_IF_MATCH")
    return not value or (len(value) <= _MAX_HEADER and parse_etags(value).contains(etag))


def none_match(environ: Mapping[str, Any], etag: str) -> bool:
    """Return whether If-None-Match has the ETag, compared weakly (RFC 9110, section 13.1.2)."""
    value = environ.get("HTTP_IF_NONE_MATCH") or ""
    return 0 < len(value) <= _MAX_HEADER and parse_etags(value).contains_weak(etag)


def wanted_range(environ: Mapping[str, Any], method: str, etag: str, size: int) -> ByteRange | None:
    """Return the range to send. None: the whole file, a valid answer to any other Range header.

    A server may ignore a Range that is malformed, in another unit, of several ranges, or of another
    version than If-Range names (RFC 9110, section 14.2).
    """
    header = environ.get("HTTP_RANGE")
    # An empty file has no ranges. nginx answers 200, too.
    if not header or method != "GET" or not size or not _if_range(environ, etag):
        return None
    if len(header) > _MAX_HEADER:
        return None
    if _LAST_ZERO_BYTES.fullmatch(header):
        return UNSATISFIABLE
    ranges = parse_range_header(header)
    if ranges is None or ranges.units != "bytes" or len(ranges.ranges) != 1:
        return None
    start, stop = ranges.ranges[0]
    if start < 0:  # A suffix: the last bytes, or all if the file has fewer.
        start = max(0, size + start)
    stop = size if stop is None else min(stop, size)
    return ByteRange(start, stop - 1) if start < stop else UNSATISFIABLE


def _if_range(environ: Mapping[str, Any], etag: str) -> bool:
    """Return whether If-Range holds, compared strongly (RFC 9110, section 13.1.5), or is not there."""
    value = environ.get("HTTP_IF_RANGE")
    if not value:
        return True
    if len(value) > _MAX_HEADER:
        return False
    named = parse_if_range_header(value).etag
    return named == etag and not unquote_etag(value)[1]
