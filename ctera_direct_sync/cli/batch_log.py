"""What ``ctera-direct batch`` says: lines for people or JSON lines for programs, and progress bars."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections import Counter
from typing import Any, Callable

from tqdm import tqdm

from .._readers.batch import FAILED
from .._readers.manifest import ManifestError, Row
from ..types import BatchItem, BatchResult
from .output import complain, json_event, printable

__all__ = ["BatchLog", "JSONLog", "ProgressBars", "TextLog", "Write"]

#: Takes whole lines for standard output.
Write = Callable[[bytes], None]


class BatchLog:
    """Counts outcomes, and says what happens. With ``--quiet`` it reports only failures.

    Args:
        write: Takes lines for standard output.
        bars: The progress bars, which make room for each line.
        options: The command's options.
    """

    def __init__(self, write: Write, bars: ProgressBars, options: argparse.Namespace) -> None:
        self.tally: Counter[str] = Counter()
        self._bytes = 0
        self._files = 0
        self._began = time.perf_counter()
        self._write = write
        self._bars = bars
        self._options = options
        self._quiet = bool(options.quiet)

    def begin(self, files: int) -> None:
        """Note that the manifest was read.

        Args:
            files: The number of its lines.
        """
        self._files = files

    def malformed(self, row: Row) -> None:
        """Report a line of the manifest that cannot be read."""
        self.tally[FAILED] += 1
        self._bars.ended(None)

    def file(self, line: int, result: BatchResult, explanation: str) -> None:
        """Report how an item ended.

        Args:
            line: Its line in the manifest.
            result: How it ended.
            explanation: What went wrong, or the empty string.
        """
        self.tally[result.outcome] += 1
        if result.outcome == "done" and result.download is not None:
            self._bytes += result.download.size

    def broken(self, explanation: str) -> None:
        """Note that the batch as a whole fails. The program explains its error."""

    def interrupted(self) -> None:
        """Report that a signal ends the batch."""
        with contextlib.suppress(Exception):  # The reader may be gone.
            self.end()

    def end(self) -> None:
        """Report the end of the batch."""

    @property
    def _seconds(self) -> float:
        return time.perf_counter() - self._began

    @property
    def _left(self) -> int:
        return self._files - sum(self.tally.values())

    def _print(self, text: str) -> None:
        with self._bars.aside():
            self._write(text.encode("utf-8", "backslashreplace") + b"\n")


class TextLog(BatchLog):
    """Writes one line per file, for people."""

    def malformed(self, row: Row) -> None:
        """Report a line of the manifest that cannot be read."""
        super().malformed(row)
        self._complain(row.line, row.problem)

    def file(self, line: int, result: BatchResult, explanation: str) -> None:
        """Report how an item ended."""
        super().file(line, result, explanation)
        path = printable(str(result.item.path))
        if result.download is None:
            self._complain(line, f"{path}: {explanation}")
        elif not self._quiet:
            size, crc32c = result.download.size, result.download.crc32c
            self._print(f"{path}: {result.outcome}, {size} bytes, CRC32C {crc32c:08x}")

    def end(self) -> None:
        """Report the end of the batch."""
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
            complain(f"ctera-direct batch: line {line}: {printable(text)}")


class JSONLog(BatchLog):
    """Writes one JSON object per line, for programs."""

    def begin(self, files: int) -> None:
        """Report the beginning of the batch."""
        super().begin(files)
        if not self._quiet:
            self._event(
                "start",
                manifest=self._options.manifest,
                folder=os.path.abspath(self._options.folder),
                files=files,
            )

    def malformed(self, row: Row) -> None:
        """Report a line of the manifest that cannot be read."""
        super().malformed(row)
        told = {"error": ManifestError.__name__, "errno": None, "message": row.problem}
        self._event("file", line=row.line, file_id=None, path=None, outcome=FAILED, **told)

    def file(self, line: int, result: BatchResult, explanation: str) -> None:
        """Report how an item ended."""
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
        """Report why the batch as a whole fails."""
        self._event("error", message=explanation)

    def interrupted(self) -> None:
        """Report that a signal ends the batch."""
        with contextlib.suppress(Exception):
            self._event("interrupted", **self._figures())

    def end(self) -> None:
        """Report the end of the batch."""
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
        self._print(json_event(event, members))


class ProgressBars:
    """One bar for all files and one per running download, if standard error is a terminal.

    Args:
        files: The number of files.
        options: The command's options.
    """

    def __init__(self, files: int, options: argparse.Namespace) -> None:
        terminal = sys.stderr is not None and sys.stderr.isatty()
        self.wanted = terminal and not options.quiet
        self._files: dict[BatchItem, tqdm[Any]] = {}
        self._total: tqdm[Any] | None = None
        if self.wanted:
            self._total = tqdm(desc="total", total=files, unit="file", dynamic_ncols=True)

    def show(self, item: BatchItem, done: int, total: int) -> None:
        """Show how many bytes of an item are done, and how many there are."""
        bar = self._files.get(item)
        if bar is None:
            name = printable(os.path.basename(item.path))
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

    def ended(self, item: BatchItem | None) -> None:
        """Count one file as ended, and remove its bar."""
        if item is not None:
            bar = self._files.pop(item, None)
            if bar is not None:
                bar.close()
        if self._total is not None:
            self._total.update()

    def aside(self) -> contextlib.AbstractContextManager[object]:
        """Return a context in which the bars are hidden, so that a line can be printed."""
        if not self.wanted:
            return contextlib.nullcontext()
        manager: contextlib.AbstractContextManager[object] = tqdm.external_write_mode(sys.stderr)
        return manager

    def close(self) -> None:
        """Remove the bars of the files. The bar of the whole batch stays on the screen."""
        for bar in self._files.values():
            bar.close()
        self._files.clear()
        if self._total is not None:
            self._total.close()
            self._total = None
