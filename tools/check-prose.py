"""Look for phrases that make sentences hard to read, in docstrings, comments and Markdown.

`tools/prose-baseline.txt` has the number of finds in each file that had some when the check was
introduced. A file may have fewer, never more. `--update` writes the numbers of today, unless their sum
would rise: use it after you cleaned, moved or split a file.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
BASELINE = ROOT / "tools" / "prose-baseline.txt"
HEADER = """\
# Phrases that tools/check-prose.py finds, per file. Their sum may only fall:
# `python tools/check-prose.py --update` writes this file after a file was cleaned, moved or split.
"""

#: What to write instead of each phrase.
BANNED = {
    r"\bwhoever\b": "name the caller, user or thread",
    r"\bnobody\b": 'turn the sentence round: "if there is no reader", not "if nobody reads"',
    r"\b(?<!there )(?:is|are|was|were) no (?!longer\b|more\b|\w+er than\b)": '"is not a ..."',
    r"\bas [\w' -]{1,30} has it\b": '"as ... says", or leave it out',
    r"\bso many (?:seconds|milliseconds|bytes|times)\b": "name the parameter or the constant",
    r"\b(?<!all )of ours\b": '"the library\'s", or "our ..."',
    r"\btak(?:es?|en|ing) up there\b|\btook up there\b": '"continues from there"',
}
PATTERNS = {re.compile(pattern, re.IGNORECASE): advice for pattern, advice in BANNED.items()}
C_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
#: These quote the phrases.
EXEMPT = {"tools/check-prose.py"}


def list_files() -> list[str]:
    """Return the paths of all files that may hold prose, from git."""
    done = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    suffixes = (".py", ".pyi", ".md", ".c", ".h")
    names = {name for name in done.stdout.split("\0") if name.endswith(suffixes)}
    return sorted(name for name in names - EXEMPT if (ROOT / name).is_file())


def find_python_prose(source: str) -> Iterator[tuple[int, str]]:
    """Yield line number and text of the docstrings and comments of a Python file."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        # A string after a field documents the field.
        for statement in node.body:
            value = statement.value if isinstance(statement, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value.lineno, value.value
    block: list[str] = []
    start = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        line, text = token.start[0], token.string.lstrip("#: ")
        if block and line != last + 1:
            yield start, "\n".join(block)
            block = []
        if not block:
            start = line
        block.append(text)
        last = line
    if block:
        yield start, "\n".join(block)


def find_prose(name: str, source: str) -> Iterator[tuple[int, str]]:
    """Yield line number and text of the prose of a file."""
    if name.endswith((".py", ".pyi")):
        yield from find_python_prose(source)
    elif name.endswith(".md"):
        # Programs keep their lines, so that the numbers stay right, and lose their text.
        yield 1, FENCE.sub(lambda match: "\n" * match[0].count("\n"), source)
    else:
        for match in C_COMMENT.finditer(source):
            yield source.count("\n", 0, match.start()) + 1, match[0]


def find_phrases(name: str) -> list[tuple[int, str, str]]:
    """Return line, phrase and advice of each find in a file."""
    found = []
    for line, text in find_prose(name, (ROOT / name).read_text(encoding="utf-8")):
        # A phrase may go over the end of a line; blanks keep their number.
        flat = re.sub(r"\s", " ", text)
        for pattern, advice in PATTERNS.items():
            for match in pattern.finditer(flat):
                found.append((line + text.count("\n", 0, match.start()), match[0].strip(), advice))
    return sorted(found)


def read_baseline() -> dict[str, int]:
    """Return the number of finds that each file may have."""
    allowed = {}
    for line in BASELINE.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            number, name = line.split(maxsplit=1)
            allowed[name] = int(number)
    return allowed


def main() -> int:
    """Print each file with more finds than it may have, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--update", action="store_true", help="write the numbers of today")
    parser.add_argument("--all", action="store_true", help="print all finds, allowed ones too")
    arguments = parser.parse_args()
    allowed = read_baseline()
    found = {name: find_phrases(name) for name in list_files()}
    worse = {name for name, finds in found.items() if len(finds) > allowed.get(name, 0)}
    for name, finds in found.items():
        if name in worse:
            print(f"{name}: {len(finds)} banned phrases, {allowed.get(name, 0)} allowed")
        if name in worse or arguments.all:
            for line, phrase, advice in finds:
                print(f"  {name}:{line}: {phrase!r}: {advice}")
    total, limit = sum(map(len, found.values())), sum(allowed.values())
    if not arguments.update:
        return int(bool(worse))
    if total > limit:
        print(f"{total} phrases are more than the {limit} of the baseline: it stays as it is")
        return 1
    lines = [f"{len(finds)} {name}\n" for name, finds in found.items() if finds]
    BASELINE.write_text(HEADER + "".join(lines), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
