"""The native codec needs none of the packages that the portable one is made of.

So the library works on a Python for which some of them have no wheel and cannot be built.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ctera_direct_sync import codec
from ctera_direct_sync.emulator import Emulator, SyntheticSource
from tests.support.file_systems import variables_of

pytestmark = pytest.mark.skipif(
    codec.backend != "native", reason="the native codec is not built here"
)

DATA = SyntheticSource(300_000, seed=3).read(0, 300_000)

PROGRAM = """
import importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"lz4", "google_crc32c", "Crypto", "cramjam", "isal", "anycrc"}:
            raise ModuleNotFoundError(f"{name} is not installed", name=name)

sys.meta_path.insert(0, Missing())
from ctera_direct_sync import DirectIO, codec
with DirectIO() as client:
    for file_id in sys.argv[2:]:
        done = client.download(int(file_id), f"{sys.argv[1]}/{file_id}")
    client.download("/My Files/a.bin", f"{sys.argv[1]}/a.bin")
    assert client.open(int(file_id)).read(10) == next(client.stream(int(file_id))).data[:10]
print(codec.backend)
"""


def test_download_without_the_packages(portal: Emulator, tmp_path: Path) -> None:
    """Each format is downloaded right, and nothing is printed to standard error."""
    formats = [
        (cipher, compression)
        for cipher in ("AES-CBC", "AES-GCM", None)
        for compression in ("SNAPPY", "SNAPPY-RAW", "GZIP", "LZ4", "NONE")
    ]
    files = [
        portal.add(DATA, block_size=70_000, cipher=cipher, compression=compression)
        for cipher, compression in formats
    ]
    portal.tree.create("/My Files/a.bin", DATA)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(tmp_path), *map(str, files)],
        env={**os.environ, **variables_of(portal)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("native\n", "")
    assert all((tmp_path / str(name)).read_bytes() == DATA for name in [*files, "a.bin"])
