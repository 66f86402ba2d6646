"""``ctera-direct batch`` and its standard streams: a list that is whole, and a result for each line."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ctera_direct_sync._core import ClientCore
from ctera_direct_sync.emulator import Emulator

DATA = bytes(range(251)) * 20
COMMAND = [sys.executable, "-X", "dev", "-W", "error", "-m", "ctera_direct_sync", "batch"]

pytestmark = pytest.mark.keeps_partial


@pytest.fixture(autouse=True)
def _environment(portal: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTERA_DIRECT_URL", portal.url)
    monkeypatch.setenv("CTERA_DIRECT_ACCESS_KEY_ID", portal.access_key_id)
    monkeypatch.setenv("CTERA_DIRECT_SECRET_ACCESS_KEY", portal.secret_access_key)
    portal.add(DATA, file_id=1)


def shell(arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a batch in a folder, by bash."""
    line = f'"$@" {arguments}'
    return subprocess.run(
        ["bash", "-c", line, "bash", *COMMAND],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("manifest", ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"])
def test_closed_standard_input(tmp_path: Path, manifest: str) -> None:
    """A list that cannot be read is not an empty one."""
    done = shell(f"{manifest} folder <&-", tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "cannot be read" in done.stderr and "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == []


def test_folder_as_list(tmp_path: Path) -> None:
    """A folder is not a list."""
    done = shell(". folder", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert ".: cannot be read: Is a directory" in done.stderr


def test_file_as_folder(tmp_path: Path) -> None:
    """A file is not a folder to fill."""
    (tmp_path / "list").write_text("1,a\n")
    done = shell("list list", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"{tmp_path}/list" in done.stderr and "File exists" in done.stderr


@pytest.mark.parametrize("manifest", ["-", "/dev/stdin"])
def test_standard_input_in_non_blocking_mode(tmp_path: Path, manifest: str) -> None:
    """A list that comes in pieces is read to its end, not to the first pause."""
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    line = [*COMMAND, manifest, str(tmp_path / "folder")]
    with subprocess.Popen(line, stdin=ours, stdout=subprocess.PIPE) as process:
        os.close(ours)
        filler = b"\n" * 4000
        for name in (b"a", b"b", b"c"):
            # A pipe that is full, and drained, shows that the reader has begun to read.
            for _ in range(20):
                os.write(theirs, filler)
            os.write(theirs, b"1," + name + b"\n")
        os.close(theirs)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and b"3 files: 3 done" in out
    assert sorted(path.name for path in (tmp_path / "folder").glob("[abc]")) == ["a", "b", "c"]


def test_list_by_a_descriptor(tmp_path: Path) -> None:
    """A descriptor is read from where it stands, as a program after ``read`` in a shell's loop does."""
    (tmp_path / "list").write_text("not,for,us,at all\n1,a\n")
    done = shell("/dev/fd/3 folder 3< <(printf '1,a\\n1,b\\n')", tmp_path)
    assert done.returncode == 0 and "2 done" in done.stdout
    with (tmp_path / "list").open("rb", buffering=0) as file:
        file.readline()
        line = [*COMMAND, f"/dev/fd/{file.fileno()}", str(tmp_path / "other")]
        assert subprocess.run(line, pass_fds=[file.fileno()], timeout=60).returncode == 0
    assert (tmp_path / "other" / "a").read_bytes() == DATA


@pytest.mark.parametrize("lost", [0, 1])
def test_results_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], lost: int
) -> None:
    """A batch that ends without a result for each line is an error, however it came about."""
    from ctera_direct_sync.cli import program as cli

    run = ClientCore.run_batch

    def short(self: ClientCore, items: Any, *arguments: Any, **keywords: Any) -> Iterator[Any]:
        results = list(run(self, items, *arguments, **keywords))
        # One result is lost, or another one came twice in its place.
        yield from results[1:] if lost else [results[1], *results[1:]]

    monkeypatch.setattr(ClientCore, "run_batch", short)
    (tmp_path / "list").write_text("1,a\n1,b\n1,c\n")
    assert cli.main(["batch", str(tmp_path / "list"), str(tmp_path / "folder")]) == 1
    err = capfd.readouterr().err
    assert "1 of 3 files have no result: run the batch again" in err


def test_closed_standard_output(tmp_path: Path) -> None:
    """Without a place for its log a batch does not begin; a quiet one has none."""
    (tmp_path / "list").write_text("1,a\n")
    done = shell("list folder >&-", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "standard output: cannot be written: it is closed" in done.stderr
    assert not (tmp_path / "folder").exists()
    assert shell("--quiet list folder >&-", tmp_path).returncode == 0
    assert (tmp_path / "folder" / "a").read_bytes() == DATA


def test_full_standard_output(tmp_path: Path) -> None:
    """A log that cannot be written ends the batch with a line that says so."""
    (tmp_path / "list").write_text("1,a\n")
    done = shell("list folder >/dev/full", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert os.strerror(errno.ENOSPC) in done.stderr


def test_failures_without_standard_error(tmp_path: Path) -> None:
    """The exit code tells of failures that no line can tell of."""
    (tmp_path / "list").write_text("1,a\n99,b\n")
    for closed in ("2>&-", "2>/dev/full"):
        done = shell(f"list folder {closed}", tmp_path)
        assert done.returncode == 1
        assert "1 failed" in done.stdout and "99" not in done.stdout
