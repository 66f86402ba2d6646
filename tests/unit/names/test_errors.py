"""The errors of names: their bases, attributes, texts and pickles."""

from __future__ import annotations

import errno
import pickle

import pytest

from ctera_direct_sync import exceptions
from ctera_direct_sync.exceptions import DirectIOError, NamespaceError, TooManyFoldersError

#: Each class: its bases, and the errno that it has unless told otherwise.
TREE = {
    "NamespaceError": (("DirectIOError",), errno.EIO),
    "LoginError": (("NamespaceError",), errno.EACCES),
    "PathNotFoundError": (("NamespaceError", "FileNotFoundError"), errno.ENOENT),
    "NotAFolderError": (("NamespaceError", "NotADirectoryError"), errno.ENOTDIR),
    "IsAFolderError": (("NamespaceError", "IsADirectoryError"), errno.EISDIR),
    "AccessDeniedError": (("NamespaceError", "PermissionError"), errno.EACCES),
    "CursorRejectedError": (("NamespaceError",), errno.ESTALE),
    "TooManyFoldersError": (("NamespaceError",), errno.E2BIG),
    "NamespaceConnectionError": (("NamespaceError",), errno.ENETRESET),
    "NamespaceTimeout": (("NamespaceError",), errno.ETIMEDOUT),
}
WITH_PATH = [name for name in TREE if name != "TooManyFoldersError"]


@pytest.mark.parametrize("name", TREE)
def test_bases(name):
    """Code for files catches the errors by the standard library's names as well."""
    cls = getattr(exceptions, name)
    assert tuple(base.__name__ for base in cls.__bases__) == TREE[name][0]
    assert issubclass(cls, DirectIOError)
    assert cls("What went wrong").errno == TREE[name][1]


def test_all_are_here():
    """No error of names is missing from this test."""
    found = {
        name for name, value in vars(exceptions).items()
        if isinstance(value, type) and issubclass(value, NamespaceError)
    }  # fmt: skip
    assert found == set(TREE)
    assert found <= set(exceptions.__all__)


@pytest.mark.parametrize("name", WITH_PATH)
def test_path(name):
    """The filename is the path, which the text quotes."""
    error = getattr(exceptions, name)("What went wrong", "/My Files/a", errno=errno.ECANCELED)
    assert (error.errno, error.strerror, error.filename) == (
        errno.ECANCELED,
        "What went wrong",
        "/My Files/a",
    )
    assert str(error) == f"[Errno {errno.ECANCELED}] What went wrong: '/My Files/a'"


def test_error_without_a_path():
    """An error that is about no path names none."""
    assert str(NamespaceError("What went wrong")) == "[Errno 5] What went wrong"


@pytest.mark.parametrize("name", WITH_PATH)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(name, protocol):
    """An error comes out of a pickle as it went in."""
    error = getattr(exceptions, name)("What went wrong", "/a", errno=errno.EAGAIN)
    again = pickle.loads(pickle.dumps(error, protocol))
    assert (type(again), str(again), again.errno) == (type(error), str(error), errno.EAGAIN)


def test_limit():
    """The number of folders that the portal takes survives a pickle."""
    again = pickle.loads(pickle.dumps(TooManyFoldersError("Too many", 20)))
    assert (again.limit, again.filename, again.errno) == (20, None, errno.E2BIG)
