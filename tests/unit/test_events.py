"""The user's hook: called with what happened, and harmless when it fails."""

from __future__ import annotations

import logging
import threading
import time

from ctera_direct_sync._base.observer import Observer
from ctera_direct_sync.types import BlockEvent, Chunk, SignedURL

CHUNK = Chunk(3, 4096, 512, SignedURL("https://storage.example.com/3?sig=c0ffee"))


def test_event():
    """The hook gets one event with what, when, which block, how much and on which thread."""
    events: list[BlockEvent] = []
    before = time.perf_counter()
    Observer(events.append).emit("verified", 42, CHUNK, 100, "crc32c")
    (event,) = events
    assert before <= event.time <= time.perf_counter()
    worker = threading.current_thread().name
    assert event == BlockEvent("verified", event.time, 42, 3, 4096, 100, worker, "crc32c")
    assert "c0ffee" not in repr(event)


def test_no_hook():
    """Without a hook an observer is not active, and emitting does nothing."""
    observer = Observer()
    assert not observer.active
    observer.emit("queued", 42, CHUNK, 0)
    assert Observer(lambda event: None).active


def test_raising_hook(caplog):
    """A hook that raises is logged with the event's name, and called again the next time."""
    calls: list[str] = []

    def hook(event: BlockEvent) -> None:
        calls.append(event.name)
        raise RuntimeError("the hook's own fault")

    observer = Observer(hook)
    with caplog.at_level(logging.ERROR):
        observer.emit("queued", 42, CHUNK, 0)
        observer.emit("started", 42, CHUNK, 0)
    assert calls == ["queued", "started"]
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert "'queued'" in caplog.text
    assert "the hook's own fault" in caplog.text
    assert "c0ffee" not in caplog.text


def test_interrupt_passes():
    """Ctrl-C inside of a hook is the user's, not an error of the hook."""

    def hook(event: BlockEvent) -> None:
        raise KeyboardInterrupt

    try:
        Observer(hook).emit("queued", 42, CHUNK, 0)
    except KeyboardInterrupt:
        return
    raise AssertionError("the interrupt was swallowed")
