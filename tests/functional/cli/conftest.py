"""The command line as its users have it: a process, a portal, and what comes out of both."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable

import pytest

from ctera_direct_sync.cli import program as cli
from ctera_direct_sync.emulator import Emulator

BLOCK = 50_000
DATA = bytes(range(251)) * 1000
COMMAND = [sys.executable, "-X", "dev", "-W", "error", "-m", "ctera_direct_sync"]


@pytest.fixture
def file_id(portal: Emulator) -> int:
    """A file of six blocks; the environment has the portal's URL and keys."""
    return portal.add(DATA, name="file", block_size=BLOCK)


@pytest.fixture(autouse=True)
def _environment(portal: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTERA_DIRECT_URL", portal.url)
    monkeypatch.setenv("CTERA_DIRECT_ACCESS_KEY_ID", portal.access_key_id)
    monkeypatch.setenv("CTERA_DIRECT_SECRET_ACCESS_KEY", portal.secret_access_key)


@pytest.fixture
def account(portal: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the portal's user into the environment, in the user's own view."""
    monkeypatch.delenv("CTERA_DIRECT_CONTEXT", raising=False)
    monkeypatch.setenv("CTERA_DIRECT_USERNAME", portal.username)
    monkeypatch.setenv("CTERA_DIRECT_PASSWORD", portal.password)


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command in this process: exit code, standard output, standard error."""

    def command(*arguments: Any) -> tuple[int, str, str]:
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as exit:
            code = int(exit.code or 0)
        out, err = capfd.readouterr()
        return code, out, err

    return command


@contextmanager
def started(*arguments: Any, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A command in a process of its own, which does not outlive the block."""
    line = [*COMMAND, *(str(argument) for argument in arguments)]
    with subprocess.Popen(
        line, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def finished(*arguments: Any, **options: Any) -> tuple[int, bytes, str]:
    """Run a command in a process of its own to its end: exit code, output, errors."""
    with started(*arguments, **options) as process:
        out, err = process.communicate(timeout=60)
    return process.returncode, out or b"", os.fsdecode(err or b"")


def assert_no_secret(text: str, portal: Emulator, file_id: int) -> None:
    """No key of the portal or the file, and nothing of a signed URL but its origin."""
    key = portal.file_key(file_id)
    for secret in (portal.access_key_id, portal.secret_access_key, portal.bearer, key.hex()):
        assert secret not in text
    assert "X-Amz" not in text
    assert "Signature" not in text
