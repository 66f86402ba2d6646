"""The files that both clients download: every way in which a portal stores one."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from typing import Any, Callable, NamedTuple

import pytest

from ctera_direct_sync.emulator import SyntheticSource
from tests.support.pairs import covering

KIB = 1024
SIZE = 300 * KIB + 13
TEXT = SyntheticSource(SIZE, seed=1).read(0, SIZE)
RANDOM = SyntheticSource(SIZE, seed=2, kind="random").read(0, SIZE)
CONTENTS = {
    "text": TEXT,
    "random": RANDOM,
    "zeros": bytes(SIZE),
    "mixed": TEXT[: 150 * KIB] + RANDOM[: SIZE - 150 * KIB],
    "byte": b"\x1f",
}

RANGES = {
    "all": (None, None),
    "first byte": (0, 0),
    "last byte": (SIZE - 1, SIZE - 1),
    "inside a block": (1000, 2000),
    "over an edge": (64 * KIB - 1, 64 * KIB),
    "whole blocks": (64 * KIB, 192 * KIB - 1),
    "to the end": (100_000, None),
    "past the end": (200_000, SIZE + 1000),
}


class Case(NamedTuple):
    """A file as it is stored, under a name for the test's ID; the names of what it combines."""

    name: str
    content: str
    options: dict[str, Any]
    cipher: str = "CBC-256"
    compression: str = "snappy-java"
    blocks: str = "64K"
    listing: str = "8.3"


CIPHERS: dict[str, dict[str, Any]] = {
    "CBC-256": {"cipher": "AES-CBC", "key_size": 32},
    "CBC-192": {"cipher": "AES-CBC", "key_size": 24},
    "CBC-128": {"cipher": "AES-CBC", "key_size": 16},
    "plain": {"cipher": None},
}
COMPRESSIONS: dict[str, dict[str, Any]] = {
    "snappy-java": {"compression": "SNAPPY"},
    "snappy-java-1000": {"compression": "SNAPPY", "snappy_chunk": 1000},
    "snappy-java-one-chunk": {"compression": "SNAPPY", "snappy_chunk": 1024 * KIB},
    "snappy-raw": {"compression": "SNAPPY-RAW"},
    "gzip": {"compression": "GZIP"},
    "gzip-stored": {"compression": "GZIP", "gzip_level": 0},
    "gzip-9": {"compression": "GZIP", "gzip_level": 9},
    "gzip-3-members": {"compression": "GZIP", "gzip_members": 3},
    "gzip-said-to-be-snappy": {"compression": "GZIP", "declared_compression": "SNAPPY"},
    "snappy-said-to-be-gzip": {"compression": "SNAPPY", "declared_compression": "GZIP"},
    "none": {"compression": "NONE"},
}
BLOCKS: dict[str, dict[str, Any]] = {
    "64K": {"block_size": 64 * KIB},
    "varied": {"block_size": (1, 70_000, 4096, 33_000, 17)},
    "one": {"block_size": 4096 * KIB},
}
GCM = {"cipher": "AES-GCM"}
LZ4 = {
    "lz4": {"compression": "LZ4"},
    "lz4-checksums": {
        "compression": "LZ4",
        "lz4": {"content_checksum": True, "block_checksum": True},
    },
    "lz4-no-size": {"compression": "LZ4", "lz4": {"store_size": False}},
    "lz4-independent": {"compression": "LZ4", "lz4": {"block_linked": False}},
}


def cross(*tables: dict[str, dict[str, Any]]) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """Yield every choice of one row from each table: their names, and their options merged."""
    for rows in itertools.product(*(table.items() for table in tables)):
        merged: dict[str, Any] = {}
        for _, options in rows:
            merged.update(options)
        yield [name for name, _ in rows], merged


def shared_cases() -> Iterator[Case]:
    """Yield what both clients support."""
    for names, options in cross(CIPHERS, COMPRESSIONS, BLOCKS):
        yield Case(" ".join(names), "mixed", options, *names)
    for names, options in cross({key: CIPHERS[key] for key in ("CBC-256", "plain")}, COMPRESSIONS):
        name, stored = " ".join(names), {"block_size": 64 * KIB, **options}
        for content in ("text", "random", "zeros", "byte"):
            yield Case(f"{name} of {content}", content, stored, *names)
        yield Case(
            f"{name} ranged", "mixed", {"listing": "ranged", **stored}, *names, listing="ranged"
        )
    native = ("mixed", {"native": True}, "none", "none", "native")
    yield Case("native", *native)
    yield Case(
        "native ranged", "mixed", {"native": True, "listing": "ranged"}, *native[2:], "ranged"
    )


def our_cases() -> Iterator[Case]:
    """Yield what only ours supports."""
    for names, options in cross({"GCM": GCM}, {**COMPRESSIONS, **LZ4}, BLOCKS):
        yield Case(" ".join(names), "mixed", options, *names)
    for names, options in cross({key: CIPHERS[key] for key in ("CBC-256", "plain")}, LZ4, BLOCKS):
        yield Case(" ".join(names), "mixed", options, *names)
    compressed = {key: COMPRESSIONS[key] for key in ("snappy-java", "snappy-raw", "gzip")}
    for names, options in cross(compressed, BLOCKS):
        for cipher, key in (("AES-CBC", "CBC-256"), ("AES-GCM", "GCM"), (None, "plain")):
            yield Case(
                " ".join([f"untyped {cipher}", *names]),
                "mixed",
                {"listing": "untyped", "cipher": cipher, **options},
                *(key, *names, "untyped"),
            )
    for names, options in cross({**compressed, "none": COMPRESSIONS["none"]}, BLOCKS):
        yield Case(
            " ".join(["pre-8.3", *names]),
            "mixed",
            {"listing": "pre-8.3", **options},
            *("plain", *names, "pre-8.3"),
        )
    for listing in ("8.3", "ranged"):
        yield Case(
            f"empty {listing}", "empty", {"listing": listing}, blocks="none", listing=listing
        )


SHARED = list(shared_cases())
OURS = list(our_cases())
RANGED = [
    case
    for case in SHARED
    if case.name
    in (
        "CBC-256 snappy-java 64K",
        "CBC-256 gzip-3-members varied",
        "CBC-128 none 64K",
        "plain snappy-raw 64K",
        "plain none varied",
        "native",
    )
]


def content_of(case: Case) -> bytes:
    """Return the plaintext of a case's file."""
    return CONTENTS.get(case.content, b"")


def digest(data: bytes) -> str:
    """Return the SHA-256 of what was downloaded or should have been."""
    return hashlib.sha256(data).hexdigest()


def identify(case: Case) -> str:
    """Return a test's ID for a case."""
    return case.name.replace(" ", "-")


def by_pairs(cases: list[Case], ways: list[Callable[..., Any]]) -> list[Any]:
    """Return the parameters of every case by every way; what adds no pair of values is nightly."""
    rows = list(itertools.product(cases, ways))
    values = [
        {
            **dict(zip(Case._fields[3:], case[3:])),
            "content": case.content,
            "native": "native" in case.options,
            "way": way.__name__,
        }
        for case, way in rows
    ]
    kept = covering(values)
    return [
        pytest.param(
            *(case, way),
            id=f"{identify(case)}-{way.__name__}",
            marks=[] if at in kept else [pytest.mark.nightly],
        )
        for at, (case, way) in enumerate(rows)
    ]


def expected(data: bytes, start: int | None, end: int | None) -> bytes:
    """Return the bytes of a range, both ends included."""
    return data[start or 0 : None if end is None else end + 1]
