"""Checksums that a user expects a file to have."""

from __future__ import annotations

import errno
import hashlib
import re
from typing import Callable, NamedTuple

from ..exceptions import DirectIOError

__all__ = ["ALGORITHMS", "Checksum"]

#: The algorithms, and how many hexadecimal digits their checksums have.
ALGORITHMS = {"sha256": 64, "crc32c": 8}

_READ_SIZE_BYTES = 1024 * 1024
_MISMATCH_ERRNO = getattr(errno, "EBADMSG", errno.EIO)


class Checksum(NamedTuple):
    """The checksum that the content of a file must have.

    Its text is `sha256:DIGEST` or `crc32c:DIGEST`.

    Attributes:
        algorithm: `sha256`, or `crc32c` (RFC 3720).
        digest: The digest in hexadecimal, in lower case.
    """

    algorithm: str
    digest: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.digest}"

    @classmethod
    def of(cls, algorithm: str, digest: str) -> Checksum:
        """Return the checksum of an algorithm with a digest.

        Args:
            algorithm: `sha256` or `crc32c`, in any case of letters.
            digest: The digest in hexadecimal, in any case of letters.

        Raises:
            ValueError: The algorithm is not known, or the digest does not fit it.
        """
        algorithm, digest = algorithm.lower(), digest.lower()
        digits = ALGORITHMS.get(algorithm)
        if digits is None:
            raise ValueError(f"not known; use {' or '.join(ALGORITHMS)}")
        if not re.fullmatch(f"[0-9a-f]{{{digits}}}", digest):
            raise ValueError(f"{algorithm} takes {digits} hexadecimal digits")
        return cls(algorithm, digest)

    @classmethod
    def parse(cls, text: str) -> Checksum:
        """Return the checksum that a text names.

        Args:
            text: `sha256:DIGEST`, `crc32c:DIGEST`, or a digest alone, whose length tells the algorithm.

        Raises:
            ValueError: The text is not a checksum.
        """
        name, colon, digest = text.strip().rpartition(":")
        if not colon:
            by_digits = {digits: algorithm for algorithm, digits in ALGORITHMS.items()}
            name = by_digits.get(len(digest), "")
        try:
            return cls.of(name, digest)
        except ValueError:
            raise ValueError(
                f"checksum {text!r} is neither a SHA-256 (64 hexadecimal digits) nor a CRC32C (8)"
            ) from None

    def check(
        self,
        file_id: int,
        target: str,
        path: str,
        crc32c: int,
        check_cancelled: Callable[[], object] = lambda: None,
    ) -> None:
        """Raise an error if a downloaded file has another checksum.

        Args:
            file_id: The file ID, for the error.
            target: The path that the file is to get, for the error.
            path: Where the file lies now. It is read for a SHA-256.
            crc32c: The CRC32C of the file.
            check_cancelled: Called now and then. An error that it raises ends the check.

        Raises:
            DirectIOError: The file has another checksum (EBADMSG).
            OSError: The file cannot be read.
        """
        if self.algorithm == "crc32c":
            actual = f"{crc32c:08x}"
        else:
            actual = _hash_file(path, check_cancelled)
        if actual != self.digest:
            raise DirectIOError(
                f"The file's {self.algorithm} is {actual}, not {self.digest}: {target} is left as it was "
                "before. Check the expected checksum and the file ID",
                file_id,
                errno=_MISMATCH_ERRNO,
            )


def _hash_file(path: str, check_cancelled: Callable[[], object]) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_READ_SIZE_BYTES))
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            check_cancelled()
            digest.update(buffer[:count])
    return digest.hexdigest()
