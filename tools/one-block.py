"""Write the page that follows one block through the code, with the file and line of each step.

`python tools/one-block.py --write` writes `docs/development/one-block.md`, and without the option the
program says whether the page is up to date. A test runs it. When code moves, write the page again. When
a function on the way is renamed, correct its step below first.
"""

from __future__ import annotations

import argparse
import ast
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PACKAGE = "ctera_direct_sync"
PAGE = ROOT / "docs" / "development" / "one-block.md"


class Step(NamedTuple):
    """One function on the way of a block."""

    module: str
    """Path of the module inside the package."""
    name: str
    """Qualified name of the function."""
    what: str
    """What it does there, as a sentence."""


#: On the thread of the caller, before any download.
CALL = [
    Step("client.py", "DirectIO.stream", "The caller asks for a file, or for a range of it."),
    Step(
        "_protocol/portal.py",
        "Portal.fetch_block_list",
        "The portal lists the file's blocks, each with its length and its signed URL.",
    ),
    Step("_readers/stream.py", "Streamer.start", "A transfer is made, but not started."),
    Step("_protocol/ranges.py", "pieces", "The range is cut into pieces of blocks, one by one."),
    Step(
        "_engine/engine.py",
        "Engine.start",
        "With the first step of the iterator the engine takes the transfer, and wakes its threads.",
    ),
]

#: On a worker thread: the way of the block itself.
WORK = [
    Step("_engine/engine.py", "Engine._run", "The thread runs the job that it was given."),
    Step("_engine/transfer.py", "Transfer.run", "The transfer does its work on the piece."),
    Step(
        "_protocol/storage.py",
        "Storage.fetch_block",
        "The work of a stream is to fetch the piece and to return it as a `Block`.",
    ),
    Step("_base/retry.py", "retry_call", "The attempts are made, and judged by the retry policy."),
    Step(
        "_protocol/storage.py",
        "_Fetch.attempt",
        "One attempt fetches the stored object, verifies it and decodes it.",
    ),
    Step(
        "_base/buffers.py",
        "BufferPool.acquire",
        "The stored object gets memory that was used before.",
    ),
    Step("_net/session.py", "SessionPool.get", "The thread's own session sends the request."),
    Step("_net/pool.py", "Pool.send_get", "It goes out on a kept connection to the storage."),
    Step(
        "_base/cancellation.py",
        "CancelScope.attach",
        "The socket is registered: cancelling the call from another thread shuts it down.",
    ),
    Step("_net/response.py", "WireResponse.read", "The body is received into the memory."),
    Step(
        "_protocol/storage.py",
        "_Fetch._decode",
        "The object, whose status and declared digests were judged, is decoded.",
    ),
    Step(
        "codec/native.py",
        "decode",
        "One call into C decrypts, decompresses and checks, while other threads run Python.",
    ),
    Step("_engine/engine.py", "_publish", "The result is put into the job's future."),
    Step("_engine/transfer.py", "UnsharedFuture.set_result", "That wakes the consumer."),
]

#: On the worker thread, between two blocks.
CHOICE = [
    Step(
        "_engine/scheduler.py", "Scheduler.finish", "The job's memory is counted as its result's."
    ),
    Step("_engine/transfer.py", "Transfer.admit", "The transfer's next piece becomes a job."),
    Step("_engine/scheduler.py", "Scheduler.take", "The most urgent job is chosen for the thread."),
]

#: On the thread of the caller again.
DELIVERY = [
    Step("_engine/iteration.py", "in_order", "The consumer waits for the next job in file order."),
    Step(
        "_readers/stream.py",
        "Streamer._blocks",
        "The offset is compared with the one that is due, and the block is yielded.",
    ),
]

TEXT = """\
# The way of one block

<!-- `python tools/one-block.py --write` writes this page. -->

This page follows a block of `client.stream(file)` in the order in which the code runs.
Open the files in this order to read the code along.
On its worker thread a block passes {count} modules of the package.
A test records them, compares them with this page, and allows ten.
It does not count `_base/sync.py`, which only has the standard library's primitives under one name.

## The call

On the caller's thread:

{call}
## The block

On a worker thread of the engine:

{work}
An attempt that fails raises `FailedAttempt`, which says how to recover.
If the storage refuses an expired URL, `_Fetch.renew` asks the block list to renew itself.

An object with declared digests also passes `_protocol/checksums.py`, and so does an object on Azure.
A piece of a large plaintext object is a byte range, whose answer `_protocol/answers.py` judges.

## Between two blocks

On the same thread, under the engine's lock:

{choice}
## The delivery

On the caller's thread again:

{delivery}"""


def find_line(step: Step) -> int:
    """Return the line on which the function of a step is defined."""
    path = ROOT / PACKAGE / step.module
    body = ast.parse(path.read_text("utf-8")).body
    found: ast.stmt | None = None
    for part in step.name.split("."):
        found = next(
            (
                node
                for node in body
                if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == part
            ),
            None,
        )
        if found is None:
            sys.exit(f"{step.module} has no {step.name}: correct the step in tools/one-block.py")
        body = found.body
    assert found is not None
    return found.lineno


def render() -> str:
    """Return the text of the page."""

    def section(steps: list[Step]) -> str:
        return "".join(
            f"{number}. `{PACKAGE}/{step.module}:{find_line(step)}`, `{step.name}`: {step.what}\n"
            for number, step in enumerate(steps, 1)
        )

    return TEXT.format(
        count=len({step.module for step in WORK}),
        call=section(CALL),
        work=section(WORK),
        choice=section(CHOICE),
        delivery=section(DELIVERY),
    )


def main() -> int:
    """Write the page, or say whether it is up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the page")
    text = render()
    if parser.parse_args().write:
        PAGE.write_text(text, "utf-8")
    elif not PAGE.exists() or PAGE.read_text("utf-8") != text:
        print(f"{PAGE.relative_to(ROOT)} is stale: run `python tools/one-block.py --write`")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
