"""The checksums that users expect files to have."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

import pytest

from ctera_direct_sync import DirectIOError
from ctera_direct_sync._base.checksums import Checksum

SHA256 = hashlib.sha256(b"content").hexdigest()
CRC32C = "0123abcd"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"sha256:{SHA256}", f"sha256:{SHA256}"),
        (SHA256.upper(), f"sha256:{SHA256}"),
        (f" CRC32C:{CRC32C.upper()}\n", f"crc32c:{CRC32C}"),
        (CRC32C, f"crc32c:{CRC32C}"),
    ],
)
def test_parse(text: str, expected: str) -> None:
    """A text may name the algorithm, or leave it to the number of digits."""
    checksum = Checksum.parse(text)
    assert str(checksum) == expected
    assert checksum == Checksum.of(*expected.split(":"))


@pytest.mark.parametrize("text", ["", "abc", ":" + CRC32C, "md5:" + "0" * 32, "crc32c:" + SHA256])
def test_malformed_text(text: str) -> None:
    """The error names the text and both algorithms."""
    with pytest.raises(ValueError, match=r"checksum .*SHA-256 .*CRC32C"):
        Checksum.parse(text)


def test_malformed_pair() -> None:
    """The error says which algorithms there are, and how many digits one takes."""
    with pytest.raises(ValueError, match="sha256 or crc32c"):
        Checksum.of("md5", "0" * 32)
    with pytest.raises(ValueError, match="8 hexadecimal digits"):
        Checksum.of("crc32c", "0" * 7 + "g")


@pytest.mark.parametrize("text", [SHA256, CRC32C])
def test_equal_content_passes(tmp_path: Path, text: str) -> None:
    """A SHA-256 is that of the bytes on the disk, a CRC32C that of the download."""
    path = tmp_path / "file"
    path.write_bytes(b"content")
    Checksum.parse(text).check(1001, "target", str(path), int(CRC32C, 16))


@pytest.mark.parametrize("text", ["0" * 64, "0" * 8])
def test_other_content_is_an_error(tmp_path: Path, text: str) -> None:
    """The error names the file ID, the target and both digests."""
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with pytest.raises(DirectIOError, match=f"not {text}: target is left as it was") as caught:
        Checksum.parse(text).check(1001, "target", str(path), int(CRC32C, 16))
    assert (caught.value.errno, caught.value.filename) == (errno.EBADMSG, 1001)


def test_cancelled_check(tmp_path: Path) -> None:
    """What the cancellation raises ends the reading."""
    path = tmp_path / "file"
    path.write_bytes(b"content")

    def cancel() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Checksum.parse(SHA256).check(1001, "target", str(path), 0, cancel)
