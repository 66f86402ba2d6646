"""The calls that users make of a client, and what may come of each."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctera_direct_sync import ByteRange, codec
from ctera_direct_sync.exceptions import (
    DecryptKeyError,
    DirectIOError,
    NotFoundError,
    StreamError,
    UnAuthorized,
    UnprocessableContent,
)

from .network import File, Version

if TYPE_CHECKING:
    from .simulation import Simulation

__all__ = ["KINDS", "PATH_KINDS", "Call"]

KINDS = ("stream", "stream", "iterate", "futures", "write", "open", "ranges")
PATH_KINDS = ("path", "batch")

#: Virtual seconds within which a call ends once the client is being closed.
_PROMPT_S = 2.0

#: Errors that nothing in the simulation gives a reason for.
_NEVER = (DecryptKeyError, UnAuthorized, UnprocessableContent)


class Call:
    """One call, from its beginning to its judged end.

    Args:
        run: The run.
        kind: One of `KINDS` or `PATH_KINDS`.
        rng: Decides what the caller does.
        calm: Whether nothing goes wrong, so that it must succeed.
    """

    def __init__(self, run: Simulation, kind: str, rng: random.Random, calm: bool) -> None:
        self._run = run
        self._client = run.client
        self._network = run.network
        self._rng = rng
        self._calm = calm
        self._file: File = rng.choice(list(run.network.files.values()))
        self._left = False
        self._armed = False
        self._began = 0.0
        self._kind = kind
        #: The range, and what came of it so far, in order.
        self._start = 0
        self._came = b""

    def __call__(self) -> None:
        """Make the call, and judge its end."""
        network, run = self._network, self._run
        self._began = network.time
        if self._rng.random() < run.options.interrupts:
            self._armed = True
            run.world.strike(self._interrupt, most=self._rng.choice((5, 20, 80)))
        outcome = "whole"
        paused = run.paused
        try:
            getattr(self, "_" + self._kind)()
        except BaseException as error:
            outcome = f"{type(error).__name__} {getattr(error, 'errno', None)}"
            # Its frames would keep alive what is ended when it is dropped.
            self._judge_error(error.with_traceback(None))
        else:
            outcome = "left" if self._left else "whole"
        run.world.disarm()
        seconds = network.time - self._began
        if self._calm:
            limit = 60.0 + run.paused - paused
            self._expect(seconds < limit, f"took {seconds:.0f} s although nothing went wrong")
        late = run.seconds_since_close()
        self._expect(late < _PROMPT_S, f"ended {late:.1f} s after close() had begun")
        run.count(outcome)
        run.note("call", self._kind, self._file.file_id, outcome, len(self._came))

    # --- the kinds -------------------------------------------------------------------------------------

    def _stream(self) -> None:
        byte_range = self._choose_range()
        streamer = self._client.streamer(self._file.file_id, byte_range, self._workers())
        if self._rng.random() < 0.1:
            self._run.world.spawn(lambda: self._stop(streamer), "stopper")
        leaves = self._rng.random() < 0.1
        iterator = streamer.start()
        try:
            for block in iterator:
                due = self._start + len(self._came)
                self._expect(block.offset == due, f"{block.offset} came where {due} is next")
                self._came += block.data
                self._dawdle()
                if leaves and self._rng.random() < 0.5:
                    self._left = True
                    iterator.close()
                    break
        finally:
            iterator.close()
        self._judge_bytes(self._came, byte_range, whole=not self._left)

    def _stop(self, streamer: Any) -> None:
        self._run.world.sleep(self._rng.choice((0.0, 0.01, 0.5, 20.0)))
        self._left = True
        streamer.stop()

    def _iterate(self) -> None:
        byte_range = self._choose_range()
        found: dict[int, bytes] = {}
        iterator = self._client.iter_blocks(self._file.file_id, byte_range, self._workers())
        try:
            for block in iterator:
                self._expect(block.offset not in found, f"the bytes at {block.offset} came twice")
                found[block.offset] = block.data
                self._dawdle()
        finally:
            iterator.close()
        self._judge_blocks(found, byte_range)

    def _futures(self) -> None:
        futures = self._client.blocks(self._file.file_id, None, self._workers())
        self._run.world.futures += futures
        cancelled = set()
        if futures and self._rng.random() < 0.3:
            victim = self._rng.choice(futures)
            if victim.cancel():
                cancelled.add(victim)
        found: dict[int, bytes] = {}
        error: BaseException | None = None
        # An interrupt of the standard library's own waiting can leave the futures locked.
        self._run.world.disarm()
        for future in self._run.library.package.futures.as_completed(futures):
            if future in cancelled:
                continue
            if future.exception() is not None:
                error = future.exception()
                continue
            block = future.result()
            found[block.offset] = block.data
            self._dawdle()
        if error is not None:
            raise error
        if cancelled:
            self._left = True
            self._expect(
                any(
                    all(
                        data == version.data[offset : offset + len(data)]
                        for offset, data in found.items()
                    )
                    for version in self._versions()
                ),
                "wrong bytes in a block",
            )
            return
        self._judge_blocks(found, None)

    def _write(self) -> None:
        """Download to a file object."""
        byte_range = self._choose_range()
        target = io.BytesIO()
        try:
            told = self._client.download(
                self._file.file_id, target, byte_range=byte_range, max_workers=self._workers()
            )
        finally:
            self._came = target.getvalue()
        self._judge_bytes(self._came, byte_range)
        self._judge_download(told, self._came)

    def _path(self) -> None:
        """Download to a path, of which an old file may be there."""
        folder = self._run.new_folder()
        target = folder / "target"
        old = b"old" if self._rng.random() < 0.3 else None
        if old is not None:
            target.write_bytes(old)
        resume = self._rng.random() < 0.5
        try:
            for _ in range(2 if resume else 1):
                with contextlib.suppress(DirectIOError) if resume else contextlib.nullcontext():
                    self._client.download(self._file.file_id, target, resume=resume)
                    break
            told = self._client.download(self._file.file_id, target, resume=resume)
        except BaseException:
            now = target.read_bytes() if target.exists() else None
            versions = [old, *(each.data for each in self._versions())]
            self._expect(now in versions, "a failed download left a wrong target")
            if not resume and not self._armed:
                rest = set(os.listdir(folder)) - {"target"}
                self._expect(not rest, f"a failed download left {sorted(rest)}")
            raise
        self._came = target.read_bytes()
        self._judge_bytes(self._came, None)
        self._judge_download(told, self._came)

    def _batch(self) -> None:
        folder = self._run.new_folder()
        files = list(self._network.files.values())
        items = [(file.file_id, f"{number}") for number, file in enumerate(files)]
        results = self._client.download_many(items, folder, max_files=self._rng.choice((1, 2)))
        self._expect(len(results) == len(items), "not every item has a result")
        for file, result in zip(files, results):
            self._file = file
            if not result.ok:
                self._judge_error(result.error)
                continue
            self._judge_bytes(Path(result.download.path).read_bytes(), None)

    def _open(self) -> None:
        readahead = self._rng.choice((None, 0, 50))
        with self._client.open(self._file.file_id, readahead=readahead) as file:
            self._read_some(file)

    def _read_some(self, file: Any) -> None:
        size = file.seek(0, os.SEEK_END)
        versions = [each for each in self._versions() if len(each.data) == size]
        for _ in range(self._rng.randint(1, 6)):
            offset = self._rng.randint(0, size)
            count = self._rng.choice((-1, 1, 10, 100))
            file.seek(offset)
            data = file.read(count)
            stop = size if count < 0 else min(size, offset + count)
            self._came += data
            self._expect(len(data) == stop - offset, f"read({count}) gave {len(data)} bytes")
            versions = [each for each in versions if each.data[offset:stop] == data]
            self._expect(versions, f"wrong bytes at {offset}")
            self._dawdle()

    def _ranges(self) -> None:
        core = self._client._core
        metadata = core.metadata(self._file.file_id)
        size = metadata.size
        spans = []
        for _ in range(self._rng.randint(1, 4)):
            start = self._rng.randint(0, size)
            spans.append((start, self._rng.randint(start, size)))
        fail_fast = self._rng.random() < 0.5
        found = core.read_spans(metadata, spans).read(fail_fast=fail_fast)
        for data in found:
            if not isinstance(data, bytes):
                raise data
        self._came = b"".join(found)
        self._expect(
            any(
                all(data == version.data[start:stop] for (start, stop), data in zip(spans, found))
                for version in self._versions()
            ),
            "wrong bytes in a range",
        )

    # --- what the caller does --------------------------------------------------------------------------

    def _choose_range(self) -> ByteRange | None:
        if self._rng.random() < 0.6:
            return None
        size = len(self._file.at(self._network.time).data)
        start = self._rng.randint(0, size + 1)
        stop = self._rng.choice((None, start, start + self._rng.randint(0, size + 1)))
        self._start = start
        return ByteRange(start, stop)

    def _workers(self) -> int | None:
        return self._rng.choice((None, None, 1, 3))

    def _dawdle(self) -> None:
        """Take time over a block, now and then."""
        if self._rng.random() < 0.1:
            self._run.pause(self._rng.choice((0.001, 0.5, 30.0)))

    def _interrupt(self) -> None:
        self._run.note("interrupt", self._run.library.scheduler.struck_at)
        raise KeyboardInterrupt

    # --- judging ---------------------------------------------------------------------------------------

    def _expect(self, condition: object, text: str) -> None:
        self._run.world.expect(condition, f"{self._kind} of file {self._file.file_id}: {text}")

    def _versions(self) -> list[Version]:
        """Return the versions that a call may have met."""
        return self._file.between(self._began, self._network.time)

    def _judge_bytes(self, data: bytes, byte_range: ByteRange | None, whole: bool = True) -> None:
        """Check that the bytes are those of one version: all that are due, or a beginning of them."""
        start = 0 if byte_range is None else byte_range.start or 0
        end = None if byte_range is None or byte_range.end is None else byte_range.end + 1
        due = [version.data[start:end] for version in self._versions()]
        if whole and not self._left:
            self._expect(data in due, f"{len(data)} bytes, not those that are due")
        else:
            self._expect(any(each.startswith(data) for each in due), "wrong bytes")

    def _judge_blocks(self, found: dict[int, bytes], byte_range: ByteRange | None) -> None:
        """Check whole blocks, which may begin before the range and end after it."""
        offsets = sorted(found)
        data = self._came = b"".join(found[offset] for offset in offsets)
        low = offsets[0] if offsets else 0
        start = 0 if byte_range is None else byte_range.start or 0
        for version in self._versions():
            size = len(version.data)
            is_open = byte_range is None or byte_range.end is None
            stop = size if is_open else min(size, byte_range.end + 1)  # type: ignore[union-attr,operator]
            if start >= stop and not data:
                return
            if low <= start and low + len(data) >= stop and data == version.data[low:][: len(data)]:
                return
        self._expect(False, f"{len(data)} bytes from {low}, not those that are due")

    def _judge_download(self, told: Any, data: bytes) -> None:
        self._expect(told.size == len(data), "the download tells another size")
        self._expect(told.crc32c == codec.crc32c(data), "the download tells another CRC32C")

    def _judge_error(self, error: BaseException) -> None:
        self._expect(self._is_due(error), f"{type(error).__name__}: {error}")
        if isinstance(error, StreamError) and self._kind == "stream":
            due = self._start + len(self._came)
            self._expect(error.offset == due, f"an error names {error.offset} instead of {due}")
        if self._kind in ("stream", "write"):
            start = self._start
            versions = self._versions()
            is_right = any(each.data[start:].startswith(self._came) for each in versions)
            self._expect(is_right, "wrong bytes before an error")

    def _is_due(self, error: BaseException) -> bool:
        """Return whether something that happened in the run explains an error."""
        run, injected = self._run, self._network.injected
        if isinstance(error, KeyboardInterrupt):
            return self._armed
        if isinstance(error, run.library.package.futures.CancelledError):
            return run.closing
        if isinstance(error, ValueError):
            return run.closing and "closed" in str(error)
        if not isinstance(error, DirectIOError) or isinstance(error, _NEVER):
            return False
        if error.errno == errno.EIO:
            return "please report" not in str(error)
        if error.errno == errno.ECANCELED:
            return run.closing
        if self._calm:
            return False
        if error.errno == errno.ESTALE:
            return len(self._file.versions) > 1 or "etag" in injected
        if isinstance(error, NotFoundError):
            return "unknown" in injected
        return bool(injected)
