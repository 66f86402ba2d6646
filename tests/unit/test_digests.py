"""What a storage declares about an object, and whether it is true."""

from __future__ import annotations

import base64
import hashlib
import zlib

import pytest
from requests.structures import CaseInsensitiveDict

from ctera_direct_sync import codec
from ctera_direct_sync._protocol.checksums import (
    Declared,
    Mismatch,
    declared,
    split_azure_prefix,
    verify,
)
from ctera_direct_sync.settings import CHECKSUMS

BODY = b"123456789"
#: The check values of the CRC catalogue and of RFC 1321, FIPS 180 for that body.
DIGESTS = {
    "crc32c": bytes.fromhex("e3069283"),
    "crc32": bytes.fromhex("cbf43926"),
    "crc64nvme": bytes.fromhex("ae8b14860a799888"),
    "md5": bytes.fromhex("25f9e794323b453885f5181f1b624d0b"),
    "sha1": bytes.fromhex("f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
    "sha256": bytes.fromhex("15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
}
ALL = frozenset(CHECKSUMS)


def b64(value: bytes) -> str:
    """A digest as headers have it."""
    return base64.b64encode(value).decode()


def headers(**fields: str) -> CaseInsensitiveDict:
    """A response's headers; underscores stand for hyphens."""
    return CaseInsensitiveDict({name.replace("_", "-"): text for name, text in fields.items()})


def amz(name: str, value: str, **fields: str) -> CaseInsensitiveDict:
    """S3's header for a checksum."""
    return headers(**{f"x_amz_checksum_{name}": value}, **fields)


def test_known_answers():
    """The digests of the test are what other implementations compute."""
    assert zlib.crc32(BODY).to_bytes(4, "big") == DIGESTS["crc32"]
    assert hashlib.md5(BODY).digest() == DIGESTS["md5"]
    assert hashlib.sha1(BODY).digest() == DIGESTS["sha1"]
    assert hashlib.sha256(BODY).digest() == DIGESTS["sha256"]


CARRIERS = [
    *((name, amz(name, b64(DIGESTS[name]))) for name in DIGESTS if name != "md5"),
    ("md5", headers(Content_MD5=b64(DIGESTS["md5"]))),
    ("md5", headers(x_goog_hash=f"md5={b64(DIGESTS['md5'])}")),
    ("crc32c", headers(x_goog_hash=f"crc32c={b64(DIGESTS['crc32c'])}")),
    ("etag", headers(ETag=f'"{DIGESTS["md5"].hex()}"')),
    ("etag", headers(ETag=DIGESTS["md5"].hex().upper())),
]


@pytest.mark.parametrize("kind", [bytes, memoryview, bytearray])
@pytest.mark.parametrize(("name", "fields"), CARRIERS)
def test_right_digest(name, fields, kind):
    """A declared digest that is right is named as verified, whatever buffer the body is in."""
    assert verify(kind(BODY), fields, ALL) == [name]


@pytest.mark.parametrize(("name", "fields"), CARRIERS)
def test_wrong_digest(name, fields):
    """A body that is not as declared is a Mismatch that names both values."""
    (expected,) = [item.value for item in declared(fields, ALL)]
    with pytest.raises(Mismatch) as caught:
        verify(BODY + b"!", fields, ALL)
    assert str(caught.value).startswith(f"{name} is ")
    assert str(caught.value).endswith(f"but the storage declares {expected.hex()}")


@pytest.mark.parametrize(("name", "fields"), CARRIERS)
def test_digest_that_is_not_wanted(name, fields):
    """What the settings leave out is not even computed."""
    assert verify(BODY + b"!", fields, ALL - {name}) == []


def test_etag_needs_asking():
    """An ETag is an MD5 on some stores only: off unless it is asked for by name."""
    fields = headers(ETag='"' + "0" * 32 + '"')
    assert verify(BODY, fields, ALL - {"etag"}) == []
    with pytest.raises(Mismatch, match="etag"):
        verify(BODY, fields, {"etag"})


@pytest.mark.parametrize(
    "etag",
    [
        f'"{DIGESTS["sha1"].hex()}"',
        f'"{"0" * 32}-5"',
        f'W/"{"0" * 32}"',
        '"0x8DB4A2C5B3F9F2E"',
        f'"{"x" * 32}"',
        f'"{"00 " * 10}00"',
        '""',
        "",
    ],
)
def test_etag_that_is_no_md5(etag):
    """A multipart, weak or opaque ETag declares nothing."""
    assert list(declared(headers(ETag=etag), ALL)) == []


def test_google_names_several():
    """x-goog-hash lists digests, in one header or in several that were joined; others are ignored."""
    text = f"crc32c={b64(DIGESTS['crc32c'])}, md5={b64(DIGESTS['md5'])},blake3=AAAA"
    assert verify(BODY, headers(x_goog_hash=text), ALL) == ["crc32c", "md5"]


def test_same_digest_twice():
    """Declared in two headers, a digest is verified once; if they differ, the first counts."""
    right, wrong = b64(DIGESTS["crc32c"]), b64(bytes(4))
    fields = amz("crc32c", wrong, x_goog_hash=f"crc32c={right}")
    assert verify(BODY, fields, ALL) == ["crc32c"]


def test_one_wrong_among_right():
    """All that are wanted must be right."""
    fields = amz("crc32c", b64(DIGESTS["crc32c"]), x_amz_checksum_sha256=b64(bytes(32)))
    with pytest.raises(Mismatch, match="sha256"):
        verify(BODY, fields, ALL)


@pytest.mark.parametrize("kind", ["COMPOSITE", "composite"])
def test_composite(kind):
    """A checksum of the parts' checksums says nothing of the body."""
    fields = amz("crc32c", b64(bytes(4)), x_amz_checksum_type=kind)
    assert verify(BODY, fields, ALL) == []


def test_full_object():
    """FULL_OBJECT says that it does."""
    fields = amz("crc64nvme", b64(DIGESTS["crc64nvme"]), x_amz_checksum_type="FULL_OBJECT")
    assert verify(BODY, fields, ALL) == ["crc64nvme"]


def test_composite_leaves_other_headers_alone():
    """The type speaks of S3's own header, not of Content-MD5."""
    fields = headers(x_amz_checksum_type="COMPOSITE", Content_MD5=b64(bytes(16)))
    with pytest.raises(Mismatch):
        verify(BODY, fields, ALL)


@pytest.mark.parametrize("name", [name for name in DIGESTS if name != "md5"])
@pytest.mark.parametrize("parts", [1, 12, 10000])
def test_part_numbered(name, parts):
    """A value with a number of parts at its end is a checksum of checksums, marked as such or not."""
    assert verify(BODY, amz(name, f"{b64(DIGESTS[name])}-{parts}"), ALL) == []


@pytest.mark.parametrize(
    "value", ["", " ", "!", "AAAAA", "ä", "AAAA, AAAA", "=", b64(DIGESTS["md5"]), b64(bytes(5)),
              DIGESTS["crc32c"].hex()]
)  # fmt: skip
def test_malformed(value):
    """A header that holds no digest of its algorithm declares none."""
    assert list(declared(amz("crc32c", value), ALL)) == []
    assert list(declared(headers(x_goog_hash=f"crc32c={value}"), ALL)) == []


@pytest.mark.parametrize("value", ["", "!", DIGESTS["md5"].hex(), b64(DIGESTS["crc32c"])])
def test_malformed_md5(value):
    """A digest in hexadecimal, or of another size, is not a Content-MD5."""
    assert list(declared(headers(Content_MD5=value), ALL)) == []


@pytest.mark.parametrize("text", ["", ",", "=", "crc32c", "crc32c=", "=AAAA", ",,md5", ";"])
def test_malformed_google(text):
    """Whatever stands in x-goog-hash is read without harm."""
    assert list(declared(headers(x_goog_hash=text), ALL)) == []


def test_spaces_around_a_value():
    """Spaces around a value do not count."""
    fields = amz("crc32", f"  {b64(DIGESTS['crc32'])} ")
    assert list(declared(fields, ALL)) == [Declared("crc32", DIGESTS["crc32"])]


def test_no_headers():
    """A storage that declares nothing has nothing verified."""
    assert verify(BODY, headers(), ALL) == []
    assert verify(b"", headers(), ()) == []


def test_empty_body():
    """An empty object has digests, too."""
    fields = amz("crc32c", b64(bytes(4)), x_amz_checksum_sha256=b64(hashlib.sha256().digest()))
    assert verify(b"", fields, ALL) == ["crc32c", "sha256"]


# --- Azure -----------------------------------------------------------------------------------------------


PREFIXED = DIGESTS["md5"] + BODY


@pytest.mark.parametrize("kind", [bytes, memoryview, bytearray])
@pytest.mark.parametrize("host", ["a.blob.core.windows.net", "A.BLOB.Core.Windows.NET"])
def test_azure_prefix(host, kind):
    """The digest in front of an object on Azure is recognised by computing it, and stripped."""
    body, found = split_azure_prefix(kind(PREFIXED), host)
    assert (bytes(body), found) == (BODY, True)


@pytest.mark.parametrize(
    "host",
    [None, "", "s3.amazonaws.com", "core.windows.net", "evilcore.windows.net",
     "a.core.windows.net.example.com"],
)  # fmt: skip
def test_prefix_elsewhere(host):
    """On any other storage those bytes are the object's own."""
    assert split_azure_prefix(PREFIXED, host) == (PREFIXED, False)


@pytest.mark.parametrize(
    "body", [b"", BODY, DIGESTS["md5"], DIGESTS["md5"] + BODY + b"!", bytes(16) + BODY]
)
def test_azure_without_prefix(body):
    """An object that does not begin with the digest of its rest stays whole, however short."""
    assert split_azure_prefix(body, "a.blob.core.windows.net") == (body, False)


def test_azure_prefix_of_nothing():
    """The digest of no bytes, alone, is the prefix of an empty object."""
    body, found = split_azure_prefix(hashlib.md5().digest(), "a.blob.core.windows.net")
    assert (bytes(body), found) == (b"", True)


def test_azure_rest_is_not_copied():
    """What is left is a view: a block of many megabytes is not copied for 16 bytes."""
    body, _ = split_azure_prefix(PREFIXED, "a.blob.core.windows.net")
    assert isinstance(body, memoryview)
    assert codec.crc32c(body) == int.from_bytes(DIGESTS["crc32c"], "big")
