"""Standard output, pipes, devices and descriptors as targets: they hold data alone, and all of it."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ctera_direct_sync import codec
from ctera_direct_sync._core import ClientCore
from ctera_direct_sync.emulator import Emulator, faults
from ctera_direct_sync.types import Download, Metadata

from .conftest import BLOCK, COMMAND, DATA, finished, started
from .test_commands import on_terminal

CRC = f"CRC32C {codec.crc32c(DATA):08x}"


def shell(line: str, folder: Path, **variables: Any) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash in a folder; ``$CLI`` is the command, other names are variables."""
    return subprocess.run(
        ["bash", "-c", line.replace("$CLI", shlex.join(COMMAND))],
        cwd=folder,
        env={**os.environ, **{name: str(value) for name, value in variables.items()}},
        capture_output=True,
        timeout=60,
    )


# --- closed descriptors ------------------------------------------------------------------------------


@pytest.mark.parametrize("options", ["", "-d"])
@pytest.mark.parametrize("closed", ["2>&-", "<&- 2>&-", "<&-"])
def test_log_lines_never_get_into_the_data(
    portal: Emulator, file_id: int, tmp_path: Path, closed: str, options: str
) -> None:
    """With standard error closed, warnings go nowhere: standard output is data alone."""
    # Loopback by a name that is warned about: the access key travels by plain HTTP.
    url = portal.url.replace("127.0.0.1", "0.0.0.0")
    done = shell(f"$CLI cat {options} -e $URL -f $ID {closed}", tmp_path, URL=url, ID=file_id)
    assert (done.returncode, done.stdout) == (0, DATA)


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors_are_given_to_no_file(file_id: int, tmp_path: Path, closed: str) -> None:
    """What is written to standard error cannot get into a file that took its number."""
    line = f"$CLI download -d -f $ID -p out {closed}"
    assert shell(line, tmp_path, ID=file_id).returncode == 0
    assert (tmp_path / "out").read_bytes() == DATA


def test_error_without_standard_error(tmp_path: Path) -> None:
    """The exit code tells what the message cannot."""
    done = shell("$CLI cat -f 404 2>&-", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")
    assert shell("$CLI cat -f 404 2>/dev/full", tmp_path).returncode == 1
    assert shell("$CLI cat -f x 2>&-", tmp_path).returncode == 2


@pytest.mark.parametrize("path", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_download_to_a_closed_standard_output(file_id: int, tmp_path: Path, path: str) -> None:
    """The null device that holds the number's place takes no data in secret."""
    done = shell(f"$CLI download -f $ID -p {path} >&-", tmp_path, ID=file_id)
    assert done.returncode == 1
    assert b"it is closed" in done.stderr and done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("command", ["--help", "--version", "info --help", "emulator ."])
@pytest.mark.parametrize(
    ("target", "reason"), [(">&-", b"it is closed"), (">/dev/full", b"No space left on device")]
)
def test_text_that_cannot_be_written(
    tmp_path: Path, command: str, target: str, reason: bytes
) -> None:
    """Texts are an output like any other: one line says what became of it."""
    done = shell(f"$CLI {command} {target}", tmp_path)
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert b"standard output: cannot be written: " + reason in done.stderr


@pytest.mark.parametrize("command", [["--help"], ["emulator", "."]], ids=" ".join)
def test_text_that_is_not_read(tmp_path: Path, command: list[str]) -> None:
    """A closed pipe ends a command that prints a text as it ends the others."""
    read, write = os.pipe()
    os.close(read)
    with started(*command, cwd=tmp_path, stdout=write) as process:
        os.close(write)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (141, b"")


# --- download to standard output -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "$CLI download -f $ID -p - >> log",
        "$CLI download -f $ID -p /dev/stdout >> log",
        "$CLI download -f $ID -p /dev/fd/3 3>> log",
        "$CLI download -f $ID -p /proc/self/fd/1 >> log",
        "ln -s /dev/stdout link; $CLI download -f $ID -p link >> log",
        "exec >> log; $CLI download -f $ID -p /dev/stdout",
        "{ $CLI download -f $ID -p /dev/stdout; } >> log",
        "$CLI download -f $ID -p /dev/stdout | cat >> log",
        "$CLI download -f $ID -p - | cat >> log",
        "$CLI download -f $ID -p >(cat >> log; echo > ended) > line; until [ -e ended ]; do :; done",
        "$CLI cat -f $ID >> log",
    ],
)
def test_streams_are_written_to(file_id: int, tmp_path: Path, line: str) -> None:
    """What an open file held stays, the data comes after it, and nothing else does."""
    log = tmp_path / "log"
    log.write_bytes(b"before\n")
    inode = log.stat().st_ino
    done = shell(line, tmp_path, ID=file_id)
    assert done.returncode == 0, done.stderr
    assert log.read_bytes() == b"before\n" + DATA
    assert log.stat().st_ino == inode


