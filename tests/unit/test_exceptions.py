"""The tree of exceptions: its shape, its attributes, its way through a pickle."""

from __future__ import annotations

import copyreg
import errno
import os
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

import ctera_direct_sync as ctera_direct
from ctera_direct_sync import exceptions
from ctera_direct_sync.exceptions import (
    BlockError,
    BlockInfo,
    DirectIOError,
    NamespaceError,
    StreamError,
)

BLOCK = BlockInfo(12345, 3, 1048576, 524288)

#: Each class: its parent and the errno that it has unless told otherwise.
TREE = {
    "DirectIOError": (OSError, errno.EIO),
    "DirectIOAPIError": ("DirectIOError", errno.EIO),
    "NotFoundError": ("DirectIOAPIError", errno.ENOENT),
    "UnAuthorized": ("DirectIOAPIError", errno.EACCES),
    "UnprocessableContent": ("DirectIOAPIError", errno.ENOTSUP),
    "InvalidRequest": ("DirectIOAPIError", errno.EIO),
    "BlocksNotFoundError": ("DirectIOAPIError", errno.ENODATA),
    "BlockListConnectionError": ("DirectIOAPIError", errno.ENETRESET),
    "BlockListTimeout": ("DirectIOAPIError", errno.ETIMEDOUT),
    "DecryptKeyError": ("DirectIOError", errno.EIO),
    "BlockError": ("DirectIOError", errno.EIO),
    "DownloadError": ("BlockError", errno.EIO),
    "DownloadTimeout": ("BlockError", errno.ETIMEDOUT),
    "DownloadConnectionError": ("BlockError", errno.ENETRESET),
    "DecryptBlockError": ("BlockError", errno.EIO),
    "DecompressBlockError": ("BlockError", errno.EIO),
    "BlockValidationException": ("BlockError", errno.EIO),
    "StreamError": ("DirectIOError", errno.EIO),
}
ALIASES = {
    "ObjectNotFoundError": "NotFoundError",
    "AuthorizationError": "UnAuthorized",
    "UnsupportedStorageError": "UnprocessableContent",
}


def make(name: str, **keywords) -> DirectIOError:
    """An instance of the class of that name."""
    cls = getattr(exceptions, name)
    if issubclass(cls, BlockError):
        return cls("What went wrong", BLOCK, **keywords)
    if issubclass(cls, StreamError):
        return cls("What went wrong", 12345, 4096, **keywords)
    return cls("What went wrong", 12345, **keywords)


@pytest.mark.parametrize("name", TREE)
def test_tree(name):
    """Each class has the parent that users' except clauses count on, and only that one."""
    parent, _ = TREE[name]
    expected = parent if isinstance(parent, type) else getattr(exceptions, parent)
    assert getattr(exceptions, name).__bases__ == (expected,)


def test_tree_is_complete():
    """The module exports the tree, the aliases and BlockInfo, and the package the same names.

    The errors of names are in tests/unit/names/test_errors.py, that of mirrors is in tests/unit/mirror.
    """
    defined = {
        name for name, value in vars(exceptions).items() if getattr(value, "__mro__", None) and
        issubclass(value, BaseException)
    }  # fmt: skip
    names = {each for each in defined if issubclass(getattr(exceptions, each), NamespaceError)}
    names.add("TooManyDeletionsError")
    assert sorted(exceptions.__all__) == sorted([*TREE, *ALIASES, *names, "BlockInfo"])
    assert defined - names == {*TREE, *ALIASES}
    for name in exceptions.__all__:
        assert getattr(ctera_direct, name) is getattr(exceptions, name)


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_aliases(alias, name):
    """A newer name is the same class, so either catches both."""
    assert getattr(exceptions, alias) is getattr(exceptions, name)


