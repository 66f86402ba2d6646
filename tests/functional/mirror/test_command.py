"""``ctera-direct mirror`` and ``ctera-direct verify``, as cron and a person have them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from ctera_direct_sync.cli import program as cli
from ctera_direct_sync.emulator import Emulator, faults
from tests.support.file_systems import variables_of
from tests.support.mirror_portal import local_files

TREE = {"a.txt": b"a", "docs": {"b.pdf": b"bb", "c.bin": b"ccc"}}


@pytest.fixture
def portal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """A portal with three files, known to the environment."""
    with Emulator(tree=TREE) as emulator:
        for name, value in variables_of(emulator).items():
            monkeypatch.setenv(name, value)
        yield emulator


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """Run a command in this process: exit code, standard output, standard error."""

    def command(*arguments: Any) -> tuple[int, str, str]:
        try:
            code = cli.main([*map(str, arguments)])
        except SystemExit as exit:
            code = int(exit.code or 0)
        return code, *capfd.readouterr()

    return command


def test_mirror_and_verify(portal: Emulator, run: Callable[..., Any], tmp_path: Path) -> None:
    """A run tells each action and ends with the counts. verify finds what is not as it was."""
    code, out, err = run("mirror", "/My Files", tmp_path)
    assert (code, err) == (0, "")
    *lines, last = out.splitlines()
    assert sorted(lines) == [
        "download: a.txt", "download: docs/b.pdf", "download: docs/c.bin", "make folder: docs",
    ]  # fmt: skip
    assert last.startswith(
        "3 added, 0 updated, 0 moved, 0 deleted, 0 unchanged, 0 conflicts, 0 failed; 6"
    )
    assert run("verify", tmp_path) == (0, "3 ok, 0 missing, 0 changed, 0 extra\n", "")

    (tmp_path / "a.txt").write_bytes(b"b")
    (tmp_path / "docs/b.pdf").unlink()
    (tmp_path / "own").write_bytes(b"own")
    code, out, err = run("verify", tmp_path)
    assert code == 1
    assert sorted(out.splitlines()) == [
        "1 ok, 1 missing, 1 changed, 1 extra", "changed: a.txt (other bytes)", "extra: own",
        "missing: docs/b.pdf",
    ]  # fmt: skip
    code, out, err = run("mirror", "/My Files", tmp_path, "--quiet")
    assert (code, out) == (0, "")
    assert err == "ctera-direct mirror: conflict: a.txt: it was changed here, and stays as it is\n"


def test_dry_run_prints_what_the_run_prints(
    portal: Emulator, run: Callable[..., Any], tmp_path: Path
) -> None:
    """--dry-run prints the actions of the run that follows, and changes nothing."""
    run("mirror", "/My Files", tmp_path)
    portal.tree.overwrite("/My Files/a.txt", b"other")
    portal.tree.rename("/My Files/docs", "papers")
    portal.tree.delete("/My Files/papers/c.bin")
    before = local_files(tmp_path, own=True)
    code, planned, _ = run("mirror", "/My Files", tmp_path, "--dry-run")
    assert code == 0 and local_files(tmp_path, own=True) == before
    code, done, _ = run("mirror", "/My Files", tmp_path)
    assert sorted(planned.splitlines()[:-1]) == sorted(done.splitlines()[:-1])
    assert len(done.splitlines()) == 6
    assert planned.splitlines()[-1].startswith(
        "a run would give: 0 added, 1 updated, 1 moved, 1 del"
    )


def test_json(portal: Emulator, run: Callable[..., Any], tmp_path: Path) -> None:
    """--json writes one object per action, and one at the end."""
    portal.faults.add(
        "storage", portal.tree.file_id("/My Files/a.txt"), times=None, action=faults.status(404)
    )
    code, out, err = run("mirror", "/My Files", tmp_path, "--json", "--exclude", "*.bin")
    events = [json.loads(line) for line in out.splitlines()]
    assert code == 1 and err == ""
    assert [e["event"] for e in events] == ["mkdir", "fetch", "failed", "end"]
    assert events[1]["path"] == "docs/b.pdf" and events[1]["size"] == 2
    assert (events[-1]["added"], events[-1]["failed"], events[-1]["dry_run"]) == (1, 1, False)


def test_too_many_deletions(portal: Emulator, run: Callable[..., Any], tmp_path: Path) -> None:
    """--max-delete stops the run with one line that says what to do."""
    run("mirror", "/My Files", tmp_path)
    portal.tree.delete("/My Files/docs")
    code, out, err = run("mirror", "/My Files", tmp_path, "--max-delete", 1)
    assert (code, out) == (1, "")
    assert "2 files would be deleted" in err and "raise max_delete" in err
    assert "None" not in err
    assert len(local_files(tmp_path)) == 3


@pytest.mark.keeps_partial
def test_verify_of_a_batch(portal: Emulator, run: Callable[..., Any], tmp_path: Path) -> None:
    """verify also reads what batches have left, by the journals beside the files."""
    folder = tmp_path / "batch"
    long = "x" * 250
    manifest = tmp_path / "list.csv"
    lines = [f"/My Files/{source},{target}" for source, target in (
        ("a.txt", "a.txt"), ("docs/b.pdf", "sub/b.pdf"), ("docs/c.bin", long), ("a.txt", "gone"),
    )]  # fmt: skip
    manifest.write_text("id,path\n" + "\n".join(lines))
    assert run("batch", manifest, folder)[0] == 0
    assert run("verify", folder) == (0, "4 ok, 0 missing, 0 changed, 0 extra\n", "")
    (folder / "sub/b.pdf").write_bytes(b"xx")
    (folder / "gone").unlink()
    (folder / "own").write_bytes(b"own")
    code, out, _ = run("verify", folder)
    assert code == 1
    assert sorted(out.splitlines()) == [
        "2 ok, 1 missing, 1 changed, 1 extra", "changed: sub/b.pdf (other bytes)", "extra: own",
        "missing: gone",
    ]  # fmt: skip


def test_wrong_usage(portal: Emulator, run: Callable[..., Any], tmp_path: Path) -> None:
    """Wrong usage is exit code 2; a folder that is not a mirror is 1."""
    assert run("mirror", "My Files", tmp_path)[0] == 2
    assert run("mirror", "/My Files", tmp_path, "--max-delete", "many")[0] == 2
    assert run("mirror", "/My Files", tmp_path, "--delete", "shred")[0] == 2
    run("mirror", "/My Files/docs", tmp_path)
    code, _, err = run("mirror", "/My Files", tmp_path)
    assert code == 2 and "choose another folder" in err
    other = tmp_path / "other"
    other.mkdir()
    (other / "x").write_bytes(b"x")
    code, _, err = run("verify", other)
    assert code == 1 and "no checksums are here" in err
