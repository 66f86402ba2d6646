"""A download on a thread, for a coroutine."""

from __future__ import annotations

import asyncio
import errno

from .._base.cancellation import Cancelled, CancelScope
from .._core import ClientCore, label_of
from .._protocol.ranges import clip
from .._readers.download import Progress, Target
from .._readers.progress import show_progress
from ..exceptions import DirectIOError
from ..types import ByteRange, Download, FileRef
from .bridge import Stopper, run_on_thread, tell_loop

__all__ = ["Progress", "Target", "run_download"]


async def run_download(
    core: ClientCore,
    file: FileRef,
    target: Target,
    *,
    byte_range: ByteRange | None,
    resume: bool,
    progress: Progress | bool | None,
    max_workers: int | None,
) -> Download:
    """Download a file. All arguments but the first are those of `aio.download`.

    Args:
        core: The client.
        file: The file.
        target: A path or a file object.
        byte_range: The range.
        resume: Whether to continue an earlier download.
        progress: Called on the event loop's thread.
        max_workers: The most concurrent downloads.
    """
    stopper = Stopper()

    def work(report: Progress | None) -> Download:
        metadata = core.list_cancellable(file, stopper.cancel_by)
        scope = CancelScope()
        stopper.cancel_by(scope.cancel)
        try:
            done = core.download(
                metadata, target, byte_range, resume, report, max_workers, scope=scope
            )
        except Cancelled:
            done = None
        if done is None:
            text = "The download was cancelled before it was complete"
            raise DirectIOError(text, metadata.file_id, errno=errno.ECANCELED)
        start, stop = clip(byte_range, metadata.size)
        # Counted once more, by what leaves the library: a short file must not look whole.
        if done.size != stop - start:
            text = f"{done.size} of {stop - start} bytes were written: please report this"
            raise DirectIOError(text, metadata.file_id, errno=errno.EIO)
        return done

    with show_progress(progress, lambda: str(label_of(file))) as report:
        if report is None:
            return await run_on_thread(lambda: work(None), stopper.stop)
        relay = _ProgressRelay(asyncio.get_running_loop(), report, stopper)
        try:
            done = await run_on_thread(lambda: work(relay.put), stopper.stop)
        except Exception:
            # What the function raised has cut the download off, and says more than its end.
            relay.check()
            raise
        finally:
            relay.close()
        relay.check()
        return done


class _ProgressRelay:
    """Calls a function on an event loop with the latest progress of a thread.

    A loop that is busy skips reports, so that they never queue up.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, report: Progress, stopper: Stopper) -> None:
        self._loop = loop
        self._function = report
        self._stopper = stopper
        self._latest = (0, 0)
        self._is_scheduled = False
        self._is_closed = False
        self._error: Exception | None = None

    def put(self, done: int, total: int) -> None:
        """Take the progress. It is called on the download's thread."""
        self._latest = (done, total)
        if not self._is_scheduled:
            self._is_scheduled = True
            tell_loop(self._loop, self._report)

    def _report(self) -> None:
        # In this order: what is put meanwhile is either read here, or schedules another report.
        self._is_scheduled = False
        done, total = self._latest
        if self._is_closed:
            return
        try:
            self._function(done, total)
        except Exception as error:  # noqa: BLE001 - raised by `check`
            self._is_closed = True
            self._error = error
            self._stopper.stop()

    def close(self) -> None:
        """Report nothing from now on."""
        self._is_closed = True

    def check(self) -> None:
        """Raise what the function raised."""
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error from None
            finally:
                del error  # Its traceback holds this frame.
