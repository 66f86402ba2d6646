"""Programs that tests start, stop and kill: ``python -m tests.faults.programs NAME ...``.

The portal's URL and keys come by the environment. A line on standard output says how far it is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from ctera_direct_sync import DirectIO, Settings


def _client() -> DirectIO:
    settings = Settings(retries=20, backoff=0.001, max_backoff=0.01)
    settings.storage.timeout = (5, float(os.environ.get("READ_TIMEOUT", "10")))
    return DirectIO(settings=settings)


def say(text: object) -> None:
    """A line for the parent process."""
    print(text, flush=True)


def download(file_id: str, path: str, *flags: str) -> None:
    """A resumable download that says each step of its progress."""

    def progress(done: int, total: int) -> None:
        say(f"progress {done} {total}")

    with _client() as client:
        say(
            f"done {client.download(int(file_id), path, resume='resume' in flags, progress=progress)}"
        )


def stream(file_id: str) -> None:
    """A stream that says each block's number."""
    with _client() as client:
        for block in client.stream(int(file_id)):
            say(f"block {block.number}")


def limited(file_id: str, path: str, size: str, *flags: str) -> None:
    """A download in a process whose files may not grow past ``size`` bytes."""
    import resource
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), int(size)))
    try:
        download(file_id, path, *flags)
    except OSError as error:
        say(f"error {error.errno} {type(error).__name__}")


PROGRAMS: dict[str, Callable[..., None]] = {
    "download": download, "stream": stream, "limited": limited
}  # fmt: skip

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](*sys.argv[2:])
