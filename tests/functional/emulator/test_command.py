"""The command line of the emulator."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys

import pytest

from ctera_direct_sync.cli import emulator as command
from ctera_direct_sync.cli.emulator import add_arguments, describe, run
from ctera_direct_sync.emulator import Emulator, options

SCRIPT = """
import argparse, sys
from ctera_direct_sync.cli.emulator import add_arguments, run
parser = argparse.ArgumentParser()
add_arguments(parser)
sys.exit(run(parser.parse_args()))
"""


def parse(*arguments: str) -> argparse.Namespace:
    """Parse a command line."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(arguments)


@contextlib.contextmanager
def serving(*arguments: str):
    """Run the command in a process of its own; give what it printed, and the process."""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    with subprocess.Popen(
        [sys.executable, "-X", "dev", "-c", SCRIPT, *arguments],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Ctrl-C"):
                break
        try:
            yield "".join(lines), process
        finally:
            if process.poll() is None:
                process.kill()


def test_offers_what_the_emulator_has():
    """The command knows all formats of the emulator, without importing it."""
    assert tuple(cipher or "NONE" for cipher in options.CIPHERS) == command.CIPHERS
    assert command.COMPRESSIONS == options.COMPRESSIONS


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("tls", [False, True])
def test_serves_until_told(tmp_path, session, number, tls):
    """It prints what a user needs, serves by that, and ends quietly on either signal."""
    (tmp_path / "r\u00e9sum\u00e9.txt").write_bytes(b"content")
    arguments = ["--tls"] if tls else []
    with serving(str(tmp_path), "--cipher", "none", "--compression", "none", *arguments) as (
        text,
        process,
    ):
        values = dict(re.findall(r"^export (\w+)=(\S+)$", text, re.MULTILINE))
        file_id, size, blocks, name = re.search(
            r"^ *(\d+) +(\d+) +(\d+) +NONE +NONE +(r.*txt)$", text, re.MULTILINE
        ).groups()
        assert (size, blocks, name) == ("7", "1", r"r\xe9sum\xe9.txt")
        session.verify = values.get("REQUESTS_CA_BUNDLE", True)
        listed = session.get(
            f"{values['CTERA_DIRECT_URL']}/directio/{file_id}",
            headers={"Authorization": f"Bearer {values['CTERA_DIRECT_ACCESS_KEY_ID']}"},
        ).json()
        assert session.get(listed["chunks"][0]["url"]).content == b"content"
        assert values["CTERA_DIRECT_SECRET_ACCESS_KEY"]
        process.send_signal(number)
        rest, errors = process.communicate(timeout=20)
        assert (process.returncode, rest, errors) == (0, "", "")


def test_prints_how_to_sign_in(tmp_path, session):
    """The name and password that it prints sign in."""
    with Emulator(tmp_path) as emulator:
        text = describe(emulator, tmp_path)
        values = dict(re.findall(r"^export (\w+)=(\S+)$", text, re.MULTILINE))
        form = {
            "j_username": values["CTERA_DIRECT_USERNAME"],
            "j_password": values["CTERA_DIRECT_PASSWORD"],
        }
        url = f"{values['CTERA_DIRECT_URL']}/ServicesPortal/api/login"
        assert session.post(url, data=form).status_code == 200


def test_options_reach_the_emulator(tmp_path, session):
    """Cipher, compression, block size, port and lifetime are those asked for."""
    (tmp_path / "a").write_bytes(bytes(10_000))
    with Emulator() as other:
        port = int(other.url.rpartition(":")[2])
    with serving(
        str(tmp_path),
        "--cipher",
        "aes-gcm",
        "--compression",
        "lz4",
        "--block-size",
        "1K",
        "--port",
        str(port),
        "--expire",
        "90",
    ) as (text, _):
        values = dict(re.findall(r"^export (\w+)=(\S+)$", text, re.MULTILINE))
        row = re.search(r"^ *(\d+) +10000 +10 +AES-GCM +LZ4 +a$", text, re.MULTILINE)
        assert values["CTERA_DIRECT_URL"] == f"http://127.0.0.1:{port}"
        listed = session.get(
            f"{values['CTERA_DIRECT_URL']}/directio/{row.group(1)}",
            headers={"Authorization": f"Bearer {values['CTERA_DIRECT_ACCESS_KEY_ID']}"},
        ).json()
        assert "X-Amz-Expires=90&" in listed["chunks"][0]["url"]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4M", 4 << 20),
        ("512K", 512 << 10),
        ("1g", 1 << 30),
        ("262144", 262_144),
        ("2MiB", 2 << 20),
        ("1", 1),
    ],
)
def test_sizes(text, size):
    """Block sizes are understood with and without units."""
    assert parse("folder", "--block-size", text).block_size == size


@pytest.mark.parametrize(
    "arguments",
    [
        ["--block-size", "0"],
        ["--block-size", "4X"],
        ["--block-size", "-1"],
        ["--port", "70000"],
        ["--port", "x"],
        ["--expire", "0"],
        ["--expire", "nan"],
        ["--expire", "x"],
        ["--cipher", "ROT13"],
        ["--compression", "ZIP"],
    ],
    ids=" ".join,
)
def test_bad_arguments(arguments, capsys):
    """Bad arguments are usage errors that name the argument."""
    with pytest.raises(SystemExit) as caught:
        parse("folder", *arguments)
    assert caught.value.code == 2
    assert f"argument {arguments[0]}" in capsys.readouterr().err


def test_no_folder(tmp_path, capsys):
    """A folder that is not there is one line on stderr, and exit 1."""
    assert run(parse(str(tmp_path / "none"))) == 1
    errors = capsys.readouterr().err
    assert errors == f"ctera-direct emulator: not a folder: {tmp_path / 'none'}\n"


def test_port_that_is_taken(tmp_path, emulator, capsys):
    """A port that is taken is one line on stderr, and exit 1; signals are as before."""
    before = signal.getsignal(signal.SIGTERM)
    port = emulator.url.rpartition(":")[2]
    assert run(parse(str(tmp_path), "--port", port)) == 1
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert f"on 127.0.0.1 port {port}: Address already in use" in errors
    assert signal.getsignal(signal.SIGTERM) is before


def test_trustme_is_missing(tmp_path, monkeypatch, capsys):
    """TLS without its package is one line on stderr that says what to install."""
    monkeypatch.setitem(sys.modules, "trustme", None)
    assert run(parse(str(tmp_path), "--tls")) == 1
    assert "pip install 'ctera-direct-sync[emulator]'" in capsys.readouterr().err


def test_empty_folder(tmp_path):
    """An empty folder is served, and said to be empty."""
    with Emulator(tmp_path) as emulator:
        assert "The folder holds no files." in describe(emulator, tmp_path)
