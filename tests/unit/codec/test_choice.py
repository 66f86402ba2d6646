"""Which backend is chosen, and what is said about it; each case in an interpreter of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

# Stands for a machine where the extension was not built.
WITHOUT_EXTENSION = """
import sys
sys.modules["ctera_direct_sync.codec._native"] = None
"""
# Stands for PyPy.
WITHOUT_PYTHONAPI = """
import ctypes
del ctypes.pythonapi
"""
REPORT = """
import logging
records = []
handler = logging.Handler()
handler.emit = records.append
logging.getLogger("ctera_direct_sync").addHandler(handler)
from ctera_direct_sync import codec
assert codec.decode(b"x", compression="NONE", length=1).data == b"x"
print(codec.backend)
for record in records:
    print(record.name, record.levelname, record.getMessage(), sep="|")
"""
ENCRYPTED = """
from tests.vectors.envelopes import KEY, cbc
from tests.vectors.payloads import snappy_stream
stored = cbc(snappy_stream(b"text" * 999))
assert codec.decode(stored, key=KEY, length=3996).data == b"text" * 999
"""


def run(program: str, *options: str, codec: str | None = None) -> subprocess.CompletedProcess[str]:
    """The program's end, with CTERA_DIRECT_CODEC as given or unset."""
    environment = {key: value for key, value in os.environ.items() if key != "CTERA_DIRECT_CODEC"}
    if codec is not None:
        environment["CTERA_DIRECT_CODEC"] = codec
    return subprocess.run(
        [sys.executable, "-W", "error", *options, "-c", program],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("wanted", ["native", "portable"])
def test_forced(wanted: str) -> None:
    """The environment decides, and nothing is logged about it."""
    if wanted not in os.environ.get("CTERA_DIRECT_TEST_BACKENDS", "native,portable").split(","):
        pytest.skip("CTERA_DIRECT_TEST_BACKENDS leaves this backend out")
    done = run(REPORT, codec=wanted)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [wanted], "")


@pytest.mark.parametrize("unset", [None, ""])
def test_native_by_default(unset: str | None) -> None:
    """Where it is built, the native codec is used in silence."""
    if "native" not in os.environ.get("CTERA_DIRECT_TEST_BACKENDS", "native,portable").split(","):
        pytest.skip("CTERA_DIRECT_TEST_BACKENDS leaves the native backend out")
    done = run(REPORT, codec=unset)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["native"], "")


def test_native_imports_nothing_of_the_portable_codec() -> None:
    """The packages behind the portable codec cost nothing while the native one is in use."""
    if "native" not in os.environ.get("CTERA_DIRECT_TEST_BACKENDS", "native,portable").split(","):
        pytest.skip("CTERA_DIRECT_TEST_BACKENDS leaves the native backend out")
    program = "import sys; from ctera_direct_sync import codec; print(sorted(sys.modules))"
    done = run(program, codec="native")
    loaded = set(done.stdout.replace("'", " ").replace(",", " ").split())
    assert "ctera_direct_sync.codec.native" in loaded
    assert not loaded & {"ctera_direct_sync.codec.portable", "cramjam", "lz4", "google_crc32c"}


def test_falling_back_warns_once() -> None:
    """Without the extension the portable codec works; one warning says the cost and the cure."""
    done = run(WITHOUT_EXTENSION + REPORT)
    assert done.returncode == 0, done.stderr
    backend, *records = done.stdout.splitlines()
    assert backend == "portable"
    (record,) = records
    name, level, message = record.split("|")
    assert (name, level) == ("ctera_direct_sync.codec", "WARNING")
    for words in ("several times", "apt-get install", "pip install", "CTERA_DIRECT_CODEC=portable"):
        assert words in message


def test_falling_back_is_seen_without_any_logging_setup() -> None:
    """A program that never heard of logging gets the warning on stderr."""
    done = run(WITHOUT_EXTENSION + "import ctera_direct_sync.codec")
    assert done.returncode == 0
    assert done.stderr.count("The native codec cannot be loaded") == 1


def test_portable_on_purpose_is_silent() -> None:
    """Who asks for the portable codec is not warned of it, extension or not."""
    done = run(WITHOUT_EXTENSION + REPORT, codec="portable")
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["portable"], "")


