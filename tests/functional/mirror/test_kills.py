"""A mirror whose process is killed at any moment, and run again."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from ctera_direct_sync.emulator import Emulator, faults
from tests.support.file_systems import variables_of
from tests.support.mirror_portal import local_files

COMMAND = [sys.executable, "-m", "ctera_direct_sync", "mirror", "/My Files"]


def committed_files(folder: Path) -> set[int]:
    """Return the IDs of the files that the state holds. A copy is read: reading repairs a database."""
    with tempfile.TemporaryDirectory() as copies:
        for file in (folder / ".ctera-mirror").glob("state.db*"):
            shutil.copy(file, copies)
        with contextlib.closing(sqlite3.connect(os.path.join(copies, "state.db"))) as state:
            try:
                rows = state.execute("SELECT file_id FROM items WHERE NOT is_dir").fetchall()
            except sqlite3.OperationalError:
                return set()  # It was killed before it made the tables.
    return {row[0] for row in rows}


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
@pytest.mark.parametrize(
    ("kills", "files"),
    [(3, 60), pytest.param(50, 2000, marks=[pytest.mark.nightly, pytest.mark.timeout(1800)])],
)
def test_kill_at_any_moment(tmp_path: Path, kills: int, files: int) -> None:
    """After kills during changes and faults, the folder is right, and committed files came once."""
    chance = random.Random(19)
    content = {f"f{n}.bin": f"{n:06d}".encode() * 100 for n in range(files)}
    tree = {f"d{d}": dict(list(content.items())[d::10]) for d in range(10)}
    with Emulator(tree=tree) as portal:
        environment = {**os.environ, **variables_of(portal)}
        portal.faults.add("portal", times=None, skip=20, action=faults.delay(0.02))
        for skip in range(30, files, 200):
            portal.faults.add("storage", skip=skip, action=faults.cut())
            portal.faults.add("storage", skip=skip + 50, action=faults.corrupt())
        committed: dict[int, int] = {}
        wanted = {f"{d}/{name}": data for d, inner in tree.items() for name, data in inner.items()}
        for number in range(kills):
            with subprocess.Popen(
                [*COMMAND, str(tmp_path), "--json", "--files", "8"],
                env=environment,
                stdout=subprocess.PIPE,
                text=True,
            ) as process:
                assert process.stdout is not None
                # More lines than there are folders: some file is in the state by then.
                for _ in range(chance.randrange(12, max(40, files // 8))):
                    if not process.stdout.readline():
                        break
                process.send_signal(signal.SIGKILL)
                process.stdout.read()
            fetched = Counter(r.file_id for r in portal.requests if r.where == "storage")
            for file_id in committed_files(tmp_path):
                committed.setdefault(file_id, fetched[file_id])
            # Each file that has its name is whole and right at any moment.
            assert set(local_files(tmp_path).values()) <= set(content.values())
            old, new = f"d{number % 10}", f"e{number}"
            if any(path.startswith(f"{old}/") for path in wanted):
                portal.tree.rename(f"/My Files/{old}", new)
                wanted = {
                    f"{new}/{path[len(old) + 1 :]}" if path.startswith(f"{old}/") else path: data
                    for path, data in wanted.items()
                }
        portal.faults.clear()
        done = subprocess.run(
            [*COMMAND, str(tmp_path), "--quiet"],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert local_files(tmp_path) == wanted
        before = len(portal.requests)
        subprocess.run([*COMMAND, str(tmp_path), "--quiet"], env=environment, check=True)
        assert not [r for r in portal.requests[before:] if r.where == "storage"]
        fetched = Counter(r.file_id for r in portal.requests if r.where == "storage")
        again = {each for each, count in committed.items() if fetched[each] != count}
        assert committed and not again, "files were fetched again that the state had"
