"""The values that go in and out."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctera_direct_sync.types import (
    Block,
    BlockEvent,
    ByteRange,
    Chunk,
    Download,
    FileKey,
    Metadata,
    SignedURL,
    Token,
)

URL = SignedURL("https://bucket.example.com:8443/blocks/7f?X-Amz-Signature=c0ffee&X-Amz-Date=1")
KEY = bytes(range(32))

OFFSETS = st.integers(0, 2**63)


def metadata(**keywords) -> Metadata:
    """A list of two blocks."""
    chunks = [Chunk(1, 0, 100, URL), Chunk(2, 100, 23, URL)]
    return Metadata(42, 123, chunks, **{"encryption_key": KEY, **keywords})


# --- ByteRange ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), (0, None)),
        ((None, None), (0, None)),
        ((5,), (5, None)),
        ((None, 5), (0, 5)),
        ((5, 5), (5, 5)),
        ((0, 0), (0, 0)),
        ((2**62, 2**63), (2**62, 2**63)),
        ((True, True), (1, 1)),
    ],
)
def test_byte_range(arguments, expected):
    """Both ends are included; what is not given means the file's own end."""
    byte_range = ByteRange(*arguments)
    assert (byte_range.start, byte_range.end) == expected
    assert byte_range.eof is (expected[1] is None)


@pytest.mark.parametrize("arguments", [(-1,), (-1, 5), (0, -1), (5, 4), (1, 0)])
def test_byte_range_that_cannot_be(arguments):
    """A negative start or an end before the start is a ValueError that names the value."""
    with pytest.raises(ValueError, match=r"-1|end"):
        ByteRange(*arguments)


@pytest.mark.parametrize("arguments", [("0",), (1.0,), (0, 2.5), (b"1",)])
def test_byte_range_of_what_is_no_integer(arguments):
    """Bounds are integers, not what could be rounded to them."""
    with pytest.raises(TypeError):
        ByteRange(*arguments)


@pytest.mark.parametrize("name", ["start", "end", "_start", "_end", "eof", "other"])
def test_byte_range_is_immutable(name):
    """No attribute can be set or deleted, nor added."""
    byte_range = ByteRange(1, 2)
    with pytest.raises(AttributeError):
        setattr(byte_range, name, 0)
    with pytest.raises(AttributeError):
        delattr(byte_range, name)
    assert byte_range == ByteRange(1, 2)


@given(OFFSETS, st.none() | OFFSETS)
def test_byte_range_as_a_value(start, length):
    """Equal ranges are equal, hash alike, print as they are made, and survive copies and pickles."""
    byte_range = ByteRange(start, None if length is None else start + length)
    assert eval(repr(byte_range)) == byte_range
    for twin in (pickle.loads(pickle.dumps(byte_range)), copy.deepcopy(byte_range)):
        assert twin == byte_range
        assert hash(twin) == hash(byte_range)
    assert byte_range != ByteRange(start + 1)
    assert byte_range != (byte_range.start, byte_range.end)


# --- secrets ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("secret", "shown"),
    [
        (URL, "<SignedURL: https://bucket.example.com/...>"),
        (SignedURL("https://[broken?sig=c0ffee"), "<SignedURL: malformed, hidden>"),
        (Token("c0ffee"), "<Token: hidden>"),
        (FileKey(KEY), "<FileKey: AES-256, hidden>"),
    ],
)
def test_secrets_do_not_show(secret, shown):
    """The repr of a secret, alone or inside a container, hides what it is."""
    assert repr(secret) == shown
    assert repr([secret]) == f"[{shown}]"
    assert f"{secret!r}" == shown


def test_secrets_are_what_they_hide():
    """A secret works wherever the str or bytes that it is does."""
    assert "X-Amz-Signature=c0ffee" in URL
    assert bytes(FileKey(KEY)) == KEY
    assert json.dumps(Token("a")) == '"a"'
    assert type(pickle.loads(pickle.dumps(Token("a")))) is Token


def test_reprs_hold_no_secret():
    """Neither key, URL nor data appears in a repr of what holds them."""
    values = [
        metadata(),
        *metadata().chunks,
        Block(42, 1, 0, 6, b"secret"),
        [metadata()],
        {"chunk": metadata().chunks[0]},
    ]
    for value in values:
        for secret in ("c0ffee", "bucket", "secret", repr(KEY)[2:-1], "\\x01"):
            assert secret not in repr(value)


def test_reprs_hold_the_numbers():
    """A repr tells the numbers that a log needs."""
    assert repr(metadata().chunks[1]) == "Chunk(number=2, offset=100, length=23)"
    assert repr(Block(42, 1, 0, 1, b"x")) == "Block(file_id=42, number=1, offset=0, length=1)"
    assert repr(metadata()) == (
        "Metadata(file_id=42, size=123, encrypted=True, compressed=True, "
        "compression_library=None, blocks=2)"
    )


