"""How a reading of the change feed ends early: by a close, a signal, a fork, or a scope of the caller's."""

from __future__ import annotations

import errno
import math
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ctera_direct_sync import NamespaceError
from ctera_direct_sync._base.cancellation import Cancelled, CancelScope
from ctera_direct_sync.emulator import faults
from ctera_direct_sync.namespace import changes_within

from .test_ends import allows_fork, needs_fork, run_in_child


def read_first(names: Any) -> Any:
    """Return the first event of a file."""
    return next(event for page in names.changes() for event in page.events if event.size)


CALLS = {
    "metadata/list": lambda names, event: next(names.changes()),
    "metadata/ancestors": lambda names, event: names.ancestors(event),
    "fetchResources": lambda names, event: names.path_of(event),
}


@pytest.mark.parametrize(("call", "ask"), CALLS.items(), ids=CALLS)
def test_closing_ends_what_is_under_way(portal, names, call, ask):
    """A call that waits for the portal ends at once with ECANCELED when another thread closes."""
    event = read_first(names)
    fault = portal.faults.add("portal", call=call, times=None, action=faults.stall())
    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(ask, names, event)
        assert fault.entered.wait(30)
        names.close()
        error = future.exception(timeout=30)
    assert isinstance(error, NamespaceError)
    assert error.errno == errno.ECANCELED
    assert portal.accounts.open_sessions == 0


class Stop(Exception):
    """What a signal handler raises here."""


@pytest.mark.skipif(sys.platform == "win32", reason="its signals are others")
@pytest.mark.parametrize("call", ["metadata/list", "metadata/longpoll"])
def test_signal_handler_that_raises(portal, names, call):
    """An interrupted reading goes on with the same page, and does not end as if it were whole."""
    portal.portal_options.feed.page_cap = 5
    portal.portal_options.feed.poll = "at-once"
    seen = []
    pages = names.changes(wait=0.2)
    skip = 0 if call == "metadata/longpoll" else 2
    held = portal.faults.add("portal", call=call, skip=skip, action=faults.stall())

    def interrupt() -> None:
        assert held.entered.wait(30)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    def stop(number: int, frame: Any) -> None:
        raise Stop

    before = signal.signal(signal.SIGUSR1, stop)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(Stop):
            for page in pages:
                seen += page.events
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)
    portal.faults.clear()
    for page in pages:
        seen += page.events
    assert len(seen) == len(set(seen)) == len(list(portal.tree.walk()))


@needs_fork
@allows_fork
def test_forked_child_does_not_go_on(portal, names):
    """A reading that the parent began raises in the child, and goes on in the parent."""
    portal.portal_options.feed.page_cap = 5
    pages = names.changes()
    seen = list(next(pages).events)
    assert b"forked" in run_in_child(lambda: next(pages))
    assert b"ChangePage" in run_in_child(lambda: next(names.changes()))
    for page in pages:
        seen += page.events
    assert len(seen) == len(list(portal.tree.walk()))


def test_scope_of_the_caller(portal, names):
    """A caller inside the library ends its reading alone; the Namespace stays usable."""
    portal.portal_options.feed.page_cap = 5
    scope = CancelScope()
    pages = changes_within(names, scope, wait=math.inf)
    seen = []
    while (page := next(pages)).more:
        seen += page.events
    held = portal.faults.add("portal", call="metadata/longpoll", action=faults.stall())
    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(next, pages)
        assert held.entered.wait(30)
        scope.cancel()
        assert isinstance(future.exception(timeout=30), Cancelled)
    assert len(seen + page.events) == len(list(portal.tree.walk()))
    assert len(list(changes_within(names, CancelScope(), page.cursor))) == 1
    again = changes_within(names, CancelScope(), page.cursor)
    names.close()
    with pytest.raises(NamespaceError) as caught:
        next(again)
    assert caught.value.errno == errno.ECANCELED


def test_memory_does_not_grow_with_pages(portal, names):
    """The pages of a large feed are let go one by one."""
    import tracemalloc

    for number in range(3000):
        portal.tree.create(f"/My Files/many/{number}", b"")
    portal.portal_options.feed.page_cap = 300
    tracemalloc.start()
    try:
        count = sum(len(page.events) for page in names.changes())
        names_peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count > 3000
    # The emulator, in the same process, makes each page as well.
    assert names_peak < 8 * 1024 * 1024


def test_one_sign_in_for_all_readers(portal, names):
    """A session that ends is renewed once, for all threads that read."""
    portal.portal_options.feed.page_cap = 5
    readers = [names.changes() for _ in range(4)]
    seen = [list(next(reader).events) for reader in readers]
    portal.accounts.expire_sessions()
    barrier = threading.Barrier(len(readers))

    def read(number: int) -> int:
        barrier.wait(30)
        return len(seen[number]) + sum(len(page.events) for page in readers[number])

    with ThreadPoolExecutor(len(readers)) as threads:
        counts = set(threads.map(read, range(len(readers))))
    assert counts == {len(list(portal.tree.walk()))}
    assert len(portal.log.records(call="login")) == 2
