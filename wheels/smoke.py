"""Check an installed native wheel. Run it with the Python that has the wheel.

    python wheels/smoke.py

The backend is native; a vector of every format decodes, a damaged one does not; the extension brings in
no library but the C library's, and shows no symbol but its entry; licences and SBOM are there; and it
works beside ``ssl``, ``cryptography`` and pycryptodome in one process, whatever is imported first.
"""

from __future__ import annotations

import base64
import ctypes
import importlib.metadata
import importlib.util
import itertools
import json
import os
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
NAME = "ctera-direct-sync"
VECTORS = json.loads((HERE / "vectors.json").read_text(encoding="ascii"))
PLAIN = b"".join(b"block %d of the file\n" % number for number in range(40))
HIDDEN = (
    "EVP_DecryptInit_ex2",
    "OPENSSL_cleanse",
    "libdeflate_deflate_decompress_ex",
    "LZ4_decompress_safe",
    "ctera_decode",
)


def extension() -> pathlib.Path:
    """The native codec's file, found without importing the package."""
    spec = importlib.util.find_spec("ctera_direct_sync")
    assert spec and spec.submodule_search_locations, f"{NAME} is not installed"
    found = [
        path
        for path in pathlib.Path(spec.submodule_search_locations[0], "codec").glob("_native.*")
        if path.suffix in (".so", ".pyd")
    ]
    assert len(found) == 1, f"no native codec, or more than one: {found}"
    return found[0]


def check_formats() -> str:
    """Every format to the same plaintext; one flipped bit, and none of it."""
    from ctera_direct_sync import codec, exceptions

    assert codec.backend == "native", f"the backend is {codec.backend}"
    for vector in VECTORS["vectors"]:
        stored = base64.b64decode(vector["object"])
        arguments = {
            "key": base64.b64decode(vector["key"]) if "key" in vector else None,
            "cipher": vector.get("cipher", "AES-CBC"),
            "compression": vector["compression"],
            "number": vector.get("number"),
            "length": VECTORS["length"],
        }
        block = codec.decode(stored, **arguments)
        assert (block.data, block.crc32c) == (PLAIN, VECTORS["crc32c"]), vector["name"]
        if vector.get("cipher") == "AES-GCM":
            damaged = stored[:-1] + bytes([stored[-1] ^ 1])
            try:
                codec.decode(damaged, **arguments)
            except exceptions.DecryptBlockError:
                continue
            raise AssertionError(f"{vector['name']}: a damaged tag was accepted")
    return f"{len(VECTORS['vectors'])} formats decode, native"


def check_libraries() -> str:
    """What loading the extension alone maps into the process, over what cffi has mapped."""
    if not sys.platform.startswith("linux"):
        return "left to audit.py on this system"
    program = (
        "import _cffi_backend, importlib.machinery as m, importlib.util as u, re, sys\n"
        "def libraries():\n"
        "    maps = open('/proc/self/maps').read()\n"
        "    return {p for p in re.findall(r'\\s(/\\S+)$', maps, re.M) if '.so' in p}\n"
        "before = libraries()\n"
        "spec = u.spec_from_file_location('_native', sys.argv[1])\n"
        "module = u.module_from_spec(spec)\n"
        "module.lib.ctera_crc32c(0, b'', 0)\n"
        "print('\\n'.join(libraries() - before - {sys.argv[1]}))\n"
    )
    path = str(extension().resolve())
    more = run(program, path).split()
    allowed = re.compile(r"(libc|libm|libpthread|ld)[-.].*")
    foreign = [name for name in more if not allowed.match(os.path.basename(name))]
    assert not foreign, f"the extension brings in {foreign}"
    return "no library but the C library's"


def check_symbols() -> str:
    """Nothing of the linked libraries can be reached from outside."""
    path = extension()
    sys.path.insert(0, str(path.parent))
    library = ctypes.PyDLL(str(path))
    assert library.PyInit__native
    visible = [name for name in HIDDEN if hasattr(library, name)]
    assert not visible, f"these symbols are visible: {visible}"
    return "no symbol but the module's entry"


