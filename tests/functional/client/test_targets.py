"""Targets that are streams, pipes, devices and open descriptors, are written to, never replaced."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Callable

import pytest

from ctera_direct_sync import BlockError, ByteRange, DirectIO
from ctera_direct_sync._readers.targets import is_stream
from ctera_direct_sync.emulator import Emulator, faults

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="its descriptors have no paths")

DATA = bytes(range(251)) * 1000

#: Paths of a descriptor that is open in this process.
FORMS = ["/dev/fd/{}", "/proc/self/fd/{}", "/proc/thread-self/fd/{}"]


@pytest.fixture
def file_id(portal: Emulator) -> int:
    """A file of six blocks."""
    return portal.add(DATA, block_size=50_000)


def link_to(folder: Path, target: str) -> str:
    """Make a symbolic link to a symbolic link to a target."""
    (folder / "first").symlink_to(target)
    (folder / "second").symlink_to("first")
    return str(folder / "second")


@pytest.mark.parametrize("linked", [False, True], ids=["", "by a link"])
@pytest.mark.parametrize("form", FORMS)
def test_descriptor_of_a_file_is_appended_to(
    client: DirectIO, file_id: int, tmp_path: Path, form: str, linked: bool
) -> None:
    """Bytes go where an open descriptor stands, and the file stays the file that it was."""
    kept = tmp_path / "kept"
    kept.write_bytes(b"before")
    inode = kept.stat().st_ino
    with kept.open("ab") as file:
        path = form.format(file.fileno())
        done = client.download(file_id, link_to(tmp_path, path) if linked else path)
        assert done.size == len(DATA)
        file.write(b"after")
    assert kept.read_bytes() == b"before" + DATA + b"after"
    assert kept.stat().st_ino == inode


def test_offset_of_a_descriptor_is_kept(client: DirectIO, file_id: int, tmp_path: Path) -> None:
    """Without O_APPEND the bytes replace those at the descriptor's offset, and no others."""
    kept = tmp_path / "kept"
    kept.write_bytes(b"0123456789")
    with kept.open("r+b", buffering=0) as file:
        file.seek(2)
        client.download(file_id, f"/dev/fd/{file.fileno()}", byte_range=ByteRange(0, 2))
        assert file.tell() == 5
    assert kept.read_bytes() == b"01" + DATA[:3] + b"56789"


def test_link_in_the_middle_of_a_path(client: DirectIO, file_id: int, tmp_path: Path) -> None:
    """A folder that links to the folder of descriptors is seen through."""
    (tmp_path / "descriptors").symlink_to("/dev/fd")
    with (tmp_path / "kept").open("w+b") as file:
        client.download(file_id, tmp_path / "descriptors" / str(file.fileno()))
    assert (tmp_path / "kept").read_bytes() == DATA


@pytest.mark.parametrize("linked", [False, True], ids=["", "by a link"])
def test_named_pipe(client: DirectIO, file_id: int, tmp_path: Path, linked: bool) -> None:
    """A named pipe gets the bytes in order, and stays a pipe."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE) as reader:
        thread = threading.Thread(
            target=client.download, args=(file_id, link_to(tmp_path, "pipe") if linked else pipe)
        )
        thread.start()
        got, _ = reader.communicate(timeout=60)
        thread.join()
    assert got == DATA
    assert pipe.is_fifo()


def test_pipe_in_non_blocking_mode(client: DirectIO, file_id: int) -> None:
    """A pipe that is full is waited for: every byte arrives."""
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    with subprocess.Popen(["cat"], stdin=ours, stdout=subprocess.PIPE) as reader:
        os.close(ours)
        # More than a pipe holds: to hold the reader back, its own output is not read meanwhile.
        thread = threading.Thread(target=client.download, args=(file_id, f"/dev/fd/{theirs}"))
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
        drained: list[bytes] = []
        drain = threading.Thread(target=lambda: drained.append(reader.stdout.read()))  # type: ignore[union-attr]
        drain.start()
        thread.join()
        os.close(theirs)
        drain.join()
    assert drained == [DATA]


def test_socket(client: DirectIO, portal: Emulator) -> None:
    """A socket cannot be opened by its path: its descriptor is used."""
    import socket

    file_id = portal.add(DATA[:1000])
    ours, theirs = socket.socketpair()
    with ours, theirs:
        client.download(file_id, f"/proc/self/fd/{theirs.fileno()}")
        theirs.close()
        with ours.makefile("rb") as stream:
            assert stream.read() == DATA[:1000]


def test_file_of_another_process_is_refused(client: DirectIO, file_id: int, tmp_path: Path) -> None:
    """A descriptor of another process's cannot be shared: what it has open stays as it is."""
    kept = tmp_path / "kept"
    with kept.open("wb") as file, subprocess.Popen(
        ["cat"], stdin=subprocess.PIPE, stdout=file
    ) as other:  # fmt: skip
        with pytest.raises(OSError, match="another process has open: give its own path"):
            client.download(file_id, f"/proc/{other.pid}/fd/1")
        other.communicate(b"its own", timeout=60)
    assert kept.read_bytes() == b"its own"


