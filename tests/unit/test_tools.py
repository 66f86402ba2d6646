"""The checks of `make lint` that this repository has of its own."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from tests.support.programs import load_program

TOOLS = Path(__file__).parents[2] / "tools"

pytestmark = pytest.mark.skipif(
    not TOOLS.exists(), reason="an installed package is tested without the tools"
)


def load(name: str) -> ModuleType:
    """Return a program of tools/ as a module."""
    return load_program(TOOLS / name)


@pytest.mark.parametrize(
    "name, text, line",
    [
        ("a.py", '"""Whoever reads this."""\n', 1),
        ("a.py", "x = 1\n# It waits for\n# so many seconds.\n", 3),
        ("a.py", 'class A:\n    b: int\n    """A part of ours."""\n', 3),
        ("a.md", "# Title\n\nA folder is no file.\n", 3),
        ("a.c", "int a;\n/* As RFC 1951\n   has it. */\n", 2),
    ],
)
def test_banned_phrases_are_found(name, text, line, tmp_path, monkeypatch):
    """Docstrings, comments and pages are searched, and the line is right."""
    program = load("check-prose.py")
    (tmp_path / name).write_text(text)
    monkeypatch.setattr(program, "ROOT", tmp_path)
    assert [found for found, _, _ in program.find_phrases(name)] == [line]


@pytest.mark.parametrize(
    "name, text",
    [
        ("a.py", 'message = "nobody"\nnobody = 1\n'),
        ("a.py", "# There is no file. It is no longer there. All of ours.\n"),
        ("a.md", "```python\n# nobody\n```\n"),
        ("a.c", 'const char *nobody = "whoever";\n'),
    ],
)
def test_code_and_good_sentences_pass(name, text, tmp_path, monkeypatch):
    """Names, strings, programs in pages, and other uses of the same words are left alone."""
    program = load("check-prose.py")
    (tmp_path / name).write_text(text)
    monkeypatch.setattr(program, "ROOT", tmp_path)
    assert program.find_phrases(name) == []


def test_the_baseline_falls_and_does_not_rise(tmp_path, monkeypatch, capsys):
    """An update follows a moved file and a cleaned one, and refuses a new phrase."""
    program = load("check-prose.py")
    baseline = tmp_path / "baseline.txt"
    baseline.write_text("2 old.md\n")
    monkeypatch.setattr(program, "ROOT", tmp_path)
    monkeypatch.setattr(program, "BASELINE", baseline)
    monkeypatch.setattr(program, "list_files", lambda: ["new.md"])
    monkeypatch.setattr("sys.argv", ["check-prose.py", "--update"])
    (tmp_path / "new.md").write_text("Nobody, nobody, nobody.\n")
    assert program.main() == 1 and "2 old.md" in baseline.read_text()
    (tmp_path / "new.md").write_text("Nobody.\n")
    assert program.main() == 0
    assert program.read_baseline() == {"new.md": 1}
    assert "3 phrases" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["12.fixed.md", "+wait.added.md", "7.security.1.md"])
def test_names_of_fragments(name):
    """These are names that towncrier takes."""
    assert load("check-changelog.py").NAME.fullmatch(name)


@pytest.mark.parametrize("name", ["12.md", "fix.md", "12.bug.md", "wait.added.md", "12.fixed.txt"])
def test_other_names_are_refused(name):
    """These would be left out of the changelog in silence."""
    assert not load("check-changelog.py").NAME.fullmatch(name)
