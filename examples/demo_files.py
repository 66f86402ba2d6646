"""The demo's folder: real files, made once out of what every machine with Python has."""

from __future__ import annotations

import glob
import itertools
import os
import shutil
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from pathlib import Path

MB = 1_000_000


def make(folder: Path, largest: int) -> None:
    """Fill ``folder``, unless it holds the files already; the largest is of ``largest`` bytes."""
    done = folder.with_name(folder.name + ".made")
    if done.exists() and done.read_text() == str(largest):
        return
    done.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "empty").touch()
    (folder / "one-byte").write_bytes(b"\x2a")
    (folder / "random.bin").write_bytes(os.urandom(largest // 8))
    shutil.copyfile(os.path.realpath(sys.executable), folder / "python")
    shutil.copyfile(_library(largest // 2), folder / "library.so")
    sources = sysconfig.get_path("stdlib")
    _pack(folder / "sources.tar", sources, largest // 4)
    _pack(folder / "sources.tar.gz", sources, largest // 16)
    _pack(
        folder / "text.tar", "/usr/share" if os.path.isdir("/usr/share") else sources, largest // 4
    )
    _mix(folder / "mixed.img", folder, largest)
    done.write_text(str(largest))


def _library(limit: int) -> str:
    """The largest of the machine's shared libraries that is not larger than ``limit``, or Python."""
    places = [sysconfig.get_config_var("LIBDIR") or "", "/usr/lib/*", sysconfig.get_path("platlib")]
    found = [name for place in places for name in glob.glob(f"{place}/lib*.so*")]
    fitting = [name for name in found if os.path.isfile(name) and os.path.getsize(name) <= limit]
    return max(fitting or [os.path.realpath(sys.executable)], key=os.path.getsize)


def _pack(path: Path, folder: str, limit: int) -> None:
    """A tar archive of the first files below ``folder``, of about ``limit`` bytes before gzip."""
    mode = "w:gz" if path.suffix == ".gz" else "w"
    packed = 0
    with tarfile.open(path, mode) as archive:
        for name in _readable(folder):
            if packed >= limit:
                break
            archive.add(name, recursive=False)
            packed += os.path.getsize(name)


def _readable(folder: str) -> Iterator[str]:
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(place, name)
            if os.path.isfile(path) and not os.path.islink(path) and os.access(path, os.R_OK):
                yield path


def _mix(path: Path, folder: Path, size: int) -> None:
    """Exactly ``size`` bytes of the other files, again and again: some compress, some do not."""
    parts = sorted(part for part in folder.iterdir() if part.stat().st_size > 1)
    with path.open("wb") as file:
        for part in itertools.cycle(parts):
            left = size - file.tell()
            if not left:
                return
            file.write(part.read_bytes()[:left])