# --- Metadata -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keywords", "plaintext", "compression"),
    [
        ({}, False, None),
        ({"compression_library": "GZIP"}, False, "GZIP"),
        ({"compressed": False}, False, "NONE"),
        ({"compressed": False, "compression_library": "SNAPPY"}, False, "NONE"),
        ({"encryption_key": None}, False, None),
        ({"encryption_key": None, "compressed": False}, True, "NONE"),
    ],
)
def test_metadata_describes_the_data(keywords, plaintext, compression):
    """Only data neither encrypted nor compressed is plaintext; no compression is NONE."""
    described = metadata(**keywords)
    assert (described.plaintext, described.compression) == (plaintext, compression)
    assert described.encrypted is (described.encryption_key is not None)
    assert described.compressed or described.compression_library is None


VARIANTS = [
    metadata(),
    metadata(encryption_key=None, compressed=False),
    metadata(cipher="AES-GCM", compression_library="LZ4"),
    Metadata(7, 0, []),
    Metadata(7, 2**40, [Chunk(1, 2**39, 5, URL)], encryption_key=KEY[:16]),
]


@pytest.mark.parametrize("listed", VARIANTS)
def test_serialized_metadata_is_json(listed):
    """A list goes through JSON text and comes back equal."""
    text = json.dumps(listed.serialize())
    back = Metadata.deserialize(json.loads(text))
    assert back == listed
    assert back.serialize() == listed.serialize()
    assert all(type(chunk.url) is SignedURL for chunk in back.chunks)
    assert back.encryption_key is None or type(back.encryption_key) is FileKey


@pytest.mark.parametrize("listed", VARIANTS)
def test_pickled_metadata(listed):
    """A list goes through a pickle and comes back equal, secrets still hidden."""
    back = pickle.loads(pickle.dumps(listed))
    assert back == listed
    assert repr(back) == repr(listed)
    assert all("c0ffee" not in repr(chunk.url) for chunk in back.chunks)


@pytest.mark.parametrize("name", ["file_id", "size", "chunks", "encryption_key", "compressed",
                                  "compression_library"])  # fmt: skip
def test_serialized_metadata_that_lacks_a_member(name):
    """The error names the member that is missing."""
    data = metadata().serialize()
    del data[name]
    with pytest.raises(ValueError, match=name):
        Metadata.deserialize(data)


@pytest.mark.parametrize("name", ["number", "offset", "length", "url"])
def test_serialized_chunk_that_lacks_a_member(name):
    """The error names the chunk's member that is missing."""
    data = metadata().serialize()
    del data["chunks"][1][name]
    with pytest.raises(ValueError, match=name):
        Metadata.deserialize(data)


@pytest.mark.parametrize(
    "change",
    [
        {"size": "123"},
        {"size": None},
        {"chunks": None},
        {"chunks": [None]},
        {"chunks": [{"number": 1.5, "offset": 0, "length": 1, "url": "x"}]},
        {"encryption_key": "not base64!"},
        {"encryption_key": 5},
    ],
)
def test_serialized_metadata_that_is_malformed(change):
    """What no serialize() returned is refused, without quoting it."""
    with pytest.raises(ValueError, match="serialize") as caught:
        Metadata.deserialize({**metadata().serialize(), **change})
    assert "c0ffee" not in str(caught.value)


@pytest.mark.parametrize("data", [None, [], "text", 5])
def test_deserializing_what_is_no_dictionary(data):
    """Anything but a mapping is a ValueError as well."""
    with pytest.raises(ValueError, match="serialize"):
        Metadata.deserialize(data)


def test_metadata_equality():
    """Lists are equal by all that they hold, and cannot be dictionary keys."""
    assert metadata() == metadata()
    assert metadata() != metadata(cipher="AES-GCM")
    assert metadata() != metadata().serialize()
    with pytest.raises(TypeError):
        hash(metadata())


def test_metadata_does_not_follow_the_list_it_was_made_of():
    """The chunks are copied: changes of the caller's list do not reach them."""
    chunks = [Chunk(1, 0, 100, URL)]
    listed = Metadata(42, 100, chunks)
    chunks.clear()
    assert len(listed.chunks) == 1


@pytest.mark.parametrize(
    "value",
    [
        Chunk(1, 0, 100, URL),
        Block(42, 1, 0, 1, b"x"),
        Download("a", 1, 2, 0.5),
        BlockEvent("queued", 0.0, 42, 1, 0, 0, "main", ""),
    ],
)
def test_tuples_pickle_and_unpack(value):
    """The small values pickle, and are tuples of what their fields say."""
    back = pickle.loads(pickle.dumps(value))
    assert back == value
    assert tuple(back) == tuple(getattr(value, name) for name in value._fields)
