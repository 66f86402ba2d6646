"""How the blocks of one file are decoded, and how long a plaintext can be: the same for both backends."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Literal

    from typing_extensions import Buffer

    Cipher = Literal["AES-CBC", "AES-GCM"]
    Compression = Literal["SNAPPY", "GZIP", "LZ4", "NONE"]

__all__ = [
    "KEY_LENGTHS",
    "LZ4_EXPANSION",
    "SLACK_BYTES",
    "SNAPPY_EXPANSION",
    "DecodeOptions",
    "is_readonly",
]

KEY_LENGTHS = (16, 24, 32)
_CIPHERS = ("AES-CBC", "AES-GCM")
_COMPRESSIONS = ("SNAPPY", None, "GZIP", "NONE", "LZ4")

#: The most bytes that a format can make of one. DEFLATE: 258 bytes from 2 bits, and less for headers.
_DEFLATE_EXPANSION = 1032
LZ4_EXPANSION = 255
SNAPPY_EXPANSION = 64

#: Allowed on top, so that a damaged tiny object is reported as damaged, not as too short.
SLACK_BYTES = 64


class DecodeOptions(NamedTuple):
    """What all blocks of a file have in common. Immutable. Make one with `create`, which checks it.

    No object of `n` bytes has a plaintext of more than `expansion * (n + SLACK_BYTES)` bytes.
    A listed length beyond that is wrong, and the backends never allocate memory by it.
    """

    key: Buffer | None
    """The file key, or None if the objects have no envelope."""
    cipher: Cipher
    """The cipher of the envelope."""
    compression: Compression | None
    """SNAPPY, GZIP and None all mean that the payload's first bytes tell the format."""
    expansion: int
    """The most bytes of plaintext that one stored byte can become."""

    @classmethod
    def create(cls, key: Buffer | None, cipher: str, compression: str | None) -> DecodeOptions:
        """Return the options after checking them.

        Args:
            key: The file key, 16, 24 or 32 bytes, or None if the objects have no envelope.
            cipher: AES-CBC or AES-GCM.
            compression: SNAPPY, GZIP, LZ4, NONE or None.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: An argument has an unknown value, or the key another length.
        """
        if cipher not in _CIPHERS:
            raise _unknown("cipher", cipher, "AES-CBC or AES-GCM")
        if compression not in _COMPRESSIONS:
            raise _unknown("compression", compression, "SNAPPY, GZIP, LZ4, NONE or None")
        if key is not None:
            size = len(key) if isinstance(key, bytes) else _size(key)
            if size not in KEY_LENGTHS:
                raise ValueError("key must be 16, 24 or 32 bytes long")
        if compression == "NONE":
            expansion = 1
        else:
            expansion = LZ4_EXPANSION if compression == "LZ4" else _DEFLATE_EXPANSION
        return cls(key, cipher, compression, expansion)  # type: ignore[arg-type] # They were checked.

    def __repr__(self) -> str:
        """Show everything except the key."""
        return (
            f"DecodeOptions(encrypted={self.key is not None}, cipher={self.cipher!r}, "
            f"compression={self.compression!r})"
        )


def _size(key: Buffer) -> int:
    is_readonly(key, "key")
    return memoryview(key).nbytes


def is_readonly(buffer: Buffer, name: str) -> bool:
    """Return whether `buffer` is read-only.

    Args:
        buffer: What a caller passed.
        name: The name of the caller's argument, for the error.

    Raises:
        TypeError: It is not a buffer, or not a contiguous one.
    """
    try:
        view = memoryview(buffer)
    except TypeError:
        raise TypeError(
            f"{name} must be a buffer such as bytes, bytearray, memoryview or mmap, "
            f"not {type(buffer).__name__}"
        ) from None
    with view:
        if not view.c_contiguous:
            raise TypeError(f"{name} must be a contiguous buffer: copy the slice with bytes()")
        return view.readonly


def _unknown(name: str, value: object, known: str) -> Exception:
    if isinstance(value, str):
        return ValueError(f"unknown {name} {value!r}: give {known}")
    return TypeError(f"{name} must be {known}, not {type(value).__name__}")
