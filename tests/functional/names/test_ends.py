"""Ends: closing, forking and pickling, whatever is under way."""

from __future__ import annotations

import errno
import gc
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Callable

import pytest

from ctera_direct_sync import LoginError, Namespace, NamespaceError
from ctera_direct_sync.emulator import faults

CALLS: dict[str, tuple[str, Callable[[Namespace], object]]] = {
    "sign-in": ("login", lambda names: names.stat("/My Files")),
    "stat": ("fetchResources", lambda names: names.stat("/My Files")),
    "exists": ("fetchResources", lambda names: names.exists("/My Files")),
    "listdir": ("fetchResources", lambda names: names.listdir("/My Files")),
    "walk": ("fetchResources", lambda names: list(names.walk("/My Files"))),
    "glob": ("fetchResources", lambda names: list(names.glob("/My Files/**/*.pdf"))),
    "search": ("fetchResources", lambda names: names.search("/My Files", name="a")),
    "versions": ("listSnapshots", lambda names: names.versions("/My Files/readme.txt")),
    "folders": ("fetchResources", lambda names: list(names.folders())),
    "key pair": ("createApiKey", lambda names: names.create_key_pair()),
}


@pytest.mark.parametrize(("call", "ask"), CALLS.values(), ids=CALLS)
def test_closing_ends_what_is_under_way(portal, names, call, ask):
    """A call that waits for the portal ends at once with ECANCELED when another thread closes."""
    fault = portal.faults.add("portal", call=call, times=None, action=faults.stall())
    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(ask, names)
        assert fault.entered.wait(30)
        names.close()
        error = future.exception(timeout=30)
    assert isinstance(error, NamespaceError)
    assert error.errno == errno.ECANCELED
    assert portal.accounts.open_sessions == 0
    with pytest.raises(ValueError, match="closed"):
        ask(names)


@pytest.mark.parametrize("way", ["listdir", "walk", "glob", "search"])
def test_closing_ends_an_iteration_between_two_steps(portal, names, way):
    """An iteration that goes on after the close raises instead of ending short."""
    portal.portal_options.page_cap = 2
    iterators = {
        "listdir": lambda: names.listdir("/My Files/odd"),
        "walk": lambda: names.walk("/My Files"),
        "glob": lambda: names.glob("/My Files/**"),
        "search": lambda: names.search("/My Files", name="e"),
    }
    iterator = iterators[way]()
    next(iterator)
    names.close()
    with pytest.raises(NamespaceError) as caught:
        list(iterator)
    assert caught.value.errno == errno.ECANCELED


def test_leaving_a_walk_stops_its_requests(portal, names):
    """After the loop was left nothing more is asked, and what was under way is cut."""
    for number in range(100):
        portal.tree.create(f"/My Files/many/{number:03}/file", b"")
    portal.latency = 0.01
    walking = names.walk("/My Files/many")
    next(walking)
    walking.close()
    portal.latency = 0
    own, asked = 0, -1
    # A busy machine may show the portal late what was sent before the end.
    while portal.log.total("portal") != asked + 1:
        asked = portal.log.total("portal")
        assert names.exists("/My Files")
        own += 1
    assert asked + 1 - own < 60


def test_dropped_walk_and_namespace_leave_no_thread(portal, quick):
    """A Namespace that is forgotten, not closed, leaves no thread behind."""
    names = Namespace(portal.url, portal.username, portal.password, settings=quick)
    next(names.walk("/My Files"))
    threads = [each for each in threading.enumerate() if each.name.startswith("ctera-direct")]
    assert threads
    names._http.close()
    del names
    gc.collect()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def test_pickle(portal, names, make_names):
    """A pickle holds what is needed to sign in, and none of the session."""
    assert names.exists("/My Files")
    again = pickle.loads(pickle.dumps(names))
    with again:
        assert again.exists("/My Files/readme.txt")
        assert portal.accounts.open_sessions == 2
    assert portal.accounts.open_sessions == 1
    assert names.exists("/My Files")
    assert len(portal.log.records(call="login")) == 2


def run_in_child(function: Callable[[], object]) -> bytes:
    """Return what a function returned in a forked child, as a repr."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            try:
                answer = repr(function())
            except BaseException as error:
                answer = repr(error)
            os.write(writing, answer.encode()[:4000])
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return answer


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
allows_fork = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)


@needs_fork
@allows_fork
def test_forked_child_uses_the_session(portal, names):
    """A child goes on with the parent's session, on connections of its own, and never ends it."""
    assert names.exists("/My Files")

    def ask() -> bool:
        found = names.exists("/My Files/readme.txt") and len(list(names.walk("/My Files"))) > 5
        names.close()
        return found

    assert run_in_child(ask) == b"True"
    assert names.exists("/My Files")
    assert len(portal.log.records(call="login")) == 1
    assert portal.log.records(call="logout") == []


@needs_fork
@allows_fork
def test_forked_child_signs_in_anew(portal, names):
    """Once the parent's session is over, the child signs in by itself, and out of that session."""
    assert names.exists("/My Files")
    portal.accounts.expire_sessions()

    def ask() -> bool:
        with names:
            return names.exists("/My Files/readme.txt")

    assert run_in_child(ask) == b"True"
    assert portal.accounts.open_sessions == 0
    assert len(portal.log.records(call="logout")) == 1
    assert names.exists("/My Files")


@needs_fork
@allows_fork
def test_forked_children_do_not_repeat_a_wrong_password(portal, make_names):
    """What the parent was refused is not asked for again by each of its children."""
    names = make_names(portal.username, "wrong")
    for _ in range(2):
        with pytest.raises(LoginError):
            names.stat("/")
        assert b"LoginError" in run_in_child(lambda: names.stat("/"))
    assert len(portal.log.records(call="login")) == 1


@needs_fork
@allows_fork
@pytest.mark.parametrize("way", ["listdir", "walk"])
def test_forked_child_does_not_go_on_with_an_iteration(portal, names, way):
    """An iteration that the parent began raises in the child, and goes on in the parent."""
    portal.portal_options.page_cap = 2
    iterator = getattr(names, way)("/My Files/odd")
    first = next(iterator)

    def go_on() -> list[str]:
        return [entry.path for entry in iterator]

    answer = run_in_child(go_on)
    assert b"NamespaceError" in answer
    assert b"forked" in answer
    assert len({first, *iterator}) == 13
