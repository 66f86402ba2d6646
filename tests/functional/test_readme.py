"""Every code block of the README, run as a user would: against an emulator in place of a portal.

What a user would fill in (URL, keys) is filled in here; the file IDs exist. Python blocks run in this
process, shell blocks in bash, cron lines as cron runs them. ``<!-- name: x -->`` before a block connects
it with the check of that name below; ``<!-- not run: reason -->`` excuses one.
"""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, NamedTuple

import pytest

import ctera_direct_sync as ctera_direct
from ctera_direct_sync.emulator import Emulator

README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(
    r"(?:<!-- (?P<marker>name|not run): (?P<text>.*?) -->\n)?"
    r"^```(?P<language>\w*)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
DATA = bytes(range(256)) * 8000


class Snippet(NamedTuple):
    """A code block of the README."""

    language: str
    code: str
    name: str
    excuse: str


def snippets() -> list[Snippet]:
    """All code blocks, in order."""
    found = []
    for match in BLOCK.finditer(README.read_text(encoding="utf-8")):
        text = match["text"] or ""
        named = match["marker"] == "name"
        found.append(
            Snippet(match["language"], match["code"], text if named else "", "" if named else text)
        )
    return found


SNIPPETS = snippets()
RUN = [snippet for snippet in SNIPPETS if not snippet.excuse]


@pytest.fixture
def served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, portal: Emulator
) -> Iterator[Callable[[str], str]]:
    """An environment in which the README's code works; fills in what a user would."""
    portal.add(DATA, file_id=12345, name="report.pdf", block_size=200_000)
    portal.tree.create("/My Files/report.pdf", DATA)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("inside.txt", "content")
    portal.add(packed.getvalue(), file_id=67890, name="archive.zip")
    values = {
        "https://tenant.ctera.com": portal.url,
        "your-access-key-id": portal.access_key_id,
        "your-secret-access-key": portal.secret_access_key,
        "your-user-name": portal.username,
        "your-password": portal.password,
    }
    monkeypatch.setenv("CTERA_DIRECT_URL", portal.url)
    monkeypatch.setenv("CTERA_DIRECT_ACCESS_KEY_ID", portal.access_key_id)
    monkeypatch.setenv("CTERA_DIRECT_SECRET_ACCESS_KEY", portal.secret_access_key)
    monkeypatch.setenv("CTERA_DIRECT_USERNAME", portal.username)
    monkeypatch.setenv("CTERA_DIRECT_PASSWORD", portal.password)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ca.pem").write_text("unused: the portal is on http here")
    defaults = ctera_direct.settings.api.timeout
    logger = logging.getLogger("ctera_direct_sync")
    level = logger.level

    def fill_in(code: str) -> str:
        for placeholder, value in values.items():
            code = code.replace(placeholder, value)
        return code

    yield fill_in
    ctera_direct.settings.api.timeout = defaults
    logger.setLevel(level)


@pytest.mark.parametrize(
    "snippet", RUN, ids=[snippet.name or f"unnamed-{at}" for at, snippet in enumerate(RUN)]
)
def test_code_block(
    snippet: Snippet, served: Callable[[str], str], portal: Emulator, tmp_path: Path
) -> None:
    """A code block runs, and does what the text says."""
    result = RUNNERS[snippet.language](served(snippet.code))
    if snippet.name in CHECKS:
        CHECKS[snippet.name](result, tmp_path, portal)


def test_every_block_is_known() -> None:
    """Names are unique, those with a check exist, and excuses are few and say why."""
    names = [snippet.name for snippet in RUN]
    assert len(set(names)) == len(names) > 10
    assert all(names)
    assert set(CHECKS) <= set(names)
    excused = [snippet for snippet in SNIPPETS if snippet.excuse]
    assert len(excused) == 3
    assert all(len(snippet.excuse) > 30 for snippet in excused)


def test_the_two_commands_exist() -> None:
    """The commands that are not run here are targets of the Makefile."""
    makefile = (README.parent / "Makefile").read_text()
    code = "\n".join(snippet.code for snippet in SNIPPETS if snippet.excuse)
    wanted = re.findall(r"^make (\w+)", code, re.MULTILINE)
    assert wanted == ["demo", "test"]
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in wanted)


def test_tables_name_what_exists() -> None:
    """Exceptions and settings in the tables are those of the package."""
    text = README.read_text(encoding="utf-8")
    exceptions = text.partition("| Exception | Means |")[2].partition("\n\n")[0]
    cells = re.findall(r"^\| (.*?) \|", exceptions, re.MULTILINE)[1:]
    named = [each for cell in cells for each in re.findall(r"`(\w+)`", cell)]
    assert len(named) > 5
    for each in named:
        assert issubclass(getattr(ctera_direct, each), ctera_direct.DirectIOError)
    rows = re.findall(
        r"^\| (`.*?`) \| (.*?) \|", text.partition("| Setting | Default |")[2], re.MULTILINE
    )
    defaults = {}
    for names, default in rows:
        for name in re.findall(r"`([\w.]+)`", names):
            value: Any = ctera_direct.Settings()
            for part in name.split("."):
                value = getattr(value, part)
            defaults[name] = (value, default)
    assert set(defaults) >= set(ctera_direct.Settings._fields) - {"api", "storage"}
    assert all(
        f"{value:g}" in default or value == 64 << 20
        for value, default in defaults.values()
        if type(value) in (int, float)
    )


# --- how each language is run ------------------------------------------------------------------------