def test_native_forced_and_missing() -> None:
    """ImportError that says how to build it."""
    done = run(WITHOUT_EXTENSION + REPORT, codec="native")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: CTERA_DIRECT_CODEC=native")
    assert "pip install" in last


def test_a_python_without_the_c_api_falls_back() -> None:
    """Without ctypes.pythonapi (PyPy) portable is used, and no compiler is advised."""
    done = run(WITHOUT_PYTHONAPI + REPORT)
    assert done.returncode == 0, done.stderr
    backend, record = done.stdout.splitlines()
    assert backend == "portable"
    assert "ctypes.pythonapi" in record
    assert "compiler" not in record
    assert "Use CPython" in record


def test_native_forced_on_a_python_without_the_c_api() -> None:
    """ImportError, which every caller of import knows, rather than AttributeError."""
    done = run(WITHOUT_PYTHONAPI + REPORT, codec="native")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ImportError: CTERA_DIRECT_CODEC=native")


def test_a_python_without_cffi_falls_back() -> None:
    """Without cffi portable decodes encrypted blocks, too, and installing cffi is advised."""
    program = """
import sys
sys.modules["_cffi_backend"] = sys.modules["cffi"] = None
"""
    done = run(program + REPORT + ENCRYPTED)
    assert done.returncode == 0, done.stderr
    backend, record = done.stdout.splitlines()
    assert backend == "portable"
    assert "pip install cffi" in record
    assert "compiler" not in record


def test_another_python_is_not_told_to_compile() -> None:
    """PyPy cannot load the extension, however it is built."""
    done = run(WITHOUT_EXTENSION + "sys.implementation.name = 'pypy'\n" + REPORT)
    assert done.returncode == 0, done.stderr
    backend, record = done.stdout.splitlines()
    assert backend == "portable"
    assert "Use CPython" in record
    assert "compiler" not in record


def test_ctypes_is_left_as_it_is() -> None:
    """Other users of ctypes.pythonapi in the process find its functions without the library's types."""
    if "native" not in os.environ.get("CTERA_DIRECT_TEST_BACKENDS", "native,portable").split(","):
        pytest.skip("CTERA_DIRECT_TEST_BACKENDS leaves the native backend out")
    program = """
import ctypes
function = ctypes.pythonapi.PyBytes_FromStringAndSize
function.argtypes, function.restype = [ctypes.c_char_p, ctypes.c_ssize_t], ctypes.py_object
from ctera_direct_sync import codec
assert codec.backend == "native"
assert function.argtypes == [ctypes.c_char_p, ctypes.c_ssize_t]
assert function(b"whole", 3) == b"who"
function.argtypes, function.restype = None, ctypes.c_int
assert codec.decode(b"x" * 9999, compression="NONE", length=9999).data == b"x" * 9999
"""
    done = run(program, codec="native")
    assert (done.returncode, done.stderr) == (0, "")


def test_unknown_name() -> None:
    """A misspelt name is refused rather than ignored."""
    done = run(REPORT, codec="nativ")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ValueError: CTERA_DIRECT_CODEC is 'nativ'")


def test_portable_without_the_optional_packages() -> None:
    """Without isal, anycrc and the C part of google-crc32c the results are the same, in silence."""
    program = """
import gzip, sys
for name in ("isal", "anycrc", "google_crc32c.cext"):
    sys.modules[name] = None
from ctera_direct_sync import codec
data = bytes(range(256)) * 10
block = codec.decode(gzip.compress(data), length=len(data))
assert block.data == data
assert block.crc32c == codec.crc32c(memoryview(data))
assert codec.crc32c(b"123456789") == 0xE3069283
assert codec.crc64nvme(b"123456789") == 0xAE8B14860A799888
print(sys.modules["google_crc32c"].implementation)
"""
    done = run(program, codec="portable")
    assert (done.returncode, done.stdout, done.stderr) == (0, "python\n", "")


def test_exit_while_decoding() -> None:
    """An interpreter that ends with decodes in flight ends cleanly."""
    program = """
import os, threading
from ctera_direct_sync import codec
data = os.urandom(1 << 20)
started = threading.Barrier(5)
def work():
    started.wait()
    while True:
        codec.decode(data, compression="NONE", length=len(data))
for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
started.wait()
"""
    done = run(program, "-X", "dev")
    assert (done.returncode, done.stderr) == (0, "")
