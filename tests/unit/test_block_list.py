"""Reading the portal's answer: every shape of PROTOCOL section 1, and what is none of them."""

from __future__ import annotations

import copy
from typing import Any, Callable

import pytest

from ctera_direct_sync._base.cancellation import CancelScope
from ctera_direct_sync._protocol.block_list import RenewableBlockList, parse_block_list
from ctera_direct_sync.exceptions import BlocksNotFoundError, DecryptKeyError, DirectIOAPIError
from ctera_direct_sync.types import Chunk, FileKey, Metadata, SignedURL

SECRET = "ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1+f4CBgoOEhYaHiImKiw=="
#: The key 00 01 ... 1f under SECRET, see test_keys.
WRAPPED = "dUizck0wkRwbQ9rz4S3SZ9IY6AQW2xXHAdXCUnDRpbmnbzwTekX/8UT3+tzKkVsI"
KEY = bytes(range(32))

URLS = [f"https://storage.example.com/blocks/{number}?sig=c0ffee" for number in (1, 2, 3)]
ANSWER: dict[str, Any] = {
    "encrypt_info": {"data_encrypted": True, "wrapped_key": WRAPPED},
    "compression_type": "SNAPPY",
    "chunks": [
        {"url": URLS[0], "len": 100},
        {"url": URLS[1], "len": 0},
        {"url": URLS[2], "len": 23},
    ],
}
PLAIN = {"encrypt_info": {"data_encrypted": False}, "compression_type": "NONE"}


def answer(*without: str, **changes: Any) -> dict[str, Any]:
    """The usual answer, with members changed and some left out."""
    document = {**copy.deepcopy(ANSWER), **changes}
    for name in without:
        del document[name]
    return document


def parse(document: Any, secret: str | None = SECRET) -> Metadata:
    """The list that the document describes."""
    return parse_block_list(42, document, secret)


def refusal(document: Any) -> str:
    """The sentence of the DirectIOAPIError that the document causes; it shows no URL and no key."""
    with pytest.raises(DirectIOAPIError) as caught:
        parse(document)
    error = caught.value
    assert type(error) is DirectIOAPIError
    assert error.filename == 42
    for secret in ("c0ffee", WRAPPED[:10]):
        assert secret not in str(error)
    return error.strerror


# --- what portals send -----------------------------------------------------------------------------------


def test_usual_answer():
    """Blocks are numbered from 1, lie one after the other, and make up the file."""
    listed = parse(answer())
    assert listed.chunks == (
        Chunk(1, 0, 100, URLS[0]),
        Chunk(2, 100, 0, URLS[1]),
        Chunk(3, 100, 23, URLS[2]),
    )
    assert (listed.file_id, listed.size) == (42, 123)
    assert (listed.encrypted, listed.encryption_key, listed.cipher) == (True, KEY, "AES-CBC")
    assert (listed.compressed, listed.compression_library) == (True, "SNAPPY")
    assert type(listed.encryption_key) is FileKey
    assert all(type(chunk.url) is SignedURL for chunk in listed.chunks)


@pytest.mark.parametrize(
    ("name", "compressed", "library", "compression"),
    [
        ("SNAPPY", True, "SNAPPY", "SNAPPY"),
        ("GZIP", True, "GZIP", "GZIP"),
        ("LZ4", True, "LZ4", "LZ4"),
        ("NONE", False, None, "NONE"),
        (None, True, None, None),
    ],
)
def test_compression(name, compressed, library, compression):
    """Each compression_type is known; where it is absent or null the payload will tell."""
    listed = parse(answer(compression_type=name))
    assert (listed.compressed, listed.compression_library) == (compressed, library)
    assert listed.compression == compression
    if name is None:
        assert parse(answer("compression_type")) == listed


@pytest.mark.parametrize(
    ("cipher", "found"), [(None, "AES-CBC"), ("AES-CBC", "AES-CBC"), ("AES-GCM", "AES-GCM")]
)
def test_cipher(cipher, found):
    """The cipher is CBC unless the portal says GCM."""
    info = {"data_encrypted": True, "wrapped_key": WRAPPED, "cipher": cipher}
    assert parse(answer(encrypt_info=info)).cipher == found