def test_two_commands_in_a_row(file_id: int, tmp_path: Path) -> None:
    """Commands that share a descriptor without O_APPEND write one after the other."""
    line = "{ echo first; $CLI download -f $ID -p /dev/stdout; echo last; } > log"
    assert shell(line, tmp_path, ID=file_id).returncode == 0
    assert (tmp_path / "log").read_bytes() == b"first\n" + DATA + b"last\n"


@pytest.mark.parametrize("path", ["-", "/dev/stdout"])
def test_closing_line_goes_aside(file_id: int, tmp_path: Path, path: str) -> None:
    """With the data on standard output, the closing line is on standard error."""
    done = shell(f"$CLI download -f $ID -p {path}", tmp_path, ID=file_id)
    assert (done.returncode, done.stdout) == (0, DATA)
    assert CRC.encode() in done.stderr and done.stderr.count(b"\n") == 1
    quiet = shell(f"$CLI download --quiet -f $ID -p {path}", tmp_path, ID=file_id)
    assert (quiet.stdout, quiet.stderr) == (DATA, b"")


def test_closing_line_goes_nowhere(file_id: int, tmp_path: Path) -> None:
    """With standard error in the same file, there is no closing line."""
    done = shell("$CLI download -f $ID -p - > log 2>&1", tmp_path, ID=file_id)
    assert done.returncode == 0
    assert (tmp_path / "log").read_bytes() == DATA


def test_closing_line_of_another_stream(file_id: int, tmp_path: Path) -> None:
    """A target that is not standard output leaves the closing line where it was."""
    done = shell("$CLI download -f $ID -p /dev/null", tmp_path, ID=file_id)
    assert done.stdout.startswith(b"/dev/null: 251000 bytes") and done.stderr == b""


def test_bar_beside_the_data(portal: Emulator) -> None:
    """On a terminal the bar is shown while the data goes elsewhere."""
    file_id = portal.add(DATA[:1000])  # Less than the pipe holds, which is read at the end.
    assert "100%" in on_terminal("download", "-f", file_id, "-p", "-")


def test_file_named_like_the_dash(file_id: int, tmp_path: Path) -> None:
    """A file of that name can still be asked for."""
    assert shell("$CLI download --quiet -f $ID -p ./-", tmp_path, ID=file_id).returncode == 0
    assert (tmp_path / "-").read_bytes() == DATA


@pytest.mark.parametrize("option", ["--resume", "--checksum crc32c 00000000"])
@pytest.mark.parametrize("path", ["-", "/dev/stdout", "/dev/null"])
def test_options_that_need_a_file(tmp_path: Path, path: str, option: str) -> None:
    """What a stream cannot do is refused before anything is asked for."""
    done = shell(f"$CLI download -f 1 -p {path} {option} > log", tmp_path)
    assert done.returncode == 2
    assert f"{option.split()[0]}: {path} is a stream".encode() in done.stderr
    assert (tmp_path / "log").read_bytes() == b""


# --- every byte or an error ------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["cat"], ["download", "--quiet", "-p", "-"]])
def test_pipe_in_non_blocking_mode(file_id: int, command: list[str]) -> None:
    """A full pipe in non-blocking mode is waited for: all bytes arrive."""
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    with started(*command, "-f", file_id, stdout=theirs) as process, open(ours, "rb") as pipe:
        os.close(theirs)
        assert pipe.read() == DATA
        assert process.communicate(timeout=60)[1] == b""
    assert process.returncode == 0


