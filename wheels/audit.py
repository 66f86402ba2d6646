"""Judges a finished native wheel as a file, before anybody installs it.

    python wheels/audit.py WHEEL

One extension for the stable ABI; no library needed but the C library's own; no symbol exported but the
module's entry; hardened; licences, SBOM and RECORD that tell the truth; no path of the building machine;
below 3 MB. The SBOM is held against the pins of sources.py and the extension's own OpenSSL version; with
CTERA_DIRECT_SOURCES=upstream, as for a release, a stand-in is a fault.

Needs pyelftools (Linux), pefile (Windows), cyclonedx-python-lib[json-validation].
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile
from typing import NamedTuple

import dress
import epoch
import sources

LIMIT = 3_000_000
ENTRY = "PyInit__native"
SYSTEM_LIBRARIES = {
    "linux": re.compile(
        r"(libc|libm|libpthread)\.so\.[06]|ld-linux-.*\.so\.\d|libc\.musl-.*\.so\.1"
    ),
    "darwin": re.compile(r"/usr/lib/libSystem\.B\.dylib"),
    "win32": re.compile(
        r"(kernel32|advapi32|crypt32|python3|api-ms-win-crt-.*|ucrtbase)\.dll", re.I
    ),
}


class Binary(NamedTuple):
    """What the dynamic linker sees of an extension."""

    needed: list[str]
    imported: list[str]
    exported: list[str]
    faults: list[str]
    note: str


def elf(path: pathlib.Path) -> Binary:
    """A shared object of Linux."""
    from elftools.elf.dynamic import DynamicSection
    from elftools.elf.elffile import ELFFile
    from elftools.elf.gnuversions import GNUVerNeedSection

    with path.open("rb") as file:
        image = ELFFile(file)
        dynamic = next(s for s in image.iter_sections() if isinstance(s, DynamicSection))
        tags = {tag.entry.d_tag: tag.entry.d_val for tag in dynamic.iter_tags()}
        needed = [tag.needed for tag in dynamic.iter_tags() if tag.entry.d_tag == "DT_NEEDED"]
        symbols = [s for s in image.get_section_by_name(".dynsym").iter_symbols() if s.name]
        exported = [s.name for s in symbols if s.entry.st_shndx != "SHN_UNDEF"]
        imported = [s.name for s in symbols if s.entry.st_shndx == "SHN_UNDEF"]
        segments = {
            segment.header.p_type: segment.header.p_flags for segment in image.iter_segments()
        }
        versions = {
            auxiliary.name
            for section in image.iter_sections()
            if isinstance(section, GNUVerNeedSection)
            for _, auxiliaries in section.iter_versions()
            for auxiliary in auxiliaries
            if re.fullmatch(r"GLIBC_[\d.]+", auxiliary.name)
        }
    faults = [f"has {tag}" for tag in ("DT_RPATH", "DT_RUNPATH", "DT_TEXTREL") if tag in tags]
    if segments.get("PT_GNU_STACK", 7) & 1:
        faults.append("has an executable stack")
    if "PT_GNU_RELRO" not in segments or not ("DT_BIND_NOW" in tags or tags.get("DT_FLAGS", 0) & 8):
        faults.append("is not linked with -z relro -z now")
    newest = max(versions, key=lambda v: [int(n) for n in v[6:].split(".")], default="no glibc")
    return Binary(needed, imported, exported, faults, f"newest symbol {newest}")


def mach_o(path: pathlib.Path) -> Binary:
    """A bundle of macOS."""

    def run(*command: str) -> list[str]:
        return subprocess.run(
            command, check=True, capture_output=True, text=True
        ).stdout.splitlines()

    needed = [line.split()[0] for line in run("otool", "-L", str(path))[1:]]
    exported = [line.split()[-1].removeprefix("_") for line in run("nm", "-gU", str(path))]
    imported = [line.split()[-1].removeprefix("_") for line in run("nm", "-gu", str(path))]
    return Binary(needed, imported, exported, [], "")


def pe(path: pathlib.Path) -> Binary:
    """A DLL of Windows."""
    import pefile

    image = pefile.PE(str(path))
    needed = [entry.dll.decode() for entry in image.DIRECTORY_ENTRY_IMPORT]
    exported = [symbol.name.decode() for symbol in image.DIRECTORY_ENTRY_EXPORT.symbols]
    flags = image.OPTIONAL_HEADER.DllCharacteristics
    faults = [] if flags & 0x40 and flags & 0x100 else ["is linked without ASLR and DEP"]
    return Binary(needed, [], exported, faults, "")


READERS = {"linux": elf, "darwin": mach_o, "win32": pe}


def audit_hardening(binary: Binary) -> list[str]:
    """Return what is missing of the compiler's checks at run time.

    A stack protector calls __stack_chk_fail. _FORTIFY_SOURCE calls __*_chk, but only where the compiler
    knows a buffer's size, so these calls may be absent: csrc/requirements.h checks for it instead.
    """
    if sys.platform == "win32":  # MinGW-w64 has both in a library that is not linked
        return []
    if not any(name.startswith("__stack_chk_fail") for name in binary.imported):
        return ["the extension was built without -fstack-protector-strong: no __stack_chk_fail"]
    return []


def audit_binary(content: bytes, suffix: str) -> tuple[list[str], str]:
    """Faults of the extension, and a remark."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, f"_native{suffix}")
        path.write_bytes(content)
        binary = READERS[sys.platform](path)
    faults = [f"the extension {fault}" for fault in binary.faults]
    faults += audit_hardening(binary)
    known = SYSTEM_LIBRARIES[sys.platform]
    faults += [f"needs {name} of the system" for name in binary.needed if not known.fullmatch(name)]
    if binary.exported != [ENTRY]:
        faults.append(
            f"exports {len(binary.exported)} symbols, not just {ENTRY}: {binary.exported[:9]}"
        )
    libraries = ", ".join(binary.needed)
    checked = sorted(name for name in binary.imported if re.fullmatch(r"__\w+_chk(_fail)?", name))
    hardening = ", ".join(checked) or "no checks at run time"
    return faults, f"needs {libraries}; exports {ENTRY} alone; {hardening}; {binary.note}"