@pytest.mark.parametrize("compression", ["SNAPPY", "NONE"])
@pytest.mark.parametrize("encrypted", [True, False])
def test_combinations(encrypted, compression):
    """Encrypted or not and compressed or not are told apart in all four combinations."""
    info = {"data_encrypted": encrypted, "wrapped_key": WRAPPED}
    listed = parse(answer(encrypt_info=info, compression_type=compression))
    assert listed.encrypted is encrypted
    assert listed.compressed is (compression != "NONE")
    assert listed.plaintext is (not encrypted and compression == "NONE")


def test_before_8_3():
    """An old portal's answer has the wrapped key at the top, and no encrypt_info."""
    document = answer("encrypt_info", "compression_type", wrapped_key=WRAPPED)
    listed = parse(document)
    assert (listed.encryption_key, listed.cipher, listed.compression) == (KEY, "AES-CBC", None)


@pytest.mark.parametrize("secret", [None, "not base64!"])
def test_data_that_is_not_encrypted_needs_no_secret(secret):
    """In bearer mode, files that are not encrypted are listed all the same."""
    for info in (PLAIN["encrypt_info"], {"data_encrypted": False, "wrapped_key": None}):
        assert parse(answer(encrypt_info=info), secret).encryption_key is None


def test_encrypted_without_a_secret():
    """In bearer mode an encrypted file is a DecryptKeyError that says what is missing."""
    with pytest.raises(DecryptKeyError, match="secret_access_key"):
        parse(answer(), None)


@pytest.mark.parametrize(
    ("actual", "first", "size"),
    [
        ({"file_size": 4071685, "range": "1048576-2097152"}, 1048576, 4071685),
        ({"file_size": 123, "range": "0-122"}, 0, 123),
        ({"file_size": 1123, "range": "1000-"}, 1000, 1123),
        ({"file_size": 1000}, 0, 1000),
        ({"file_size": None, "range": "5-"}, 5, 128),
        ({"range": "5-127"}, 5, 128),
        ({}, 0, 123),
        (None, 0, 123),
    ],
)
def test_actual_blocks_range(actual, first, size):
    """Blocks begin where the range does, and the size is the one that the portal names."""
    listed = parse(answer(actual_blocks_range=actual))
    assert [chunk.offset for chunk in listed.chunks] == [first, first + 100, first + 100]
    assert [chunk.number for chunk in listed.chunks] == [1, 2, 3]
    assert listed.size == size


@pytest.mark.parametrize("chunks", [None, []])
def test_empty_file(chunks):
    """No blocks and a size of 0: an empty file."""
    listed = parse(answer(chunks=chunks, actual_blocks_range={"file_size": 0, "range": "0-0"}))
    assert (listed.size, listed.chunks) == (0, ())


@pytest.mark.parametrize("actual", [None, {"file_size": 5, "range": "0-4"}, {"range": "0-0"}])
@pytest.mark.parametrize("chunks", [None, [], "absent"])
def test_no_blocks(chunks, actual):
    """No blocks, but for an empty file, is a BlocksNotFoundError."""
    document = answer(chunks=chunks, actual_blocks_range=actual)
    if chunks == "absent":
        del document["chunks"]
    with pytest.raises(BlocksNotFoundError, match="lists no blocks") as caught:
        parse(document)
    assert caught.value.filename == 42


def test_native_format_object():
    """One plaintext chunk of 100 GB is a block like any other."""
    listed = parse(answer(**PLAIN, chunks=[{"url": URLS[0], "len": 100 * 10**9}]))
    assert listed.plaintext
    assert listed.size == 100 * 10**9


def test_unknown_members_are_ignored():
    """Whatever else a newer portal says does not disturb."""
    document = answer(version=9, encrypt_info={**ANSWER["encrypt_info"], "rotated": [1]})
    document["chunks"][0]["etag"] = {}
    assert parse(document) == parse(answer())


def test_document_is_not_changed():
    """Parsing leaves the document as it was."""
    document = answer()
    parse(document)
    assert document == ANSWER


# --- other answers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("document", [None, [], [1], "text", 5, True, 1.5])
def test_answer_that_is_no_object(document):
    """JSON of another shape is refused by name."""
    assert (
        refusal(document) == "The portal's answer is not a block list: the answer is not an object"
    )


@pytest.mark.parametrize("chunks", [{}, "text", 5, 0, False, {"url": URLS[0], "len": 1}])
def test_chunks_that_are_no_list(chunks):
    """The member that is wrong is named."""
    assert refusal(answer(chunks=chunks)).endswith("'chunks' is not a list")


