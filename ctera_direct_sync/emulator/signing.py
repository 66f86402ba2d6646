"""Pre-signed URLs in the manner of S3, and their verification."""

from __future__ import annotations

import datetime
import hmac
import threading
import time
from collections.abc import Callable
from typing import Optional
from urllib.parse import parse_qsl, urlencode

SIGNATURE = "X-Amz-Signature"
_DATE = "%Y%m%dT%H%M%S.%f%z"


class Signer:
    """
    Signs and verifies a path with its query: date, lifetime and generation.

    :param key: the secret that signs.
    :param expire: seconds that a URL lives; may be changed at any time, for later URLs.
    :param clock: seconds since the epoch.
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
                "X-Amz-Date": _date(self._clock()),
                "X-Amz-Expires": f"{self.expire:g}",
                "X-Amz-Generation": str(self._generation),
            }
        )
        return f"{path}?{query}&{SIGNATURE}={self._signature(path, query)}"

    def refusal(self, path: str, query: str) -> Optional[tuple[str, str]]:
        """Return S3's error code and message where a request must be refused, else None."""
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
        deadline = _seconds(values["X-Amz-Date"]) + float(values["X-Amz-Expires"])
        if int(values["X-Amz-Generation"]) < self._generation or self._clock() >= deadline:
            return "AccessDenied", "Request has expired"
        return None

    def expire_all(self) -> None:
        """End the life of every URL signed so far."""
        with self._lock:
            self._generation += 1

    def _signature(self, path: str, query: str) -> str:
        message = f"GET\n{path}\n{query}".encode("utf-8", "surrogateescape")
        return hmac.digest(self._key, message, "sha256").hex()


def _date(seconds: float) -> str:
    """Return a date as S3 writes it, with a fraction so that lifetimes may be below a second."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return moment.strftime("%Y%m%dT%H%M%S.%fZ")


def _seconds(date: str) -> float:
    return datetime.datetime.strptime(date, _DATE).timestamp()
