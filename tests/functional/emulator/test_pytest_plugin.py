"""The fixtures for users' own tests."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys

TESTS = """
import threading

THREADS = set(threading.enumerate())


def test_portal(ctera_portal):
    assert ctera_portal.files == {}
    ctera_portal.add(b'content')
    assert ctera_portal.url.startswith('http://127.0.0.1:')


def test_each_test_has_its_own(ctera_portal):
    assert ctera_portal.files == {}


def test_client(ctera_portal, ctera_client):
    file_id = ctera_portal.add(b'content', block_size=3)
    assert b''.join(block.data for block in ctera_client.stream(file_id)) == b'content'
    assert [record.status for record in ctera_portal.requests] == [200] * 4


def test_nothing_is_left():
    assert set(threading.enumerate()) == THREADS
"""

LIGHT = """
import sys, ctera_direct_sync.pytest_plugin
sys.exit('ctera_direct_sync.emulator' in sys.modules)
"""


def run(*arguments: str, **options) -> subprocess.CompletedProcess:
    """Run Python."""
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        **options,
    )


def test_fixtures(tmp_path):
    """A portal and a client for it are there for each test, and gone after it."""
    (tmp_path / "test_users.py").write_text(TESTS)
    done = run(
        "-m",
        "pytest",
        "-q",
        "-W",
        "error",
        "-p",
        "ctera_direct_sync.pytest_plugin",
        "-p",
        "no:cacheprovider",
        str(tmp_path),
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


def test_plugin_is_light():
    """Loading the plugin, as every pytest session does, loads no emulator."""
    assert run("-c", LIGHT).returncode == 0


def test_pytest_finds_the_plugin():
    """The installed package tells pytest of the plugin by an entry point."""
    points = importlib.metadata.distribution("ctera-direct-sync").entry_points
    assert [point.value for point in points if point.group == "pytest11"] == [
        "ctera_direct_sync.pytest_plugin"
    ]
