"""``ctera-direct batch MANIFEST FOLDER``: many files for a script or cron, and what to say about each.

Standard output gets a line per file and one for all of them, or, with ``--json``, the same as one JSON
object each; standard error gets a line for each failure, and progress bars where it is a terminal.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import json
import os
import sys
import time
from collections import Counter
from datetime import datetime, timezone
from typing import Any, Callable, Optional

from tqdm import tqdm

from .._core import core_of
from .._readers.batch import FAILED
from .._readers.manifest import ManifestError, Row, read_manifest
from .._readers.targets import descriptor_of, read_all
from ..client import DirectIO
from ..types import BatchItem, BatchResult
from .output import complain

__all__ = ["add_arguments", "run"]

_DONE, _SOME_FAILED = 0, 1

#: Turns an error into one line for the user.
Explain = Callable[[Exception], str]

#: Takes a whole line, or several, for standard output.
Write = Callable[[bytes], None]


def add_arguments(parser: argparse.ArgumentParser, workers: Callable[[str], int]) -> None:
    """Add the command's own arguments to its parser."""
    parser.add_argument(
        "manifest",
        metavar="MANIFEST",
        help="CSV file in UTF-8 with id,path or id,path,checksum (SHA-256 or CRC32C) on each line; "
        "a first line may name the columns, semicolons or tabs may separate them; - for standard input",
    )
    parser.add_argument(
        "folder", metavar="FOLDER", help="where the paths lead to; made if it is not there"
    )
    parser.add_argument("--workers", type=workers, metavar="N", help="files at once (default: 4)")
    parser.add_argument(
        "--json", action="store_true", help="log to standard output, one JSON object per line"
    )
    parser.add_argument(
        "--quiet", action="store_true", help="nothing but failures: no bars, no other lines"
    )


def run(client: DirectIO, options: argparse.Namespace, write: Write, explain: Explain) -> int:
    """Do the batch; the exit code. ManifestError where there is no list to work from."""
    rows = _read(options.manifest)
    bars = _Bars(len(rows), options)
    log = _JSONLog(write, bars, options) if options.json else _TextLog(write, bars, options)
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
    bars: _Bars,
    log: _Log,
    explain: Explain,
) -> None:
    items = [row.item for row in rows if row.item is not None]
    ended = core_of(client).run_batch(
        items,
        options.folder,
        max_files=options.workers,
        progress=bars.show if bars.wanted else None,
    )
    positions: set[int] = set()
    with contextlib.closing(ended):
        for position, result in ended:
            positions.add(position)
            bars.ended(result.item)
            error = result.error
            log.file(rows[position].line, result, "" if error is None else explain(error))
    # Independent of the batch's own accounts: every line of the manifest has ended in one way.
    if len(positions) != len(items):
        raise OSError(
            errno.EIO,
            f"{len(items) - len(positions)} of {len(items)} files have no result: run the batch again",
            options.folder,
        )


# --- what is said --------------------------------------------------------------------------------------


class _Log:
    """Counts outcomes, and says what happens. ``quiet``: of nothing but failures."""

    def __init__(self, write: Write, bars: _Bars, options: argparse.Namespace) -> None:
        self.tally: Counter[str] = Counter()
        self._bytes = 0
        self._files = 0
        self._began = time.perf_counter()
        self._write = write
        self._bars = bars
        self._options = options
        self._quiet = bool(options.quiet)

    def begin(self, files: int) -> None:
        """The manifest was read."""
        self._files = files

    def malformed(self, row: Row) -> None:
        """A line of the manifest that is no item."""
        self.tally[FAILED] += 1
        self._bars.ended(None)

    def file(self, line: int, result: BatchResult, explanation: str) -> None:
        """An item's end."""
        self.tally[result.outcome] += 1
        if result.outcome == "done" and result.download is not None:
            self._bytes += result.download.size

    def broken(self, explanation: str) -> None:
        """The batch as a whole cannot go on; its error is told by whoever runs commands."""

    def interrupted(self) -> None:
        """A signal ends the batch."""
        with contextlib.suppress(Exception):  # Nobody may be there any more to be told.
            self.end()

    def end(self) -> None:
        """Nothing more will happen."""

    @property
    def _seconds(self) -> float:
        return time.perf_counter() - self._began

    @property
    def _left(self) -> int:
        return self._files - sum(self.tally.values())

    def _print(self, text: str) -> None:
        with self._bars.aside():
            self._write(text.encode("utf-8", "backslashreplace") + b"\n")