def run_python(code: str) -> dict[str, Any]:
    """Execute as a script; give its globals."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(code, str(README), "exec"), namespace)
    return namespace


def run_bash(code: str) -> str:
    """Run by bash, which stops at the first failure; give what was printed."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_crontab(code: str) -> str:
    """Run each job as cron does: by sh, with the crontab's variables and little else."""
    environment = {"PATH": os.environ["PATH"], "HOME": os.getcwd()}
    printed = ""
    for line in code.splitlines():
        variable = re.fullmatch(r"(\w+)=(.*)", line)
        if variable:
            environment[variable[1]] = variable[2]
            continue
        fields = line.split(None, 5)
        assert all(re.fullmatch(r"[\d*,/-]+", field) for field in fields[:5])
        assert "%" not in fields[5], "cron takes it for the end of the line"
        done = subprocess.run(
            ["/bin/sh", "-c", fields[5]],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout
        printed += done.stdout
    return printed


RUNNERS: dict[str, Callable[[str], Any]] = {
    "python": run_python,
    "bash": run_bash,
    "crontab": run_crontab,
}


# --- what is checked afterwards ----------------------------------------------------------------------


def check_report(result: Any, folder: Path, portal: Emulator) -> None:
    """The file came."""
    assert (folder / "report.pdf").read_bytes() == DATA


def check_cron(result: str, folder: Path, portal: Emulator) -> None:
    """The file came, and cron has nothing to mail."""
    check_report(result, folder, portal)
    assert result == ""
    (folder / ".report.pdf.ctera-journal").unlink()


def check_command_line(result: str, folder: Path, portal: Emulator) -> None:
    """Each command did its part."""
    check_report(result, folder, portal)
    assert (folder / "head.bin").read_bytes() == DATA[:1024]
    assert '"file_id": 12345' in (folder / "info.json").read_text()
    assert (folder / "all.bin").read_bytes() == DATA
    assert result.split()[-1] == str(len(DATA))


def check_flask(result: dict[str, Any], folder: Path, portal: Emulator) -> None:
    """The view streams a file, and knows what is not there."""
    with result["client"]:
        browser = result["app"].test_client()
        assert browser.get("/files/12345").data == DATA
        assert browser.get("/files/1").status_code == 404


def check_stream(result: dict[str, Any], folder: Path, portal: Emulator) -> None:
    """The range is of 100 bytes, and the digest that of the file."""
    assert result["first"] == DATA[:100]
    assert result["digest"].digest() == result["hashlib"].sha256(DATA).digest()


def check_blocks(result: dict[str, Any], folder: Path, portal: Emulator) -> None:
    """The copy is the file."""
    assert (folder / "copy.bin").read_bytes() == DATA


def check_executor(result: dict[str, Any], folder: Path, portal: Emulator) -> None:
    """The worker got whole blocks, and did not ask the portal."""
    assert b"".join(block.data for block in result["parts"]) == DATA[:1_000_000]
    assert sum(request.where == "portal" for request in portal.requests) == 1


def check_tls(result: dict[str, Any], folder: Path, portal: Emulator) -> None:
    """The settings are what the text says."""
    assert (result["settings"].api.ssl, result["settings"].storage.ssl) == ("ca.pem", True)
    result["client"].close()


def check_resume(result: dict[str, Any], folder: Path, portal: Emulator) -> None:
    """A stream that breaks twice is taken up where it ended."""
    for block in (3, 6):
        portal.faults.add("storage", block=block, action=ctera_404())
    handled: list[bytes] = []
    with result["DirectIO"]() as client:
        result["read"](client, 12345, handled.append)
    assert b"".join(handled) == DATA
    assert (folder / "resumed.bin").read_bytes() == DATA


def ctera_404() -> Any:
    """A failure that is not tried again."""
    from ctera_direct_sync.emulator import faults

    return faults.status(404)


def check_settings(result: dict[str, Any], folder: Path, portal: Emulator) -> None:
    """The new default is in force, and the client works."""
    assert result["ctera_direct"].Settings().api.timeout == (5, 30)
    with result["client"] as client:
        assert client.metadata(12345).size == len(DATA)


def check_fixtures(result: dict[str, Any], folder: Path, portal: Emulator) -> None:
    """The example test passes with the fixtures' own ways."""
    with ctera_direct.DirectIO() as client:
        result["test_total"](portal, client)


def check_faults(result: dict[str, Any], folder: Path, portal: Emulator) -> None:
    """The client got the file in spite of the fault."""
    assert result["data"] == bytes(100_000)


def check_first_file(printed: str, folder: Path, portal: Emulator) -> None:
    """The listing shows the file, and the download is whole."""
    assert "report.pdf" in printed
    assert (folder / "report.pdf").read_bytes() == DATA


def check_keys(variables: dict[str, Any], folder: Path, portal: Emulator) -> None:
    """The pair opens a file."""
    with ctera_direct.DirectIO(portal.url, *variables["pair"]) as client:
        assert client.metadata(12345).size == len(DATA)


CHECKS: dict[str, Callable[[Any, Path, Emulator], None]] = {
    "first-file": check_first_file,
    "make-keys": check_keys,
    "script": check_report,
    "flask": check_flask,
    "cron": check_cron,
    "command-line": check_command_line,
    "stream": check_stream,
    "blocks": check_blocks,
    "executor": check_executor,
    "tls": check_tls,
    "resume-stream": check_resume,
    "settings": check_settings,
    "fixtures": check_fixtures,
    "faults": check_faults,
}