def test_socket_in_non_blocking_mode(file_id: int) -> None:
    """So is a socket, as inetd and systemd give one."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    with started("cat", "-f", file_id, stdout=theirs) as process, ours:
        theirs.close()
        with ours.makefile("rb") as stream:
            assert stream.read() == DATA
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_text_in_non_blocking_mode(portal: Emulator) -> None:
    """Lines are waited for as data is."""
    file_id = portal.add(bytes(100_000), block_size=100)
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    with started("info", "--json", "-f", file_id, stdout=theirs) as process:
        os.close(theirs)
        with open(ours, "rb") as pipe:
            assert len(json.loads(pipe.read())["blocks"]) == 1000
        process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.parametrize("path", [None, "-", "/dev/null"])
@pytest.mark.parametrize("missing", [1, len(DATA)])
def test_bytes_are_counted(
    run: Any, file_id: int, monkeypatch: pytest.MonkeyPatch, path: Any, missing: int
) -> None:
    """A download that claims more than was written is an error, however it came about."""

    def short(self: ClientCore, metadata: Metadata, target: Any, **_: Any) -> Download:
        target.write(DATA[missing:])
        return Download(None, len(DATA), 0, 1.0)

    monkeypatch.setattr(ClientCore, "download", short)
    command = ["cat"] if path is None else ["download", "-p", path]
    code, _, err = run(*command, "-f", file_id)
    assert code == 1
    count = len(DATA) - missing
    assert f"{count} of {len(DATA)} bytes were written; --range {count}- gives the rest" in err


def test_broken_block(portal: Emulator, file_id: int, tmp_path: Path) -> None:
    """A stream that fails half-way is told, with the way to get the rest."""
    portal.faults.add("storage", block=3, action=faults.status(404))
    done = shell("$CLI download -f $ID -p - >> log", tmp_path, ID=file_id)
    assert done.returncode == 1
    assert b"--range 100000- gives the rest" in done.stderr
    assert (tmp_path / "log").read_bytes() == DATA[: 2 * BLOCK]


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("cat", b"standard output"),
        ("download -p -", b"standard output"),
        ("download -p /dev/full", b"/dev/full"),
        ("info", b"standard output"),
    ],
)
def test_full_device(file_id: int, tmp_path: Path, command: str, name: bytes) -> None:
    """A device without space is named, with the way out."""
    done = shell(f"$CLI {command} -f $ID > /dev/full", tmp_path, ID=file_id)
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert name + b": cannot be written: No space left on device: free some space" in done.stderr


def test_reader_of_a_named_pipe_that_goes_away(portal: Emulator, tmp_path: Path) -> None:
    """The code is that of a closed pipe, and a line names which one."""
    file_id = portal.add(bytes(1_000_000))
    line = "mkfifo pipe; head -c 10 pipe > /dev/null & $CLI download -f $ID -p pipe"
    done = shell(line, tmp_path, ID=file_id)
    assert (done.returncode, done.stdout) == (141, b"")
    assert b"pipe: its reader went away" in done.stderr and done.stderr.count(b"\n") == 1


# --- the closing line ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "reason"), [(">&-", b"it is closed"), ("> /dev/full", b"No space left")]
)
def test_closing_line_that_cannot_be_written(
    file_id: int, tmp_path: Path, target: str, reason: bytes
) -> None:
    """The file is in place: that is a success, and a line on standard error says what is lost."""
    done = shell(f"$CLI download -f $ID -p out {target}", tmp_path, ID=file_id)
    assert (done.returncode, done.stderr.count(b"\n")) == (0, 1)
    assert b"out is complete, but its closing line is lost" in done.stderr and reason in done.stderr
    assert (tmp_path / "out").read_bytes() == DATA


def test_closing_line_that_is_not_read(file_id: int, tmp_path: Path) -> None:
    """A reader that went away did not want the line."""
    read, write = os.pipe()
    os.close(read)
    arguments = ("download", "-f", file_id, "-p", tmp_path / "out")
    assert finished(*arguments, stdout=write) == (0, b"", "")
    os.close(write)


@pytest.mark.parametrize("path", [".", "folder", "folder/", "/dev/fd/3"])
def test_folder_as_target(file_id: int, tmp_path: Path, path: str) -> None:
    """A folder is not a target, and stays as it is."""
    (tmp_path / "folder").mkdir()
    done = shell(f"$CLI download -f $ID -p {path} 3< folder", tmp_path, ID=file_id)
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert b"the target is a folder: name a file in it" in done.stderr
    assert os.listdir(tmp_path) == ["folder"]
