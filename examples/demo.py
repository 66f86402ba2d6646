"""Real files through an emulated portal, by every way in: checked against the originals, and timed.

``make demo`` runs this. Exit code 1 if a single byte differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, NamedTuple

import demo_files
from tqdm import tqdm

from ctera_direct_sync import Block, DirectIO, DirectIOError, codec

HERE = Path(__file__).resolve().parent
MB = 1_000_000

Advance = Callable[[int], object]
Way = Callable[[DirectIO, int, Path, Advance], None]


def by_stream(client: DirectIO, file_id: int, target: Path, advance: Advance) -> None:
    """Blocks in order, written one after the other."""
    _write(client.stream(file_id), target, advance)


def by_blocks(client: DirectIO, file_id: int, target: Path, advance: Advance) -> None:
    """Blocks as they complete, each written in its place."""
    futures = as_completed(client.blocks(file_id))
    _write((future.result() for future in futures), target, advance)


def by_download(client: DirectIO, file_id: int, target: Path, advance: Advance) -> None:
    """The file, written in parallel, flushed to the disk and renamed."""
    client.download(file_id, target, progress=lambda done, total: advance(done))


def _write(blocks: Iterable[Block], target: Path, advance: Advance) -> None:
    done = 0
    with target.open("wb") as file:
        for block in blocks:
            file.seek(block.offset)
            file.write(block.data)
            done += block.length
            advance(done)


WAYS: dict[str, Way] = {"stream": by_stream, "blocks": by_blocks, "download": by_download}


class Row(NamedTuple):
    """One line of the table."""

    file: str
    size: int
    cipher: str
    compression: str
    way: str
    seconds: float
    verified: str


def main(argv: list[str] | None = None) -> int:
    """Run the demo; return the exit code."""
    options = _options(argv)
    demo_files.make(options.folder / "files", options.largest * MB)
    expected = {path.name: _sha256(path) for path in (options.folder / "files").iterdir()}
    with serving(options.folder / "files") as portal:
        keys = (portal["baseurl"], portal["access_key_id"], portal["secret_access_key"])
        with DirectIO(*keys) as client, tempfile.TemporaryDirectory(dir=options.folder) as folder:
            rows = [
                _try(client, file, way, Path(folder) / file["name"], expected[file["name"]])
                for file in portal["files"]
                for way in WAYS
            ]
    _print_table(rows)
    wrong = sum(row.verified != "yes" for row in rows)
    print(f"\n{len(rows)} downloads, {wrong} wrong. Codec: {codec.backend}. Portal and storage ran")
    print("on the same machine, and took their share of it.")
    return 1 if wrong else 0


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(".demo"), help="default: .demo")
    parser.add_argument(
        "--largest", type=int, default=200, metavar="MB", help="size of the largest file"
    )
    return parser.parse_args(argv)


@contextmanager
def serving(folder: Path) -> Iterator[dict[str, Any]]:
    """A portal over ``folder`` in a process of its own: its URL, keys and files."""
    command = [sys.executable, str(HERE / "demo_server.py"), str(folder)]
    server = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    )
    with server:
        assert server.stdin is not None and server.stdout is not None
        line = server.stdout.readline()
        if not line:
            raise SystemExit("the emulator did not start: see its error above")
        try:
            yield json.loads(line)
        finally:
            server.stdin.close()


def _try(client: DirectIO, file: dict[str, Any], way: str, target: Path, expected: str) -> Row:
    """Download a file one way, and compare it with the original."""
    bar = tqdm(
        total=file["size"],
        desc=f"{file['name']} by {way}",
        unit="B",
        unit_scale=True,
        leave=False,
        disable=None,
    )
    with bar:
        began = time.perf_counter()
        try:
            WAYS[way](client, file["file_id"], target, lambda done: bar.update(done - bar.n))
        except (DirectIOError, OSError) as error:
            verified = f"no: {error}"
        else:
            seconds = time.perf_counter() - began
            verified = "yes" if _sha256(target) == expected else "NO: its SHA-256 is another"
    target.unlink(missing_ok=True)
    if verified != "yes":
        seconds = 0.0
    return Row(
        file["name"], file["size"], file["cipher"], file["compression"], way, seconds, verified
    )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(1024 * 1024):
            digest.update(data)
    return digest.hexdigest()


def _print_table(rows: list[Row]) -> None:
    line = "{:16} {:>12} {:8} {:11} {:9} {:>7}  {}"
    print(line.format("file", "size", "cipher", "compression", "way", "MB/s", "verified"))
    for row in rows:
        # A rate of a file that is there in a millisecond tells of the clock, not of the download.
        rate = f"{row.size / row.seconds / MB:.0f}" if row.seconds and row.size >= MB else "-"
        print(line.format(*row[:5], rate, row.verified))


if __name__ == "__main__":
    sys.exit(main())