@pytest.mark.parametrize("name", TREE)
def test_attributes(name):
    """errno, strerror and filename are those of an OSError; the file ID is the filename."""
    error = make(name)
    assert (error.errno, error.strerror, error.filename) == (
        TREE[name][1],
        "What went wrong",
        12345,
    )
    assert isinstance(error, OSError)


@pytest.mark.parametrize("name", TREE)
def test_errno_may_be_given(name):
    """A more telling errno takes the class's place."""
    assert make(name, errno=errno.ENOSPC).errno == errno.ENOSPC


def test_file_id_may_be_unknown():
    """An error without a file says nothing of one."""
    error = DirectIOError("What went wrong")
    assert error.filename is None
    assert str(error) == f"[Errno {errno.EIO}] What went wrong"


@pytest.mark.parametrize("name", TREE)
def test_text(name):
    """The message holds errno, sentence and file; the repr names the class."""
    error = make(name)
    assert str(error).startswith(f"[Errno {TREE[name][1]}] What went wrong: file 12345")
    assert repr(error) == f"{name}({str(error)!r})"


def test_block_in_text():
    """The message of a block's error says which block, where, and how long."""
    text = "[Errno 5] What went wrong: file 12345, block 3 at offset 1048576 (524288 bytes)"
    assert str(make("DownloadError")) == text


@pytest.mark.parametrize(
    ("info", "text"),
    [
        (BlockInfo(None, 7, None, None), "block 7"),
        (BlockInfo(None, None, None, None), "block"),
        (BlockInfo(None, None, None, 10), "block (10 bytes)"),
        (BlockInfo(9, 7, 0, 0), "file 9, block 7 at offset 0 (0 bytes)"),
    ],
)
def test_block_of_which_little_is_known(info, text):
    """What is None is left out, what is 0 is not."""
    assert str(info) == text


@pytest.mark.parametrize("name", TREE)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(name, protocol):
    """Class, text, errno, file and what else there is come out of a pickle as they went in."""
    error = make(name, errno=errno.ESTALE)
    copy = pickle.loads(pickle.dumps(error, protocol))
    assert type(copy) is type(error)
    assert (copy.errno, copy.strerror, copy.filename) == (errno.ESTALE, "What went wrong", 12345)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


@pytest.mark.parametrize("name", TREE)
def test_pickle_keeps_the_cause(name):
    """A cause of our own goes along, to any depth."""
    error = make(name)
    error.__cause__ = make("DownloadError")
    error.__cause__.__cause__ = make("UnAuthorized")
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy.__cause__) == str(error.__cause__)
    assert type(copy.__cause__.__cause__) is exceptions.UnAuthorized


def test_pickle_without_a_foreign_cause(monkeypatch):
    """A cause that may not pickle is left behind rather than losing the error."""
    # dask.distributed's tblib, once imported, has all exceptions pickled its own way, causes included.
    monkeypatch.delitem(copyreg.dispatch_table, StreamError, raising=False)
    error = make("StreamError")
    error.__cause__ = RuntimeError(lambda: None)
    assert pickle.loads(pickle.dumps(error)).__cause__ is None


def test_pickle_keeps_attributes_of_users():
    """Attributes that someone attached survive as well."""
    error = make("DownloadError")
    error.attempt = 4
    assert pickle.loads(pickle.dumps(error)).attempt == 4


def _raise_chained() -> None:
    raise make("StreamError") from make("DownloadTimeout")


def test_from_another_process():
    """An error raised in a worker process arrives as itself, with its cause's block."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        error = pool.submit(_raise_chained).exception(timeout=60)
    assert isinstance(error, StreamError)
    assert (error.offset, error.filename) == (4096, 12345)


def test_stream_error_offset():
    """A StreamError says where to resume; without an argument at the beginning."""
    assert make("StreamError").offset == 4096
    assert StreamError("What went wrong").offset == 0


def test_errnos_have_texts():
    """Every default errno is one that the platform can name."""
    assert all(os.strerror(number) for _, number in TREE.values())
