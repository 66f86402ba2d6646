#!/bin/bash
# The unit and functional tests on several versions of Python, each with the native codec built by it.
#
#   tools/test-pythons.sh              3.9, 3.11 and 3.13
#   tools/test-pythons.sh 3.12 3.14    others
#   WORKERS=4 tools/test-pythons.sh    parallel tests (default: as many as there are cores)
#
# Each version gets a copy of what git knows of the tree, with changes that are not committed yet, and
# an environment of its own below .cache/pythons. A version that this machine does not have is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

versions=("$@")
if [ ${#versions[@]} = 0 ]; then
    versions=(3.9 3.11 3.13)
fi

# An interpreter of a version: from pyenv, or from PATH, where pyenv may have put a name for nothing.
interpreter() {
    local found
    for found in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1"*/bin/python "$(command -v "python$1" || true)"; do
        if [ "$("$found" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$1" ]; then
            echo "$found"
            return 0
        fi
    done
    return 1
}

copy_tree() {
    rm -rf "$1"
    mkdir -p "$1"
    git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
        if [ -e "$file" ]; then printf '%s\0' "$file"; fi
    done | tar -c --null --files-from=- | tar -x -C "$1"
}

# Tests send signals, which whoever starts this in the background may have had ignored.
restore_signals='import os, signal, sys
for number in (signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])'

# Called as a condition, where "set -e" counts for nothing: each step is tied to the next.
test_with() {
    local python="$1" home="$2" in_venv="$2/venv/bin/python"
    copy_tree "$home/tree" &&
        { [ -x "$in_venv" ] || "$python" -m venv "$home/venv"; } &&
        "$in_venv" -m pip install --quiet --upgrade pip &&
        cd "$home/tree" &&
        "$in_venv" -m pip install --quiet --editable '.[test,fsspec,web]' &&
        "$in_venv" -c 'from ctera_direct_sync import codec; assert codec.backend == "native", codec.backend' &&
        "$in_venv" -c "$restore_signals" -X dev -m pytest -q -n "${WORKERS:-auto}" tests/unit tests/functional
}

failed=()
for version in "${versions[@]}"; do
    echo "== Python $version"
    if ! python="$(interpreter "$version")"; then
        echo "no python$version here, neither in PATH nor in pyenv: install it, or name other versions" >&2
        failed+=("$version")
    elif ! (test_with "$python" "$PWD/.cache/pythons/$version"); then
        failed+=("$version")
    fi
done

if [ ${#failed[@]} != 0 ]; then
    echo "failed on: ${failed[*]}" >&2
    exit 1
fi
echo "passed on: ${versions[*]}"
