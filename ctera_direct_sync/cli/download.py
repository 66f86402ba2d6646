"""``ctera-direct download`` and ``ctera-direct cat``: one file, or a range of it."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
from typing import Callable

from .._base.checksums import Checksum
from .._core import core_of
from .._readers.targets import is_stream
from ..client import DirectIO
from ..exceptions import DirectIOError
from ..types import ByteRange, Download, Metadata
from .arguments import ChecksumOption, add_file_id, add_portal, add_transfer
from .errors import UsageError, explain
from .output import (
    Output,
    OutputClosed,
    TargetError,
    complain,
    is_same_file,
    standard_output,
    write_output,
)
from .progress import ProgressBar

__all__ = ["add_cat_arguments", "add_download_arguments", "cat", "download"]

#: The path that means standard output.
_STANDARD_OUTPUT = "-"


def add_download_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``download`` to its parser."""
    parser.add_argument(
        "-p",
        "--path",
        metavar="FILE",
        help="the file to write, which is replaced when all is there; a pipe, a device or an open "
        "descriptor (/dev/stdout, /dev/fd/3) is written to as it is; - for standard output (default: "
        "the name of PATH, in the current folder)",
    )
    add_file_id(parser)
    add_portal(parser)
    add_transfer(parser)
    parser.add_argument(
        "--resume",
        action="store_true",
        help="keep what is complete if the download ends early, and continue from there the next time",
    )
    parser.add_argument(
        "--checksum",
        nargs=2,
        action=ChecksumOption,
        metavar=("ALGORITHM", "DIGEST"),
        help="sha256 (read back from the disk) or crc32c, in hexadecimal: on any other the download "
        "fails, and what was at PATH before stays",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no closing line")


def add_cat_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cat`` to its parser."""
    add_file_id(parser)
    add_portal(parser)
    add_transfer(parser)


def download(client: DirectIO, options: argparse.Namespace) -> None:
    """Download a file to a path, a stream or standard output."""
    if options.path is None:
        options.path = _default_target(options.file_id)
    if options.path == _STANDARD_OUTPUT or is_stream(options.path):
        _refuse_for_stream(options)
        _download_to_stream(client, options)
        return
    metadata = client.metadata(options.file_id)
    try:
        with ProgressBar(options, os.path.basename(options.path)) as progress:
            done = core_of(client).download(
                metadata,
                options.path,
                byte_range=_byte_range(metadata, options),
                resume=options.resume,
                progress=progress,
                max_workers=options.workers,
                verify=_verifier(options) if options.checksum else None,
            )
    except DirectIOError:
        raise
    except OSError as error:
        raise TargetError.of(options.path, error) from error
    if options.quiet:
        return
    try:
        write_output(f"{_closing_line(options.path, done)}\n".encode("utf-8", "surrogateescape"))
    except TargetError as error:
        # The file is in place. A failure would make the caller fetch it again.
        complain(
            f"ctera-direct download: {options.path} is complete, but its closing line is lost: "
            f"{explain(error)}"
        )
    except OutputClosed:
        pass


def _default_target(file: int | str) -> str:
    """Return the file in the current folder that has the name of a path on the portal."""
    if not isinstance(file, str):
        raise UsageError("-f: an ID gives no name for the file; give -p, too")
    name = file.rpartition("/")[2]
    # Windows takes more characters than a slash for parts of another path, a drive or a stream.
    if not name or (os.name == "nt" and set(name) & set('\\:*?"<>|')):
        raise UsageError(f"{file}: gives no name for the file; give -p, too")
    return os.path.join(os.curdir, name) if name == _STANDARD_OUTPUT else name


def _refuse_for_stream(options: argparse.Namespace) -> None:
    """Refuse options that need a regular file."""
    for option, given in (("--checksum", options.checksum), ("--resume", options.resume)):
        if given:
            raise UsageError(
                f"{option}: {options.path} is a stream; name a regular file, or leave {option} out"
            )


def _download_to_stream(client: DirectIO, options: argparse.Namespace) -> None:
    """Write to standard output, a pipe, a device or a descriptor. No other output is mixed into it."""
    to_stdout = options.path == _STANDARD_OUTPUT
    with standard_output() if to_stdout else Output.open(options.path) as stream:
        aside = not is_same_file(stream.fileno(), 2)
        with ProgressBar(options, os.path.basename(stream.name), wanted=aside) as progress:
            done = _fill(client, options, stream, progress)
        if not options.quiet:
            line = _closing_line(stream.name, done)
            if not is_same_file(stream.fileno(), 1):
                with contextlib.suppress(TargetError, OutputClosed):
                    write_output(f"{line}\n".encode("utf-8", "surrogateescape"))
            elif aside:
                complain(line)


def cat(client: DirectIO, options: argparse.Namespace) -> None:
    """Write a file to standard output."""
    _fill(client, options, standard_output())


def _fill(
    client: DirectIO,
    options: argparse.Namespace,
    stream: Output,
    progress: Callable[[int, int], object] | None = None,
) -> Download:
    """Write the file, or its range, to a stream, and count the written bytes."""
    metadata = client.metadata(options.file_id)
    byte_range = _byte_range(metadata, options)
    done = core_of(client).download(
        metadata,
        stream,  # type: ignore[arg-type]
        byte_range=byte_range,
        progress=progress,
        max_workers=options.workers,
    )
    # This does not depend on what the engine counted: all bytes that were due have left this process.
    if stream.written != done.size:
        rest = (byte_range.start if byte_range is not None else 0) + stream.written
        raise TargetError(
            errno.EIO,
            f"{stream.written} of {done.size} bytes were written; --range {rest}- gives the rest",
            stream.name,
        )
    return done


def _closing_line(name: str, done: Download) -> str:
    rate = done.size / max(done.seconds, 1e-9) / 1e6
    return f"{name}: {done.size} bytes, CRC32C {done.crc32c:08x}, {rate:.1f} MB/s"


def _verifier(options: argparse.Namespace) -> Callable[[str, int], None]:
    checksum: Checksum = options.checksum

    def verify(path: str, crc32c: int) -> None:
        checksum.check(options.file_id, options.path, path, crc32c)

    return verify


def _byte_range(metadata: Metadata, options: argparse.Namespace) -> ByteRange | None:
    if options.range is None:
        return None
    first, last = options.range
    if first is None:
        return ByteRange(max(0, metadata.size - last))
    return ByteRange(first, last)