@pytest.mark.parametrize(
    "length", [None, -1, 1.0, "100", True, [], 2**63, 2**63 - 100, float("nan")]
)
def test_block_whose_length_is_none(length):
    """A length that is not a number of bytes, or leads past what offsets can hold, names its block."""
    document = answer(**PLAIN)
    document["chunks"][2]["len"] = length
    assert refusal(document).endswith("'len' of block 3 is not a length")


@pytest.mark.parametrize("item", [None, "text", 5, [], {}, {"url": URLS[0]}])
def test_block_that_is_no_object(item):
    """What is not an object has no length."""
    assert refusal(answer(chunks=[item])).endswith("'len' of block 1 is not a length")


@pytest.mark.parametrize("url", [None, "", 5, [URLS[0]]])
def test_block_whose_url_is_none(url):
    """A block without a URL is named."""
    document = answer()
    document["chunks"][1]["url"] = url
    assert refusal(document).endswith("'url' of block 2 is not a string")


def test_block_too_large_to_decode():
    """A block that must be decoded whole cannot be of any size."""
    text = refusal(answer(chunks=[{"url": URLS[0], "len": 2**30 + 1}]))
    assert text.endswith("block 1 is of 1073741825 bytes, more than can be decoded")
    assert parse(answer(chunks=[{"url": URLS[0], "len": 2**30}])).size == 2**30


@pytest.mark.parametrize("info", [None, [], "text", {}, {"wrapped_key": WRAPPED},
                                  {"data_encrypted": "true", "wrapped_key": WRAPPED},
                                  {"data_encrypted": 1, "wrapped_key": WRAPPED},
                                  {"data_encrypted": None}])  # fmt: skip
def test_encryption_that_is_not_told(info):
    """Whether the data is encrypted is never guessed."""
    text = refusal(answer(encrypt_info=info))
    assert text.endswith("'encrypt_info.data_encrypted' is not a boolean")


def test_neither_encrypt_info_nor_wrapped_key():
    """An answer that says nothing of encryption is malformed."""
    assert "data_encrypted" in refusal(answer("encrypt_info"))


@pytest.mark.parametrize("wrapped", [None, 5, ["a"], "absent"])
def test_wrapped_key_that_is_no_string(wrapped):
    """Encrypted data without a wrapped key is malformed, at either place of the key."""
    info = {"data_encrypted": True, "wrapped_key": wrapped}
    if wrapped == "absent":
        del info["wrapped_key"]
    assert refusal(answer(encrypt_info=info)).endswith("'wrapped_key' is not a string")
    if wrapped != "absent":
        text = refusal(answer("encrypt_info", wrapped_key=wrapped))
        assert text.endswith("'wrapped_key' is not a string")


@pytest.mark.parametrize("value", ["ZSTD", "snappy", "", 5, True, ["NONE"], {"a": 1}])
def test_unknown_compression(value):
    """A compression that this version cannot read is named, with the way out."""
    text = refusal(answer(compression_type=value))
    assert text == (
        f"The portal says compression_type {str(value)!r}, which this version cannot read: "
        "upgrade it"
    )


@pytest.mark.parametrize("value", ["AES-XTS", "aes-gcm", "", 5, []])
@pytest.mark.parametrize("encrypted", [True, False])
def test_unknown_cipher(value, encrypted):
    """So is a cipher."""
    info = {"data_encrypted": encrypted, "wrapped_key": WRAPPED, "cipher": value}
    assert "encrypt_info.cipher" in refusal(answer(encrypt_info=info))


def test_long_unknown_value_is_cut():
    """A portal that sends a book does not get it printed."""
    assert len(refusal(answer(compression_type="x" * 10_000))) < 150


