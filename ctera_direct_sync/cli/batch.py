"""``ctera-direct batch MANIFEST FOLDER``: many files, for a script or cron.

Standard output gets one line per file and one for the whole batch; with ``--json`` each is a JSON object.
Standard error gets one line per failure, and progress bars if it is a terminal.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import sys
from typing import Callable

from .._core import core_of
from .._readers.batch import FAILED
from .._readers.manifest import ManifestError, Row, read_manifest
from .._readers.targets import descriptor_of, read_all
from ..client import DirectIO
from .arguments import add_bandwidth, add_files, positive_number
from .batch_log import BatchLog, JSONLog, ProgressBars, TextLog, Write

__all__ = ["add_arguments", "run"]

_DONE, _SOME_FAILED = 0, 1

#: Turns an error into one line for the user.
Explain = Callable[[Exception], str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments to its parser."""
    parser.add_argument(
        "manifest",
        metavar="MANIFEST",
        help="CSV file in UTF-8 with id,path or id,path,checksum (SHA-256 or CRC32C) on each line; "
        "a first line may name the columns, semicolons or tabs may separate them; - for standard input",
    )
    parser.add_argument(
        "folder", metavar="FOLDER", help="the folder that paths begin at; made if it does not exist"
    )
    add_files(parser)
    add_bandwidth(parser)
    # Its name until 0.1: it means blocks in all other commands.
    parser.add_argument(
        "--workers", dest="files", type=positive_number, metavar="N", help=argparse.SUPPRESS
    )
    parser.add_argument(
        "--json", action="store_true", help="log to standard output, one JSON object per line"
    )
    parser.add_argument(
        "--quiet", action="store_true", help="report only failures: no bars, no other lines"
    )


def run(client: DirectIO, options: argparse.Namespace, write: Write, explain: Explain) -> int:
    """Download the files of a manifest.

    Args:
        client: The client.
        options: The command's options.
        write: Takes lines for standard output.
        explain: Turns an error into one line for the user.

    Returns:
        The exit code.

    Raises:
        ManifestError: The manifest cannot be read.
    """
    rows = _read(options.manifest)
    bars = ProgressBars(len(rows), options)
    log = JSONLog(write, bars, options) if options.json else TextLog(write, bars, options)
    with contextlib.closing(bars):
        log.begin(len(rows))
        try:
            for row in rows:
                if row.item is None:
                    log.malformed(row)
            _download(client, [row for row in rows if row.item], options, bars, log, explain)
        except Exception as error:
            log.broken(explain(error))
            raise
        except BaseException:
            log.interrupted()
            raise
    log.end()
    return _SOME_FAILED if log.tally[FAILED] else _DONE


def _read(manifest: str) -> list[Row]:
    try:
        return read_manifest(io.BytesIO(_content(manifest)))
    except OSError as error:
        name = "standard input" if manifest == "-" else manifest
        raise ManifestError(f"{name}: cannot be read: {error.strerror or error}") from None


def _content(manifest: str) -> bytes:
    if manifest == "-":
        if sys.stdin is None:
            raise OSError(errno.EBADF, "it is closed; name a file, or redirect one to it")
        return read_all(0)
    # An open descriptor is read where it stands. One that was closed must not be taken for an empty list.
    fd = descriptor_of(manifest)
    if fd is not None:
        return read_all(fd)
    with open(manifest, "rb") as file:
        return file.read()


def _download(
    client: DirectIO,
    rows: list[Row],
    options: argparse.Namespace,
    bars: ProgressBars,
    log: BatchLog,
    explain: Explain,
) -> None:
    items = [row.item for row in rows if row.item is not None]
    ended = core_of(client).run_batch(
        items,
        options.folder,
        max_files=options.files,
        progress=bars.show if bars.wanted else None,
    )
    positions: set[int] = set()
    with contextlib.closing(ended):
        for position, result in ended:
            positions.add(position)
            bars.ended(result.item)
            error = result.error
            log.file(rows[position].line, result, "" if error is None else explain(error))
    # This does not depend on what the batch counted: each line of the manifest has one outcome.
    if len(positions) != len(items):
        raise OSError(
            errno.EIO,
            f"{len(items) - len(positions)} of {len(items)} files have no result: run the batch again",
            options.folder,
        )
