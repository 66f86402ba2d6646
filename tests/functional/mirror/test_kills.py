"""A mirror whose process is killed at any moment, and run again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from ctera_direct_sync.emulator import Emulator, faults
from tests.support.file_systems import variables_of
from tests.support.mirror_portal import local_files

COMMAND = [sys.executable, "-m", "ctera_direct_sync", "mirror", "/My Files"]


def environment(portal: Emulator) -> dict[str, str]:
    """Return the environment of a command for a portal."""
    return {**os.environ, **variables_of(portal)}


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
        portal.faults.add("portal", times=None, skip=20, action=faults.delay(0.02))
        wanted = {f"{d}/{name}": data for d, inner in tree.items() for name, data in inner.items()}
        for number in range(kills):
            with subprocess.Popen(
                [*COMMAND, str(tmp_path), "--json", "--files", "8"],
                env=environment(portal),
                stdout=subprocess.PIPE,
                text=True,
            ) as process:
                assert process.stdout is not None
                for _ in range(chance.randrange(1, max(2, files // 8))):
                    if not process.stdout.readline():
                        break
                process.send_signal(signal.SIGKILL)
                process.stdout.read()
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
            env=environment(portal),
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert local_files(tmp_path) == wanted
        before = len(portal.requests)
        subprocess.run([*COMMAND, str(tmp_path), "--quiet"], env=environment(portal), check=True)
        assert not [r for r in portal.requests[before:] if r.where == "storage"]
        fetched = Counter(r.file_id for r in portal.requests if r.where == "storage")
        # Only the downloads that a kill cut off were begun again: at most those of one group.
        assert sum(fetched.values()) <= files + kills * 300