@pytest.mark.parametrize(
    ("actual", "what"),
    [
        ([], "'actual_blocks_range' is not an object"),
        ("0-122", "'actual_blocks_range' is not an object"),
        (0, "'actual_blocks_range' is not an object"),
        ({"file_size": -1}, "'actual_blocks_range.file_size' is not a length"),
        ({"file_size": "123"}, "'actual_blocks_range.file_size' is not a length"),
        ({"file_size": 123.0}, "'actual_blocks_range.file_size' is not a length"),
        ({"file_size": True}, "'actual_blocks_range.file_size' is not a length"),
        ({"file_size": 2**63}, "'actual_blocks_range.file_size' is not a length"),
        ({"range": ""}, "'actual_blocks_range.range' does not begin with an offset"),
        ({"range": "-5"}, "'actual_blocks_range.range' does not begin with an offset"),
        ({"range": "a-b"}, "'actual_blocks_range.range' does not begin with an offset"),
        ({"range": "bytes 0-5"}, "'actual_blocks_range.range' does not begin with an offset"),
        ({"range": " 5-9"}, "'actual_blocks_range.range' does not begin with an offset"),
        ({"range": "٣-9"}, "'actual_blocks_range.range' does not begin with an offset"),
        ({"range": 5}, "'actual_blocks_range.range' does not begin with an offset"),
        ({"range": ["0"]}, "'actual_blocks_range.range' does not begin with an offset"),
        ({"range": "9" * 5000}, "'actual_blocks_range.range' does not begin with an offset"),
        ({"range": str(2**63) + "-"}, "'len' of block 1 is not a length"),
        ({"file_size": 122}, "its blocks end at 123, past the file's size, 122"),
        ({"file_size": 123, "range": "1-"}, "its blocks end at 124, past the file's size, 123"),
        ({"file_size": 0}, "its blocks end at 123, past the file's size, 0"),
    ],
)
def test_actual_blocks_range_that_cannot_be(actual, what):
    """Each way in which the range can be wrong has its own words."""
    text = refusal(answer(actual_blocks_range=actual))
    assert text == f"The portal's answer is not a block list: {what}"


# --- a list that is renewed ------------------------------------------------------------------------------


def renewed(**changes: Any) -> Metadata:
    """The usual answer, its URLs signed anew."""
    document = answer(**changes)
    for item in document["chunks"]:
        item["url"] += "&again"
    return parse(document)


class Answers:
    """A portal that answers with block lists that were made before."""

    def __init__(self, *answers: Metadata) -> None:
        self.answers = list(answers)

    def fetch_block_list(self, file_id: int, scope: CancelScope) -> Metadata:
        """Return the next answer."""
        return self.answers.pop(0)

    def share_renewal(
        self, file_id: int, fetch: Callable[[], Metadata], scope: CancelScope
    ) -> Metadata:
        """Make the call: no other thread shares it."""
        return fetch()


def test_renewal_brings_new_urls():
    """A list with the same blocks replaces the stale one."""
    stale, fresh = parse(answer()), renewed()
    block_list = RenewableBlockList(stale, Answers(fresh))
    assert block_list.renew(stale, CancelScope())
    assert block_list.metadata is fresh
    assert not block_list.changed


def test_a_list_is_renewed_once():
    """A thread that asks for the renewal of a list that was renewed before asks the portal nothing."""
    stale, fresh = parse(answer()), renewed()
    portal = Answers(fresh, renewed())
    block_list = RenewableBlockList(stale, portal)
    assert block_list.renew(stale, CancelScope())
    assert block_list.renew(stale, CancelScope())
    assert block_list.metadata is fresh
    assert len(portal.answers) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"chunks": ANSWER["chunks"][:1]},
        {"chunks": [{"url": URLS[0], "len": 101}, *ANSWER["chunks"][1:]]},
        {"compression_type": "GZIP"},
        {"encrypt_info": {"data_encrypted": False}},
        {"encrypt_info": {**ANSWER["encrypt_info"], "cipher": "AES-GCM"}},
        {"actual_blocks_range": {"file_size": 223, "range": "100-222"}},
        {"actual_blocks_range": {"file_size": 500}},
    ],
)
def test_renewal_notes_that_the_file_changed(changes):
    """Other blocks, another key or another format: the file is another now."""
    stale = parse(answer())
    block_list = RenewableBlockList(stale, Answers(renewed(**copy.deepcopy(changes))))
    assert not block_list.renew(stale, CancelScope())
    assert block_list.changed
    assert block_list.metadata is stale


def test_renewals_in_vain_have_to_wait(monkeypatch):
    """A storage that refuses every URL costs a few renewals at once, then one in a while."""
    now = [1000.0]
    monkeypatch.setattr("ctera_direct_sync._protocol.block_list.monotonic", lambda: now[0])
    block_list = RenewableBlockList(parse(answer()), Answers(*[renewed() for _ in range(9)]))
    for _ in range(3):
        assert block_list.can_renew(block_list.metadata)
        block_list.renew(block_list.metadata, CancelScope())
    assert not block_list.can_renew(block_list.metadata)
    now[0] += 11
    assert block_list.can_renew(block_list.metadata)
    block_list.unproven = 0
    now[0] -= 11
    assert block_list.can_renew(block_list.metadata)
