"""A batch of small files that is killed: what the record lists is on the disk, and is not fetched again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ctera_direct_sync import DirectIO
from ctera_direct_sync._readers.batch_record import RECORD_NAME, read_record
from ctera_direct_sync._readers.folders import Folder
from ctera_direct_sync.emulator import Emulator
from tests.faults.killing import environment

if sys.platform == "win32":
    pytest.skip("Windows has no SIGKILL", allow_module_level=True)


COUNT = 120

PROGRAM = """
import sys
from ctera_direct_sync import DirectIO
ids, folder = sys.argv[1].split(","), sys.argv[2]
with DirectIO() as client:
    client.download_many(
        [(int(each), each) for each in ids], folder, progress=lambda *_: print("x", flush=True)
    )
"""

pytestmark = pytest.mark.keeps_partial


@pytest.mark.parametrize("lines", [3, 60, 150])
def test_files_of_the_record_stay(
    portal: Emulator, client: DirectIO, tmp_path: Path, lines: int
) -> None:
    """After SIGKILL at any moment the next batch fetches what the record lacks, and all is right."""
    portal.latency = 0.005
    contents = {portal.add(b"%d" % number * 500): b"%d" % number * 500 for number in range(COUNT)}
    line = [sys.executable, "-c", PROGRAM, ",".join(map(str, contents)), str(tmp_path)]
    with subprocess.Popen(line, env=environment(portal), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(lines):
            process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
    with Folder.open(str(tmp_path)) as folder:
        recorded = read_record(folder)
    named = [name for name in recorded if (tmp_path / name).exists()]
    for name in named:
        assert (tmp_path / name).read_bytes() == contents[int(name)]
    before = len(portal.requests)
    results = client.download_many([(each, str(each)) for each in contents], tmp_path)
    assert all(result.ok for result in results)
    # A file that has a line and not yet its name is taken over from its part file. A last request of the
    # killed process may be noted late: it is for a file without a line.
    fetched = {each.file_id for each in portal.requests[before:] if each.where == "storage"}
    assert fetched == set(contents) - set(map(int, recorded))
    assert {int(each.name): each.read_bytes() for each in tmp_path.glob("[0-9]*")} == contents
    assert sorted(each.name for each in tmp_path.glob(".*")) == [RECORD_NAME]
