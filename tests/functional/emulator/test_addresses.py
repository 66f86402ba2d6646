"""The emulator on IPv6: its URLs, what it signs, and its command."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ctera_direct_sync import ByteRange, DirectIO, Settings
from ctera_direct_sync.emulator import Emulator

DATA = bytes(range(251)) * 100


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


pytestmark = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6 loopback")


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("separate", [False, True])
def test_ipv6(tmp_path, monkeypatch, separate, tls):
    """URLs hold the address in brackets (RFC 3986, 3.2.2), and files can be read by them."""
    with Emulator(host="::1", separate_storage=separate, tls=tls) as emulator:
        assert "://[::1]:" in emulator.url
        assert emulator.storage_url.startswith(emulator.url.partition("[")[0] + "[::1]:")
        file_id = emulator.add(DATA, block_size=1000)
        assert emulator.listing(file_id)["chunks"][0]["url"].startswith(emulator.storage_url)
        settings = Settings(retries=0)
        if tls:
            settings.api.ssl = settings.storage.ssl = emulator.ca_bundle
        with DirectIO(
            emulator.url, emulator.access_key_id, emulator.secret_access_key, settings=settings
        ) as client:
            client.download(file_id, tmp_path / "out")
            blocks = client.stream(file_id, ByteRange(500, 1499))
            assert b"".join(block.data for block in blocks) == DATA[500:1500]
    assert (tmp_path / "out").read_bytes() == DATA


def test_started_again():
    """The address and port stay the same."""
    emulator = Emulator(host="::1")
    with emulator:
        url = emulator.url
    with emulator:
        assert emulator.url == url


def test_command(tmp_path):
    """``--host ::1`` serves there, and prints the URL to use."""
    (tmp_path / "a").write_bytes(DATA)
    line = [sys.executable, "-X", "dev", "-m", "ctera_direct_sync"]
    with subprocess.Popen(
        [*line, "emulator", "--host", "::1", str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        printed = []
        while not printed or "Ctrl-C" not in printed[-1]:
            printed.append(process.stdout.readline())
        values = dict(
            row[len("export ") :].strip().split("=", 1)
            for row in printed
            if row.startswith("export ")
        )
        assert values["CTERA_DIRECT_URL"].startswith("http://[::1]:")
        file_id = next(row.split()[0] for row in printed if row.endswith(" a\n"))
        done = subprocess.run(
            [*line, "cat", "-f", file_id],
            env={**os.environ, **values},
            capture_output=True,
            timeout=60,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, DATA, b"")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_address_of_another_machine(tmp_path: Path) -> None:
    """An address that is not this machine's is told in a line."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "ctera_direct_sync",
            "emulator",
            "--host",
            "2001:db8::1",
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "on 2001:db8::1 port 0: " in done.stderr
