"""A real limit of processes (RLIMIT_NPROC): fewer threads do all of the work, or an error says so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from ctera_direct_sync.emulator import Emulator, SyntheticSource
from tests.faults.killing import environment

SIZE = 300_000
DATA = SyntheticSource(SIZE, seed=7).read(0, SIZE)
#: Users that have no other process. nginx, which other tests start, may run as 65534.
USER = 65_500

pytestmark = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="needs root and setpriv, to become a user that has a limit",
)

PROGRAM = """
import resource, sys
limit = int(sys.argv.pop(1))
from ctera_direct_sync.cli import main
resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_cat_with_few_threads(portal: Emulator, limit: int) -> None:
    """Every byte comes, or one line says what to do; never a part that looks whole."""
    file_id = portal.add(DATA, block_size=5000)
    user = ["setpriv", f"--reuid={USER + limit}", f"--regid={USER}", "--clear-groups"]
    probe = [*user, sys.executable, "-c", "import ctera_direct_sync.cli"]
    if subprocess.run(probe, env=environment(portal), capture_output=True).returncode:
        pytest.skip("that user cannot run this Python")
    done = subprocess.run(
        [*user, sys.executable, "-c", PROGRAM, str(limit), "cat", "-f", str(file_id)],
        env=environment(portal), capture_output=True, timeout=50,
    )  # fmt: skip
    assert b"Traceback" not in done.stderr
    if done.returncode == 0:
        assert done.stdout == DATA
    else:
        assert limit == 1 and done.returncode == 1
        assert b"ulimit -u" in done.stderr.splitlines()[-1]
