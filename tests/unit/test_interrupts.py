"""Signals become an exception at every moment, and none is lost."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from ctera_direct_sync.cli import signals as interrupts
from ctera_direct_sync.cli.signals import Interrupts, Signalled

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="its signals are others")


@pytest.fixture(autouse=True)
def _handlers_come_back() -> Iterator[None]:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    hook = sys.unraisablehook
    yield
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert sys.unraisablehook is hook


def send(number: int = signal.SIGINT) -> None:
    """Send a signal to this process."""
    os.kill(os.getpid(), number)


def test_second_signal_does_not_break_the_tidying_up() -> None:
    """Within a second of the first, another signal is not heard."""
    heard = 0
    with Interrupts():
        try:
            send()
        except Signalled:
            heard += 1
            send(signal.SIGTERM)
    assert heard == 1


def test_held_signal_waits() -> None:
    """A signal that comes while it is held is raised at the end of the block."""
    done = False
    with pytest.raises(Signalled) as caught, Interrupts() as handlers, handlers.held():
        send(signal.SIGTERM)
        done = True
    assert done and caught.value.number == signal.SIGTERM


def test_error_of_a_block_that_holds() -> None:
    """An error that the block raises says more than the signal."""
    with pytest.raises(OSError, match="full"), Interrupts() as handlers, handlers.held():
        send()
        raise OSError("full")


def test_insisting_ends_a_block_that_holds() -> None:
    """A later signal ends the process at once, by the signal itself."""
    code = (
        "import os, signal\n"
        "from ctera_direct_sync.cli import signals as interrupts\n"
        "interrupts._GRACE_S = 0\n"
        "with interrupts.Interrupts() as handlers, handlers.held():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    signal.pause()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (-signal.SIGTERM, b"")


def test_signal_that_another_thread_gets() -> None:
    """The main thread, asleep in a lock, is woken for it."""
    nothing: queue.SimpleQueue[None] = queue.SimpleQueue()
    waiting = threading.Event()

    def work() -> None:
        waiting.wait()
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

    thread = threading.Thread(target=work)
    thread.start()
    with pytest.raises(Signalled), Interrupts(own_process=True) as handlers, handlers.watched():
        waiting.set()
        nothing.get(timeout=20)
    thread.join()


class _Finalized:
    """What gets a signal while it is collected."""

    def __del__(self) -> None:
        send()
        for _ in range(100):
            pass


def test_signal_within_a_finalizer(capfd: pytest.CaptureFixture[str]) -> None:
    """Python drops what a finalizer raises: the signal is sent again, and no traceback is shown."""
    nothing: queue.SimpleQueue[None] = queue.SimpleQueue()
    with pytest.raises(Signalled), Interrupts(own_process=True) as handlers, handlers.watched():
        _Finalized()
        nothing.get(timeout=20)
    assert capfd.readouterr().err == ""


def test_no_thread_for_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where threads are scarce there is no watch: the command needs them more."""
    started = 0
    start = threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        nonlocal started
        started += 1
        if started == 2:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    with Interrupts(own_process=True) as handlers, handlers.watched():
        assert handlers._watch is None
        assert "ctera-direct-signals" not in [thread.name for thread in threading.enumerate()]
        with pytest.raises(Signalled):
            send()


def test_process_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process that is not the command's, there is no watch."""
    monkeypatch.setattr(interrupts._Watch, "start", lambda _: pytest.fail("started"))
    with Interrupts() as handlers, handlers.watched():
        pass
