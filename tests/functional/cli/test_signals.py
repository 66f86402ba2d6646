"""A signal at any moment of a command ends it with the right code, and without a traceback."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from ctera_direct_sync.emulator import Emulator

from .conftest import DATA, finished, started

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="its signals are others")

#: Python runs it before a program. ``pause()`` says that a moment has come, and waits until a signal was
#: sent. To wait for the signal itself would be for ever where it comes right before.
_SITE = """
import os, signal, sys

def pause():
    os.write({say}, b".")
    os.read({go_on}, 1)

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(Finder)
            {moment}
"""

_AT_CLOSE = """
            from ctera_direct_sync.client import DirectIO
            close = DirectIO.close
            def slow_close(self):
                DirectIO.close = close
                pause()
                close(self)
            DirectIO.close = slow_close
"""

MOMENTS = {
    "imports": ("requests", "pause()"),
    "closing": ("ctera_direct_sync.cli", _AT_CLOSE.strip()),
    "end": ("ctera_direct_sync.cli", "import atexit; atexit.register(pause)"),
}


def signal_at(
    moment: str, number: signal.Signals, file_id: int, folder: Path
) -> tuple[int, bytes, bytes]:
    """Send a signal at a moment of a download to `folder / "out"`. Return its code and what it printed."""
    module, code = MOMENTS[moment]
    said, say = os.pipe()
    go_on, sent = os.pipe()
    site = _SITE.format(say=say, go_on=go_on, module=module, moment=code)
    site += "\nsys.meta_path.insert(0, Finder)\n"
    (folder / "sitecustomize.py").write_text(site)
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    arguments = ("download", "--quiet", "-f", file_id, "-p", folder / "out")
    fds = [say, go_on]
    with started(*arguments, env=environment, pass_fds=fds) as process, open(said, "rb") as pipe:
        os.close(say)
        os.close(go_on)
        assert pipe.read(1) == b"."
        process.send_signal(number)
        os.close(sent)
        out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", MOMENTS)
def test_moments(file_id: int, tmp_path: Path, moment: str, number: signal.Signals) -> None:
    """While it starts, closes and ends: a shell sees 128 and the signal's number."""
    if moment == "imports" and number == signal.SIGINT and sys.version_info < (3, 10):
        pytest.skip("Python 3.9 does not tell which module -m is to run before it runs")
    code, out, err = signal_at(moment, number, file_id, tmp_path)
    target = tmp_path / "out"
    assert code in (128 + number, -number)
    assert out == b"" and b"Traceback" not in err and err.count(b"\n") <= 1, err
    if moment == "imports":
        assert not target.exists()
    else:
        assert target.read_bytes() == DATA
    assert not (tmp_path / ".out.ctera-part").exists()


def test_signal_of_a_closed_pipe(portal: Emulator) -> None:
    """SIGPIPE itself is not needed: the code is that which a shell gives for it."""
    file_id = portal.add(bytes(1_000_000))
    read, write = os.pipe()
    os.close(read)
    assert finished("cat", "-f", file_id, stdout=write) == (141, b"", "")
    os.close(write)


def test_terminated_emulator_leaves_nothing(tmp_path: Path) -> None:
    """A terminal that is closed ends the emulator, whose certificate's folder is removed."""
    place = tmp_path / "temporary"
    place.mkdir()
    environment = {**os.environ, "TMPDIR": str(place)}
    with started("emulator", tmp_path, "--tls", env=environment) as process:
        assert process.stdout is not None
        while b"Ctrl-C" not in process.stdout.readline():
            assert os.listdir(place)
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert os.listdir(place) == []
