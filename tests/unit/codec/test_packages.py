"""Packages of the portable codec that are missing, too old, or refuse to load: its stand-ins."""

from __future__ import annotations

import importlib
import os
import pickle
import random
import subprocess
import sys
import zlib
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cramjam
import pytest

from ctera_direct_sync.codec import packages, portable
from ctera_direct_sync.exceptions import DecompressBlockError
from tests.vectors import hostile, payloads, snappy_elements
from tests.vectors.outcomes import decode_by, outcome
from tests.vectors.plaintexts import KINDS, plaintext


@pytest.fixture
def without_cramjam(monkeypatch: pytest.MonkeyPatch) -> None:
    """The portable codec as it is where cramjam cannot be loaded."""
    monkeypatch.setattr(packages, "_cramjam", None)


@pytest.mark.usefixtures("without_cramjam")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0, 1, 60, 61, 300, 70_000, 300_000])
def test_snappy_in_python(kind: str, size: int) -> None:
    """Raw blocks and streams decode to the same bytes."""
    data = plaintext(kind, size)
    for payload in (payloads.snappy_raw(data), payloads.snappy_stream(data)):
        assert decode_by(portable, payload, compression="SNAPPY", length=size)[0] == data


@pytest.mark.usefixtures("without_cramjam")
def test_snappy_in_python_refuses_the_same() -> None:
    """Every hostile block and stream gets the exception that its description says."""
    cases = {n: case for n, case in hostile.cases().items() if case.compression == "SNAPPY"}
    assert len(cases) > 10
    for name, case in cases.items():
        found = outcome(
            partial(decode_by, portable),
            case.payload,
            compression="SNAPPY",
            length=case.length,
        )
        assert found.error == case.error, name


def test_snappy_in_python_judges_like_cramjam() -> None:
    """Of 3,000 damaged blocks both take the same, and to the same bytes."""
    source = random.Random(5)
    program = snappy_elements.Program()
    for offset in range(1, 70):
        program.literal(plaintext("random", offset))
        program.copy(offset, min(64, 4 * offset), 2)
        program.copy(offset, 5, 4 if offset % 2 else 1)
    size = len(program.plaintext)
    accepted = 0
    for _ in range(3000):
        block = bytearray(program.block)
        for _ in range(source.choice((1, 1, 3))):
            block[source.randrange(2, len(block))] = source.randrange(256)
        expected: bytearray | None = bytearray(size)
        try:
            cramjam.snappy.decompress_raw_into(bytes(block), expected)
        except cramjam.DecompressionError:
            expected = None
        out = bytearray(size)
        found = packages._decompress_snappy_by_python(bytes(block), out)
        assert found is (expected is not None)
        assert not found or out == expected
        accepted += found
    assert 100 < accepted < 2900


@pytest.mark.parametrize("size", [0, 1, 9, 1000])
def test_crc32c_by_table(size: int) -> None:
    """The table gives what google-crc32c gives, from any value on."""
    data = plaintext("random", size)
    assert packages._extend_crc32c_by_table(0, data) == portable.crc32c(data)
    assert packages._extend_crc32c_by_table(77, data) == portable.crc32c(data, 77)


def test_lz4_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """LZ4 blocks are refused with a sentence that names the package; others are read."""
    monkeypatch.setattr(packages, "lz4_frame", None)
    with pytest.raises(DecompressBlockError, match="package lz4 cannot be loaded") as caught:
        decode_by(portable, payloads.lz4_frame(b"x"), compression="LZ4", length=1)
    assert caught.value.block == (None, None, None, 1)
    assert decode_by(portable, b"x", compression="NONE", length=1)[0] == b"x"


class _OldDecompressor:
    """Deviates in what is unused, as isal before 1.9 does."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=-15)
        self.eof = False

    def decompress(self, data: bytes, max_length: int) -> bytes:
        piece = self._stream.decompress(data, max_length)
        self.eof = self._stream.eof
        self.unused_data = self._stream.unused_data[:-8]
        return piece


def test_an_isal_that_is_too_old_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose unused_data is wrong gives way to zlib, and a good one is used."""
    old = SimpleNamespace(decompressobj=lambda wbits: _OldDecompressor())
    good = SimpleNamespace(decompressobj=zlib.decompressobj)
    for module, chosen in ((old, zlib), (good, good)):
        monkeypatch.setattr(packages.importlib, "import_module", lambda name, module=module: module)
        assert packages._load_zlib() is chosen


def test_the_isal_that_is_installed_is_used() -> None:
    """The declared lower bound is a version that works."""
    isal = pytest.importorskip("isal.isal_zlib")
    assert packages.zlib is isal


def interpreters() -> ModuleType:
    """The module that makes subinterpreters, by whichever name this Python has it."""
    for name in ("_interpreters", "_xxsubinterpreters"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    pytest.skip("this Python makes no subinterpreters")


# The package itself is a bare one here: what its other modules import is not this test's matter.
SUBINTERPRETER = """
import pickle, sys, types
sys.path[:0] = {path!r}
bare = types.ModuleType("ctera_direct_sync")
bare.__path__ = [{package!r}]
sys.modules["ctera_direct_sync"] = bare
from ctera_direct_sync import codec
with open({made!r}, "rb") as file:
    data, made = pickle.load(file)
for payload, compression in made:
    block = codec.decode(payload, compression=compression, length=len(data))
    assert block.data == data
    assert block.crc32c == codec.crc32c(data)
assert codec.crc64nvme(b"123456789") == 0xAE8B14860A799888
print(codec.backend, flush=True)
"""
MAIN = """
import sys
name, program = sys.argv[1:]
made = __import__(name)
for _ in range(3):
    if name == "_interpreters":
        interpreter = made.create("legacy")
        failure = made.exec(interpreter, program)
        assert failure is None, failure
    else:
        interpreter = made.create(isolated=False)
        made.run_string(interpreter, program)
"""


@pytest.mark.parametrize("backend", ["native", "portable"])
def test_several_subinterpreters(backend: str, tmp_path: Path) -> None:
    """Each of three decodes every format; what cannot be loaded twice is named once in each."""
    if backend not in os.environ.get("CTERA_DIRECT_TEST_BACKENDS", "native,portable").split(","):
        pytest.skip("CTERA_DIRECT_TEST_BACKENDS leaves this backend out")
    data = plaintext("text", 40_000)
    made = [
        (payloads.snappy_stream(data), None),
        (payloads.gzip_members(data), None),
        (payloads.lz4_frame(data), "LZ4"),
        (data, "NONE"),
    ]
    (tmp_path / "made").write_bytes(pickle.dumps((data, made)))
    program = SUBINTERPRETER.format(
        path=sys.path, package=str(Path(packages.__file__).parents[1]), made=str(tmp_path / "made")
    )
    done = subprocess.run(
        [sys.executable, "-c", MAIN, interpreters().__name__, program],
        env={**os.environ, "CTERA_DIRECT_CODEC": backend},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [backend] * 3
    warned = done.stderr.count("The package cramjam cannot be loaded here")
    assert warned == done.stderr.count("cramjam")
    assert warned <= (2 if backend == "portable" else 0)
