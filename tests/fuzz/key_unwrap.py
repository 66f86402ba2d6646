"""Fuzzes the unwrapping of a file's key: ``python -m tests.fuzz.key_unwrap FOLDER [libFuzzer's options]``.

An input is either a wrapped key and a secret as a portal and a user may give them, or what a wrapped key
decrypts to, which is then wrapped honestly, so that mutations get past the cipher. tests/unit/test_keys.py
replays the seeds in ``key_unwrap/``; ``python -m tests.fuzz.key_unwrap --seeds`` wrote them. What atheris
finds new goes to FOLDER.
"""

from __future__ import annotations

import base64
import os
import re
import sys
from pathlib import Path

from Crypto.Cipher import AES

from ctera_direct_sync._protocol import keys
from ctera_direct_sync.exceptions import DecryptKeyError

SEEDS = Path(__file__).with_name("key_unwrap")
FILE_ID = 7
KEK = bytes(range(32))
SECRET = base64.b64encode(KEK).decode()
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")


def one_input(data: bytes) -> None:
    """Unwrap what ``data`` describes; AssertionError where the outcome is not allowed."""
    kind, rest = data[:1], data[1:]
    if kind == b"t":
        text = rest + bytes(-len(rest) % AES.block_size)
        wrapped = AES.new(KEK, AES.MODE_ECB).encrypt(text)
        _check(base64.b64encode(wrapped).decode(), SECRET, text)
    else:
        wrapped_key, _, secret = rest.decode("utf-8", "surrogateescape").partition("|")
        _check(wrapped_key, secret, None)


def _check(wrapped_key: str, secret: str, text: bytes | None) -> None:
    """A key that lies in ``text``, where that is known, or an error that shows nothing."""
    try:
        key = keys.unwrap(wrapped_key, secret, FILE_ID)
    except DecryptKeyError as error:
        assert error.filename == FILE_ID
        said = f"{error} {error!r}"
        for hidden in (wrapped_key, secret):
            assert len(hidden) < 8 or hidden not in said, "an error shows a secret"
        return
    assert len(key) in (16, 24, 32)
    if text is not None:
        # The last character of unpadded base64 may hold bits that are of no byte.
        letters = base64.b64encode(key).rstrip(b"=")[: len(key) * 8 // 6]
        assert letters in _NOT_BASE64.sub(b"", text), "a key that is not in the text"


def seeds() -> dict[str, bytes]:
    """An input of each kind that a portal is known to send, and of each that is refused."""
    texts = {
        f"{size}-{name}": b"t" + text % base64.b64encode(bytes(range(size)))
        for size in (16, 24, 32)
        for name, text in {
            "quoted": b'"%s"\x0c\x0c\x0c\x0c',
            "bare": b"%s\x01",
            "old-padding": b'"%s"\x00\x07\x1f ',
            "trailing-text": b"%s and more",
        }.items()
    }
    key = base64.b64encode(AES.new(KEK, AES.MODE_ECB).encrypt(texts["32-quoted"][1:49])).decode()
    return {
        **texts,
        "short-key": b't"' + base64.b64encode(bytes(15)) + b'"',
        "empty": b"t",
        "fits": f"w{key}|{SECRET}".encode(),
        "other-secret": f"w{key}|{base64.b64encode(bytes(32)).decode()}".encode(),
        "short-secret": f"w{key}|YWJj".encode(),
        "no-base64": b"w$$$|\xff\xfe",
        "no-whole-block": b"wYWJj|" + SECRET.encode(),
        "line-breaks": f"w{key[:20]}\r\n {key[20:]}|{SECRET[:9]}\n{SECRET[9:]}".encode(),
    }


def main() -> None:
    """Write the seeds, or fuzz until libFuzzer's options say that it is enough."""
    if "--seeds" in sys.argv:
        for name, data in seeds().items():
            (SEEDS / name).write_bytes(data)
        return
    import atheris

    atheris.enabled_hooks.add("RegEx")
    for name in ("unwrap", "_key_encryption_key", "_b64decode", "_parse"):
        atheris.instrument_func(getattr(keys, name))
    folder, *options = sys.argv[1:]
    os.makedirs(folder, exist_ok=True)
    atheris.Setup([sys.argv[0], *options, folder, str(SEEDS)], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
