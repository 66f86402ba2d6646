"""The user of a soak: threads that share a client, and do everything with it."""

from __future__ import annotations

import errno
import io
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import as_completed
from typing import NamedTuple

from ctera_direct_sync import BlockEvent, ByteRange, DirectIO, Settings
from ctera_direct_sync.emulator import SyntheticSource
from ctera_direct_sync.exceptions import DirectIOError, StreamError

__all__ = ["Sample", "Tally", "User", "make_client"]

MIB = 1024 * 1024


class Sample(NamedTuple):
    """A file, as both processes know it."""

    file_id: int
    size: int
    seed: int

    def data(self, start: int, stop: int) -> bytes:
        """What the file holds there."""
        return SyntheticSource(self.size, seed=self.seed).read(start, stop - start)


class Tally:
    """What was done and found, from all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self.samples: list[tuple[float, int, int, int]] = []

    def count(self, name: str, number: int = 1) -> None:
        """So many more of something."""
        with self._lock:
            self.counts[name] += number

    def problem(self, text: str) -> None:
        """Something that must not be."""
        with self._lock:
            self.problems.append(text)

    def event(self, event: BlockEvent) -> None:
        """The client's hook."""
        if event.name in ("retried", "failed"):
            self.count(event.name)

    def sample(self, began: float) -> None:
        """Note how much the process holds now."""
        with open("/proc/self/statm", encoding="ascii") as file:
            resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        held = (threading.active_count(), len(os.listdir("/proc/self/fd")), resident)
        self.samples.append((time.monotonic() - began, *held))


