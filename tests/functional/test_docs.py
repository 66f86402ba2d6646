"""Every code block of the documentation, run as a reader would, by the README's runner.

A block has a name (``<!-- name: x -->`` before it) or a reason not to be run. The tutorial's blocks are
run one after the other, against the emulator that its reader starts. Blocks named ``test-...`` are run by
pytest. Pages with tests of their own are left to those.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, NamedTuple

import pytest

from ctera_direct_sync.emulator import Emulator
from tests.functional.test_readme import BLOCK, RUNNERS, run_python, served

__all__ = ["served"]  # a fixture

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [
    "index.md",
    "faq.md",
    "howto/script.md",
    "howto/cron.md",
    "howto/testing.md",
    "howto/asyncio.md",
    "howto/buffers.md",
    "howto/notebooks.md",
    "howto/migration.md",
    "howto/watch.md",
    "reference/cli.md",
    "reference/exceptions.md",
    "reference/settings.md",
]
RUNNABLE = {"python", "bash", "crontab"}

pytestmark = pytest.mark.keeps_partial


class Snippet(NamedTuple):
    """A code block of a page."""

    page: str
    language: str
    code: str
    name: str
    excuse: str


def snippets(page: str) -> list[Snippet]:
    """The blocks of a page that are programs."""
    found = []
    for match in BLOCK.finditer((DOCS / page).read_text(encoding="utf-8")):
        if match["language"] in RUNNABLE:
            given = {match["marker"] or "": match["text"] or ""}
            name, excuse = given.get("name", ""), given.get("not run", "")
            found.append(Snippet(page, match["language"], match["code"], name, excuse))
    return found


SNIPPETS = [snippet for page in PAGES for snippet in snippets(page)]
RUN = [snippet for snippet in SNIPPETS if not snippet.excuse]
PLAIN = [snippet for snippet in RUN if not snippet.name.startswith("test-")]
TESTS = [snippet for snippet in RUN if snippet.name.startswith("test-")]


def by_name(name: str) -> Snippet:
    """The block of that name."""
    return next(snippet for snippet in RUN if snippet.name == name)


@pytest.fixture
def home(
    served: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], str]:
    """A home directory with the files that pages speak of; fills in what a reader would."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "nightly.csv").write_text("id,path\n12345,reports/march.pdf\n67890,archive.zip\n")
    keys = served(by_name("cron-keys").code)
    subprocess.run(["bash", "-euc", keys], check=True)
    return lambda code: served(code).replace(
        "PATH=/usr/local/bin:/usr/bin:/bin", f"PATH={os.environ['PATH']}"
    )


#: Imports of what the tests of several Pythons do not install. `make test` does.
NOT_EVERYWHERE = re.compile(r"^import (numpy|pyarrow)\b", re.MULTILINE)


@pytest.mark.parametrize("snippet", PLAIN, ids=[snippet.name for snippet in PLAIN])
def test_code_block(snippet: Snippet, home: Callable[[str], str], tmp_path: Path) -> None:
    """A code block runs, and leaves what its page says."""
    for module in NOT_EVERYWHERE.findall(snippet.code):
        pytest.importorskip(module)
    printed = RUNNERS[snippet.language](home(snippet.code))
    for name in LEFT.get(snippet.name, ()):
        assert (tmp_path / name).stat().st_size, name
    if snippet.name in ("cron-line", "cron-json"):
        assert printed == "", "cron would mail it"
    client = printed.get("client") if isinstance(printed, dict) else None
    if client is not None:
        client.close()


#: The files that a block makes.
LEFT = {
    "first": ["report.pdf"],
    "script-one": ["report.pdf"],
    "script-many": ["inbox/reports/march.pdf", "inbox/archive.zip"],
    "script-range": ["tail.bin"],
    "cron-try": ["nightly/reports/march.pdf", "nightly/archive.zip"],
    "cron-line": ["nightly/reports/march.pdf"],
    "cron-json": ["nightly/archive.zip", "nightly.log"],
    "cron-monitor": ["nightly.ok"],
    "cli-streams": ["collected.bin"],
    "watch-stats": ["report.pdf"],
    "watch-otel": ["report.pdf"],
    "watch-bench": ["bench.json"],
    "migrated": ["copy.bin"],
    "migrated-short": ["copy.bin"],
}


