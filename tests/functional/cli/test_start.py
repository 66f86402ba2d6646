"""What can be wrong before a command begins: options, the environment, threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest

from ctera_direct_sync.cli import program as cli
from ctera_direct_sync.emulator import Emulator

from .conftest import COMMAND, DATA

Run = Callable[..., tuple[int, str, str]]
SCRIPT = Path(sys.executable).with_name("ctera-direct")


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        ("cat -f 1 -f 2", "-f"),
        ("cat -f 1 -f 1", "-f"),
        ("cat -f 1 --file-id 2", "--file-id"),
        ("cat --file-id=1 -f2", "-f"),
        ("cat -f 1 --range 0-1 --range 2-3", "--range"),
        ("cat -f 1 --workers 1 --workers 2", "--workers"),
        ("cat -f 1 -e http://a -e http://b", "-e"),
        ("cat -f 1 -a A -a B", "-a"),
        ("cat -f 1 -s A --secret B", "--secret"),
        ("cat -f 1 -b A -b B", "-b"),
        ("download -f 1 -p a -p b", "-p"),
        ("download -f 1 -p a --checksum crc32c 00000000 --checksum crc32c 00000000", "--checksum"),
        ("info -f 1 -f 2", "-f"),
        ("batch list folder --workers 1 --workers 2", "--workers"),
        ("emulator . --port 0 --port 1", "--port"),
        ("emulator . --host ::1 --host ::1", "--host"),
        ("emulator . --cipher NONE --cipher NONE", "--cipher"),
        ("emulator . --block-size 1 --block-size 2", "--block-size"),
    ],
)
def test_option_given_twice(run: Run, arguments: str, option: str) -> None:
    """Of two values neither is taken in silence."""
    code, out, err = run(*arguments.split())
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"{option}: given twice; give it once (see" in err


def test_every_option_with_a_value_is_given_once() -> None:
    """No option of any command takes the last of several values."""
    parser = cli.make_parser()
    commands = next(action.choices for action in parser._actions if action.choices)
    assert isinstance(commands, dict) and len(commands) >= 11
    for command in commands.values():
        for action in command._actions:
            if action.option_strings and action.nargs != 0:
                allowed = ("Option", "ChecksumOption", "_AppendAction")
                assert type(action).__name__ in allowed, action


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("emulator . --port 70000", "--port 70000: not a port; use 1 to 65535"),
        ("emulator . --port x", "--port x: not a port"),
        ("emulator . --cipher rot13", "--cipher rot13: not known; use one of AES-CBC, AES-GCM"),
        ("emulator . --block-size 4X", "--block-size 4X: not a size; use bytes, such as 4M"),
        ("emulator . --expire x", "--expire x: not a lifetime"),
        ("cat", "one of the arguments -f/--file-id PATH is required"),
        ("cat -f", "-f/--file-id: expected one argument"),
    ],
)
def test_wrong_values(run: Run, arguments: str, text: str) -> None:
    """The option comes first, then its value, then what to do."""
    code, out, err = run(*arguments.split())
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"ctera-direct {arguments.split()[0]}: {text}" in err


@pytest.mark.parametrize("program", [COMMAND, [str(SCRIPT)]], ids=["module", "script"])
@pytest.mark.parametrize("arguments", [["--version"], ["cat", "-f", "1"]], ids=" ".join)
@pytest.mark.skipif(sys.version_info < (3, 10), reason="3.9 does not tell the module's name")
def test_wrong_codec(program: list[str], arguments: list[str]) -> None:
    """A wrong CTERA_DIRECT_CODEC is told in a line that says what to set."""
    if not Path(program[0]).exists():
        pytest.skip("the console script is not installed")
    environment = {**os.environ, "CTERA_DIRECT_CODEC": "natve"}
    done = subprocess.run(
        [*program, *arguments], env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "ctera-direct: CTERA_DIRECT_CODEC is 'natve': set it to native or portable, or leave it unset\n"
    )


def test_wrong_codec_in_another_program() -> None:
    """A program that imports the package gets the exception, and keeps its signals."""
    environment = {**os.environ, "CTERA_DIRECT_CODEC": "natve"}
    code = (
        "import signal\n"
        "try:\n"
        "    from ctera_direct_sync import DirectIO\n"
        "except ValueError as error:\n"
        "    print(error)\n"
        "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.endswith("leave it unset\nTrue\n")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RuntimeError("can't start new thread"), "no thread can be started: raise the limit"),
        (MemoryError(), "no memory is left: raise the limit"),
    ],
)
def test_shortage(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, text: str
) -> None:
    """A lack of threads or memory is one line, whichever part of a command meets it."""

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(cli, "_info", fail)
    code, out, err = run("info", "-f", 1)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert f"ctera-direct info: {text}" in err


def test_mistake_of_our_own(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any other RuntimeError is a defect, which keeps its traceback."""

    def fail(*_: Any) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(cli, "_info", fail)
    with pytest.raises(RuntimeError, match="a defect"):
        run("info", "-f", 1)


@pytest.mark.skipif(not hasattr(os, "setresuid") or os.getuid() != 0, reason="needs root")
@pytest.mark.parametrize("limit", [1, 2, 3])
@pytest.mark.parametrize("command", ["cat", "download"])
def test_limit_of_threads(portal: Emulator, command: str, limit: int) -> None:
    """With few threads a command does all of its work, or says in one line that it did not."""
    file_id = portal.add(DATA, block_size=10_000)
    arguments = {
        "cat": ["cat", "-f", str(file_id)],
        "download": ["download", "--quiet", "-f", str(file_id), "-p", "/dev/stdout"],
    }[command]
    # A user of its own: the limit counts all the threads of a user. Modules are imported before it holds.
    code = (
        "import os, resource, sys\n"
        "from ctera_direct_sync.cli.program import main\n"
        "import Crypto.Cipher._mode_ecb, Crypto.Cipher.AES, encodings.idna\n"
        f"os.setgroups([]); os.setresgid(*[{65500 + limit}] * 3)\n"
        f"os.setresuid(*[{65500 + limit}] * 3)\n"
        f"resource.setrlimit(resource.RLIMIT_NPROC, ({limit}, {limit}))\n"
        f"sys.exit(main({arguments!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert b"Traceback" not in done.stderr
    if done.returncode == 0:
        assert done.stdout == DATA
    else:
        assert (done.returncode, done.stderr.count(b"\n")) == (1, 1), done.stderr
        assert DATA.startswith(done.stdout)
