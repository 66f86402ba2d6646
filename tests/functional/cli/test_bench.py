"""``bench``: figures of the user's own portal, and advice that differs with the network."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ctera_direct_sync.cli import program
from ctera_direct_sync.emulator import Emulator, NetworkProfile, faults

from .conftest import assert_no_secret

BLOCK_SIZE = 32 * 1024
DATA = os.urandom(100 * BLOCK_SIZE)


@contextlib.contextmanager
def relayed(monkeypatch: pytest.MonkeyPatch, **profile: float) -> Iterator[Emulator]:
    """Start a portal whose storage is behind a simulated network, and put it into the environment."""
    from bench.networks.relay import account_of, emulator_behind_relay

    network = NetworkProfile("test", **profile)  # type: ignore[arg-type]
    # The command's own errors are looked for: the relay may tell of connections that were cut.
    with emulator_behind_relay(network, stderr=subprocess.DEVNULL) as (emulator, _):
        account = {"CTERA_DIRECT_URL": emulator.url, **account_of(emulator)}
        for name, value in account.items():
            monkeypatch.setenv(name, value)
        yield emulator


def measure(capfd: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    """Run the command, and return what it measured."""
    assert program.main(["bench", "--json", *map(str, arguments)]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    return json.loads(out)  # type: ignore[no-any-return]


def codes(found: dict[str, Any]) -> list[str]:
    """Return what the advice is about."""
    return [each["code"] for each in found["advice"]]


@pytest.mark.slow
def test_a_long_line(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """A block mostly waits for its first byte, and more workers help."""
    with relayed(monkeypatch, latency=0.05) as emulator:
        file_id = emulator.add(DATA, block_size=BLOCK_SIZE)
        found = measure(capfd, file_id, "--seconds", 1.5, "--workers", 8)
    assert "latency" in codes(found)
    assert "line" not in codes(found)
    assert found["single"]["first_byte"]["p50"] >= 0.1
    assert found["parallel"]["concurrency"] > 3


@pytest.mark.slow
def test_a_slow_line(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Connections that share a bandwidth do not add up, and more workers do not help."""
    with relayed(monkeypatch, bandwidth=500_000, latency=0.005) as emulator:
        file_id = emulator.add(DATA, block_size=BLOCK_SIZE)
        found = measure(capfd, file_id, "--seconds", 1.5, "--workers", 8)
    assert "line" in codes(found)
    assert "latency" not in codes(found)
    rate = found["parallel"]["received"] / found["parallel"]["seconds"]
    assert rate < 700_000


@pytest.mark.slow
def test_capped_connections(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Connections that are limited one by one add up."""
    # The relay lets a piece of 256 KiB arrive at once.
    with relayed(monkeypatch, connection_rate=5_000_000, latency=0.001) as emulator:
        file_id = emulator.add(8 * DATA, block_size=1024 * 1024)
        found = measure(capfd, file_id, "--seconds", 1.5, "--workers", 8)
    assert "connection" in codes(found)


@pytest.mark.slow
def test_a_slow_portal(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Block lists take long, and blocks do not."""
    with relayed(monkeypatch, latency=0.01) as emulator:
        file_id = emulator.add(DATA, block_size=BLOCK_SIZE)
        emulator.faults.add("portal", times=None, action=faults.delay(0.4))
        found = measure(capfd, file_id, "--seconds", 1.5, "--workers", 4)
    assert "portal" in codes(found)
    assert found["listing"]["p50"] >= 0.4


def test_text(portal: Emulator, capfd: pytest.CaptureFixture[str]) -> None:
    """The figures are a table for people, and no secret is in it."""
    file_id = portal.add(DATA, block_size=BLOCK_SIZE)
    assert program.main(["bench", str(file_id), "--seconds", "0.5"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    for word in ("p50", "p90", "p99", "Block list, ms", "First byte, ms", "MB/s", "connections"):
        assert word in out
    assert_no_secret(out, portal, file_id)


def test_limits(portal: Emulator, capfd: pytest.CaptureFixture[str]) -> None:
    """It downloads no more than it is told to, and ends on time while the storage is silent."""
    file_id = portal.add(DATA, block_size=BLOCK_SIZE)
    found = measure(capfd, file_id, "--bytes", "500K", "--seconds", 20)
    assert found["single"]["received"] + found["parallel"]["received"] < 3 * len(DATA)
    portal.faults.add("storage", times=None, action=faults.stall())
    began = time.monotonic()
    found = measure(capfd, file_id, "--seconds", 1)
    assert time.monotonic() - began < 20
    assert found["parallel"]["nbytes"] == 0


def test_a_path(account: None, capfd: pytest.CaptureFixture[str], portal: Emulator) -> None:
    """A path is looked up, and an empty file is measured as far as it goes."""
    with Emulator(tree={"a.bin": DATA, "empty": b""}) as emulator:
        portal_options = ["-e", emulator.url, "-a", emulator.access_key_id]
        portal_options += ["-s", emulator.secret_access_key]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CTERA_DIRECT_USERNAME", emulator.username)
            patch.setenv("CTERA_DIRECT_PASSWORD", emulator.password)
            found = measure(capfd, "/My Files/a.bin", "--seconds", 0.5, *portal_options)
            assert found["parallel"]["nbytes"] > 0
            found = measure(capfd, "/My Files/empty", "--seconds", 0.5, *portal_options)
            assert found["size"] == found["parallel"]["nbytes"] == 0


def test_writes_nothing(
    portal: Emulator,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The current folder and the folder for temporary files stay empty."""
    file_id = portal.add(DATA, block_size=BLOCK_SIZE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    measure(capfd, file_id, "--seconds", 0.3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [["x"], ["5", "--seconds", "0"], ["5", "--seconds", "inf"], ["5", "--bytes", "many"],
     ["5", "--bytes", "9" * 400], ["5", "--workers", "0"], []],
)  # fmt: skip
def test_wrong_usage(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    """One line says what is wrong."""
    with pytest.raises(SystemExit) as caught:
        program.main(["bench", *arguments])
    assert caught.value.code == 2
    assert capfd.readouterr().err.count("\n") == 1
