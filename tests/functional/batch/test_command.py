"""``ctera-direct batch`` as cron, a script and a person at a terminal have it."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable

import pytest

from ctera_direct_sync import codec
from ctera_direct_sync.cli import program as cli
from ctera_direct_sync.emulator import Emulator, faults

BLOCK = 10_000
DATA = bytes(range(251)) * 200
CRC = f"{codec.crc32c(DATA):08x}"
COMMAND = [sys.executable, "-X", "dev", "-W", "error", "-m", "ctera_direct_sync", "batch"]

pytestmark = pytest.mark.keeps_partial


@pytest.fixture(autouse=True)
def _environment(portal: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTERA_DIRECT_URL", portal.url)
    monkeypatch.setenv("CTERA_DIRECT_ACCESS_KEY_ID", portal.access_key_id)
    monkeypatch.setenv("CTERA_DIRECT_SECRET_ACCESS_KEY", portal.secret_access_key)
    for file_id in (1, 2, 3):
        portal.add(DATA, file_id=file_id, block_size=BLOCK)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Three files of six blocks each."""
    path = tmp_path / "list.csv"
    path.write_text("id,path\n1,a.bin\n2,sub/b.bin\n3,c.bin\n")
    return path


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a batch in this process: exit code, standard output, standard error."""

    def command(*arguments: Any) -> tuple[int, str, str]:
        try:
            code = cli.main(["batch", *map(str, arguments)])
        except SystemExit as exit:
            code = int(exit.code or 0)
        out, err = capfd.readouterr()
        return code, out, err

    return command


@contextmanager
def started(*arguments: Any, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A batch in a process of its own, which does not outlive the block."""
    with subprocess.Popen([*COMMAND, *map(str, arguments)], **options) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def events(out: str) -> list[dict[str, Any]]:
    """The log of --json."""
    return [json.loads(line) for line in out.splitlines()]


def test_done_then_unchanged(run: Any, portal: Emulator, manifest: Path, tmp_path: Path) -> None:
    """A line per file and one for all; the second run fetches nothing. Both exit with 0."""
    folder = tmp_path / "folder"
    code, out, err = run(manifest, folder)
    assert (code, err) == (0, "")
    *lines, summary = out.splitlines()
    size = len(DATA)
    assert sorted(lines) == sorted(
        f"{name}: done, {size} bytes, CRC32C {CRC}" for name in ("a.bin", "sub/b.bin", "c.bin")
    )
    assert summary.startswith(f"3 files: 3 done, 0 unchanged, 0 failed; {3 * size} bytes in ")
    assert (folder / "sub" / "b.bin").read_bytes() == DATA
    before = len(portal.requests)
    code, out, err = run(manifest, folder)
    assert (code, err) == (0, "") and "0 done, 3 unchanged, 0 failed; 0 bytes" in out
    assert len(portal.requests) - before == 3


def test_some_fail(run: Any, portal: Emulator, manifest: Path, tmp_path: Path) -> None:
    """Each failure is a line on stderr that names the manifest's line; the code is 1; the rest is done."""
    with manifest.open("a") as file:
        file.write("99,gone.bin\nx,y\n1,../out\n2,a.bin\n")
    code, out, err = run(manifest, tmp_path / "folder")
    assert code == 1
    assert "7 files: 3 done, 0 unchanged, 4 failed" in out
    lines = sorted(err.splitlines())
    starts = [
        "line 5: gone.bin: ",
        "line 6: 'x' is not a file ID",
        "line 7: ../out: ",
        "line 8: a.bin: ",
    ]
    assert len(lines) == 4
    for line, start in zip(lines, starts):
        assert line.startswith(f"ctera-direct batch: {start}")
    assert "(file 99)" in lines[0] and ".." in lines[2] and "item 1" in lines[3]


def test_quiet(run: Any, manifest: Path, tmp_path: Path) -> None:
    """--quiet says nothing of what went well, and still tells what did not."""
    assert run(manifest, tmp_path / "folder", "--quiet") == (0, "", "")
    with manifest.open("a") as file:
        file.write("99,gone.bin\n")
    code, out, err = run(manifest, tmp_path / "folder", "--quiet")
    assert (code, out) == (1, "") and len(err.splitlines()) == 1