class User:
    """One thread of the user's process."""

    def __init__(self, client: DirectIO, samples: list[Sample], tally: Tally, seed: int) -> None:
        self.client = client
        self.samples = samples
        self.tally = tally
        self.dice = random.Random(seed)

    def work(self, deadline: float) -> None:
        """One deed after another until it is time."""
        deeds = [
            self.blocks, self.iter_blocks, self.stream, self.stream_range, self.download,
            self.to_file, self.executor, self.open_and_seek, self.leave, self.stop, self.cancel,
            self.close_amid, self.fork, self.kill_and_resume,
        ]  # fmt: skip
        weights = [4, 4, 6, 6, 4, 3, 3, 4, 3, 2, 3, 1, 1, 1]
        while time.monotonic() < deadline:
            deed = self.dice.choices(deeds, weights)[0]
            sample = self.dice.choice(self.samples)
            try:
                deed(sample)
                self.tally.count(deed.__name__)
            except DirectIOError as error:
                # More faults in a row than there are retries: an error, which is what is promised.
                self.tally.count(f"{deed.__name__} ended by {type(error).__name__}")
            except Exception as error:
                self.tally.problem(f"{deed.__name__}: {type(error).__name__}: {error}")

    def check(self, sample: Sample, offset: int, data: bytes) -> None:
        """Compare what came."""
        self.tally.count("bytes", len(data))
        if data != sample.data(offset, offset + len(data)):
            self.tally.problem(f"file {sample.file_id}: wrong bytes at {offset}")

    def complete(self, sample: Sample, got: int, expected: int) -> None:
        """Compare how much came."""
        if got != expected:
            self.tally.problem(f"file {sample.file_id}: {got} of {expected} bytes, and no error")

    def blocks(self, sample: Sample) -> None:
        """Futures, as they complete."""
        total = 0
        for future in as_completed(self.client.blocks(sample.file_id)):
            block = future.result()
            self.check(sample, block.offset, block.data)
            total += block.length
        self.complete(sample, total, sample.size)

    def iter_blocks(self, sample: Sample) -> None:
        """In no order."""
        total = 0
        for block in self.client.iter_blocks(sample.file_id):
            self.check(sample, block.offset, block.data)
            total += block.length
        self.complete(sample, total, sample.size)

    def stream(self, sample: Sample, start: int = 0, stop: int = 0) -> None:
        """In order, going on from where it broke off."""
        at, stop = start, stop or sample.size
        for _ in range(5):
            try:
                for block in self.client.stream(sample.file_id, ByteRange(at, stop - 1)):
                    if block.offset != at:
                        self.tally.problem(f"a stream went from {at} to {block.offset}")
                    self.check(sample, block.offset, block.data)
                    at += block.length
                self.complete(sample, at, stop)
                return
            except StreamError as error:
                self.tally.count("streams resumed")
                if error.offset != at:
                    self.tally.problem(f"offset {error.offset} after {at}")
        self.tally.count("streams given up")

    def stream_range(self, sample: Sample) -> None:
        """A part, in order."""
        start = self.dice.randrange(sample.size)
        self.stream(sample, start, self.dice.randrange(start, sample.size) + 1)

    def download(self, sample: Sample) -> None:
        """To a path."""
        with tempfile.TemporaryDirectory(prefix="ctera-soak-") as folder:
            path = os.path.join(folder, "target")
            try:
                self.client.download(sample.file_id, path)
            finally:
                left = set(os.listdir(folder)) - {"target"}
                if left:
                    self.tally.problem(f"left behind: {left}")
            self._compare(sample, path)

    def _compare(self, sample: Sample, path: str) -> None:
        with open(path, "rb") as file:
            self.check(sample, 0, file.read())
            self.complete(sample, file.tell(), sample.size)

    def to_file(self, sample: Sample) -> None:
        """To a file object."""
        file = io.BytesIO()
        try:
            self.client.download(sample.file_id, file)
            self.complete(sample, file.tell(), sample.size)
        finally:
            self.check(sample, 0, file.getvalue())

    def executor(self, sample: Sample) -> None:
        """From a list that was fetched before."""
        execute = self.client.executor(self.client.metadata(sample.file_id))
        for future in execute():
            block = future.result()
            self.check(sample, block.offset, block.data)

    def open_and_seek(self, sample: Sample) -> None:
        """As a file, here and there."""
        with self.client.open(sample.file_id) as file:
            for _ in range(6):
                offset = self.dice.randrange(sample.size)
                file.seek(offset)
                self.check(sample, offset, file.read(self.dice.randrange(1, 200_000)))

    def leave(self, sample: Sample) -> None:
        """A stream of which only the beginning is wanted."""
        for block in self.client.stream(sample.file_id):
            self.check(sample, block.offset, block.data)
            if self.dice.random() < 0.5:
                break

    def stop(self, sample: Sample) -> None:
        """A stream that another thread ends."""
        streamer = self.client.streamer(sample.file_id)
        timer = threading.Timer(self.dice.random() * 0.05, streamer.stop)
        timer.start()
        try:
            for block in streamer.start():
                self.check(sample, block.offset, block.data)
        finally:
            timer.cancel()
            timer.join()

    def cancel(self, sample: Sample) -> None:
        """Futures of which some are cancelled."""
        futures = self.client.blocks(sample.file_id)
        for future in futures[::2]:
            future.cancel()
        for future in futures:
            if not future.cancelled():
                block = future.result(60)
                self.check(sample, block.offset, block.data)

    def close_amid(self, sample: Sample) -> None:
        """A client of its own, closed amid its transfers."""
        with make_client(self.tally) as own:
            futures = own.blocks(sample.file_id)
            next(own.stream(sample.file_id), None)
            own.close()
            for future in futures:
                if not future.done():
                    self.tally.problem("close left a future undecided")
                elif not future.cancelled() and future.exception() is None:
                    block = future.result()
                    self.check(sample, block.offset, block.data)

    def fork(self, sample: Sample) -> None:
        """A child that uses the same client."""

        def child() -> int:
            own = User(self.client, self.samples, Tally(), self.dice.randrange(2**30))
            try:
                own.stream(sample)
                own.blocks(sample)
            except DirectIOError as error:
                return 0 if error.errno != errno.ECANCELED else 4
            return 3 if own.tally.problems else 0

        code = os.waitstatus_to_exitcode(os.waitpid(_forked(child), 0)[1])
        if code:
            self.tally.problem(f"a forked child ended with {code}")

    def kill_and_resume(self, sample: Sample) -> None:
        """A download in a child that is killed, and taken up here."""
        with tempfile.TemporaryDirectory(prefix="ctera-soak-") as folder:
            path = os.path.join(folder, "target")

            def child() -> int:
                self.client.download(sample.file_id, path, resume=True)
                return 0

            pid = _forked(child)
            time.sleep(self.dice.random() * 0.1)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            self.client.download(sample.file_id, path, resume=True)
            self._compare(sample, path)


def _forked(work: Callable[[], int]) -> int:
    """The pid of a child that does ``work`` and exits with what it returns; 9 if it raised."""
    pid = os.fork()
    if pid:
        return pid
    code = 9
    try:
        signal.alarm(120)  # A child that hangs must not be waited for until the end.
        code = work()
    except DirectIOError:
        code = 0
    finally:
        os._exit(code)


def make_client(tally: Tally) -> DirectIO:
    """Return a client that meets many faults without giving up."""
    settings = Settings(retries=6, backoff=0.005, max_backoff=0.1, memory=16 * MIB)
    settings.api.timeout = settings.storage.timeout = (5, 1)
    return DirectIO(settings=settings, on_event=tally.event)