def audit_record(files: dict[str, bytes], info: str) -> list[str]:
    """RECORD against the files."""
    rows = {row[0]: row[1:] for row in csv.reader(io.StringIO(files[f"{info}/RECORD"].decode()))}
    if rows.keys() != files.keys():
        return [f"RECORD and the archive differ in {sorted(rows.keys() ^ files.keys())}"]
    faults = []
    for name, content in files.items():
        sha256 = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        if name != f"{info}/RECORD" and rows[name] != [f"sha256={sha256}", str(len(content))]:
            faults.append(f"RECORD is wrong about {name}")
    return faults


def linked_sources(bill: bytes) -> tuple[list[sources.Source], list[str]]:
    """The pinned releases that an SBOM lists, and what is wrong with the list."""
    linked, faults = [], []
    for component in json.loads(bill)["components"]:
        try:
            source = sources.find(component["name"], component["version"])
        except KeyError as error:
            faults.append(str(error.args[0]))
            continue
        (reference,) = component["externalReferences"]
        if reference["hashes"] != [{"alg": "SHA-256", "content": source.sha256}]:
            faults.append(f"the SBOM has another SHA-256 of {source.name}")
        if source not in sources.SOURCES and os.environ.get("CTERA_DIRECT_SOURCES") == "upstream":
            faults.append(f"{source.name} {source.version} is a stand-in, not the pinned release")
        linked.append(source)
    missing = {source.name for source in sources.SOURCES} - {source.name for source in linked}
    if missing:
        faults.append(f"the SBOM lacks {sorted(missing)}")
    return linked, faults


def audit_papers(files: dict[str, bytes], info: str, linked: list[sources.Source]) -> list[str]:
    """Licences that are there and named, and an SBOM that is one."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    faults = []
    metadata = files[f"{info}/METADATA"].decode()
    for source in linked:
        path = f"third-party/{source.name}.txt"
        if f"\nLicense-File: {path}\n" not in metadata:
            faults.append(f"METADATA does not name the licence of {source.name}")
        if not files.get(f"{info}/licenses/{path}"):
            faults.append(f"the licence of {source.name} is missing")
    if f"{info}/licenses/LICENSE" not in files:
        faults.append("our own licence is missing")
    bill = files[f"{info}/{dress.SBOM}"].decode()
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill)
    if error:
        faults.append(f"the SBOM is no CycloneDX 1.6: {error}")
    return faults


def audit_tag(wheel: pathlib.Path, description: str) -> list[str]:
    """File name and WHEEL against each other; only a free-threaded build may lack abi3."""
    python, abi, platform = wheel.stem.split("-")[-3:]
    tags = sorted(f"{python}-{abi}-{one}" for one in platform.split("."))
    faults = []
    if not (python == "cp39" and abi == "abi3") and not (python == abi[:-1] and abi[-1] == "t"):
        faults.append(f"is tagged {python}-{abi}, not cp39-abi3")
    if sorted(re.findall(r"^Tag: (.+)$", description, re.M)) != tags:
        faults.append("WHEEL and the file name disagree on the tags")
    if "Root-Is-Purelib: false" not in description:
        faults.append("claims to be pure")
    if platform.startswith("linux_"):
        faults.append("was not repaired: its platform is plain linux")
    return faults


def audit(wheel: pathlib.Path) -> tuple[list[str], str]:
    """What is wrong with a wheel, and a line about what it is."""
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    (info,) = {name.split("/")[0] for name in files if ".dist-info/" in name}
    if f"{info}/{dress.SBOM}" not in files:
        return ["has no SBOM: was it finished by dress.py?"], ""
    linked, faults = linked_sources(files[f"{info}/{dress.SBOM}"])
    binaries = [name for name in files if re.search(r"\.(so|pyd|dylib|dll|a|o)$", name)]
    faults += audit_tag(wheel, files[f"{info}/WHEEL"].decode())
    faults += audit_record(files, info)
    faults += audit_papers(files, info, linked)
    remark = ""
    if len(binaries) != 1 or not binaries[0].startswith("ctera_direct_sync/codec/_native."):
        faults.append(f"must hold the native codec and no other binary, and holds {binaries}")
    else:
        found, remark = audit_binary(files[binaries[0]], pathlib.Path(binaries[0]).suffix)
        faults += found
        openssl = next((s.version for s in linked if s.name == "openssl"), "listed")
        if b"\0" + openssl.encode() + b"\0" not in files[binaries[0]]:
            faults.append(f"the extension does not say that its OpenSSL is {openssl}")
    faults += [
        f"{name} holds a path of this machine"
        for name, content in files.items()
        for place in {os.path.expanduser("~"), str(epoch.ROOT), tempfile.gettempdir()}
        if place.encode() + b"/" in content
    ]
    size = wheel.stat().st_size
    if size >= LIMIT:
        faults.append(f"has {size:,} bytes; the limit is {LIMIT:,}")
    return faults, f"{size:,} bytes; {remark}"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    name = pathlib.Path(sys.argv[1])
    problems, summary = audit(name)
    print(f"{name.name}: {summary}")
    for problem in problems:
        print(f"FAULT: {problem}", file=sys.stderr)
    sys.exit(bool(problems))