def check_papers() -> str:
    """Licences and SBOM, as an installer left them."""
    distribution = importlib.metadata.distribution(NAME)
    files = {path.as_posix().partition(".dist-info")[2]: path for path in distribution.files or ()}
    (bill,) = (path for name, path in files.items() if name.startswith("/sboms/"))
    components = json.loads(bill.read_text())["components"]
    for component in components:
        licence = files[f"/licenses/third-party/{component['name']}.txt"].read_text()
        assert re.search("licen[cs]e|copyright", licence, re.I), component["name"]
    assert files["/licenses/LICENSE"].read_text()
    return ", ".join(f"{c['name']} {c['version']}" for c in components)


NEIGHBOURS = {
    "ssl": (
        "import hashlib, ssl\n"
        "ssl.create_default_context()\n"
        "assert hashlib.sha256(b'').hexdigest().startswith('e3b0c442')\n"
    ),
    "cryptography": (
        "from cryptography.hazmat.primitives.ciphers.aead import AESGCM\n"
        "aead = AESGCM(bytes(32))\n"
        "assert aead.decrypt(bytes(12), aead.encrypt(bytes(12), b'plain', b''), b'') == b'plain'\n"
    ),
    "Crypto": (
        "from Crypto.Cipher import AES\n"
        "sealed = AES.new(bytes(32), AES.MODE_CBC, iv=bytes(16)).encrypt(bytes(16))\n"
        "assert AES.new(bytes(32), AES.MODE_CBC, iv=bytes(16)).decrypt(sealed) == bytes(16)\n"
    ),
    "ctera_direct_sync": (
        "import sys; sys.path.insert(0, sys.argv[1])\nimport smoke; smoke.check_formats()\n"
    ),
}


def check_neighbours() -> str:
    """Every order of import, each one used, then all used again."""
    present = [name for name in NEIGHBOURS if importlib.util.find_spec(name)]
    orders = list(itertools.permutations(present))
    for order in orders:
        run("".join(NEIGHBOURS[name] for name in order + order), str(HERE))
    missing = sorted(NEIGHBOURS.keys() - set(present))
    absent = f" (not installed: {', '.join(missing)})" if missing else ""
    return f"{len(orders)} orders of {', '.join(present)}{absent}"


def check_import_time() -> str:
    """Milliseconds that imports take, the best of seven; told, not judged: machines differ."""
    program = (
        "import sys, time; start = time.perf_counter()\n"
        "__import__(sys.argv[1]); print((time.perf_counter() - start) * 1000)\n"
    )

    def best(module: str, first: str = "") -> float:
        return min(float(run(first + program, module)) for _ in range(7))

    alone = best("requests")
    whole = best("ctera_direct_sync")
    rest = best("ctera_direct_sync", "import requests\n")
    return f"{whole:.0f} ms (requests alone: {alone:.0f}; this package after it: {rest:.0f})"


def run(program: str, *arguments: str) -> str:
    """Standard output of a new interpreter."""
    command = [sys.executable, "-X", "faulthandler", "-c", program, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, cwd=HERE)
    assert result.returncode == 0, f"exit code {result.returncode}\n{program}\n{result.stderr}"
    return result.stdout.strip()


def main() -> None:
    """Every check, one line each."""
    if not __debug__:
        raise SystemExit("run it without -O: the checks are assertions")
    location = extension()
    version = importlib.metadata.version(NAME)
    print(f"{NAME} {version} on Python {sys.version.split()[0]}, {location.name}")
    checks = {
        "formats": check_formats,
        "libraries": check_libraries,
        "symbols": check_symbols,
        "linked in": check_papers,
        "beside": check_neighbours,
        "import": check_import_time,
    }
    for name, check in checks.items():
        print(f"  {name}: {check()}")


if __name__ == "__main__":
    main()
