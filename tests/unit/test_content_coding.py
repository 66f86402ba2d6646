"""Content codings: which a header names, and that nothing but the whole result passes for one."""

from __future__ import annotations

import gzip
import zlib

import pytest

from ctera_direct_sync._net.content_coding import (
    CodingError,
    Decoder,
    describe_codings,
    removable_codings,
    remove_codings,
)
from ctera_direct_sync._net.errors import TransportError

LIMIT = 10_000
TEXT = b"the same again and again, " * 50


def compress(data: bytes) -> bytes:
    """A gzip member without the time of its making."""
    return gzip.compress(data, mtime=0)


def raw_deflate(data: bytes) -> bytes:
    """Deflate without zlib's header, which some servers call deflate."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


CODED = {
    "gzip": compress(TEXT),
    "x-gzip": compress(TEXT),
    "deflate": zlib.compress(TEXT),
}


@pytest.mark.parametrize(
    ("value", "shown", "removable"),
    [
        ("", "", ()),
        (" Identity ", "", ()),
        ("identity, identity", "", ()),
        ("GZIP", "gzip", ("gzip",)),
        ("aws-chunked", "aws-chunked", ()),
        ("aws-chunked,gzip", "aws-chunked, gzip", ("gzip",)),
        ("deflate, gzip", "deflate, gzip", ("deflate", "gzip")),
        ("UTF-8", "utf-8", ()),
        ("br", "br", ()),
        ("x" * 100, "x" * 40 + "...", ()),
    ],
)
def test_words_of_the_header(value, shown, removable):
    """Codings that can be taken off are told from words that only describe the object."""
    headers = {"content-encoding": value}
    assert (describe_codings(headers), removable_codings(headers)) == (shown, removable)


def test_no_header():
    """A missing header names nothing."""
    assert (describe_codings({}), removable_codings({})) == ("", ())


@pytest.mark.parametrize("kind", [bytes, memoryview])
@pytest.mark.parametrize("coding", CODED)
def test_coding_is_taken_off(coding, kind):
    """Each known coding comes off."""
    assert remove_codings(kind(CODED[coding]), [coding], LIMIT) == TEXT


def test_deflate_without_its_header():
    """Deflate is understood without zlib's header as well (RFC 9110, section 8.4.1.2)."""
    assert remove_codings(raw_deflate(TEXT), ["deflate"], LIMIT) == TEXT


def test_codings_come_off_in_reverse_order():
    """The coding that was applied last comes off first."""
    assert remove_codings(compress(zlib.compress(TEXT)), ["deflate", "gzip"], LIMIT) == TEXT


def test_gzip_of_several_members():
    """A gzip body may have several members (RFC 1952, section 2.2): none is dropped."""
    body = compress(TEXT) + compress(b"and more")
    assert remove_codings(body, ["gzip"], LIMIT) == TEXT + b"and more"
    with pytest.raises(TransportError) as caught:
        remove_codings(body, ["gzip"], len(TEXT) + 7)
    assert caught.value.kind == "long"


def test_gzip_with_zero_padding():
    """Zeros after the last member are padding, as gzip(1) takes them, and nothing follows them."""
    assert remove_codings(CODED["gzip"] + bytes(100), ["gzip"], LIMIT) == TEXT
    with pytest.raises(TransportError, match="not what"):
        remove_codings(CODED["gzip"] + bytes(100) + CODED["gzip"], ["gzip"], LIMIT)


@pytest.mark.parametrize("coding", CODED)
def test_bytes_after_a_coded_body(coding):
    """What follows the end of a coded body is not silently dropped."""
    with pytest.raises(TransportError) as caught:
        remove_codings(CODED[coding] + b"rest", [coding], LIMIT)
    assert caught.value.kind == "protocol"


@pytest.mark.parametrize(
    ("coding", "body", "kind"),
    [
        ("gzip", TEXT, "protocol"),
        ("deflate", TEXT, "protocol"),
        ("gzip", CODED["gzip"][:-9], "short"),
        ("gzip", b"", "short"),
        ("deflate", CODED["deflate"][:-1], "short"),
        ("deflate", b"\x78", "short"),
        ("gzip", compress(bytes(LIMIT + 1)), "long"),
        ("deflate", zlib.compress(bytes(100 * LIMIT)), "long"),
    ],
)
def test_coding_that_fails(coding, body, kind):
    """Malformed, cut or inflating past the limit: each is a fault of its kind."""
    with pytest.raises(TransportError) as caught:
        remove_codings(body, [coding], LIMIT)
    assert caught.value.kind == kind
    assert caught.value.__cause__ is None


def test_coding_up_to_the_limit():
    """Exactly the limit is allowed."""
    assert remove_codings(compress(bytes(LIMIT)), ["gzip"], LIMIT) == bytes(LIMIT)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("step", [1, 2, 1000])
def test_body_that_comes_in_pieces(coding, step):
    """However the body is cut, the result is the same, and it is complete at its end alone."""
    data = TEXT * 20_000  # More than one step of output from little input.
    body = compress(data) + compress(TEXT) if coding == "gzip" else raw_deflate(data + TEXT)
    decoder, got = Decoder([coding]), bytearray()
    for at in range(0, len(body), step):
        for piece in decoder.feed(body[at : at + step]):
            assert len(piece) <= 256 * 1024
            got += piece
    assert decoder.complete
    assert got == data + TEXT


def test_malformed_piece():
    """A body that turns out to be malformed says so where it is fed."""
    decoder = Decoder(["gzip"])
    with pytest.raises(CodingError):
        list(decoder.feed(b"this is plain text"))
