"""Rows of the fault matrix for what the program itself does amid a call: closing, signals, forks.

They need no broken server: something happens in the program when block 2 is begun. What came is whole,
or an error says why.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from typing import Any, Callable
from unittest import mock

from ctera_direct_sync import BlockEvent, DirectIO
from ctera_direct_sync._base import worker_pool as pools
from ctera_direct_sync._core import ClientCore
from ctera_direct_sync.emulator import faults
from tests.faults.matrix import DATA, RECOVERED, Arrange, Row, World, on_block

#: Something that the program does, once, on the worker that begins block 2.
Deed = Callable[[DirectIO, World], object]
Around = Callable[[World], "contextlib.AbstractContextManager[object]"]


class SoftLimit(Exception):
    """What a signal's handler raises, as a task queue's time limit does."""


def rows() -> Iterator[Row]:
    """Every row of this module."""
    never = on_block(faults.stall(), 1)
    cut = {"stream": "ECANCELED"}
    yield _row("close() from another thread", never, "ECANCELED", at_block(close_aside), cut)
    yield _row("close() in a hook", never, "ECANCELED", at_block(close), cut)
    yield _row("a hook raises SystemExit", _nothing, RECOVERED, at_block(leave))
    soft = {"stream": "SoftLimit", "CLI": "SoftLimit"}
    yield _row("a signal handler raises", never, "SoftLimit", signalled, soft)
    yield _row("the collector ends another stream", _nothing, RECOVERED, at_block(collect))
    yield _row("a fork, and the child reads", _nothing, RECOVERED, forked)
    yield _row("no more than two threads", _nothing, RECOVERED, threads_at_most(2))
    none = {"stream": "StreamError (DirectIOError)"}
    yield _row("not one thread", _nothing, "DirectIOError", threads_at_most(0), none)


def _row(
    name: str, arrange: Arrange, outcome: str, around: Around, by_way: Any = None
) -> Row:  # fmt: skip
    group = "Program: its own events"
    return Row(group, name, arrange, outcome, {}, None, around=around, by_way=by_way or {})


def _nothing(world: World) -> None:
    """The storage is well."""


def at_block(deed: Deed) -> Around:
    """Do the deed when the first client's block 2 is begun, on its worker."""

    @contextlib.contextmanager
    def around(world: World) -> Iterator[None]:
        made, done = ClientCore.prepare, []

        def open_hooked(client: ClientCore) -> None:
            hook = client.on_event

            def note(event: BlockEvent) -> None:
                if hook is not None:
                    hook(event)
                if (event.name, event.number) == ("started", 2) and not done:
                    done.append(event)
                    assert client.client is not None
                    deed(client.client, world)

            client.on_event = note
            made(client)

        with mock.patch.object(ClientCore, "prepare", open_hooked):
            yield

    return around


def close(client: DirectIO, world: World) -> None:
    """Close the client here."""
    client.close()


def close_aside(client: DirectIO, world: World) -> None:
    """Have another thread close the client."""
    threading.Thread(target=client.close).start()


def leave(client: DirectIO, world: World) -> None:
    """End the program, as a hook may try to."""
    raise SystemExit(3)


def collect(client: DirectIO, world: World) -> None:
    """Forget a stream half-way, and have the collector find it."""
    blocks = client.stream(world.file_id)
    next(blocks)
    cycle: list[Any] = [blocks]
    cycle.append(cycle)
    del blocks, cycle
    gc.collect()


@contextlib.contextmanager
def signalled(world: World) -> Iterator[None]:
    """A signal comes whose handler raises, on the main thread."""
    main = threading.main_thread().ident
    assert main is not None

    def handle(*_: object) -> None:
        raise SoftLimit

    def send(client: DirectIO, world: World) -> None:
        signal.pthread_kill(main, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        with at_block(send)(world):
            yield
    finally:
        signal.signal(signal.SIGUSR1, before)


@contextlib.contextmanager
def forked(world: World) -> Iterator[None]:
    """The process forks. The child reads the file by the same client."""
    codes: list[int] = []

    def fork(client: DirectIO, world: World) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if not child:
            code = 1
            # A handler of the test runner may be locked for ever: another thread may have used it.
            logging.disable()
            # An end in any case. SIGALRM's own action is the kernel's, and needs no thread of Python.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(60)
            try:
                data = b"".join(block.data for block in client.stream(world.file_id))
                code = int(data != DATA)
            finally:
                os._exit(code)
        codes.append(os.waitpid(child, 0)[1])

    with at_block(fork)(world):
        yield
    assert not any(codes)


def threads_at_most(count: int) -> Around:
    """The system gives a client so many threads and no more."""

    @contextlib.contextmanager
    def around(world: World) -> Iterator[None]:
        left, start = [None] * count, pools.WorkerPool._start_thread

        def refuse(pool: Any, task: Any) -> None:
            if not left:
                raise RuntimeError("can't start new thread")
            left.pop()
            start(pool, task)

        def refuse_bare(*_: object) -> None:
            raise RuntimeError("can't start new thread")

        with contextlib.ExitStack() as stack:
            stack.enter_context(mock.patch.object(pools.WorkerPool, "_start_thread", refuse))
            if not count:
                stack.enter_context(mock.patch.object(pools, "start_new_thread", refuse_bare))
            yield

    return around