def test_json(run: Any, portal: Emulator, manifest: Path, tmp_path: Path) -> None:
    """--json writes one object per line, with all that a program needs and no secret."""
    with manifest.open("a") as file:
        file.write("99,gone.bin\nx,y\n")
    run(manifest, tmp_path / "folder", "--quiet")
    portal.replace(1, DATA[:-1], block_size=BLOCK)
    code, out, err = run(manifest, tmp_path / "folder", "--json")
    assert (code, err) == (1, "")
    start, *files, end = events(out)
    assert start["event"] == "start" and start["files"] == 5
    assert (start["manifest"], start["folder"]) == (str(manifest), str(tmp_path / "folder"))
    by_line = {event["line"]: event for event in files}
    assert {line: event["outcome"] for line, event in by_line.items()} == {
        2: "done", 3: "unchanged", 4: "unchanged", 5: "failed", 6: "failed"
    }  # fmt: skip
    assert by_line[2]["size"] == len(DATA) - 1
    assert by_line[3]["crc32c"] == CRC and by_line[3]["path"] == "sub/b.bin"
    assert by_line[5]["error"] == "NotFoundError" and by_line[5]["errno"] == errno.ENOENT
    assert by_line[5]["file_id"] == 99 and by_line[6]["file_id"] is None
    assert end["event"] == "end" and (end["done"], end["unchanged"], end["failed"]) == (1, 2, 2)
    assert end["left"] == 0 and end["bytes"] == len(DATA) - 1
    assert all(re.fullmatch(r"20\S+T\S+\+00:00", event["time"]) for event in events(out))
    for secret in (portal.access_key_id, portal.secret_access_key, "Signature"):
        assert secret not in out


def test_json_quiet(run: Any, manifest: Path, tmp_path: Path) -> None:
    """Together they log failures alone."""
    with manifest.open("a") as file:
        file.write("99,gone.bin\n")
    code, out, err = run(manifest, tmp_path / "folder", "--json", "--quiet")
    assert (code, err) == (1, "")
    assert [event["path"] for event in events(out)] == ["gone.bin"]


def test_checksums(run: Any, manifest: Path, tmp_path: Path) -> None:
    """A checksum of the manifest decides whether a file is put in place."""
    manifest.write_text(f"1,right,{CRC}\n2,wrong,{'0' * 64}\n")
    code, out, err = run(manifest, tmp_path / "folder")
    assert code == 1 and "1 done" in out
    assert "wrong: The file's sha256 is" in err
    assert not (tmp_path / "folder" / "wrong").exists()


def test_standard_input(tmp_path: Path) -> None:
    """- reads the manifest from standard input."""
    with started("-", tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        out, _ = process.communicate(b"1,a\n", timeout=60)
    assert process.returncode == 0 and b"1 done" in out
    assert (tmp_path / "a").read_bytes() == DATA


def test_names_cannot_forge_lines(run: Any, tmp_path: Path) -> None:
    """Control characters of a name are written out, not obeyed."""
    manifest = tmp_path / "list.csv"
    manifest.write_bytes(b'1,"a\nb\x1b[2J"\n99,"c\nd"\n')
    code, out, err = run(manifest, tmp_path / "folder")
    assert code == 1
    assert out.splitlines()[0].startswith(r"a\nb\x1b[2J: done") and r"c\nd: " in err
    assert len(out.splitlines()) == 2 and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "No such file"), ("id,path,sha265\n", "sha265"), ("1,a".encode("utf-16"), "UTF-16")],
)
def test_manifests_that_cannot_be_read(
    run: Any, portal: Emulator, tmp_path: Path, content: Any, problem: str
) -> None:
    """Without a list there is nothing to do: one line, exit code 2, no request."""
    manifest = tmp_path / "list.csv"
    if content is not None:
        manifest.write_bytes(content if isinstance(content, bytes) else content.encode())
    code, out, err = run(manifest, tmp_path / "folder")
    assert (code, out) == (2, "") and problem in err and len(err.splitlines()) == 1
    assert not portal.requests


