#!/bin/bash
# Tests with every dependency at the lowest version that pyproject.toml allows.
#
#   tools/test-lowest.sh               all unit tests, and those of proxies and redirects
#   tools/test-lowest.sh tests/...     others
#   WORKERS=4 tools/test-lowest.sh     parallel tests (default: as many as there are cores)
#
# The environment lies below .cache/lowest, and is made anew when pyproject.toml changes. Only what users
# install is at its lowest: the test programs themselves are the newest.
set -euo pipefail
cd "$(dirname "$0")/.."

home=$PWD/.cache/lowest
python="$home/venv/bin/python"
extras=(emulator fast fsspec web)
tools=(pytest pytest-xdist pytest-timeout hypothesis cryptography-vectors python-snappy psutil)

if [ ! -e "$home/installed" ] || ! cmp -s pyproject.toml "$home/installed"; then
    rm -rf "$home"
    "${PYTHON:-python3}" -m venv "$home/venv"
    "$python" -m pip install --quiet --upgrade pip
    "$python" tools/lowest.py "${extras[@]}" >"$home/constraints.txt"
    # Wheels alone: what has to be built for an old version says nothing about it.
    "$python" -m pip install --quiet --only-binary :all: --constraint "$home/constraints.txt" \
        $(sed 's/==.*//' "$home/constraints.txt") "${tools[@]}"
    cp pyproject.toml "$home/installed"
fi

# The tree is copied, so that its own build of the extension is left alone.
rm -rf "$home/tree"
mkdir -p "$home/tree"
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
    if [ -e "$file" ]; then printf '%s\0' "$file"; fi
done | tar -c --null --files-from=- | tar -x -C "$home/tree"
cd "$home/tree"
"$python" -m pip install --quiet --no-deps --editable .

"$python" -c 'from ctera_direct_sync import codec; assert codec.backend == "native", codec.backend'

# Tests send signals, which whoever starts this in the background may have had ignored.
restore_signals='import os, signal, sys
for number in (signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])'
if [ $# = 0 ]; then
    # Proxies and redirects, too: older releases of requests and urllib3 differ there.
    set -- tests/unit tests/functional/client/test_{proxies,redirects}.py
    # The releases of packages make no difference to it, and `make test` runs it.
    set -- "$@" --deselect tests/unit/mirror/test_histories.py
fi
# The codec's own tests run by the portable backend, which is made of those packages. The native one is
# made of C: the other tests use it, and `make test` has run it.
export CTERA_DIRECT_TEST_BACKENDS=portable
"$python" -c "$restore_signals" -X dev -m pytest -q -n "${WORKERS:-auto}" -p no:cacheprovider "$@"