class _TextLog(_Log):
    """For people."""

    def malformed(self, row: Row) -> None:
        super().malformed(row)
        self._complain(row.line, row.problem)

    def file(self, line: int, result: BatchResult, explanation: str) -> None:
        super().file(line, result, explanation)
        path = _printable(str(result.item.path))
        if result.download is None:
            self._complain(line, f"{path}: {explanation}")
        elif not self._quiet:
            size, crc32c = result.download.size, result.download.crc32c
            self._print(f"{path}: {result.outcome}, {size} bytes, CRC32C {crc32c:08x}")

    def end(self) -> None:
        if self._quiet:
            return
        tally, left = self.tally, self._left
        rate = self._bytes / max(self._seconds, 1e-9) / 1e6
        text = (
            f"{self._files} files: {tally['done']} done, {tally['unchanged']} unchanged, "
            f"{tally[FAILED]} failed{f', {left} left' if left else ''}; "
            f"{self._bytes} bytes in {self._seconds:.1f} s, {rate:.1f} MB/s"
        )
        self._print(text)

    def _complain(self, line: int, text: str) -> None:
        with self._bars.aside():
            complain(f"ctera-direct batch: line {line}: {_printable(text)}")


class _JSONLog(_Log):
    """For programs."""

    def begin(self, files: int) -> None:
        super().begin(files)
        if not self._quiet:
            self._event(
                "start",
                manifest=self._options.manifest,
                folder=os.path.abspath(self._options.folder),
                files=files,
            )

    def malformed(self, row: Row) -> None:
        super().malformed(row)
        told = {"error": ManifestError.__name__, "errno": None, "message": row.problem}
        self._event("file", line=row.line, file_id=None, path=None, outcome=FAILED, **told)

    def file(self, line: int, result: BatchResult, explanation: str) -> None:
        super().file(line, result, explanation)
        told: dict[str, Any]
        if result.download is None:
            error = result.error
            number = getattr(error, "errno", None)
            told = {"error": type(error).__name__, "errno": number, "message": explanation}
        elif self._quiet:
            return
        else:
            size, crc32c, seconds = result.download[1:]
            told = {"size": size, "crc32c": f"{crc32c:08x}", "seconds": round(seconds, 3)}
        file_id, path, _ = result.item
        self._event("file", line=line, file_id=file_id, path=path, outcome=result.outcome, **told)

    def broken(self, explanation: str) -> None:
        self._event("error", message=explanation)

    def interrupted(self) -> None:
        with contextlib.suppress(Exception):
            self._event("interrupted", **self._figures())

    def end(self) -> None:
        if not self._quiet:
            self._event("end", **self._figures())

    def _figures(self) -> dict[str, Any]:
        return {
            "files": self._files,
            **{name: self.tally[name] for name in ("done", "unchanged", "failed")},
            "left": self._left,
            "bytes": self._bytes,
            "seconds": round(self._seconds, 3),
        }

    def _event(self, event: str, **members: Any) -> None:
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        self._print(json.dumps({"time": now, "event": event, **members}))


def _printable(text: str) -> str:
    """Without what would move a terminal's cursor or forge a line of a log."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


# --- progress bars -------------------------------------------------------------------------------------


class _Bars:
    """A bar for the files in all and one for each that is under way, where stderr is a terminal."""

    def __init__(self, files: int, options: argparse.Namespace) -> None:
        terminal = sys.stderr is not None and sys.stderr.isatty()
        self.wanted = terminal and not options.quiet
        self._files: dict[BatchItem, tqdm[Any]] = {}
        self._total: Optional[tqdm[Any]] = None
        if self.wanted:
            self._total = tqdm(desc="total", total=files, unit="file", dynamic_ncols=True)

    def show(self, item: BatchItem, done: int, total: int) -> None:
        """An item's bytes so far."""
        bar = self._files.get(item)
        if bar is None:
            name = _printable(os.path.basename(item.path))
            bar = self._files[item] = tqdm(
                desc=name,
                initial=done,
                total=total,
                unit="B",
                unit_scale=True,
                leave=False,
                dynamic_ncols=True,
            )
        bar.update(done - bar.n)

    def ended(self, item: Optional[BatchItem]) -> None:
        """One file less to come."""
        if item is not None:
            bar = self._files.pop(item, None)
            if bar is not None:
                bar.close()
        if self._total is not None:
            self._total.update()

    def aside(self) -> contextlib.AbstractContextManager[object]:
        """While a line is printed, the bars are out of its way."""
        if not self.wanted:
            return contextlib.nullcontext()
        manager: contextlib.AbstractContextManager[object] = tqdm.external_write_mode(sys.stderr)
        return manager

    def close(self) -> None:
        """Take the files' bars away; the total stays on the screen."""
        for bar in self._files.values():
            bar.close()
        self._files.clear()
        if self._total is not None:
            self._total.close()
            self._total = None
