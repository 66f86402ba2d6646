"""The queue whose timeouts hold, and that nothing waits at another queue with one."""

from __future__ import annotations

import ast
import threading
from pathlib import Path

import pytest

import ctera_direct_sync
from ctera_direct_sync._base.inbox import Inbox
from ctera_direct_sync._base.sync import Empty
from tests.support.threads import all_end

PACKAGE = Path(ctera_direct_sync.__file__).parent


def test_short_waits_end() -> None:
    """A reader that is held up for longer than its timeout still returns."""

    def wait_often() -> None:
        inbox: Inbox[int] = Inbox()
        for _ in range(2000):
            with pytest.raises(Empty):
                inbox.get(timeout=0.00002)

    assert all_end(wait_often)


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


def has_timeout(call: ast.Call) -> bool:
    """Whether a call is `queue.get` with a timeout: `get(timeout=1)` or `get(True, 1)`."""
    if not isinstance(call.func, ast.Attribute) or call.func.attr != "get":
        return False
    keywords = {keyword.arg for keyword in call.keywords}
    is_of_queue = not call.args or isinstance(getattr(call.args[0], "value", None), bool)
    return is_of_queue and ("timeout" in keywords or len(call.args) == 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("q.get(timeout=1)", True),
        ("q.get(True, 1)", True),
        ("q.get(block=True, timeout=t)", True),
        ("q.get()", False),
        ("q.get(block=False)", False),
        ("session.get(url, timeout=1)", False),
        ("known.get(name, 1)", False),
    ],
)
def test_timeouts_are_seen(text: str, expected: bool) -> None:
    """The check below tells queues from sessions and dictionaries."""
    call = ast.parse(text, mode="eval").body
    assert isinstance(call, ast.Call) and has_timeout(call) == expected


def test_nothing_waits_at_a_simple_queue_with_a_timeout() -> None:
    """CPython before 3.13 can wait for ever there: `Gate` and `Inbox` are for it.

    In `waits` that does no harm: the wait has no end of its own anyway.
    """
    found = [
        f"{file.relative_to(PACKAGE).as_posix()}: {ast.unparse(node)}"
        for file in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and has_timeout(node)
    ]
    assert found == [
        "_base/waits.py: queue.get(timeout=STEP_S)",
        "_mirror/fetcher.py: self._inbox.get(timeout=timeout)",
    ]