def test_closed_descriptor(client: DirectIO, file_id: int) -> None:
    """A descriptor that is not open is named."""
    with pytest.raises(OSError, match="closed, or not open for writing: '/dev/fd/900'") as caught:
        client.download(file_id, "/dev/fd/900")
    assert caught.value.errno == errno.EBADF


def test_descriptor_for_reading(client: DirectIO, file_id: int, tmp_path: Path) -> None:
    """A descriptor that is open for reading alone is refused before anything is fetched."""
    (tmp_path / "kept").write_bytes(b"kept")
    with (tmp_path / "kept").open("rb") as file, pytest.raises(OSError, match="not open for writ"):
        client.download(file_id, f"/dev/fd/{file.fileno()}")
    assert (tmp_path / "kept").read_bytes() == b"kept"


def test_descriptor_of_a_folder(client: DirectIO, file_id: int, tmp_path: Path) -> None:
    """A folder is a folder by its descriptor too."""
    fd = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(IsADirectoryError):
        client.download(file_id, f"/dev/fd/{fd}")
    os.close(fd)


def test_file_below_a_descriptor(client: DirectIO, file_id: int, tmp_path: Path) -> None:
    """A path that goes on behind the descriptor of a folder is an ordinary file."""
    fd = os.open(tmp_path, os.O_RDONLY)
    client.download(file_id, f"/proc/self/fd/{fd}/out")
    os.close(fd)
    assert (tmp_path / "out").read_bytes() == DATA


def test_broken_block(client: DirectIO, portal: Emulator, file_id: int, tmp_path: Path) -> None:
    """A stream that fails half-way raises; what was there before stays."""
    portal.faults.add("storage", file_id, 3, times=None, action=faults.status(404))
    kept = tmp_path / "kept"
    kept.write_bytes(b"before")
    with kept.open("ab") as file, pytest.raises((BlockError, OSError), match="no such object"):
        client.download(file_id, f"/dev/fd/{file.fileno()}")
    assert kept.read_bytes() == b"before" + DATA[:100_000]


@pytest.mark.keeps_partial
def test_batch_replaces_no_descriptor(client: DirectIO, file_id: int, tmp_path: Path) -> None:
    """In a batch's folder a link to a descriptor is refused, even where its file lies in the folder."""
    log = tmp_path / "log"
    with log.open("ab") as file:
        (tmp_path / "out").symlink_to(f"/dev/fd/{file.fileno()}")
        file.write(b"a line")
        file.flush()
        results = client.download_many([(file_id, "out"), (file_id, "other")], tmp_path)
    assert [result.ok for result in results] == [False, True]
    assert "open descriptor" in str(results[0].error)
    assert log.read_bytes() == b"a line"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/dev/null", True),
        ("/dev/fd", False),
        ("/dev/fd/", False),
        ("/dev/fd/x", False),
        ("/proc/self/fd/1/", False),
        ("/proc/self/status", False),
        ("/nonexistent/file", False),
        ("", False),
        ("nul\0", False),
    ],
)
def test_what_is_a_stream(path: str, expected: bool) -> None:
    """Files, folders and what is not there are not streams."""
    assert is_stream(path) is expected


def test_circle_of_links(tmp_path: Path, make_client: Callable[..., DirectIO]) -> None:
    """A link to itself is not a stream, and ends the search."""
    (tmp_path / "circle").symlink_to("circle")
    assert not is_stream(str(tmp_path / "circle"))
