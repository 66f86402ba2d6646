"""Unwrapping file keys, known answers made by an independent AES."""

from __future__ import annotations

import base64
import errno
import random

import pytest
from Crypto.Cipher import AES
from hypothesis import given
from hypothesis import strategies as st

from ctera_direct_sync import codec
from ctera_direct_sync._protocol.keys import unwrap
from ctera_direct_sync.exceptions import DecryptKeyError
from ctera_direct_sync.types import FileKey
from tests.fuzz import key_unwrap

SECRET = base64.b64encode(bytes(range(100, 140))).decode()
KEYS = [bytes(range(16)), bytes(range(24)), bytes(range(32))]


def encrypt(text: bytes, secret: str = SECRET) -> str:
    """``text``, whole AES blocks, under the key-encryption key of PROTOCOL section 2, in base64."""
    kek = base64.b64decode(secret + "=" * (-len(secret) % 4))[:32].ljust(32, b"\0")
    return base64.b64encode(AES.new(kek, AES.MODE_ECB).encrypt(text)).decode()


def pkcs7(text: bytes) -> bytes:
    """``text`` padded to whole AES blocks (RFC 5652, section 6.3)."""
    count = 16 - len(text) % 16
    return text + bytes([count]) * count


def quoted(key: bytes) -> bytes:
    """A key as portals write it: in base64, between double quotes."""
    return b'"' + base64.b64encode(key) + b'"'


#: The three keys under SECRET, wrapped by the ``openssl enc -aes-256-ecb`` command.
WRAPPED = [
    "dUizck0wkRwbQ9rz4S3SZ74DXOiD7ZRuzfbAWyX1QE0=",
    "dUizck0wkRwbQ9rz4S3SZ9IY6AQW2xXHAdXCUnDRpblnxc/h/xrykvqYyS388LuW",
    "dUizck0wkRwbQ9rz4S3SZ9IY6AQW2xXHAdXCUnDRpbmnbzwTekX/8UT3+tzKkVsI",
]


@pytest.mark.parametrize(("key", "wrapped"), [*zip(KEYS, WRAPPED)])
def test_known_answers(key, wrapped):
    """What another program wrapped is unwrapped; 32 bytes take 48, as in a real sample."""
    assert encrypt(pkcs7(quoted(key))) == wrapped
    assert len(base64.b64decode(WRAPPED[2])) == 48
    assert unwrap(wrapped, SECRET, 1) == key


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("length", [1, 16, 31, 32, 33, 48])
def test_unwraps(key, length):
    """Keys of each size come out, with secrets shorter and longer than 32 bytes."""
    secret = base64.b64encode(bytes(range(1, length + 1))).decode()
    found = unwrap(encrypt(pkcs7(quoted(key)), secret), secret, 1)
    assert found == key
    assert type(found) is FileKey


def test_only_32_bytes_of_the_secret_count():
    """The secret is cut at 32 bytes."""
    longer = base64.b64encode(bytes(range(64))).decode()
    cut = base64.b64encode(bytes(range(32))).decode()
    assert unwrap(encrypt(pkcs7(quoted(KEYS[0])), cut), longer, 1) == KEYS[0]


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(KEYS[2]) + b"\x04" * 4,
        quoted(KEYS[2]) + b"\0\0",
        quoted(KEYS[2]) + b"\x0e\x02",
        quoted(KEYS[2]) + b"  ",
        b' "' + base64.b64encode(KEYS[2]) + b'"\n' + b"\x10" * 16,
        quoted(KEYS[2])[:-1] + b"\x03" * 3,
        base64.b64encode(KEYS[1]) + b"\x10" * 16,
        base64.b64encode(KEYS[1]),
        b'"' + base64.b64encode(KEYS[0]).rstrip(b"=") + b'"\0\0\0\0\0\0\0\0',
    ],
)
def test_old_portals_are_read_leniently(text):
    """Missing quotes, other padding than PKCS#7, spaces and missing base64 padding are forgiven."""
    assert len(text) % 16 == 0, len(text)
    assert unwrap(encrypt(text), SECRET, 1) in KEYS


@pytest.mark.parametrize(
    "secret",
    [SECRET.rstrip("="), SECRET + "\n", f"  {SECRET}", f"{SECRET[:20]}\r\n{SECRET[20:]}"],
)
def test_secrets_copied_carelessly(secret):
    """A secret with line breaks around it or without its base64 padding works."""
    assert unwrap(encrypt(pkcs7(quoted(KEYS[2]))), secret, 1) == KEYS[2]


@pytest.mark.parametrize("wrap", ["\n", " ", "\r\n"])
def test_wrapped_key_in_lines(wrap):
    """A wrapped key that was broken into lines is put together."""
    wrapped = encrypt(pkcs7(quoted(KEYS[2])))
    assert unwrap(wrapped[:40] + wrap + wrapped[40:], SECRET, 1) == KEYS[2]


def refusal(wrapped: str, secret: object = SECRET) -> str:
    """The text by which this is refused, once it is found to hold no secret."""
    with pytest.raises(DecryptKeyError) as caught:
        unwrap(wrapped, secret, 77)
    error = caught.value
    assert (error.errno, error.filename) == (errno.EIO, 77)
    assert error.__cause__ is None
    assert error.__context__ is None
    for hidden in filter(None, (wrapped, secret)):
        assert str(hidden) not in str(error)
    return error.strerror


def test_bearer_mode_cannot_decrypt():
    """Without a secret the error says that the secret access key is needed."""
    assert "secret_access_key" in refusal(encrypt(pkcs7(quoted(KEYS[2]))), None)


