"""The values of a batch live in a public module, which pickles name."""

from __future__ import annotations

import pickle

import pytest

from ctera_direct_sync import BatchItem, BatchResult, Download, types

ITEM = BatchItem(12345, "a/b.pdf", "crc32c:00000000")


@pytest.mark.parametrize("cls", [BatchItem, BatchResult])
def test_classes_are_public(cls: type) -> None:
    """They are in `types`, beside the other values, and say so."""
    assert cls.__module__ == "ctera_direct_sync.types"
    assert getattr(types, cls.__name__) is cls


@pytest.mark.parametrize("value", [ITEM, BatchResult(ITEM, "done", Download("b.pdf", 1, 2, 0.5))])
def test_pickles_name_the_public_module(value: tuple[object, ...]) -> None:
    """A pickle survives a move of private modules: it names none of them."""
    pickled = pickle.dumps(value)
    assert b"_readers" not in pickled
    assert pickle.loads(pickled) == value
