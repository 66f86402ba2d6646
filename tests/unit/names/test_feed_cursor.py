"""The text that callers keep: a portal's cursor and its folders, whole or refused."""

from __future__ import annotations

import base64
import json
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ctera_direct_sync import CloudFolder, NamespaceError
from ctera_direct_sync._protocol.feed_cursor import (
    MAX_CURSOR_LENGTH,
    FeedCursor,
    check_cursor,
    check_folders,
)

FOLDERS = st.sets(st.integers(0, 2**63 - 1), max_size=20).map(lambda ids: tuple(sorted(ids)))
POSITIONS = st.none() | st.text(min_size=1, max_size=200)


@given(POSITIONS, FOLDERS)
@example("\ud800 \u0000\U0001f4a7", (0, 2**63 - 1))
def test_round_trip(position, folders):
    """Whatever a portal takes for a cursor comes back as it was, by way of one word of ASCII."""
    cursor = FeedCursor(position, folders)
    text = cursor.pack()
    assert text.isascii()
    assert text.split() == [text]
    assert FeedCursor.unpack(text) == cursor
    assert FeedCursor.unpack(f"  {text}\r\n") == cursor


@given(st.integers(0, 10_000), st.characters())
def test_changed_characters(number, letter):
    """A cursor of which one character is another, missing or added is refused."""
    text = FeedCursor("eyJjdXJzb3IiOiJ7", (16, 20)).pack()
    at = number % len(text)
    for changed in (text[:at] + letter + text[at + 1 :], text[:at] + text[at + 1 :], text[:at]):
        if changed.strip() != text:
            with pytest.raises(ValueError, match="cursor"):
                FeedCursor.unpack(changed)


def packed(members: object, version: str = "1") -> str:
    """Return the text of members with the right checksum."""
    body = base64.urlsafe_b64encode(json.dumps(members).encode()).rstrip(b"=")
    return f"ctera-feed-{version}.{zlib.crc32(body):08x}.{body.decode()}"


MALFORMED = {
    "list": [],
    "no folders": {"cursor": "a"},
    "more members": {"cursor": "a", "folders": "", "more": 1},
    "number": {"cursor": 5, "folders": ""},
    "huge number": {"cursor": 10**4000, "folders": ""},
    "empty cursor": {"cursor": "", "folders": ""},
    "folders of numbers": {"cursor": "a", "folders": [16]},
    "folders not sorted": {"cursor": "a", "folders": "20,16"},
    "folder twice": {"cursor": "a", "folders": "16,16"},
    "folder too large": {"cursor": "a", "folders": str(2**63)},
    "folder of other digits": {"cursor": "a", "folders": "\u0661"},
    "folders with a comma": {"cursor": "a", "folders": "16,"},
}


@pytest.mark.parametrize("members", MALFORMED.values(), ids=MALFORMED)
def test_malformed_members(members):
    """A checksum alone does not make a cursor."""
    with pytest.raises(ValueError, match="not a cursor of the change feed"):
        FeedCursor.unpack(packed(members))


def test_nesting():
    """A body nested too deep is refused like any other."""
    body = base64.urlsafe_b64encode(b"[" * 100_000).rstrip(b"=")
    with pytest.raises(ValueError, match="not a cursor"):
        FeedCursor.unpack(f"ctera-feed-1.{zlib.crc32(body):08x}.{body.decode()}")


def test_other_versions():
    """A cursor of another release is told as such."""
    with pytest.raises(ValueError, match="has version 2, and this release reads 1"):
        FeedCursor.unpack(packed({"cursor": "a", "folders": ""}, "2"))


@pytest.mark.parametrize("text", ["", "eyJjdXJzb3IiOiJ7", "ctera-feed-", "ctera-feed-1.0.a", "\0"])
def test_garbage(text):
    """What never was one of our cursors is refused, a portal's own cursor included."""
    with pytest.raises(ValueError, match="not a cursor of the change feed: pass what"):
        FeedCursor.unpack(text)


def test_lengths():
    """A cursor has a limit in both directions."""
    with pytest.raises(NamespaceError, match="follow fewer cloud folders"):
        FeedCursor("x" * MAX_CURSOR_LENGTH, ()).pack()
    for text in ("x" * (MAX_CURSOR_LENGTH + 1), " " * (2 * MAX_CURSOR_LENGTH + 1)):
        with pytest.raises(ValueError, match="at most"):
            FeedCursor.unpack(text)
    long = FeedCursor("x" * (MAX_CURSOR_LENGTH // 2), ())
    assert FeedCursor.unpack(long.pack()) == long


def test_folders():
    """Folders are a set, in any form; none of them is not all of them."""
    team = CloudFolder(20, "Team", "ann")
    assert check_folders(None) == ()
    assert check_folders([20, team, 16]) == check_folders({16, 20}) == (16, 20)
    assert check_folders(iter([team])) == (20,)
    for folders in ([], [-1], [2**63]):
        with pytest.raises(ValueError, match="cloud folder"):
            check_folders(folders)
    for wrong in (team, 16, "16", b"16", [True], ["16"], [None], [1.0]):
        with pytest.raises(TypeError, match="folders"):
            check_folders(wrong)  # type: ignore[arg-type]


def test_cursor_of_other_folders():
    """The message names both sets of folders."""
    text = FeedCursor("a", (1, 2, 3, 4, 5, 6)).pack()
    assert check_cursor(text, (1, 2, 3, 4, 5, 6)) == FeedCursor("a", (1, 2, 3, 4, 5, 6))
    with pytest.raises(ValueError, match=r"for the cloud folders 1, 2, 3, 4, 5, ..., and .* all"):
        check_cursor(text, ())
    assert check_cursor(None, (16,)) == FeedCursor(None, (16,))
    with pytest.raises(TypeError, match="a cursor is a str, not bytes"):
        check_cursor(b"a", ())
