"""The C libraries that wheels carry: which release of each, from where, and what its bytes must be.

    python3 wheels/sources.py fetch FOLDER    download, verify and unpack all of them, into FOLDER
    python3 wheels/sources.py licences FOLDER OUT    copy the licences of what was fetched
    python3 wheels/sources.py stand-ins VERSIONS     which of them are not the pinned release
    python3 wheels/sources.py debian PATH SHA256 FILE    one file of Debian's pool
    python3 wheels/sources.py key             one line that changes whenever a pin does

Needs nothing but Python 3.9. A file is used only if its SHA-256 is the one written here, wherever it
came from; what is already in FOLDER/archives and verifies is not downloaded again.

CTERA_DIRECT_SOURCES=upstream (as releases are built) takes the pinned releases or fails. By default,
where the pinned release cannot be reached, the stand-in below is taken, and that is said aloud.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import shutil
import sys
import tarfile
import urllib.error
import urllib.request
from typing import NamedTuple

DEBIAN = "https://deb.debian.org/debian/pool/main/"
SNAPSHOT = "https://snapshot.debian.org/archive/debian/20261122T000000Z/pool/main/"
GITHUB = "https://github.com/"


class Source(NamedTuple):
    """One release of one library."""

    name: str
    version: str
    sha256: str
    folder: str  # the archive's only top-level folder
    urls: tuple[str, ...]  # the same bytes at each
    licence: str  # SPDX
    licence_file: str
    purl: str
    cpe: str
    stand_in: Source | None = None  # an older release, for machines that cannot reach this one


def debian(path: str) -> tuple[str, str]:
    """Where Debian keeps its copy of an upstream release (.orig), today and for ever."""
    return DEBIAN + path, SNAPSHOT + path


def openssl(version: str, sha256: str, *copies: str, stand_in: Source | None = None) -> Source:
    """A release of OpenSSL's 3.5 line (long-term support, to April 2030)."""
    return Source(
        name="openssl",
        version=version,
        sha256=sha256,
        folder=f"openssl-{version}",
        urls=(
            f"{GITHUB}openssl/openssl/releases/download/openssl-{version}/openssl-{version}.tar.gz",
            *copies,
        ),
        licence="Apache-2.0",
        licence_file="LICENSE.txt",
        purl=f"pkg:github/openssl/openssl@openssl-{version}",
        cpe=f"cpe:2.3:a:openssl:openssl:{version}:*:*:*:*:*:*:*",
        stand_in=stand_in,
    )


OPENSSL = openssl(
    "3.5.9",
    "603f5602e2eef00d77fbd429d34dcd5822bb301757a1bc9cdb24c670f1eb859a",
    stand_in=openssl(
        "3.5.7",
        "a8c0d28a529ca480f9f36cf5792e2cd21984552a3c8e4aa11a24aa31aeac98e8",
        *debian("o/openssl/openssl_3.5.7.orig.tar.gz"),
    ),
)

LZ4 = Source(
    name="lz4",
    version="1.10.0",
    sha256="537512904744b35e232912055ccf8ec66d768639ff3abe5788d90d792ec5f48b",
    folder="lz4-1.10.0",
    urls=(
        f"{GITHUB}lz4/lz4/archive/refs/tags/v1.10.0.tar.gz",
        *debian("l/lz4/lz4_1.10.0.orig.tar.gz"),
    ),
    licence="BSD-2-Clause",
    licence_file="lib/LICENSE",
    purl="pkg:github/lz4/lz4@v1.10.0",
    cpe="cpe:2.3:a:lz4_project:lz4:1.10.0:*:*:*:*:*:*:*",
)

LIBDEFLATE = Source(
    name="libdeflate",
    version="1.23",
    sha256="1ab18349b9fb0ce8a0ca4116bded725be7dcbfa709e19f6f983d99df1fb8b25f",
    folder="libdeflate-1.23",
    urls=(
        f"{GITHUB}ebiggers/libdeflate/archive/refs/tags/v1.23.tar.gz",
        *debian("libd/libdeflate/libdeflate_1.23.orig.tar.gz"),
    ),
    licence="MIT",
    licence_file="COPYING",
    purl="pkg:github/ebiggers/libdeflate@v1.23",
    cpe="cpe:2.3:a:libdeflate_project:libdeflate:1.23:*:*:*:*:*:*:*",
)

XXHASH = Source(
    name="xxhash",
    version="0.8.3",
    sha256="aae608dfe8213dfd05d909a57718ef82f30722c392344583d3f39050c7f29a80",
    folder="xxHash-0.8.3",
    urls=(
        f"{GITHUB}Cyan4973/xxHash/archive/refs/tags/v0.8.3.tar.gz",
        *debian("x/xxhash/xxhash_0.8.3.orig.tar.gz"),
    ),
    licence="BSD-2-Clause",
    licence_file="LICENSE",
    purl="pkg:github/Cyan4973/xxHash@v0.8.3",
    cpe="cpe:2.3:a:cyan4973:xxhash:0.8.3:*:*:*:*:*:*:*",
)

