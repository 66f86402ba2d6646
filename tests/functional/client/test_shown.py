"""What people see: progress bars, `client.info`, and results in notebooks and terminals."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ctera_direct_sync import DirectIO, Download, Metadata, Mirrored, StreamError
from ctera_direct_sync.cli import main
from ctera_direct_sync.emulator import Emulator, faults

DATA = b"0123456789" * 5000


@pytest.fixture
def file_id(portal: Emulator) -> int:
    """DATA in five blocks."""
    return portal.add(DATA, block_size=10_000)


# --- progress=True -----------------------------------------------------------------------------------


def test_bar_of_a_download(
    client: DirectIO, file_id: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A download shows a bar that ends with the whole, on standard error."""
    client.download(file_id, tmp_path / "a.bin", progress=True)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"{file_id}: 100%" in printed.err and "50.0k/50.0k" in printed.err


def test_bar_of_a_batch(
    client: DirectIO, file_id: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A batch shows one bar for the bytes of all its items."""
    items = [(file_id, f"{number}.bin") for number in range(3)]
    client.download_many(items, tmp_path / "batch", progress=True)
    assert "150k/150k" in capsys.readouterr().err


def test_bar_of_a_name_with_control_characters(
    client: DirectIO, file_id: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A terminal obeys no escape sequence in the name of a bar, and no line is broken."""
    folder = tmp_path / "a\x1b[2J\nb\udcff"
    client.download_many([(file_id, "a.bin")], folder, progress=True)
    printed = capsys.readouterr().err
    assert "a?[2J?b?: " in printed
    assert "\x1b[2J" not in printed


def test_bar_of_a_mirror(
    make_client: Callable[..., DirectIO],
    portal: Emulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A mirror shows a bar of its bytes."""
    monkeypatch.setenv("CTERA_DIRECT_USERNAME", portal.username)
    monkeypatch.setenv("CTERA_DIRECT_PASSWORD", portal.password)
    portal.tree.create("/My Files/reports/a.bin", DATA)
    done = make_client().mirror("/My Files/reports", tmp_path / "mirror", progress=True)
    assert done.added == 1
    assert "/My Files/reports: 100%" in capsys.readouterr().err


def test_bar_of_a_download_that_fails(
    client: DirectIO, portal: Emulator, file_id: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bar of a download that fails stays where it was, and the error is the download's."""
    portal.faults.add("storage", block=3, times=None, action=faults.status(404))
    with pytest.raises(StreamError):
        client.download(file_id, io.BytesIO(), progress=True)
    assert "100%" not in capsys.readouterr().err


def test_notebook_gets_its_own_bar(
    client: DirectIO, file_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bar is that of ``tqdm.auto``, which chooses notebook or terminal."""
    import tqdm.auto

    made: list[Any] = []

    class Recorded(tqdm.auto.tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            made.append(self)

    monkeypatch.setattr(tqdm.auto, "tqdm", Recorded)
    client.download(file_id, io.BytesIO(), progress=True)
    assert [(bar.n, bar.total) for bar in made] == [(50_000, 50_000)]


def test_no_bar(client: DirectIO, file_id: int, capsys: pytest.CaptureFixture[str]) -> None:
    """False and None show nothing."""
    for progress in (False, None):
        client.download(file_id, io.BytesIO(), progress=progress)
    assert capsys.readouterr().err == ""


def test_missing_tqdm(
    client: DirectIO, portal: Emulator, file_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without tqdm, the error says what to install, before anything is sent."""
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ModuleNotFoundError, match="pip install tqdm"):
        client.download(file_id, io.BytesIO(), progress=True)
    assert portal.log.total("portal") == 0


def test_progress_that_is_nothing_of_the_sort(client: DirectIO, file_id: int) -> None:
    """Anything else is a TypeError."""
    with pytest.raises(TypeError, match="progress"):
        client.download(file_id, io.BytesIO(), progress=5)  # type: ignore[arg-type]


# --- info --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocks", [False, True])
def test_info(
    client: DirectIO,
    portal: Emulator,
    file_id: int,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    blocks: bool,
) -> None:
    """``client.info`` prints what ``ctera-direct info`` prints, of a file or of its block list."""
    monkeypatch.setenv("CTERA_DIRECT_URL", portal.url)
    monkeypatch.setenv("CTERA_DIRECT_ACCESS_KEY_ID", portal.access_key_id)
    monkeypatch.setenv("CTERA_DIRECT_SECRET_ACCESS_KEY", portal.secret_access_key)
    assert main(["info", "-f", str(file_id), *["--blocks"] * blocks]) == 0
    command = capfd.readouterr().out
    client.info(file_id, blocks=blocks)
    assert capfd.readouterr().out == command
    metadata = client.metadata(file_id)
    portal.log.clear()
    client.info(metadata, blocks=blocks)
    assert capfd.readouterr().out == command
    assert portal.log.total("portal") == 0


# --- notebooks and rich ------------------------------------------------------------------------------


def values(client: DirectIO, file_id: int) -> list[Download | Metadata | Mirrored]:
    """One of each value that is shown."""
    conflicts = [("<b>a</b>.txt", "it was changed here")]
    failed = [(f"{number}.txt", "no permission") for number in range(30)]
    return [
        client.metadata(file_id),
        Download("/tmp/<i>&.pdf", 50_000, 0xABC, 1.25),
        Download(None, 1, 2, 3.0),
        Mirrored(1, 2, 3, 4, 5, conflicts, failed, 6, 7.5),
    ]


def test_notebook(client: DirectIO, file_id: int) -> None:
    """Notebooks show tables. Names are escaped, long lists are cut, and no secret is in them."""
    metadata, download, to_object, mirrored = (
        each._repr_html_() for each in values(client, file_id)
    )
    assert "50000 bytes" in metadata and "AES-CBC" in metadata
    assert "/tmp/&lt;i&gt;&amp;.pdf" in download and "00000abc" in download
    assert "a file object" in to_object
    assert "&lt;b&gt;a&lt;/b&gt;.txt" in mirrored
    assert (mirrored.count("no permission"), ">30<" in mirrored) == (20, True)
    assert "http" not in metadata


def test_rich(client: DirectIO, file_id: int) -> None:
    """Rich prints the values by their fields, and no secret."""
    rich_console = pytest.importorskip("rich.console")
    target = io.StringIO()
    console = rich_console.Console(file=target, width=100)
    for value in values(client, file_id):
        console.print(value)
    shown = target.getvalue()
    assert "Metadata(" in shown and "blocks=5" in shown
    assert "Download(" in shown and "Mirrored(" in shown
    metadata = client.metadata(file_id)
    assert "http" not in shown
    assert str(metadata.encryption_key) not in shown