@pytest.mark.parametrize("snippet", TESTS, ids=[snippet.name for snippet in TESTS])
def test_tests(snippet: Snippet, tmp_path: Path) -> None:
    """The tests that a page shows pass, by a pytest that knows nothing but the installed package."""
    (tmp_path / "app.py").write_text(by_name("app").code)
    (tmp_path / "test_app.py").write_text(snippet.code)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_app.py"]
    command += ["--basetemp", str(tmp_path / "base")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    assert f"{len(re.findall('^def test_', snippet.code, re.MULTILINE))} passed" in done.stdout or (
        "parametrize" in snippet.code
    )


def test_the_nightly_jobs_log(home: Callable[[str], str], tmp_path: Path) -> None:
    """The second night finds everything unchanged, as the page's log says."""
    import json

    for _ in range(2):
        RUNNERS["crontab"](home(by_name("cron-json").code))
    events = [json.loads(line) for line in (tmp_path / "nightly.log").read_text().splitlines()]
    ends = [event for event in events if event["event"] == "end"]
    assert [(end["done"], end["unchanged"]) for end in ends] == [(2, 0), (0, 2)]
    page = (DOCS / "howto" / "cron.md").read_text()
    for event in events:
        row = re.search(rf"^\| `{event['event']}` \|(.*)\|$", page, re.MULTILINE)
        assert row is not None
        assert event.keys() - {"time", "event"} <= set(re.findall(r"`(\w+)`", row[1]))


# --- the tutorial --------------------------------------------------------------------------------------


@contextmanager
def emulator(command: str, folder: Path) -> Iterator[dict[str, str]]:
    """The emulator by the tutorial's own command; the variables that it tells its reader to set."""
    words = [sys.executable, "-m", "ctera_direct_sync", *command.split()[1:]]
    with subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            told = ""
            while "Ctrl-C" not in told:
                line = process.stdout.readline()
                assert line, "the emulator ended"
                told += line
            page = (DOCS / "tutorial.md").read_text()
            rows = re.findall(r"^ *\d+ +\d+ .*txt$", told, re.MULTILINE)
            assert rows, told
            for row in rows:
                assert " ".join(row.split()) in " ".join(page.split()), (
                    "the page shows another table"
                )
            yield dict(re.findall(r"^export (\w+)=(.*)$", told, re.MULTILINE))
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def test_tutorial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its steps work in their order, and print what it says."""
    code = {snippet.name: snippet.code for snippet in snippets("tutorial.md")}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    RUNNERS["bash"](code.pop("tutorial-files"))
    with emulator(code.pop("tutorial-serve"), tmp_path) as variables:
        assert len(variables) == 5
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert "AES-CBC" in RUNNERS["bash"](code.pop("tutorial-cli"))
        for name in list(code):
            run_python(code.pop(name))
    printed = capsys.readouterr().out
    assert "14888896 bytes in" in printed and "2000000 lines" in printed
    assert repr(b"2000000\n") in printed and "file 404" in printed
    assert (tmp_path / "numbers.txt").stat().st_size == 14888896


# --- the pages -----------------------------------------------------------------------------------------


def test_every_block_is_run() -> None:
    """Each program of the pages has a name of its own, or a reason not to be run."""
    every = SNIPPETS + snippets("tutorial.md")
    assert all(snippet.name or len(snippet.excuse) > 30 for snippet in every)
    names = [snippet.name for snippet in every if snippet.name]
    assert len(names) == len(set(names))
    assert sum(bool(snippet.excuse) for snippet in every) == 1
    assert set(LEFT) <= set(names)


def test_settings_and_variables() -> None:
    """The settings' page names every setting, and each variable that it names is read somewhere."""
    import ctera_direct_sync

    page = (DOCS / "reference" / "settings.md").read_text()
    named = set(re.findall(r"`([\w.]+)`", page))
    plain = set(ctera_direct_sync.Settings._fields) - {"api", "storage"}
    assert plain <= named and {"api.ssl", "storage.ssl", "api.timeout", "storage.timeout"} <= named
    package = Path(ctera_direct_sync.__file__).parent
    sources = "".join(path.read_text("utf-8") for path in package.rglob("*.py"))
    ours = {name for name in named if name.startswith("CTERA_DIRECT_")}
    assert len(ours) == 5
    assert all(name in sources for name in ours)


def test_exceptions() -> None:
    """The exceptions' page draws the tree that there is."""
    import ctera_direct_sync

    page = (DOCS / "reference" / "exceptions.md").read_text()
    tree = page.partition("```text\n")[2].partition("```")[0]
    parents: dict[int, type] = {}
    for line in tree.splitlines():
        indent, name = len(line) - len(line.lstrip()), line.split()[0]
        kind = OSError if name == "IOError" else getattr(ctera_direct_sync, name)
        assert not indent or kind.__base__ is parents[indent - 2], name
        parents[indent] = kind
        for alias in re.findall(r"= (\w+)$", line):
            assert getattr(ctera_direct_sync, alias) is kind
    public = {name for name in ctera_direct_sync.exceptions.__all__ if name != "BlockInfo"}
    assert public <= set(re.findall(r"\w+", tree))


def test_faults_are_those_of_the_emulator(portal: Emulator) -> None:
    """The table of faults names every one that there is, and no other."""
    from ctera_direct_sync.emulator import faults

    table = (
        (DOCS / "howto" / "testing.md").read_text().partition("| Fault |")[2].partition("\n\n")[0]
    )
    named = set(
        re.findall(r"`(\w+)\(", "".join(row.split("|")[1] for row in table.splitlines()[2:]))
    )
    actions = {
        name
        for name, each in vars(faults).items()
        if name.islower() and getattr(each, "__annotations__", {}).get("return") == "Action"
    }
    assert named == actions
