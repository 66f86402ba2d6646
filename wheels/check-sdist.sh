#!/usr/bin/env bash
# wheels/check-sdist.sh SDIST: what an sdist gives, in an empty folder.
#
# With the -dev packages: a native wheel. Without the headers: no wheel, and one sentence that helps.
# With CTERA_DIRECT_BUILD=portable: a wheel that is pure and says so, in its name and at run time.
set -euo pipefail
sdist=$(realpath "$1")
tools=${TOOLS:?the environment that has what wheels/requirements.txt names}
scratch=$(mktemp -d "${TMPDIR:-/tmp}/ctera-direct-sdist.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"

build() { # build FOLDER: the wheel, in FOLDER
    mkdir -p "$1"
    "$tools/bin/python" -m pip wheel -q --no-deps --no-build-isolation --no-cache-dir -w "$1" "$sdist" >"$1.log" 2>&1
}
one() { basename "$(ls "$1"/*.whl)"; }

if echo '#include <openssl/evp.h>
#include <libdeflate.h>
#include <lz4.h>
#include <xxhash.h>' | cc -E - >/dev/null 2>&1; then
    build native || { cat native.log >&2; exit 1; }
    case "$(one native)" in
        *-abi3-linux_* | *t-linux_*) echo "With the headers: $(one native)" ;;
        *) echo "FAULT: with the headers the sdist gives $(one native)" >&2; exit 1 ;;
    esac
else
    echo "SKIPPED: a native build of the sdist: the -dev packages are not installed" >&2
fi

# The machine's headers, but for those of the -dev packages; and then a machine without a compiler.
mkdir -p bin "include/$(gcc -dumpmachine)"
for folder in . "$(gcc -dumpmachine)"; do
    find "/usr/include/$folder" -mindepth 1 -maxdepth 1 ! -name openssl ! -name 'lz4*.h' \
        ! -name libdeflate.h ! -name 'xxh*.h' ! -name "$(gcc -dumpmachine)" \
        -exec ln -sft "include/$folder" {} +
done
printf '#!/bin/sh\nexec %s -nostdinc -isystem %s -isystem %s -isystem %s "$@"\n' "$(command -v gcc)" \
    "$(gcc -print-file-name=include)" "$scratch/include" "$scratch/include/$(gcc -dumpmachine)" >bin/gcc
chmod +x bin/gcc
for compiler in "$scratch/bin/gcc" "$scratch/bin/none"; do
    rm -rf missing
    if CC=$compiler build missing; then
        echo "FAULT: without what it needs the sdist gives $(one missing)" >&2
        exit 1
    fi
    sentence=$(grep -o 'The native codec could not be compiled.*' missing.log) || {
        cat missing.log >&2
        echo "FAULT: without what it needs the build does not say what is missing" >&2
        exit 1
    }
    echo "With $(basename "$compiler") for a compiler, and no headers: $sentence"
done

CTERA_DIRECT_BUILD=portable build portable || { cat portable.log >&2; exit 1; }
case "$(one portable)" in
    *-py3-none-any.whl) ;;
    *) echo "FAULT: the portable build gives $(one portable)" >&2; exit 1 ;;
esac
if unzip -l portable/*.whl | grep -E '_native\.(.*\.)?(so|pyd)$'; then
    echo "FAULT: the portable wheel holds an extension" >&2
    exit 1
fi
"$tools/bin/python" -m venv portable-venv
portable-venv/bin/python -m pip install -q portable/*.whl
said=$(cd / && "$scratch/portable-venv/bin/python" -c '
import logging; logging.basicConfig()
from ctera_direct_sync import codec
assert codec.backend == "portable", codec.backend' 2>&1)
case $said in
    *"portable one is used"*) echo "Portable: $(one portable), and it says at run time that it is" ;;
    *) echo "FAULT: the portable wheel does not say so at run time: $said" >&2; exit 1 ;;
esac
