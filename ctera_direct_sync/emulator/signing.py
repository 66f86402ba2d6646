"""Pre-signed URLs in the manner of S3: signing and verification."""

from __future__ import annotations

import datetime
import hmac
import threading
import time
from collections.abc import Callable
from urllib.parse import parse_qsl, urlencode

SIGNATURE = "X-Amz-Signature"
_DATE_FORMAT = "%Y%m%dT%H%M%S.%f%z"


class Signer:
    """Signs a path with its date, lifetime and generation, and verifies the signature.

    Args:
        key: The secret that signs.
        expire: How long a URL is valid, in seconds.
        clock: Returns the time, in seconds since the epoch.

    Attributes:
        expire: How long later URLs are valid, in seconds. It may be changed at any time.
    """

    def __init__(self, key: bytes, expire: float, clock: Callable[[], float] = time.time) -> None:
        self._key = key
        self._clock = clock
        self._lock = threading.Lock()
        self._generation = 0
        self.expire = expire

    def sign(self, path: str) -> str:
        """Return the path with a signed query."""
        query = urlencode(
            {
                "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
                "X-Amz-Date": _format_date(self._clock()),
                "X-Amz-Expires": f"{self.expire:g}",
                "X-Amz-Generation": str(self._generation),
            }
        )
        return f"{path}?{query}&{SIGNATURE}={self._signature(path, query)}"

    def refusal(self, path: str, query: str) -> tuple[str, str] | None:
        """Return S3's error code and message if a request must be refused, else None."""
        signed, _, signature = query.rpartition(f"&{SIGNATURE}=")
        if not signed:
            return "AccessDenied", "Access Denied"
        expected = self._signature(path, signed)
        if not hmac.compare_digest(expected.encode("ascii"), signature.encode("utf-8")):
            return (
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match "
                "the signature you provided. Check your key and signing method.",
            )
        values = dict(parse_qsl(signed))
        deadline = _parse_date(values["X-Amz-Date"]) + float(values["X-Amz-Expires"])
        if int(values["X-Amz-Generation"]) < self._generation or self._clock() >= deadline:
            return "AccessDenied", "Request has expired"
        return None

    def expire_all(self) -> None:
        """Make every URL that was signed so far expired."""
        with self._lock:
            self._generation += 1

    def _signature(self, path: str, query: str) -> str:
        message = f"GET\n{path}\n{query}".encode("utf-8", "surrogateescape")
        return hmac.digest(self._key, message, "sha256").hex()


def _format_date(seconds: float) -> str:
    """Return a date in S3's format, with a fraction so that a lifetime may be below a second."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return moment.strftime("%Y%m%dT%H%M%S.%fZ")


def _parse_date(date: str) -> float:
    return datetime.datetime.strptime(date, _DATE_FORMAT).timestamp()
