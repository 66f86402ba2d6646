"""One table turns what a backend found into the exception that users see."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

from ctera_direct_sync import exceptions
from ctera_direct_sync.codec.errors import DecodeStatus, raise_status

HEADER = Path(__file__).parents[3] / "csrc" / "ctera_codec.h"

CLASSES: dict[str, type[Exception]] = {
    "ARGUMENT": ValueError,
    "MEMORY": MemoryError,
    "CRYPTO": exceptions.DecryptBlockError,
    "ENVELOPE": exceptions.DecryptBlockError,
    "PADDING": exceptions.DecryptBlockError,
    "TAG": exceptions.DecryptBlockError,
    "CORRUPT": exceptions.DecompressBlockError,
    "CHECKSUM": exceptions.DecompressBlockError,
    "TRAILING": exceptions.DecompressBlockError,
    "UNSUPPORTED": exceptions.DecompressBlockError,
    "TOO_LONG": exceptions.BlockValidationException,
    "TOO_SHORT": exceptions.BlockValidationException,
}


def test_numbers_are_those_of_the_c_header() -> None:
    """The C enum and DecodeStatus have the same names and numbers."""
    enum = re.search(r"enum ctera_error \{(.*?)\};", HEADER.read_text("ascii"), re.DOTALL)
    assert enum is not None
    members = re.findall(r"\bCTERA_([A-Z_]+) = (\d+)", enum[1])
    assert {name: int(number) for name, number in members} == dict(DecodeStatus.__members__)


@pytest.mark.parametrize("name", CLASSES)
def test_every_fault_has_its_exception(name: str) -> None:
    """Each raises its class, plain numbers included, with a sentence that says what to do."""
    with pytest.raises(CLASSES[name]) as caught:
        raise_status(int(DecodeStatus[name]), 7, 100)
    assert type(caught.value) is CLASSES[name]
    assert len(str(caught.value)) > 40


def test_every_fault_is_tested() -> None:
    """A new fault needs a line in CLASSES."""
    assert set(CLASSES) == set(DecodeStatus.__members__) - {"OK"}


@pytest.mark.parametrize("name", [name for name in CLASSES if name not in ("ARGUMENT", "MEMORY")])
def test_block_errors_are_whole(name: str) -> None:
    """errno, sentence and block are set, and survive pickling."""
    with pytest.raises(exceptions.BlockError) as caught:
        raise_status(DecodeStatus[name], 7, 100)
    error = caught.value
    again = pickle.loads(pickle.dumps(error))
    for one in (error, again):
        assert one.errno == type(error).default_errno
        assert one.block == exceptions.BlockInfo(None, 7, None, 100)
        assert "block 7 (100 bytes)" in str(one)
    assert again.strerror == error.strerror


def test_sentences_differ() -> None:
    """No two faults read the same."""
    sentences = set()
    for name in CLASSES:
        with pytest.raises((OSError, ValueError, MemoryError)) as caught:
            raise_status(DecodeStatus[name], 1, 1)
        sentences.add(str(caught.value))
    assert len(sentences) == len(CLASSES)


@pytest.mark.parametrize("code", [0, 13, -1])
def test_what_is_no_fault(code: int) -> None:
    """A number that means nothing, or success, is a bug that shows."""
    with pytest.raises((KeyError, ValueError)):
        raise_status(code, 1, 1)
