"""A file's block list: read from the portal's JSON, and renewed when its URLs expire."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from .._base.cancellation import CancelScope
from .._base.sync import monotonic
from ..codec.options import DecodeOptions
from ..exceptions import BlocksNotFoundError, DirectIOAPIError, DirectIOError, NotFoundError
from ..types import Chunk, Cipher, Metadata, SignedURL, Token
from .keys import unwrap

if TYPE_CHECKING:
    from .portal import Portal

__all__ = ["MalformedBlockList", "RenewableBlockList", "parse", "parse_block_list"]

_log = logging.getLogger(__name__)

MIB = 1024 * 1024

#: Blocks that must be decoded whole are held in memory: a longer one is a malformed list.
_ENCODED_BLOCK_LIMIT = 1024 * MIB
_MAX_OFFSET = 2**63 - 1

#: Renewals in a row whose URLs the storage refused as well. Further ones have to wait:
_MAX_UNPROVEN_RENEWALS = 3
#: this long after the last one.
_MIN_RENEWAL_INTERVAL_S = 10.0


class RenewableBlockList:
    """The block list of one call, with its URLs as new as the storage needs them.

    Thread-safe: each change is one assignment, and repeating it does no harm.

    Attributes:
        metadata: The newest block list of the file as it was at first.
        options: How to decode the file's blocks.
        plaintext: Whether the stored objects are the file's own bytes, so that any range of them can
            be fetched.
        changed: Whether the portal listed other blocks meanwhile.
        unproven: Renewals since the storage last accepted a URL. Who succeeds sets it to 0.
        etags: The ETag of each object that is read in parts, by the block's index.
        html: Whether each of these objects is a web page.
        prefixed: The indexes of those that begin with Azure's MD5 prefix.
    """

    def __init__(self, metadata: Metadata, portal: Portal) -> None:
        self.metadata = metadata
        self.options = DecodeOptions.create(
            metadata.encryption_key, metadata.cipher, metadata.compression
        )
        self.plaintext = metadata.plaintext
        self.changed = False
        self.unproven = 0
        self.etags: dict[int, str] = {}
        self.html: dict[int, bool] = {}
        self.prefixed: set[int] = set()
        self._portal = portal
        # What the portal listed last, the same file or not.
        self._latest = metadata
        # When the last renewal was, by the monotonic clock.
        self._renewed = 0.0

    def can_renew(self, refused: Metadata) -> bool:
        """Return whether another renewal may help.

        It may not if the storage refuses all blocks. Then one renewal for each block would be in vain.

        Args:
            refused: The block list whose URL the storage refused.
        """
        if self.metadata is not refused or self.unproven < _MAX_UNPROVEN_RENEWALS:
            return True
        return monotonic() - self._renewed > _MIN_RENEWAL_INTERVAL_S

    def renew(self, stale: Metadata, scope: CancelScope) -> bool:
        """Replace the expired list `stale`, once for all threads that ask.

        Args:
            stale: The list to replace. Nothing is fetched if another thread has replaced it.
            scope: The cancel scope of the caller.

        Returns:
            False if the file has changed, so that its new blocks do not fit what was read before.

        Raises:
            DirectIOAPIError: The portal did not answer with a block list.
        """

        def fetch() -> Metadata:
            # Another thread of the same call may have renewed it between the check below and here.
            if self._latest is stale:
                self._adopt(stale, self._portal.fetch_block_list(stale.file_id, scope))
            return self._latest

        if self._latest is stale:
            _log.info("file %s: its URLs are refused, listing it again", stale.file_id)
            # Other calls for the same file wait for this answer, and compare it with their own lists.
            self._adopt(stale, self._portal.share_renewal(stale.file_id, fetch, scope))
        return not self.changed

    def check_unchanged(self, refused: Metadata, scope: CancelScope) -> bool:
        """Return whether the file is still the same as far as the portal can tell.

        Args:
            refused: The block list that an object is missing from.
            scope: The cancel scope of the caller.

        Raises:
            NotFoundError: The portal says that the file is gone.
        """
        if not self.changed and self.can_renew(refused):
            try:
                self.renew(refused, scope)
            except NotFoundError:
                raise
            except DirectIOError:
                pass  # The portal cannot tell, so the storage's own answer is the one to report.
        return not self.changed

    def _adopt(self, stale: Metadata, fresh: Metadata) -> None:
        """Replace `stale` by `fresh`, or note that the file changed. Safe to repeat."""
        if self._latest is not stale or fresh is stale:
            return
        if fresh.fingerprint == stale.fingerprint:
            self.metadata = fresh
            self.unproven += 1
            self._renewed = monotonic()
        else:
            self.changed = True
        # Set last: a thread that sees it must see the rest as well.
        self._latest = fresh


# --- reading the portal's answer -----------------------------------------------------------------------


class MalformedBlockList(Exception):
    """The answer does not have the shape of a block list. The text says what is wrong."""


def parse_block_list(file_id: int, document: Any, secret_access_key: str | None = None) -> Metadata:
    """Return the block list that the portal's JSON describes (PROTOCOL section 1). Pure.

    Args:
        file_id: The file, for errors.
        document: The JSON, parsed.
        secret_access_key: What unwraps the file key. None if the client has a bearer token.

    Raises:
        BlocksNotFoundError: The list is empty, and the file is not.
        DecryptKeyError: The file's key cannot be unwrapped.
        DirectIOAPIError: A member is wrong, which the text names.
    """
    try:
        return parse(file_id, document, secret_access_key)
    except MalformedBlockList as caught:
        text = f"The portal's answer is not a block list: {caught}"
    raise DirectIOAPIError(text, file_id)


def parse(file_id: int, document: Any, secret_access_key: str | None) -> Metadata:
    """Do what `parse_block_list` does, but raise `MalformedBlockList` for another shape."""
    if not isinstance(document, dict):
        raise MalformedBlockList("the answer is not an object")
    wrapped_key, cipher = _encryption(document, file_id)
    compression = _one_of(
        file_id, "compression_type", document.get("compression_type"),
        (None, "SNAPPY", "GZIP", "NONE", "LZ4"),
    )  # fmt: skip
    start, file_size = _actual_range(document.get("actual_blocks_range"))
    raw = document.get("chunks")
    if raw is not None and not isinstance(raw, list):
        raise MalformedBlockList("'chunks' is not a list")
    if not raw and file_size != 0:
        raise BlocksNotFoundError(
            "The portal lists no blocks for the file: it may be empty, or not yet uploaded", file_id
        )
    plaintext = wrapped_key is None and compression == "NONE"
    chunks = _chunks(raw or [], start, None if plaintext else _ENCODED_BLOCK_LIMIT)
    end = chunks[-1].offset + chunks[-1].length if chunks else start
    if file_size is not None and file_size < end:
        raise MalformedBlockList(f"its blocks end at {end}, past the file's size, {file_size}")
    return Metadata(
        file_id,
        end if file_size is None else file_size,
        chunks,
        encryption_key=(
            None if wrapped_key is None else unwrap(wrapped_key, secret_access_key, file_id)
        ),
        cipher=cipher,
        compressed=compression != "NONE",
        compression_library=compression,
    )


def _encryption(document: dict[str, Any], file_id: int) -> tuple[str | None, Cipher]:
    """Return the wrapped key, or None if the data is not encrypted, and the cipher."""
    info = document.get("encrypt_info")
    if "encrypt_info" not in document and "wrapped_key" in document:
        info = {"data_encrypted": True, "wrapped_key": document["wrapped_key"]}  # Before 8.3.
    if not isinstance(info, dict) or not isinstance(info.get("data_encrypted"), bool):
        raise MalformedBlockList("'encrypt_info.data_encrypted' is not a boolean")
    cipher = _one_of(
        file_id, "encrypt_info.cipher", info.get("cipher"), (None, "AES-CBC", "AES-GCM")
    )
    if not info["data_encrypted"]:
        return None, cipher or "AES-CBC"
    if not isinstance(info.get("wrapped_key"), str):
        raise MalformedBlockList("'wrapped_key' is not a string")
    return Token(info["wrapped_key"]), cipher or "AES-CBC"


def _one_of(file_id: int, name: str, value: Any, known: tuple[Any, ...]) -> Any:
    if value is None or (isinstance(value, str) and value in known):
        return value
    text = f"The portal says {name} {str(value)[:40]!r}, which this version cannot read: upgrade it"
    raise DirectIOAPIError(text, file_id)


def _actual_range(value: Any) -> tuple[int, int | None]:
    """Return the offset of the first listed block, and the file's size or None."""
    if value is None:
        return 0, None
    if not isinstance(value, dict):
        raise MalformedBlockList("'actual_blocks_range' is not an object")
    size = value.get("file_size")
    if size is not None and not _is_length(size):
        raise MalformedBlockList("'actual_blocks_range.file_size' is not a length")
    text = value.get("range", "0-")
    start = text.partition("-")[0] if isinstance(text, str) else ""
    if not (start.isascii() and start.isdigit() and len(start) < 20):
        raise MalformedBlockList("'actual_blocks_range.range' does not begin with an offset")
    return int(start), size


def _chunks(raw: list[Any], start: int, limit: int | None) -> list[Chunk]:
    chunks, offset = [], start
    for number, item in enumerate(raw, 1):
        length: Any = item.get("len") if isinstance(item, dict) else None
        if not _is_length(length) or offset + length > _MAX_OFFSET:
            raise MalformedBlockList(f"'len' of block {number} is not a length")
        if limit is not None and length > limit:
            raise MalformedBlockList(
                f"block {number} is of {length} bytes, more than can be decoded"
            )
        url = item.get("url")
        if not isinstance(url, str) or not url:
            raise MalformedBlockList(f"'url' of block {number} is not a string")
        chunks.append(Chunk(number, offset, length, SignedURL(url)))
        offset += length
    return chunks


def _is_length(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_OFFSET
