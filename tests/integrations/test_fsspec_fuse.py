"""A folder of a portal that the operating system mounts through `fsspec.fuse`."""

from __future__ import annotations

import ctypes.util
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ctera_direct_sync.emulator import Emulator
from tests.support.file_systems import count_requests, variables_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "mount_folder.py"
LARGE = bytes(range(256)) * 4000
TREE: dict[str, Any] = {
    "t": {
        "a.csv": b"x\n1\n",
        "large.bin": LARGE,
        "100% #.txt": b"odd",
        "deep": {"b.csv": b"x\n2\n"},
    }
}


def _why_not() -> str | None:
    """Return what is missing for a mount here, or None."""
    if not os.path.exists("/dev/fuse"):
        return "there is no /dev/fuse"
    if ctypes.util.find_library("fuse") is None:
        return "libfuse 2 is not installed (Debian: apt-get install libfuse2)"
    if os.geteuid() != 0 and shutil.which("fusermount") is None:
        return "a mount by a user who is not root needs fusermount (Debian: apt-get install fuse)"
    if shutil.which("umount") is None:
        return "there is no umount"
    try:
        import fuse  # noqa: F401
    except (ImportError, OSError):
        return "fusepy is not installed"
    return None


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(_why_not() is not None, reason=_why_not() or ""),
]


@pytest.fixture
def portal() -> Iterator[Emulator]:
    """A portal with TREE."""
    with Emulator(tree=TREE, block_size=100_000) as portal:
        yield portal


def _start(portal: Emulator, mount_point: Path, *options: str, **variables: str) -> Any:
    url = f"ctera://{portal.url.partition('://')[2]}/My Files/t"
    mount_point.mkdir()
    return subprocess.Popen(
        [sys.executable, str(EXAMPLE), url, str(mount_point), *options],
        env={**os.environ, **variables_of(portal), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def mounted(portal: Emulator, tmp_path: Path) -> Iterator[Path]:
    """The mount point of the folder, which the example serves."""
    mount_point = tmp_path / "mounted"
    program = _start(portal, mount_point)
    try:
        started = program.stdout.readline()
        if started != "mounted\n":
            errors = program.communicate(timeout=60)[1]
            if "Operation not permitted" in errors:
                pytest.skip(f"this system does not allow a mount: {errors.splitlines()[-1]}")
            pytest.fail(errors)
        yield mount_point
    finally:
        _unmount(mount_point)
        try:
            program.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            program.kill()
            program.communicate()
    assert program.returncode == 0


def _unmount(mount_point: Path) -> None:
    if os.path.ismount(mount_point):
        command = ["umount"] if os.geteuid() == 0 else ["fusermount", "-u"]
        subprocess.run([*command, str(mount_point)], check=True, timeout=60)


def test_folder_is_listed_and_files_are_read(mounted: Path) -> None:
    """Programs list, read whole files, and read at any place."""
    assert sorted(os.listdir(mounted)) == ["100% #.txt", "a.csv", "deep", "large.bin"]
    assert (mounted / "deep" / "b.csv").read_bytes() == b"x\n2\n"
    assert (mounted / "100% #.txt").read_bytes() == b"odd"
    assert (mounted / "large.bin").read_bytes() == LARGE
    assert (mounted / "large.bin").stat().st_size == len(LARGE)
    with open(mounted / "large.bin", "rb") as file:
        file.seek(700_001)
        assert file.read(10) == LARGE[700_001:700_011]
    walked = {top: sorted(names) for top, _, names in os.walk(mounted)}
    assert walked[str(mounted / "deep")] == ["b.csv"]
    assert not (mounted / "missing").exists()


def test_other_programs_read_it(mounted: Path, tmp_path: Path) -> None:
    """A program that knows nothing of portals copies the tree."""
    subprocess.run(["cp", "-r", str(mounted), str(tmp_path / "copy")], check=True, timeout=60)
    assert (tmp_path / "copy" / "large.bin").read_bytes() == LARGE
    assert (tmp_path / "copy" / "deep" / "b.csv").read_bytes() == b"x\n2\n"


def test_nothing_can_be_written(mounted: Path) -> None:
    """The system itself refuses each write."""
    for write in (
        lambda: (mounted / "new").write_bytes(b""),
        lambda: (mounted / "a.csv").write_bytes(b"x"),
        lambda: (mounted / "new").mkdir(),
        lambda: (mounted / "a.csv").unlink(),
        lambda: (mounted / "deep").rmdir(),
        lambda: (mounted / "a.csv").rename(mounted / "b.csv"),
        lambda: os.truncate(mounted / "a.csv", 0),
        lambda: (mounted / "a.csv").chmod(0o600),
    ):
        with pytest.raises(OSError) as caught:
            write()
        assert caught.value.errno == errno.EROFS
    assert (mounted / "a.csv").read_bytes() == b"x\n1\n"


def test_failed_read_is_an_error(mounted: Path, portal: Emulator) -> None:
    """A file whose blocks cannot be read is an error of the reading program, not a short file."""
    from ctera_direct_sync.emulator import faults

    portal.faults.add("storage", action=faults.status(404), times=1000)
    with pytest.raises(OSError):
        (mounted / "large.bin").read_bytes()
    portal.faults.clear()
    assert (mounted / "large.bin").read_bytes() == LARGE


def test_kept_listings_bound_the_requests(mounted: Path, portal: Emulator) -> None:
    """`ls -l` costs a listing for each folder, not a request for each name."""
    line = ["ls", "-lR", str(mounted)]
    asked = count_requests(portal, lambda: subprocess.run(line, check=True, capture_output=True))
    assert asked.get("list", 0) <= 2
    assert asked.get("stat", 0) <= 2


def test_wrong_password_ends_the_program(portal: Emulator, tmp_path: Path) -> None:
    """With a wrong password nothing is mounted, and the error says why."""
    program = _start(portal, tmp_path / "mounted", CTERA_DIRECT_PASSWORD="wrong")
    printed, errors = program.communicate(timeout=60)
    assert program.returncode == 1
    assert printed == ""
    assert "LoginError" in errors
    assert not os.path.ismount(tmp_path / "mounted")
    assert portal.secret_access_key not in errors
