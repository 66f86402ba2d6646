"""The queue whose time-outs hold, and that nothing else waits at a `SimpleQueue` with one."""

from __future__ import annotations

import ast
import threading
from pathlib import Path

import pytest

import ctera_direct_sync
from ctera_direct_sync._base.inbox import Inbox
from ctera_direct_sync._base.sync import Empty

PACKAGE = Path(ctera_direct_sync.__file__).parent


def test_short_waits_end() -> None:
    """A reader that is held up for longer than its time-out still returns."""

    def wait_often() -> None:
        inbox: Inbox[int] = Inbox()
        for _ in range(2000):
            with pytest.raises(Empty):
                inbox.get(timeout=0.00002)

    threads = [threading.Thread(target=wait_often, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)


def test_messages_of_many_threads() -> None:
    """Every message arrives once, those of one thread in their order."""
    inbox: Inbox[tuple[int, int]] = Inbox()

    def send(who: int) -> None:
        for number in range(500):
            inbox.put((who, number))

    threads = [threading.Thread(target=send, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    found = [inbox.get() for _ in range(2000)]
    for thread in threads:
        thread.join()
    assert [[n for who, n in found if who == each] for each in range(4)] == [list(range(500))] * 4
    with pytest.raises(Empty):
        inbox.get_nowait()
    with pytest.raises(Empty):
        inbox.get(timeout=0)


def test_nothing_waits_at_a_simple_queue_with_a_time_out() -> None:
    """CPython before 3.13 can wait for ever there: `Gate` and `Inbox` are for it."""
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        if "SimpleQueue" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "get"
                and any(keyword.arg == "timeout" for keyword in node.keywords)
            ):
                found.append(f"{file.relative_to(PACKAGE)}:{node.lineno}")
    assert not found
