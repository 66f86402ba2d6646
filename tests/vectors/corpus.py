"""Seeds for fuzzers: ``python -m tests.vectors.corpus FOLDER`` writes one file for each.

Folders by kind: ``snappy_raw``, ``snappy_stream``, ``gzip`` and ``lz4`` hold bare payloads, ``cbc``
and ``gcm`` stored objects under envelopes.KEY (block number 1).
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from tests.vectors import hostile, payloads
from tests.vectors.envelopes import cbc, gcm
from tests.vectors.plaintexts import KINDS, plaintext


def _kind(payload: bytes, compression: str | None) -> str:
    if compression == "LZ4":
        return "lz4"
    if payload.startswith(payloads.SNAPPY_JAVA_HEADER[:8]):
        return "snappy_stream"
    return "gzip" if payload.startswith(b"\x1f\x8b") else "snappy_raw"


def seeds() -> Iterator[tuple[str, str, bytes]]:
    """Folder, name and content of every seed, none over 64 KiB."""
    for name, recipe in payloads.RECIPES.items():
        for kind in KINDS:
            for size in (0, 20, 3000):
                payload = recipe.make(plaintext(kind, size))
                label = f"{name} {kind} {size}"
                if recipe.compression != "NONE":
                    yield _kind(payload, recipe.compression), label, payload
                yield "cbc", label, cbc(payload)
                yield "gcm", label, gcm(payload, 1)
    for name, case in hostile.cases().items():
        if len(case.payload) <= 1 << 16:
            yield _kind(case.payload, case.compression), f"hostile {name}", case.payload


def main() -> None:
    """Write the seeds below the folder given."""
    parser = argparse.ArgumentParser(description="write seed files for fuzzers")
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    for kind, name, content in seeds():
        (folder / kind).mkdir(parents=True, exist_ok=True)
        (folder / kind / re.sub(r"\W+", "-", name)).write_bytes(content)


if __name__ == "__main__":
    main()