SOURCES = (OPENSSL, LZ4, LIBDEFLATE, XXHASH)


def find(name: str, version: str) -> Source:
    """The pinned release, or stand-in, of that name and version; KeyError for any other."""
    for source in SOURCES:
        for candidate in (source, source.stand_in):
            if candidate and (candidate.name, candidate.version) == (name, version):
                return candidate
    raise KeyError(f"{name} {version} is not pinned in wheels/sources.py")


def digest(path: pathlib.Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            sha256.update(piece)
    return sha256.hexdigest()


def download(urls: tuple[str, ...], sha256: str, target: pathlib.Path) -> bool:
    """Put what has that SHA-256 at ``target``; False where no URL gives it."""
    if target.exists() and digest(target) == sha256:
        return True
    partial = target.with_name(target.name + ".part")
    for url in urls:
        try:
            request = urllib.request.Request(url, headers={"User-Agent": "ctera-direct-sync-build"})
            with (
                urllib.request.urlopen(request, timeout=60) as response,
                partial.open("wb") as file,
            ):
                shutil.copyfileobj(response, file, 1 << 20)
        except (urllib.error.URLError, OSError) as error:
            print(f"  {url}: {error}", file=sys.stderr)
            continue
        found = digest(partial)
        if found == sha256:
            partial.replace(target)
            return True
        partial.unlink()
        raise SystemExit(f"{url} has SHA-256 {found}, not {sha256}: stop and find out why")
    return False


def choose(source: Source, archives: pathlib.Path, strict: bool) -> tuple[Source, pathlib.Path]:
    """The release that can be had, and its verified archive."""
    for candidate in (source, source.stand_in):
        if candidate is None or (strict and candidate is not source):
            continue
        archive = archives / f"{candidate.name}-{candidate.version}.tar.gz"
        if download(candidate.urls, candidate.sha256, archive):
            if candidate is not source:
                print(
                    f"STAND-IN: {source.name} {candidate.version}, because {source.version} cannot "
                    "be reached from here. Do not publish what is built from it.",
                    file=sys.stderr,
                )
            return candidate, archive
    raise SystemExit(f"{source.name} {source.version} cannot be downloaded: see the errors above")


def fetch(folder: pathlib.Path) -> None:
    """Unpack every library to folder/<name>; folder/versions lists what was taken."""
    archives = folder / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    strict = os.environ.get("CTERA_DIRECT_SOURCES", "") == "upstream"
    chosen = []
    for pinned in SOURCES:
        source, archive = choose(pinned, archives, strict)
        shutil.rmtree(folder / source.folder, ignore_errors=True)
        shutil.rmtree(folder / source.name, ignore_errors=True)
        with tarfile.open(archive) as tar:
            if hasattr(tarfile, "data_filter"):  # Python 3.12, and newer patch releases of others
                tar.extraction_filter = tarfile.data_filter
            tar.extractall(folder)
        (folder / source.folder).rename(folder / source.name)
        chosen.append(source)
    lines = (f"{source.name} {source.version}\n" for source in chosen)
    (folder / "versions").write_text("".join(lines), encoding="ascii")


def taken(versions: pathlib.Path) -> list[Source]:
    """The releases that a file of :func:`fetch` names."""
    return [find(*line.split()) for line in versions.read_text(encoding="ascii").splitlines()]


def copy_licences(folder: pathlib.Path, out: pathlib.Path) -> None:
    """Put each library's licence at out/<name>.txt."""
    for source in taken(folder / "versions"):
        shutil.copyfile(folder / source.name / source.licence_file, out / f"{source.name}.txt")


def key() -> str:
    """A name for everything that is pinned here."""
    policy = os.environ.get("CTERA_DIRECT_SOURCES", "")
    return hashlib.sha256(repr((SOURCES, policy)).encode()).hexdigest()[:16]


if __name__ == "__main__":
    if sys.argv[1:2] == ["fetch"] and len(sys.argv) == 3:
        fetch(pathlib.Path(sys.argv[2]))
    elif sys.argv[1:2] == ["licences"] and len(sys.argv) == 4:
        copy_licences(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]))
    elif sys.argv[1:2] == ["stand-ins"] and len(sys.argv) == 3:
        print(*(s.name for s in taken(pathlib.Path(sys.argv[2])) if s not in SOURCES))
    elif sys.argv[1:2] == ["debian"] and len(sys.argv) == 5:
        if not download(debian(sys.argv[2]), sys.argv[3], pathlib.Path(sys.argv[4])):
            raise SystemExit(f"{sys.argv[2]} cannot be downloaded: see the errors above")
    elif sys.argv[1:] == ["key"]:
        print(key())
    else:
        raise SystemExit(__doc__)
