"""What an import brings along, and what it leaves until it is needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ctera_direct_sync

HEAVY = ("requests", "urllib3", "ssl", "_cffi_backend", "httptools", "ctera_direct_sync.client")


def run(program: str, *arguments: str, cwd: Path | None = None, **variables: str) -> str:
    """What a program prints; its own words where it fails."""
    line = [sys.executable, *(("-c", program) if program else ()), *arguments]
    done = subprocess.run(
        line, text=True, capture_output=True, timeout=120, cwd=cwd, env={**os.environ, **variables}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "name",
    ["ctera_direct_sync", "ctera_direct_sync.types", "ctera_direct_sync.settings",
     "ctera_direct_sync.exceptions"],
)  # fmt: skip
def test_light_imports(name: str) -> None:
    """The package, its values, settings and exceptions import no library for the network or notebooks."""
    heavy = {*HEAVY, "asyncio", "html"}
    program = f"import sys, {name}; print(sorted(set(sys.modules) & {heavy!r}))"
    assert run(program) == "[]\n"


def test_client_without_profile_and_mirror() -> None:
    """A client that is given all it needs loads nothing of profiles, the keyring or the mirror."""
    program = (
        "import sys; from ctera_direct_sync import DirectIO, Namespace\n"
        "DirectIO('https://portal.example.com', 'a', 's').close()\n"
        "Namespace('https://portal.example.com', 'alice', 'p').close()\n"
        "late = ('_base.profiles', '_mirror.planner', '_mirror.downloads')\n"
        "late = {f'ctera_direct_sync.{name}' for name in late} | {'platformdirs', 'keyring'}\n"
        "print(sorted(late & set(sys.modules)))"
    )
    assert run(program) == "[]\n"


def test_command_line_without_the_emulator() -> None:
    """Only one command needs the emulator, so no other one waits for its import."""
    program = "import sys; from ctera_direct_sync.cli.program import make_parser; make_parser()\n"
    late = {"asyncio", "Crypto", "ctera_direct_sync.emulator", "http.server"}
    assert run(f"{program}print(sorted(set(sys.modules) & {late!r}))") == "[]\n"


def test_emulator_without_asyncio() -> None:
    """An emulator without a simulated network needs no asyncio."""
    program = "import sys, ctera_direct_sync.emulator; print('asyncio' in sys.modules)"
    assert run(program) == "False\n"


def test_light_plugin(tmp_path: Path) -> None:
    """pytest loads the plugin in every session, which imports nothing for it."""
    (tmp_path / "test_modules.py").write_text(
        "import sys\n"
        "def test_modules(request):\n"
        "    assert request.config.pluginmanager.has_plugin('ctera_direct_sync.pytest_plugin')\n"
        f"    assert set(sys.modules) & set({HEAVY!r}) <= {{'ssl'}}\n"
    )
    options = ["-p", "ctera_direct_sync.pytest_plugin", "-p", "no:cacheprovider", "-q"]
    run("", "-m", "pytest", *options, cwd=tmp_path, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")


def test_plugin_in_a_suite_that_gevent_patches(tmp_path: Path) -> None:
    """A conftest.py that patches for gevent comes early enough, and the fixtures work after it."""
    pytest.importorskip("gevent")
    (tmp_path / "conftest.py").write_text("from gevent import monkey\nmonkey.patch_all()\n")
    (tmp_path / "test_stream.py").write_text(
        "from gevent.monkey import is_module_patched\n"
        "def test_stream(ctera_portal, ctera_client):\n"
        "    assert is_module_patched('ssl') and is_module_patched('socket')\n"
        "    file_id = ctera_portal.add(b'data' * 1000, block_size=100)\n"
        "    stream = ctera_client.stream(file_id)\n"
        "    assert b''.join(block.data for block in stream) == b'data' * 1000\n"
    )
    warnings = ["-W", "error::gevent.monkey.MonkeyPatchWarning"]
    options = ["-p", "ctera_direct_sync.pytest_plugin", "-p", "no:cacheprovider", "-q"]
    run("", "-m", "pytest", *options, *warnings, cwd=tmp_path, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")


@pytest.mark.parametrize(
    "statement",
    [
        "import ctera_direct_sync as c; c.DirectIO, c.client.DirectIO, c.codec.decode, c.BatchItem",
        "from ctera_direct_sync import *; DirectIO, Settings, StreamError, codec, Streamer",
        "from ctera_direct_sync import DirectIO, client, codec",
        "import ctera_direct_sync.client as client; client.DirectIO",
        "import ctera_direct_sync; ctera_direct_sync.codec.backend",
        "from unittest import mock; mock.patch('ctera_direct_sync.DirectIO').start()",
    ],
)
def test_every_documented_import(statement: str) -> None:
    """All names come, by whatever statement, in a fresh interpreter."""
    assert run(f"{statement}; print('there')") == "there\n"


def test_patched_name_comes_back() -> None:
    """mock.patch of a name that was not looked up before ends as it should."""
    program = (
        "from unittest import mock\nimport ctera_direct_sync as c\n"
        "with mock.patch('ctera_direct_sync.DirectIO') as fake: assert c.DirectIO is fake\n"
        "assert c.DirectIO is c.client.DirectIO"
    )
    assert run(program) == ""


def test_names_that_are_not_there() -> None:
    """An unknown name is an AttributeError; dir() lists the known ones before they are imported."""
    with pytest.raises(AttributeError, match="no attribute 'DirectI0'"):
        ctera_direct_sync.DirectI0  # noqa: B018
    program = "import ctera_direct_sync as c; print(set(c.__all__) <= set(dir(c)))"
    assert run(program) == "True\n"
