"""Whatever goes wrong is one line on stderr that says what to do, and the right exit code."""

from __future__ import annotations

import base64
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, Callable

import pytest

from ctera_direct_sync.cli import program as cli
from ctera_direct_sync.emulator import Emulator, faults

from .conftest import BLOCK, DATA, finished, started

Run = Callable[..., tuple[int, str, str]]


def assert_line(result: tuple[int, Any, str], code: int, *parts: str) -> None:
    """One line on stderr that holds the parts, nothing on stdout, and the exit code."""
    got, out, err = result
    assert (got, out or b"", err.count("\n")) == (code, b"", 1), err
    assert err.startswith("ctera-direct")
    for part in parts:
        assert part in err


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where a failed download must leave nothing."""
    folder = tmp_path / "target"
    folder.mkdir()
    return folder / "out"


# --- usage -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "COMMAND"),
        (["upload"], "upload"),
        (["download", "-p", "x"], "-f/--file-id"),
        (["cat", "-f", "one"], "-f one: not a file ID"),
        (["cat", "-f", "-1"], "-f -1: not a file ID"),
        (["cat", "-f", "1", "--workers", "0"], "--workers 0: not a number of 1 or more"),
        (["cat", "-f", "1", "--range", "5"], "--range 5: not a range; use A-B, A- or -N"),
        (["cat", "-f", "1", "--range=-"], "not a range; use A-B"),
        (["cat", "-f", "1", "--range=-0"], "not a range; use A-B"),
        (["cat", "-f", "1", "--range", "9-3"], "ends before it begins"),
        (["cat", "-f", "1", "--range", "0-1,3-4"], "not a range; use A-B"),
        (["download", "-f", "1", "-p", "x", "--checksum", "md5", "00"], "sha256 or crc32c"),
        (["download", "-f", "1", "-p", "x", "--checksum", "crc32c", "00"], "8 hexadecimal digits"),
        (["download", "-f", "1", "-p", "x", "--checksum", "crc32c"], "expected 2 arguments"),
        (["info", "-f", "1", "--js"], "--js"),
    ],
)
def test_usage(run: Run, arguments: list[str], part: str) -> None:
    """Wrong usage is one line that names the argument and where to read on."""
    assert_line(run(*arguments), 2, part, "--help)")


@pytest.mark.parametrize(
    ("missing", "option"),
    [
        ("URL", "-e"),
        ("ACCESS_KEY_ID", "-a"),
        ("SECRET_ACCESS_KEY", "-s"),
    ],
)
def test_keys_missing(run: Run, monkeypatch: pytest.MonkeyPatch, missing: str, option: str) -> None:
    """What is missing is named, with its variable and its option."""
    monkeypatch.delenv(f"CTERA_DIRECT_{missing}")
    result = run("info", "-f", 1)
    assert_line(result, 2, f"set CTERA_DIRECT_{missing}", f"the option {option})")


@pytest.mark.parametrize("url", ["ftp://portal", "https://user:pass@portal", "https://p/?q=secret"])
def test_malformed_url(run: Run, url: str) -> None:
    """A URL that cannot be the portal's is named as such, without what may be secret in it."""
    result = run("info", "-e", url, "-f", 1)
    assert_line(result, 2, "baseurl", "-e")
    assert "pass@" not in result[2]
    assert "secret" not in result[2]


def test_checksum_of_a_device(run: Run, file_id: int) -> None:
    """A device cannot be verified before the renaming: that is said at once."""
    result = run("download", "-f", file_id, "-p", "/dev/null", "--checksum", "crc32c", "0" * 8)
    assert_line(result, 2, "/dev/null")


# --- the portal and the storage ----------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries within milliseconds."""
    from ctera_direct_sync import settings

    monkeypatch.setattr(settings, "backoff", 0.001)
    monkeypatch.setattr(settings, "max_backoff", 0.005)


