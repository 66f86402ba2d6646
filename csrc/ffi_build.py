"""Builds ctera_direct_sync.codec._native, the cffi (API mode, stable ABI) extension of csrc/.

Used by setup.py (``cffi_modules=["csrc/ffi_build.py:ffibuilder"]``). Run as a script from the
top of the source tree it compiles the extension in place.

By default the libraries are the system's, linked dynamically. For wheels that carry their own,
CTERA_DIRECT_LIBS_PREFIX names a folder with ``include/`` and ``lib/*.a`` (or ``lib64``), which
are linked statically and keep their symbols to themselves.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from typing import Any

from cffi import FFI

HERE = os.path.dirname(os.path.relpath(os.path.abspath(__file__)))
SOURCES = (
    "decode.c",
    "cipher.c",
    "snappy.c",
    "snappy_stream.c",
    "gzip.c",
    "lz4_frame.c",
    "checksum.c",
    "worker.c",
)
HEADERS = (
    "block.h",
    "bytes.h",
    "checksum.h",
    "cipher.h",
    "ctera_codec.h",
    "folding.h",
    "gzip.h",
    "lz4_frame.h",
    "reader.h",
    "requirements.h",
    "snappy.h",
    "snappy_stream.h",
    "worker.h",
)
LIBRARIES = ("crypto", "deflate", "lz4")

# Checks at run time: of the stack's integrity, and of copies into buffers whose size the compiler
# knows. Level 3 needs gcc 12 or clang 9 and glibc 2.34; older headers take it as 2. requirements.h and
# wheels/audit.py check for them. MinGW-w64 has them in a library of its own (-lssp), so Windows keeps
# to the compiler's defaults.
HARDENING = [
    "-fstack-protector-strong",
    "-U_FORTIFY_SOURCE",
    "-D_FORTIFY_SOURCE=3",
    "-DCTERA_HARDENED",
]

# How the libraries are linked into the extension: nothing unused, and none of their names visible.
STATIC_LINK_ARGS = {
    "linux": [
        "-pthread",
        "-Wl,--exclude-libs,ALL,--gc-sections,--strip-debug,-z,relro,-z,now,-z,noexecstack",
    ],
    "darwin": ["-Wl,-dead_strip,-S,-exported_symbol,_PyInit__native"],
    "win32": ["-static", "-Wl,--gc-sections,--strip-debug", "-lcrypt32", "-ladvapi32"],
}
WRAPPER = '#include "requirements.h"\n#include "ctera_codec.h"\n'


def archive(prefix: str, library: str) -> str:
    """The path of one static library below ``prefix``; SystemExit when there is none."""
    for folder in ("lib", "lib64"):
        path = os.path.join(prefix, folder, f"lib{library}.a")
        if os.path.exists(path):
            return path
    raise SystemExit(
        f"CTERA_DIRECT_LIBS_PREFIX={prefix}: lib{library}.a is in neither lib nor lib64"
    )


def build_options() -> dict[str, Any]:
    """What the compiler and the linker are told, as keywords of a setuptools Extension."""
    options: dict[str, Any] = {
        "sources": [os.path.join(HERE, name) for name in SOURCES],
        "include_dirs": [HERE],
        "depends": [os.path.join(HERE, name) for name in HEADERS],
        "extra_compile_args": ["-std=gnu11", "-O3", "-fvisibility=hidden", "-Wfatal-errors"],
        # Free-threaded CPython has no stable ABI.
        "py_limited_api": not sysconfig.get_config_var("Py_GIL_DISABLED"),
    }
    if sys.platform != "win32":
        options["extra_compile_args"] += HARDENING
    if sys.platform == "win32":
        # GCC aligns no vector of 32 bytes on the stack there, but moves it as if it did.
        options["extra_compile_args"].append("-Wa,-muse-unaligned-vector-move")
    prefix = os.environ.get("CTERA_DIRECT_LIBS_PREFIX")
    if not prefix:
        options["libraries"] = list(LIBRARIES)
        return options
    options["include_dirs"] = [HERE, os.path.join(prefix, "include")]
    options["extra_objects"] = [archive(prefix, library) for library in LIBRARIES]
    options["extra_compile_args"] += ["-ffunction-sections", "-fdata-sections"]
    options["extra_link_args"] = STATIC_LINK_ARGS[sys.platform]
    return options


ffibuilder = FFI()
with open(os.path.join(HERE, "ctera_codec.cdef"), encoding="ascii") as definitions:
    ffibuilder.cdef(definitions.read())
ffibuilder.set_source("ctera_direct_sync.codec._native", WRAPPER, **build_options())

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
