"""The page about mirrors, followed as a user of cron and a user of systemd would."""

from __future__ import annotations

import configparser
import os
import shlex
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ctera_direct_sync.emulator import Emulator
from tests.functional.test_docs import DOCS, snippets
from tests.functional.test_readme import BLOCK, RUNNERS
from tests.support.mirror_portal import local_files

PAGE = "howto/mirror.md"
CODE = {snippet.name: snippet.code for snippet in snippets(PAGE) if snippet.name}
WANTED = {"a.pdf": b"first", "drafts/b.pdf": b"second", "c.txt": b"third"}

pytestmark = pytest.mark.skipif(os.name == "nt", reason="it needs bash")


@pytest.fixture
def portal() -> Iterator[Emulator]:
    """A portal with the folder that the page speaks of."""
    tree = {"reports": {"a.pdf": b"first", "c.txt": b"third", "drafts": {"b.pdf": b"second"}}}
    with Emulator(tree=tree) as made:
        yield made


@pytest.fixture
def home(portal: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory with the file of the account, made by the page's block; no other account."""
    for name in list(os.environ):
        if name.startswith("CTERA_DIRECT_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    code = CODE["mirror-account"]
    values = {
        "https://tenant.ctera.com": portal.url,
        "your-user-name": portal.username,
        "your-password": portal.password,
        "your-access-key-id": portal.access_key_id,
        "your-secret-access-key": portal.secret_access_key,
    }
    for shown, real in values.items():
        assert shown in code
        code = code.replace(shown, real)
    RUNNERS["bash"](code)
    account = tmp_path / ".config" / "ctera-direct.env"
    assert stat.S_IMODE(account.stat().st_mode) == 0o600
    return tmp_path


def units() -> list[configparser.ConfigParser]:
    """The units of systemd that the page shows."""
    found = []
    for match in BLOCK.finditer((DOCS / PAGE).read_text(encoding="utf-8")):
        if match["language"] == "ini":
            unit = configparser.ConfigParser(interpolation=None, strict=True)
            unit.optionxform = str  # type: ignore[assignment,method-assign]
            unit.read_string(match["code"])
            found.append(unit)
    return found


def start(unit: configparser.ConfigParser, home: Path) -> subprocess.Popen[str]:
    """Start what systemd would: the command without a shell, the variables of the file alone."""
    service = {name: value.replace("%h", str(home)) for name, value in unit["Service"].items()}
    command = shlex.split(service["ExecStart"])
    assert command[0].endswith("/ctera-direct")
    command[:1] = [sys.executable, "-m", "ctera_direct_sync"]
    lines = Path(service["EnvironmentFile"]).read_text().splitlines()
    variables = dict(line.split("=", 1) for line in lines)
    environment = {name: shlex.split(value)[0] for name, value in variables.items()}
    return subprocess.Popen(
        command, env={"HOME": str(home), **environment}, stdout=subprocess.PIPE, text=True
    )


def test_person(home: Path) -> None:
    """The first run fills the folder, a filter leaves the rest alone, and verify agrees."""
    RUNNERS["bash"](CODE["mirror-first"])
    assert local_files(home / "reports") == WANTED
    account = 'set -a; . "$HOME/.config/ctera-direct.env"; set +a\n'
    RUNNERS["bash"](account + CODE["mirror-filter"])
    assert local_files(home / "reports") == WANTED
    RUNNERS["bash"](CODE["mirror-verify"])
    assert {each.name for each in (home / "reports").iterdir() if each.name.startswith(".")} == {
        ".ctera-mirror"
    }


def test_cron(home: Path) -> None:
    """The line fills the folder, and gives cron nothing to mail; a second night as well."""
    line = CODE["mirror-cron"].replace(
        "PATH=/usr/local/bin:/usr/bin:/bin", f"PATH={os.environ['PATH']}"
    )
    for _ in range(2):
        assert RUNNERS["crontab"](line) == ""
    assert local_files(home / "reports") == WANTED


def test_environment_of_cron(home: Path) -> None:
    """The line that tries cron's environment fills the folder, and prints nothing."""
    assert RUNNERS["bash"](CODE["mirror-cron-try"]) == ""
    assert local_files(home / "reports") == WANTED


def test_systemd_timer(home: Path) -> None:
    """The service that the timer starts fills the folder."""
    service, timer, _ = units()
    assert service["Service"]["Type"] == "oneshot" and "OnCalendar" in timer["Timer"]
    with start(service, home) as process:
        out = process.communicate(timeout=60)[0]
    assert process.returncode == 0 and '"a.pdf"' in out
    assert local_files(home / "reports") == WANTED


def test_systemd_service(home: Path) -> None:
    """The service that follows fills the folder, and SIGTERM ends it as the unit expects."""
    follow = units()[2]
    with start(follow, home) as process:
        try:
            assert process.stdout is not None
            while '"end"' not in process.stdout.readline():
                assert process.poll() is None
            assert local_files(home / "reports") == WANTED
            process.send_signal(signal.SIGTERM)
            assert str(process.wait(20)) == follow["Service"]["SuccessExitStatus"]
        finally:
            process.kill()