@pytest.mark.usefixtures("impatient")
def test_no_portal_there(run: Run) -> None:
    """A refused connection says so, however often it was tried."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        result = run("info", "-e", url, "-f", 1)
    assert_line(result, 1, f"No answer from the portal at {url}: connection refused", "Check its")


@pytest.mark.usefixtures("impatient")
def test_no_such_host(run: Run) -> None:
    """A host name that does not resolve is named."""
    result = run("info", "-e", "portal.invalid", "-f", 1)
    assert_line(result, 1, "https://portal.invalid", "does not resolve")


def test_something_else_there(run: Run, portal: Emulator, file_id: int) -> None:
    """A web page in place of a block list is recognised."""
    page = faults.replace(b"<html>", {"Content-Type": "text/html"})
    portal.faults.add("portal", times=None, action=page)
    assert_line(run("info", "-f", file_id), 1, "an HTML page", "check the portal's URL")


def test_unknown_file(run: Run, target: Path) -> None:
    """An unknown file ID is named."""
    assert_line(run("download", "-f", 404, "-p", target), 1, "no such file", "(file 404)")
    assert os.listdir(target.parent) == []


def test_wrong_access_key(run: Run, file_id: int, target: Path) -> None:
    """A key that the portal refuses."""
    result = run("download", "-a", "WRONG", "-f", file_id, "-p", target)
    assert_line(result, 1, "refuses the credentials", "access key ID")


def test_wrong_secret(run: Run, file_id: int, target: Path) -> None:
    """A secret that does not fit, which stays out of the message."""
    secret = base64.b64encode(bytes(32)).decode()
    result = run("download", "-s", secret, "-f", file_id, "-p", target)
    assert_line(result, 1, "secret access key does not fit")
    assert secret not in result[2]


def test_not_in_direct_mode(run: Run, portal: Emulator) -> None:
    """A file that is not on storage in direct mode."""
    assert_line(run("info", "-f", portal.add(DATA, direct=False)), 1, "direct mode")


def test_broken_block(run: Run, portal: Emulator, file_id: int, target: Path) -> None:
    """A block that is gone is named, and nothing is left under the final name or beside it."""
    portal.faults.add("storage", block=3, action=faults.status(404))
    result = run("download", "-f", file_id, "-p", target)
    assert_line(result, 1, "no such object", f"file {file_id}, block 3 at offset {2 * BLOCK}")
    assert os.listdir(target.parent) == []


def test_broken_stream(portal: Emulator, file_id: int) -> None:
    """Cat gives all before the broken block, and says how to get the rest."""
    portal.faults.add("storage", block=3, action=faults.status(404))
    code, out, err = finished("cat", "-f", file_id)
    assert (code, out, err.count("\n")) == (1, DATA[: 2 * BLOCK], 1)
    assert f"--range {2 * BLOCK}- gives the rest" in err
    assert finished("cat", "-f", file_id, "--range", f"{2 * BLOCK}-")[1] == DATA[2 * BLOCK :]


# --- TLS ---------------------------------------------------------------------------------------------


def test_untrusted_portal(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An unknown authority is told with both ways out; each of them works."""
    with Emulator(tls=True) as portal:
        file_id = portal.add(DATA, block_size=BLOCK)
        keys = ["-e", portal.url, "-a", portal.access_key_id, "-s", portal.secret_access_key]
        result = run("info", *keys, "-f", file_id)
        assert_line(result, 1, "certificate is not trusted", "-k", "REQUESTS_CA_BUNDLE")
        target = tmp_path / "out"
        assert run("download", "--quiet", "-k", *keys, "-f", file_id, "-p", target) == (0, "", "")
        assert target.read_bytes() == DATA
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(portal.ca_bundle))
        assert run("info", *keys, "-f", file_id)[0] == 0


def test_untrusted_storage(run: Run, target: Path) -> None:
    """The storage's certificate is told apart from the portal's; -k is for both."""
    with Emulator(tls=True) as storage, Emulator() as portal:
        file_id = storage.add(DATA, block_size=BLOCK)
        listing = storage.listing(file_id)
        # The portal on http lists what lies on a storage on https.
        plain = portal.add(DATA, file_id=file_id)
        portal.faults.add("portal", times=None, action=faults.listing(lambda _: listing))
        keys = ["-e", portal.url, "-a", portal.access_key_id, "-s", storage.secret_access_key]
        result = run("download", *keys, "-f", plain, "-p", target)
        assert_line(result, 1, "the storage at https://", "-k", "REQUESTS_CA_BUNDLE", "block")
        assert run("download", "-k", "--quiet", *keys, "-f", plain, "-p", target)[0] == 0
    assert target.read_bytes() == DATA


def test_no_ca_bundle(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CA bundle that is not there is named by its path."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent/ca.pem")
    assert_line(run("info", "-f", 1), 1, "/nonexistent/ca.pem", "no CA bundle")


# --- the target --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("", ["the target is a folder"]),
        ("new/", ["the target is a folder"]),
        ("none/out", ["No such file or directory", "make its folder first"]),
        ("file/out", ["Not a directory", "a part of its path is a file"]),
        ("x" * 256, ["File name too long", "shorter name"]),
    ],
)
def test_bad_target(run: Run, file_id: int, tmp_path: Path, path: str, parts: list[str]) -> None:
    """A target that cannot be is named, with the way out, and nothing is made."""
    (tmp_path / "file").write_bytes(b"")
    result = run("download", "-f", file_id, "-p", f"{tmp_path}/{path}")
    assert_line(result, 1, f"{tmp_path}/{path}: ", *parts)
    assert os.listdir(tmp_path) == ["file"]


