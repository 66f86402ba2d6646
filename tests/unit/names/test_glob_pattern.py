"""Patterns: what matches, by a reference of another make, and which folders are asked for."""

from __future__ import annotations

import fnmatch
import glob

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctera_direct_sync._readers.glob_pattern import GlobPattern, States

names = st.text(st.sampled_from("abA.*["), min_size=1, max_size=3).filter(
    lambda name: name not in (".", "..")
)
paths = st.lists(names, min_size=1, max_size=4)
parts = st.one_of(
    names.map(glob.escape),
    st.just("**"),
    st.just("*"),
    st.text(st.sampled_from("abA.*?"), min_size=1, max_size=3).filter(
        lambda part: part not in (".", "..", "**", "***")
    ),
    st.sampled_from(["[ab]*", "[!a]", "*.[ab]", "[*]"]),
)
patterns = st.lists(parts, min_size=1, max_size=4)


def reference(pattern: list[str], path: list[str]) -> bool:
    """Return whether a path matches, part by part, by trying all lengths of each `**`."""
    if not pattern:
        return not path
    first, rest = pattern[0], pattern[1:]
    if first == "**":
        least = 0 if rest else 1
        return any(reference(rest, path[count:]) for count in range(least, len(path) + 1))
    return bool(path) and fnmatch.fnmatchcase(path[0], first) and reference(rest, path[1:])


def collapse(pattern: list[str]) -> list[str]:
    """Return the pattern with one `**` for several in a row."""
    return [
        part
        for index, part in enumerate(pattern)
        if part != "**" or index == 0 or pattern[index - 1] != "**"
    ]


def states_of(pattern: GlobPattern, path: list[str]) -> States:
    """Return the states that a path leads to from the root."""
    base = [part for part in pattern.base.split("/") if part]
    if path[: len(base)] != base:
        return frozenset()
    states = pattern.start()
    for name in path[len(base) :]:
        states = pattern.step(states, name)
    return states


@given(patterns, paths)
def test_matches_as_the_reference(pattern, path):
    """A path matches exactly if the reference says so."""
    parsed = GlobPattern("/" + "/".join(pattern))
    assert parsed.matches(states_of(parsed, path)) == reference(collapse(pattern), path)


@given(patterns, paths)
def test_folders_that_can_match_are_asked_for(pattern, path):
    """Each folder between the base and a match is one that the walk goes into."""
    parsed = GlobPattern("/" + "/".join(pattern))
    if not parsed.matches(states_of(parsed, path)):
        return
    base = len([part for part in parsed.base.split("/") if part])
    for length in range(base, len(path)):
        assert parsed.goes_on(states_of(parsed, path[:length]))


@given(patterns, paths)
def test_literals_are_what_must_follow(pattern, path):
    """Names that are taken without a listing are the only ones that could match there."""
    parsed = GlobPattern("/" + "/".join(pattern))
    states = states_of(parsed, path)
    found = parsed.read_literals(states)
    if found is None:
        return
    literals, after = found
    assert states_of(parsed, path + literals) | states == after | states
    assert not parsed.goes_on(parsed.step(states, literals[0] + "x"))


@pytest.mark.parametrize(
    ("pattern", "base"),
    [
        ("/My Files/a.pdf", "/My Files/a.pdf"),
        ("/My Files/*/a.pdf", "/My Files"),
        ("/**", "/"),
        ("/", "/"),
        ("/a/[[]b]/c*", "/a/[b]"),
        ("//a//b//", "/a/b"),
    ],
)
def test_base(pattern, base):
    """The parts before the first wildcard are a path; an escaped wildcard is none."""
    assert GlobPattern(pattern).base == base


def test_escaped_path_has_no_magic():
    """A path that went through `glob.escape` is looked up as it is."""
    path = "/a*/b?/[c]/d]"
    parsed = GlobPattern(glob.escape(path))
    assert not parsed.has_magic
    assert parsed.base == path


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("/*.PDF", ["a.pdf"], False),
        ("/*", [".hidden"], True),
        ("/**/x", ["x"], True),
        ("/a/**", ["a"], False),
        ("/a/**", ["a", "b"], True),
        ("/a/*/**", ["a", "b"], False),
        ("/a**b", ["a", "b"], False),
        ("/a**b", ["axxb"], True),
        ("/?", ["\U0001f4a7"], True),
        ("/?", ["e\u0301"], False),
        ("/[a/b]", ["[a", "b]"], True),
    ],
)
def test_rules(pattern, path, matches):
    """Case counts, dots do not, `**` is a whole part, and a character is a code point."""
    parsed = GlobPattern(pattern)
    assert parsed.matches(states_of(parsed, path)) is matches


@pytest.mark.parametrize("pattern", ["a/*", "", "/a/../*", "/./*", "/a\0*"])
def test_patterns_that_cannot_be(pattern):
    """A pattern begins with a slash and holds no steps that lead elsewhere."""
    with pytest.raises(ValueError, match="pattern"):
        GlobPattern(pattern)


def test_pattern_is_text():
    """Anything else than a text is a TypeError."""
    with pytest.raises(TypeError, match="not bytes"):
        GlobPattern(b"/*")
