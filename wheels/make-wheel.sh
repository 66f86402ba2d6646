#!/usr/bin/env bash
# `make wheel`: the wheel for this Linux machine, built outside a container and put through everything that
# a release's wheel must pass. The result is in dist/; what takes long is kept in .cache/.
#
#   PYTHON=python3          builds it (3.10 or newer)
#   PYTHONS="3.9 3.11 3.13" the versions that it is installed on; one that is not found is skipped, aloud
#   CHROOT=bullseye         the older Debian it is installed on (needs root and debootstrap); empty: none
#   TESTS="..."             what of tests/ the installed wheel must pass; empty: smoke test alone.
#                           On all but the last of PYTHONS and the older Debian: QUICK_TESTS
#   EVERYWHERE=1            TESTS on every Python, which takes longer
#   REBUILD_LIBS=1          builds the libraries a second time, too, to see that their bytes are the same
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
python=${PYTHON:-python3}
pythons=${PYTHONS-3.9 3.11 3.13}
chroot=${CHROOT-bullseye}
tests=${TESTS-tests --ignore=tests/interop}
quick_tests=${QUICK_TESTS-tests/unit/codec tests/functional/client}
cache=$root/.cache/wheels
scratch=$(mktemp -d "${TMPDIR:-/tmp}/ctera-direct-wheel.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
skipped=()

say() { printf '\n== %s (%d s)\n' "$*" "$SECONDS"; }
skip() { printf 'SKIPPED: %s\n' "$*" >&2; skipped+=("$*"); }
quiet() { "$@" >"$scratch/log" 2>&1 || { cat "$scratch/log" >&2; return 1; }; }

mkdir -p "$cache" dist
SOURCE_DATE_EPOCH=$("$python" wheels/epoch.py)
export SOURCE_DATE_EPOCH PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1

say "Tools"
tools=$cache/tools-$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if ! cmp -s wheels/requirements.txt "$tools/requirements.txt"; then
    rm -rf "$tools"
    "$python" -m venv "$tools"
    quiet "$tools/bin/python" -m pip install -r wheels/requirements.txt
    cp wheels/requirements.txt "$tools/"
fi
export PATH=$tools/bin:$PATH
auditwheel --version

say "An older C library to link against"
sysroot=$cache/sysroot-$(sha256sum wheels/sysroot.sh | cut -c1-16)
if [ -x "$sysroot/bin/cc" ] || wheels/sysroot.sh "$sysroot" 2>"$scratch/sysroot.log"; then
    PATH=$sysroot/bin:$PATH
    export CC="$sysroot/bin/gcc"
    export LDSHARED="$CC -shared"
else
    cat "$scratch/sysroot.log" >&2
    rm -rf "$sysroot"
    skip "the older C library: the wheel asks for this machine's glibc, and for a newer manylinux tag"
fi

say "The libraries: OpenSSL (libcrypto alone), libdeflate, lz4, xxHash"
key=$({ "$python" wheels/sources.py key; cat wheels/build-libs.sh; ${CC:-cc} --version; echo "${CC:-}"; } |
    sha256sum | cut -c1-16)
libs=$cache/$key/libs
build_libs() { PYTHON=$python nice wheels/build-libs.sh "$1"; }
if ! [ -e "$libs/versions" ] || [ -d "$libs/work" ]; then
    build_libs "$libs"
fi
cat "$libs/versions"
stand_in=$("$python" wheels/sources.py stand-ins "$libs/versions")
[ -z "$stand_in" ] || skip "the pinned release of $stand_in: this wheel is not to be published"
if [ -n "${REBUILD_LIBS:-}" ]; then
    mkdir -p "$scratch/elsewhere"
    cp -R "$cache/$key/sources" "$scratch/elsewhere/"
    build_libs "$scratch/elsewhere/libs"
    for library in crypto deflate lz4; do
        cmp "$libs/lib/lib$library.a" "$scratch/elsewhere/libs/lib/lib$library.a"
    done
    echo "Built twice, in two folders: the same bytes"
fi

say "The sdist, and from it the wheel, twice, in two folders"
export CTERA_DIRECT_LIBS_PREFIX=$libs
build_wheel() { # build_wheel FOLDER: leaves one finished wheel in FOLDER/out
    mkdir -p "$1/source" "$1/raw" "$1/repaired" "$1/out"
    tar -xzf "$scratch"/sdist/*.tar.gz -C "$1/source" --strip-components=1
    (cd "$1" && quiet python -m build --wheel --no-isolation --outdir raw source)
    quiet auditwheel repair --wheel-dir "$1/repaired" "$1"/raw/*.whl
    (cd "$1" && python "$root/wheels/dress.py" repaired/*.whl "$libs" out)
}
quiet python -m build --sdist --no-isolation --outdir "$scratch/sdist" .
build_wheel "$scratch/one"
build_wheel "$scratch/another/place"
cmp "$scratch"/one/out/*.whl "$scratch"/another/place/out/*.whl
wheel=$(cd dist && cp "$scratch"/one/out/*.whl . && basename "$scratch"/one/out/*.whl)
wheel=$root/dist/$wheel
cp "$scratch"/sdist/*.tar.gz dist/
sha256sum "$wheel"

say "Audits"
auditwheel show "$wheel"
abi3audit --strict --summary "$wheel"
python wheels/audit.py "$wheel"

say "The sdist on its own"
unset CTERA_DIRECT_LIBS_PREFIX CC LDSHARED
PATH=${PATH//$sysroot\/bin:/}
TOOLS=$tools wheels/check-sdist.sh "$scratch"/sdist/*.tar.gz

find_python() { # the path of a working python of that version, or nothing
    local candidate
    for candidate in $(type -aP "python$1" || true) "$HOME"/.pyenv/versions/"$1".*/bin/python; do
        if "$candidate" -c "import sys, venv; assert '%d.%d' % sys.version_info[:2] == '$1'" 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
}

# What the installed wheel is tested with, away from the source tree: the tree's package must not be found.
mkdir -p "$scratch/suite"
cp -R tests pyproject.toml "$scratch/suite/"
for folder in examples bench csrc wheels docs README.md Makefile; do
    [ ! -e "$folder" ] || cp -R "$folder" "$scratch/suite/"
done
rm -rf "$scratch"/suite/csrc/build
python -m dependency_groups -f pyproject.toml test-wheel >"$scratch/requirements-test.txt"
extras=emulator,fast,fsspec,web
for version in $pythons; do
    say "Python $version: a clean environment"
    interpreter=$(find_python "$version")
    if [ -z "$interpreter" ]; then
        skip "Python $version is not on this machine"
        continue
    fi
    venv=$scratch/venv-$version
    "$interpreter" -m venv "$venv"
    quiet "$venv/bin/python" -m pip install "$wheel" cryptography
    (cd "$scratch" && "$venv/bin/python" "$root/wheels/smoke.py")
    selected=$tests
    if [ "$version" != "${pythons##* }" ] && [ -z "${EVERYWHERE:-}" ] && [ -n "$tests" ]; then
        selected=$quick_tests
    fi
    [ -n "$selected" ] || continue
    quiet "$venv/bin/python" -m pip install "$wheel[$extras]" -r "$scratch/requirements-test.txt"
    # shellcheck disable=SC2086 # several paths
    (cd "$scratch/suite" && CTERA_DIRECT_CODEC=native nice "$venv/bin/python" -m pytest -q -n 2 \
        -p no:cacheprovider $selected)
done

if [ -n "$chroot" ]; then
    say "Debian $chroot, with nothing but python3 and pip"
    outside=$scratch/venv-3.9/bin/python
    if [ "$(id -u)" != 0 ] || ! command -v debootstrap >/dev/null; then
        skip "Debian $chroot: needs root and debootstrap"
    elif ! [ -x "$outside" ]; then
        skip "Debian $chroot: needs the environment of Python 3.9 above, to download what its own installs"
    else
        PYTHON39=$outside TESTS=$tests nice wheels/check-debian.sh \
            "$chroot" "$wheel" "$scratch/suite" "$cache"
    fi
fi

say "Done: $(basename "$wheel")"
for line in "${skipped[@]}"; do
    echo "SKIPPED: $line"
done