@pytest.mark.parametrize(
    "arguments", [[], ["m.csv"], ["m.csv", "f", "--files", "0"], ["a", "b", "c"]]
)
def test_usage(run: Any, arguments: list[str]) -> None:
    """Wrong usage is one line and exit code 2."""
    code, out, err = run(*arguments)
    assert (code, out) == (2, "") and len(err.splitlines()) == 1


@pytest.mark.parametrize("option", ["--files", "--workers"])
def test_files_at_once(
    portal: Emulator, run: Any, manifest: Path, tmp_path: Path, option: str
) -> None:
    """With one file at a time, each file is complete before the next one is asked for."""
    code, _, _ = run(manifest, tmp_path / "folder", option, "1")
    requests = [record for record in portal.requests if record.where == "portal"]
    assert code == 0 and [record.file_id for record in requests] == [1, 2, 3]
    times = [portal.requests.index(record) for record in requests]
    fetched = [index for index, record in enumerate(portal.requests) if record.where == "storage"]
    assert [sum(index < end for index in fetched) for end in times] == [0, 6, 12]


def test_one_batch_per_folder(portal: Emulator, run: Any, manifest: Path, tmp_path: Path) -> None:
    """While one runs, the next says so and exits with 1; its log says so too."""
    held = portal.faults.add("storage", 1, action=faults.stall())
    folder = tmp_path / "folder"
    with started(manifest, folder, stdout=subprocess.DEVNULL) as process:
        assert held.wait(timeout=30)
        code, out, err = run(manifest, folder)
        assert code == 1 and out == "" and "another batch fills this folder" in err
        code, out, err = run(manifest, folder, "--json", "--quiet")
        assert code == 1 and [event["event"] for event in events(out)] == ["error"]
        held.release()
        assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["int", "term"]
)
def test_interrupted(
    portal: Emulator, run: Any, manifest: Path, tmp_path: Path, number: int, code: int
) -> None:
    """A signal ends it at once with its own code and a last line; the next run takes up the rest."""
    held = portal.faults.add("storage", block=4, times=None, action=faults.stall())
    folder = tmp_path / "folder"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with started(manifest, folder, "--json", **pipes) as process:
        assert held.wait(timeout=30)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == code
    last = events(out.decode())[-1]
    assert (last["event"], last["left"], last["done"]) == ("interrupted", 3, 0)
    assert len(err.splitlines()) == 1
    assert {path.name[:1] for path in folder.rglob("*") if path.is_file()} == {"."}
    held.release()
    portal.faults.clear()
    assert run(manifest, folder, "--quiet") == (0, "", "")
    assert (folder / "a.bin").read_bytes() == DATA


def test_output_that_nobody_reads(manifest: Path, tmp_path: Path) -> None:
    """A closed pipe ends the batch with the code that shells know for it."""
    read, write = os.pipe()
    os.close(read)
    with started(manifest, tmp_path / "folder", stdout=write, stderr=subprocess.PIPE) as process:
        os.close(write)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (141, b"")


@pytest.mark.skipif(sys.platform == "win32", reason="terminals are others there")
def test_bars_on_a_terminal(portal: Emulator, manifest: Path, tmp_path: Path) -> None:
    """On a terminal there is a bar for all files and one for each, and none with --quiet."""
    import fcntl
    import pty
    import termios

    for options, wanted in (([], True), (["--quiet"], False)):
        main, side = pty.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        command = started(manifest, tmp_path / f"f{wanted}", *options, stdout=side, stderr=side)
        with command as process, open(main, "rb", buffering=0) as terminal:
            os.close(side)
            shown = _read_terminal(terminal).decode()
            assert process.wait(60) == 0
        assert ("total" in shown) is wanted
        assert ("a.bin" in shown) is wanted
        assert ("3/3" in shown) is wanted


def _read_terminal(terminal: io.RawIOBase | io.FileIO) -> bytes:
    """All that is shown until the last program that writes to it has ended."""
    shown = b""
    while True:
        try:
            data = terminal.read(65536)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return shown
        if not data:
            return shown
        shown += data