def test_folder_without_permission(file_id: int) -> None:
    """A folder that may not be written to, as seen by a user who is not root."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        os.chmod(place, 0o555)
        code = (
            "import os, sys\n"
            "from ctera_direct_sync.cli import program as cli\n"
            "import Crypto.Cipher._mode_ecb, Crypto.Cipher.AES, encodings.idna\n"
            "if os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "sys.exit(cli.main(sys.argv[1:]))\n"
        )
        arguments = ["download", "-f", str(file_id), "-p", f"{place}/out"]
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60
        )
        result = (done.returncode, done.stdout, done.stderr)
        assert_line(result, 1, f"{place}/out: ", "Permission denied", "may write to")
        assert os.listdir(place) == []


def test_full_disk(file_id: int) -> None:
    """A device without space, as a target and as standard output."""
    result = finished("download", "-f", file_id, "-p", "/dev/full")
    assert_line(result, 1, "/dev/full: ", "No space left on device", "free some space")
    with open("/dev/full", "wb") as full:
        assert_line(finished("cat", "-f", file_id, stdout=full), 1, "standard output: ", "No space")
        assert_line(
            finished("info", "-f", file_id, stdout=full), 1, "standard output: ", "No space"
        )


def test_disk_that_fills_up(file_id: int, target: Path) -> None:
    """A file that cannot grow any further ends the download, and leaves nothing."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3 * BLOCK, 3 * BLOCK))

    result = finished("download", "-f", file_id, "-p", target, preexec_fn=limit)
    assert_line(result, 1, f"{target}: ", "File too large", "ulimit -f")
    assert os.listdir(target.parent) == []


def test_target_in_use(run: Run, portal: Emulator, file_id: int, target: Path) -> None:
    """A second download to the same path is refused while the first goes on."""
    held = portal.faults.add("storage", block=1, action=faults.stall())
    with started("download", "-f", file_id, "-p", target) as process:
        assert held.wait()
        assert_line(run("download", "-f", file_id, "-p", target), 1, "another download")
        held.release()
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert target.read_bytes() == DATA


# --- standard output ---------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["cat", "info"])
def test_closed_pipe(portal: Emulator, command: str) -> None:
    """A reader that stops ends the command quietly, with the code that a shell gives SIGPIPE."""
    file_id = portal.add(bytes(2_000_000), block_size=100)
    with started(
        command, "-f", file_id, "--workers=2" if command == "cat" else "--json"
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
        process.wait(timeout=60)
    assert process.returncode == 141


def test_standard_output_that_is_closed(file_id: int) -> None:
    """Without a standard output nothing is written to whatever took its descriptor."""
    for command in ("cat", "info"):
        result = finished(command, "-f", file_id, stdout=None, preexec_fn=lambda: os.close(1))
        assert_line(result, 1, "standard output: ", "closed")


# --- signals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "terminated"),
        (signal.SIGHUP, 129, "terminated"),
    ],
)
@pytest.mark.parametrize("where", ["portal", "storage"])
def test_signals(
    portal: Emulator, file_id: int, target: Path, where: str, number: int, code: int, word: str
) -> None:
    """A signal ends a download that waits for an answer, at once and without a trace."""
    held = portal.faults.add(where, times=None, action=faults.stall())
    with started("download", "-f", file_id, "-p", target) as process:
        assert held.wait()
        process.send_signal(number)
        out, err = process.communicate(timeout=30)  # What it waits for never comes.
    assert_line((process.returncode, out, err.decode()), code, word)
    assert os.listdir(target.parent) == []


def test_signal_in_the_middle_of_a_body(portal: Emulator, file_id: int, target: Path) -> None:
    """Bodies that come slowly are cut off, and what was written is removed."""
    held = portal.faults.add("storage", block=4, times=None, action=faults.stall(after=100))
    with started("download", "-f", file_id, "-p", target) as process:
        assert held.wait()
        assert os.listdir(target.parent) == [".out.ctera-part"]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130
    assert os.listdir(target.parent) == []


@pytest.mark.keeps_partial
def test_interrupted_with_resume(portal: Emulator, file_id: int, target: Path) -> None:
    """With --resume an interrupted download keeps what it got, under another name."""
    held = portal.faults.add("storage", block=4, action=faults.stall(after=100))
    arguments = ("download", "--quiet", "--resume", "-f", file_id, "-p", target)
    with started(*arguments) as process:
        assert held.wait()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130
    assert not target.exists()
    assert finished(*arguments) == (0, b"", "")
    assert target.read_bytes() == DATA


def test_ignored_signals_stay_ignored(portal: Emulator, file_id: int, target: Path) -> None:
    """Under nohup a hang-up does not end the download."""
    held = portal.faults.add("storage", block=1, action=faults.stall())

    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    arguments = ("download", "--quiet", "-f", file_id, "-p", target)
    with started(*arguments, preexec_fn=ignore) as process:
        assert held.wait()
        process.send_signal(signal.SIGHUP)
        held.release()
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, b"", b"")
    assert target.read_bytes() == DATA


def test_in_another_thread(run: Run, file_id: int, target: Path) -> None:
    """Called from a thread that may not set handlers, a command works without them."""
    codes: list[int] = []
    arguments = ["download", "--quiet", "-f", str(file_id), "-p", str(target)]
    thread = threading.Thread(target=lambda: codes.append(cli.main(arguments)))
    thread.start()
    thread.join(60)
    assert codes == [0]
    assert target.read_bytes() == DATA
