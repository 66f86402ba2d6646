"""What download, cat, info and emulator do when all goes well."""

from __future__ import annotations

import hashlib
import logging
import os
import pty
import re
import signal
import struct
import termios
import zlib
from fcntl import ioctl
from pathlib import Path
from typing import Any, Callable

import pytest
import requests

from ctera_direct_sync import DirectIO, codec
from ctera_direct_sync.emulator import Emulator, faults

from .conftest import BLOCK, DATA, assert_no_secret, finished, started

Run = Callable[..., tuple[int, str, str]]


def test_download(run: Run, file_id: int, tmp_path: Path) -> None:
    """A download gives the file, one closing line with its CRC32C, and no progress off a terminal."""
    target = tmp_path / "out"
    code, out, err = run("download", "-f", file_id, "-p", target)
    assert (code, err) == (0, "")
    assert target.read_bytes() == DATA
    assert out.startswith(f"{target}: {len(DATA)} bytes, CRC32C {codec.crc32c(DATA):08x}, ")
    assert out.count("\n") == 1


def test_keys_by_options(
    run: Run, file_id: int, portal: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """-e, -a and -s do what the environment does; a host alone means https."""
    keys = ["-e", portal.url, "-a", portal.access_key_id, "-s", portal.secret_access_key]
    for name in ("URL", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.delenv(f"CTERA_DIRECT_{name}")
    target = tmp_path / "out"
    assert run("download", "--quiet", *keys, "-f", file_id, "-p", target) == (0, "", "")
    assert target.read_bytes() == DATA
    keys[1] = portal.url.partition("://")[2]
    code, _, err = run("info", *keys, "-f", file_id)
    assert code == 1
    assert f"https://{keys[1]}" in err


def test_bearer(run: Run, portal: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """-b reads a file that is not encrypted, and says what an encrypted one takes."""
    monkeypatch.delenv("CTERA_DIRECT_SECRET_ACCESS_KEY")
    plain = portal.add(DATA, cipher=None)
    secret = portal.add(DATA)
    assert run("cat", "-b", portal.bearer, "-f", plain, "--range", "0-3")[0] == 0
    code, _, err = run("cat", "-b", portal.bearer, "-f", secret)
    assert code == 1
    assert "a bearer token cannot decrypt it" in err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0-0", DATA[:1]),
        (f"{BLOCK - 1}-{BLOCK}", DATA[BLOCK - 1 : BLOCK + 1]),
        ("250000-", DATA[250000:]),
        ("-7", DATA[-7:]),
        ("-9999999", DATA),
        ("250000-9999999", DATA[250000:]),
        ("9999999-", b""),
    ],
)
def test_range(run: Run, file_id: int, tmp_path: Path, text: str, expected: bytes) -> None:
    """A range is of bytes from A to B, to the end, or of the last N; past the end is nothing."""
    target = tmp_path / "out"
    assert run("download", "--quiet", "-f", file_id, "-p", target, f"--range={text}")[0] == 0
    assert target.read_bytes() == expected


def test_range_without_equals_sign(run: Run, file_id: int, tmp_path: Path) -> None:
    """The last N bytes may be asked for as ``--range -7`` too."""
    target = tmp_path / "out"
    assert run("download", "--quiet", "-f", file_id, "-p", target, "--range", "-7")[0] == 0
    assert target.read_bytes() == DATA[-7:]


def test_cat(file_id: int) -> None:
    """Cat writes the bytes and nothing else."""
    assert finished("cat", "-f", file_id) == (0, DATA, "")


def test_cat_workers(file_id: int, portal: Emulator) -> None:
    """--workers bounds the concurrent requests to the storage."""
    held = portal.faults.add("storage", block=1, action=_stall())
    with started("cat", "-f", file_id, "--workers", 1) as process:
        assert held.wait()
        assert [r.block for r in portal.requests if r.where == "storage"] == [1]
        held.release()
        out, err = process.communicate(timeout=60)
    assert (out, err) == (DATA, b"")


def _stall() -> Any:
    return faults.stall()


@pytest.mark.parametrize("algorithm", ["sha256", "crc32c"])
def test_right_checksum(run: Run, file_id: int, tmp_path: Path, algorithm: str) -> None:
    """A download whose checksum is right passes, in capitals too."""
    digests = {"sha256": hashlib.sha256(DATA).hexdigest(), "crc32c": f"{codec.crc32c(DATA):08x}"}
    target = tmp_path / "out"
    digest = digests[algorithm].upper()
    arguments = ("download", "--quiet", "-f", file_id, "-p", target, "--checksum")
    assert run(*arguments, algorithm, digest) == (0, "", "")
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("resume", [[], ["--resume"]], ids=["", "resume"])
@pytest.mark.parametrize(("algorithm", "digits"), [("sha256", 64), ("crc32c", 8)])
@pytest.mark.keeps_partial
def test_wrong_checksum(
    run: Run, file_id: int, tmp_path: Path, algorithm: str, digits: int, resume: list[str]
) -> None:
    """With a wrong one it fails, leaves what was there before, and keeps nothing to resume from."""
    target = tmp_path / "out"
    target.write_bytes(b"before")
    arguments = ("download", *resume, "-f", file_id, "-p", target, "--checksum", algorithm)
    code, out, err = run(*arguments, "0" * digits)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert f"The file's {algorithm} is " in err
    assert f"{target} is left as it was" in err
    assert target.read_bytes() == b"before"
    assert not (tmp_path / ".out.ctera-part").exists()


@pytest.mark.keeps_partial
def test_resume_with_wrong_checksum_of_a_complete_file(
    run: Run, file_id: int, tmp_path: Path
) -> None:
    """A file that is there already is checked as well, and stays."""
    target = tmp_path / "out"
    arguments = ("download", "--quiet", "--resume", "-f", file_id, "-p", target)
    assert run(*arguments)[0] == 0
    assert run(*arguments, "--checksum", "sha256", "0" * 64)[0] == 1
    assert target.read_bytes() == DATA


@pytest.mark.keeps_partial
def test_resume(run: Run, portal: Emulator, file_id: int, tmp_path: Path) -> None:
    """What a failed download with --resume got is not fetched again."""
    target = tmp_path / "out"
    arguments = ("download", "--quiet", "--resume", "--workers", 1, "-f", file_id, "-p", target)
    portal.faults.add("storage", block=5, action=faults.status(404))
    assert run(*arguments)[0] == 1
    assert not target.exists()
    asked = len(portal.requests)
    assert run(*arguments) == (0, "", "")
    assert target.read_bytes() == DATA
    blocks = [record.block for record in portal.requests[asked:] if record.where == "storage"]
    # The worker may have had the sixth by the time that the failure of the fifth ended the download.
    assert blocks in ([5], [5, 6])


def test_progress_on_a_terminal(file_id: int, tmp_path: Path) -> None:
    """On a terminal a bar shows bytes and rate; --quiet hides it."""
    target = tmp_path / "out"
    shown = on_terminal("download", "-f", file_id, "-p", target)
    assert re.search(r"out: 100%.*251k/251k \[.*B/s\]", shown)
    assert target.read_bytes() == DATA
    assert on_terminal("download", "--quiet", "-f", file_id, "-p", target) == ""


def on_terminal(*arguments: Any) -> str:
    """Run a command with a terminal of 100 columns as its standard error; give what that showed."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    shown = b""
    with started(*arguments, stderr=theirs) as process:
        os.close(theirs)
        while True:
            try:
                data = os.read(ours, 4096)
            except OSError:  # How Linux tells that the other side is closed.
                break
            if not data:
                break
            shown += data
        process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 0
    return shown.decode()


def test_emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulator's table of IDs and its keys are what the other commands take."""
    (tmp_path / "file").write_bytes(DATA)
    with started("emulator", tmp_path, "--cipher", "none", "--compression", "gzip") as process:
        assert process.stdout is not None
        text = ""
        while "Ctrl-C" not in text:
            text += process.stdout.readline().decode()
        for name, value in re.findall(r"^export (\w+)=(\S+)$", text, re.M):
            monkeypatch.setenv(name, value)
        found = re.search(r"^ *(\d+) .* file$", text, re.M)
        assert found is not None
        assert finished("cat", "-f", found[1]) == (0, DATA, "")
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[1] == b""
    assert process.returncode == 0


def test_debug(portal: Emulator, tmp_path: Path) -> None:
    """-d tells what is done, with no key and no signed URL."""
    file_id = portal.add(DATA, block_size=BLOCK)
    portal.faults.add("storage", block=2, action=faults.status(503))
    answer = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nno header\r\n\r\n"
    portal.faults.add("storage", block=3, action=faults.garbage(answer))
    code, _, err = finished("download", "-d", "-f", file_id, "-p", tmp_path / "out")
    assert code == 0
    assert f"listing file {file_id}: 200" in err
    assert "HTTP 503" in err
    assert "not valid HTTP" in err
    assert_no_secret(err, portal, file_id)


def test_no_log_line_shows_a_signed_url(portal: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    """An application that logs everything, urllib3's lines too, logs no signature.

    urllib3 hears of requests by a session that does something of its own.
    """
    file_id = portal.add(DATA, block_size=BLOCK)
    session = requests.Session()
    session.hooks["response"].append(lambda response, **_: None)
    with session, caplog.at_level(logging.DEBUG), DirectIO(
        portal.url, portal.access_key_id, portal.secret_access_key, session=lambda: session
    ) as client:  # fmt: skip
        assert b"".join(block.data for block in client.stream(file_id)) == DATA
    lines = [record for record in caplog.records if record.name.startswith("urllib3")]
    assert any("/blocks/" in record.getMessage() for record in lines)
    assert_no_secret(caplog.text, portal, file_id)


def test_other_loggers_are_redacted(run: Run, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """What any package logs while a command runs loses the queries of its URLs."""
    from ctera_direct_sync.cli import program as cli

    def log(client: Any, options: Any) -> None:
        try:
            raise ValueError("at http://storage/blocks/1?X-Amz-Signature=abc: broken")
        except ValueError:
            logging.getLogger("urllib3.connection").warning(
                "Failed (url=%s)", "http://storage/blocks/1?X-Amz-Signature=abc", exc_info=True
            )

    monkeypatch.setattr(cli, "_info", log)
    code, _, err = run("info", "-f", 1)
    assert code == 0
    assert "Failed (url=http://storage/blocks/1?...)" in err
    assert "X-Amz" not in err


def test_crc32c_is_not_zlibs() -> None:
    """The closing line's checksum is CRC32C (RFC 3720), not the CRC-32 of gzip."""
    assert codec.crc32c(b"123456789") == 0xE3069283 != zlib.crc32(b"123456789")
