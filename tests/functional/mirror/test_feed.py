"""Mirrors by the change feed of the emulator, once and for ever."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ctera_direct_sync import DirectIO, DirectIOError, Namespace, Settings
from ctera_direct_sync.emulator import Emulator, faults
from tests.support.file_systems import variables_of
from tests.support.mirror_portal import local_files

TREE = {"a.txt": b"a", "docs": {"b.pdf": b"bb"}}


@pytest.fixture
def portal() -> Iterator[Emulator]:
    """A portal with two files."""
    with Emulator(tree=TREE) as emulator:
        yield emulator


@pytest.fixture
def client(portal: Emulator) -> Iterator[DirectIO]:
    """A client of that portal, with the user's view."""
    with _signed_in(portal) as client:
        yield client


@contextlib.contextmanager
def _signed_in(portal: Emulator) -> Iterator[DirectIO]:
    # Tests count requests, so a busy machine must not send any of them twice.
    settings = Settings(hedging=0)
    account = (portal.url, portal.username, portal.password)
    keys = (portal.url, portal.access_key_id, portal.secret_access_key)
    with (
        Namespace(*account, settings=settings) as names,
        DirectIO(*keys, settings=settings, namespace=names) as client,
    ):
        yield client


def test_run_without_news_makes_two_requests(
    portal: Emulator, client: DirectIO, tmp_path: Path
) -> None:
    """A run asks for the source and the feed, and for nothing else if there is nothing new."""
    client.mirror("/My Files", tmp_path)
    before = len(portal.requests)
    assert client.mirror("/My Files", tmp_path).unchanged == 2
    assert len(portal.requests) - before == 2


def test_run_with_one_event_makes_four_requests(tmp_path: Path) -> None:
    """Source, feed, the folder of the event, and the feed again: then the file itself."""
    tree = {f"d{number}": {"sub": {"a": b"a", "b": b"b"}} for number in range(10)}
    with Emulator(tree=tree) as portal, _signed_in(portal) as client:
        client.mirror("/My Files/d1", tmp_path / "part")
        client.mirror("/My Files", tmp_path / "whole")
        for folder, path in (("part", "/My Files/d1"), ("whole", "/My Files")):
            portal.tree.overwrite("/My Files/d1/sub/a", folder.encode())
            before = len(portal.requests)
            assert client.mirror(path, tmp_path / folder).updated == 1
            asked = [r for r in portal.requests[before:] if r.call is not None]
            assert len(asked) == 4
            inner = tmp_path / folder / ("sub/a" if folder == "part" else "d1/sub/a")
            assert inner.read_bytes() == folder.encode()


def test_rejected_cursor(portal: Emulator, client: DirectIO, tmp_path: Path) -> None:
    """After a rejected cursor everything is read again, and only what changed is downloaded."""
    client.mirror("/My Files", tmp_path, feed=True)
    portal.tree.delete("/My Files/a.txt")
    portal.portal_options.feed.cursor_age_s = 0.0
    result = client.mirror("/My Files", tmp_path, feed=True)
    assert result[:5] == (0, 0, 0, 1, 1)


@pytest.mark.parametrize("events_of_children", [False, True])
@pytest.mark.parametrize("history", ["live", "all"])
def test_feeds_that_differ(
    portal: Emulator, client: DirectIO, tmp_path: Path, events_of_children: bool, history: str
) -> None:
    """It does not matter which events a portal sends, in which order, or how often."""
    feed = portal.portal_options.feed
    feed.events_of_children, feed.history = events_of_children, history
    feed.redeliver = feed.duplicates = feed.shuffle = feed.empty_pages = feed.extras = True
    feed.page_cap = 2
    client.mirror("/My Files", tmp_path, feed=True)
    portal.tree.rename("/My Files/docs", "papers")
    portal.tree.create("/My Files/papers/deep/c", b"c")
    assert client.mirror("/My Files", tmp_path, feed=True)[:5] == (1, 0, 1, 0, 1)
    portal.tree.delete("/My Files/papers")
    assert client.mirror("/My Files", tmp_path, feed=True).deleted == 2
    portal.tree.undelete("/My Files/papers")
    assert client.mirror("/My Files", tmp_path, feed=True).added == 2
    found = {"a.txt": b"a", "papers/b.pdf": b"bb", "papers/deep/c": b"c"}
    assert local_files(tmp_path) == found


def test_source_above_cloud_folders(client: DirectIO, tmp_path: Path) -> None:
    """The feed is one of a cloud folder."""
    with pytest.raises(DirectIOError, match="use feed=None"):
        client.mirror("/", tmp_path, feed=True)
    assert client.mirror("/", tmp_path).ok


def test_follow(portal: Emulator, client: DirectIO, tmp_path: Path) -> None:
    """Each change begins a round. Closing the iterator ends it, and so does closing the client."""
    rounds = client.follow("/My Files", tmp_path)
    assert next(rounds).added == 2
    timer = threading.Timer(0.1, portal.tree.create, ("/My Files/new.txt", b"new"))
    timer.start()
    assert next(rounds).added == 1
    timer.join()
    assert (tmp_path / "new.txt").read_bytes() == b"new"
    timer = threading.Timer(0.1, client.close)
    timer.start()
    began = time.monotonic()
    with pytest.raises(DirectIOError, match="client was closed"):
        next(rounds)
    # It would wait for an hour.
    assert time.monotonic() - began < 20
    timer.join()


def test_follow_through_trouble(
    portal: Emulator, client: DirectIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A portal that rejects cursors, or cannot be reached for a while, does not end it."""
    monkeypatch.setattr("ctera_direct_sync._core._REFUSED_ROUND_S", 0.01)
    monkeypatch.setattr("ctera_direct_sync._core._FIRST_FOLLOW_DELAY_S", 0.01)
    monkeypatch.setattr("ctera_direct_sync._core._log.warning", lambda *_: None)
    client._core.namespace.settings.retries = 0
    rounds = client.follow("/My Files", tmp_path)
    assert next(rounds).added == 2
    portal.portal_options.feed.cursor_age_s = 0.0
    portal.tree.create("/My Files/c.txt", b"c")
    assert next(rounds).added == 1
    portal.portal_options.feed.cursor_age_s = None
    portal.tree.create("/My Files/d.txt", b"d")
    portal.faults.add("portal", times=8, action=faults.reset())
    while not (tmp_path / "d.txt").exists():
        next(rounds)
    rounds.close()


@pytest.mark.skipif(os.name == "nt", reason="SIGTERM")
def test_follow_ends_by_a_signal(portal: Emulator, tmp_path: Path) -> None:
    """SIGTERM ends the command while it waits for changes."""
    command = [sys.executable, "-m", "ctera_direct_sync", "mirror", "/My Files", str(tmp_path)]
    with subprocess.Popen(
        [*command, "--follow", "--json"],
        env={**os.environ, **variables_of(portal)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        for line in process.stdout:
            if json.loads(line)["event"] == "end":
                break
        process.send_signal(signal.SIGTERM)
        # It would wait for an hour.
        assert process.wait(30) == 143
        assert process.stderr.read() == "ctera-direct mirror: terminated\n"
    assert len(local_files(tmp_path)) == 2
