"""A client is used, then the process is forked by C, as uWSGI does by default: no hook of Python is called.

``python -m ...fork_untold URL FILE_ID``, keys in the environment. A process of its own, since a thread that
waits for Python's lock at that moment may leave it unusable in the child, and so whatever is tested. So the
fork waits until the threads have fetched all that they fetch ahead, and have nothing to do.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import traceback
from collections.abc import Iterator

from ctera_direct_sync import Block, BlockEvent, DirectIO, Metadata


def main() -> None:
    """Exit with 0 where the child is told what is wrong, and the parent goes on."""
    url, file_id = sys.argv[1], int(sys.argv[2])
    decoded = threading.Semaphore(0)

    def count(event: BlockEvent) -> None:
        if event.name == "decoded":
            decoded.release()

    client = DirectIO(url, on_event=count)
    metadata = client.metadata(file_id)
    wanted = b"".join(block.data for block in client.stream(file_id))
    begun = client.stream(file_id)
    first = next(begun).data
    for _ in range(2 * len(metadata.chunks)):
        assert decoded.acquire(timeout=30)
    client.metadata(file_id)  # The last thread finishes its block meanwhile.
    child = ctypes.PyDLL(None).fork()
    if not child:
        try:
            check(client, metadata, file_id, begun)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    if os.waitpid(child, 0)[1]:
        sys.exit("the child failed")
    assert first + b"".join(block.data for block in begun) == wanted
    client.close()


def check(client: DirectIO, metadata: Metadata, file_id: int, begun: Iterator[Block]) -> None:
    """Each way in raises, and close does nothing."""
    for use in (
        lambda: client.metadata(file_id),
        lambda: client.executor(metadata)(),
        lambda: list(client.stream(file_id)),
        lambda: client.download_many([], "."),
        lambda: next(begun),
    ):
        try:
            use()
        except RuntimeError as error:
            assert "fork hooks" in str(error), error
        else:
            raise AssertionError("nothing was raised")
    client.close()


if __name__ == "__main__":
    main()