@pytest.mark.parametrize("secret", ["", "   ", "not base64!", "ä", "A", "AAAAA"])
def test_secret_that_is_no_base64(secret):
    """A malformed secret is told from one that does not fit."""
    assert "is not base64" in refusal(encrypt(pkcs7(quoted(KEYS[2]))), secret)


@pytest.mark.parametrize(
    "wrapped", ["", "?", "not base64!", "QUJD", base64.b64encode(bytes(17)).decode(), "ü" * 24]
)
def test_wrapped_key_that_is_malformed(wrapped):
    """A value that is not base64 of whole AES blocks is the portal's fault, and the text says so."""
    with pytest.raises(DecryptKeyError, match="portal sent a wrapped key that is malformed"):
        unwrap(wrapped, SECRET, 1)


@pytest.mark.parametrize(
    "wrapped",
    [
        encrypt(b" " * 32768),
        encrypt(b'"' * 16384 + b" " * 16384),
        encrypt(b"A" * 43_008),
        encrypt(bytes(272)),
        " " * 1_000_000,
        "QUJD" * 250_000,
        WRAPPED[2] + "\n" * 1000,
    ],
)
def test_wrapped_key_that_is_too_long(wrapped, monkeypatch):
    """No more is decoded, decrypted or searched than a file key can take: 43 kB took 3.8 s."""
    seen = []

    def decrypt(data, *, key):
        seen.append(len(data))
        return bytes(len(data))

    monkeypatch.setattr(codec, "decrypt_ecb", decrypt)
    with pytest.raises(DecryptKeyError, match="longer than a file key can be"):
        unwrap(wrapped, SECRET, 1)
    assert seen == []


def test_wrapped_key_of_the_longest_accepted_size():
    """Padding and line breaks in plenty are still forgiven."""
    text = quoted(KEYS[2]) + b" " * (256 - 46)
    wrapped = encrypt(text)
    assert unwrap("\n".join(wrapped[i : i + 4] for i in range(0, len(wrapped), 4)), SECRET, 1)


@pytest.mark.parametrize(
    "wrapped", [WRAPPED[2][:-4], "?", encrypt(bytes(48)), encrypt(bytes(4096)), "ü" * 24, None, 5]
)
@pytest.mark.parametrize("secret", [SECRET, f"{SECRET}!", None])
def test_a_traceback_holds_no_secret(wrapped, secret):
    """No local variable of the library's frames has the secret, a key, or what was wrapped."""
    with pytest.raises((DecryptKeyError, TypeError, AttributeError)) as caught:
        unwrap(wrapped, secret, 1)
    step = caught.value.__traceback__.tb_next
    while step is not None:
        for value in step.tb_frame.f_locals.values():
            assert not isinstance(value, bytes), value
            assert value is not wrapped or wrapped is None
            assert value is not secret or secret is None
        step = step.tb_next


@pytest.mark.parametrize(
    "text",
    [
        pkcs7(quoted(bytes(15))),
        pkcs7(quoted(bytes(17))),
        pkcs7(quoted(bytes(33))),
        pkcs7(quoted(b"")),
        pkcs7(b'"not base64 at all"'),
        pkcs7(quoted(bytes(32)) + b"and more"),
        pkcs7(b"\xff" * 20),
        bytes(48),
    ],
)
def test_decrypted_text_that_is_no_key(text):
    """A key of another size, or no key at all, is a DecryptKeyError."""
    assert "does not fit" in refusal(encrypt(text))


def test_wrong_secret():
    """Another secret is refused with what to check."""
    other = base64.b64encode(bytes(range(7, 39))).decode()
    assert "does not fit this file" in refusal(encrypt(pkcs7(quoted(KEYS[2]))), other)


def test_a_cryptographic_library_that_refuses(monkeypatch):
    """A FIPS policy or the like is told as what it is, not as a wrong secret."""

    def refuse(data, *, key):
        codec.errors.raise_status(codec.DecodeStatus.CRYPTO, None, len(data))

    monkeypatch.setattr(codec, "decrypt_ecb", refuse)
    assert "refused to work" in refusal(WRAPPED[2])


def test_what_the_codec_is_given_hides_itself(monkeypatch):
    """A traceback with locals from there shows neither the key-encryption key nor what it wraps."""
    shown = []

    def decrypt(data, *, key):
        shown.append(f"{data!r} {key!r}")
        return bytes(len(data))

    monkeypatch.setattr(codec, "decrypt_ecb", decrypt)
    refusal(WRAPPED[2])
    assert shown == ["<FileKey: AES-384, hidden> <FileKey: AES-256, hidden>"]


def test_many_wrong_secrets_never_give_a_key():
    """Of 3,000 wrong secrets none passes for the right one."""
    chance = random.Random(2)
    wrapped = [encrypt(pkcs7(quoted(key))) for key in KEYS]
    for turn in range(3000):
        secret = base64.b64encode(chance.randbytes(32)).decode()
        with pytest.raises(DecryptKeyError):
            unwrap(wrapped[turn % 3], secret, 1)


@given(st.binary(max_size=80), st.text(max_size=40))
def test_arbitrary_input(wrapped, secret):
    """Whatever comes in, out come a key of a right size or a DecryptKeyError, nothing else."""
    try:
        key = unwrap(base64.b64encode(wrapped).decode(), secret, 1)
    except DecryptKeyError:
        return
    assert len(key) in (16, 24, 32)


@pytest.mark.parametrize("name", [path.name for path in sorted(key_unwrap.SEEDS.iterdir())])
def test_seeds_of_the_fuzzer(name):
    """What the fuzzer starts from keeps its rules, and is what its maker makes."""
    data = (key_unwrap.SEEDS / name).read_bytes()
    assert key_unwrap.seeds()[name] == data
    key_unwrap.one_input(data)
