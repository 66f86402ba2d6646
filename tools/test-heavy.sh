#!/bin/bash
# The tests with programs that are too large for `make test`, each in an environment of its own.
#
#   tools/test-heavy.sh                all of them
#   tools/test-heavy.sh ray            one of them
#   PYTHON=python3.12 tools/test-heavy.sh
#
# The environments lie below .cache/heavy, and are kept. A program that cannot be installed is named, with
# what pip said, and counts as a failure. The last lines are a table of what was tested.
set -euo pipefail
cd "$(dirname "$0")/.."

home=$PWD/.cache/heavy

packages() {
    case $1 in
    ray) echo 'ray[data]>=2.30 pandas>=2.2 pyarrow>=16' ;;
    airflow) echo 'apache-airflow>=3' ;;
    torch) echo 'torch==2.13.0 numpy>=2' ;;
    *) return 1 ;;
    esac
}

# What the table says of a program: the first package is the program itself.
version() {
    local package
    package="$(packages "$1" | sed 's/[[>=].*//')"
    "$home/$1/venv/bin/python" -c "from importlib.metadata import version; print('$package', version('$package'))"
}

copy_tree() {
    rm -rf "$1"
    mkdir -p "$1"
    git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
        if [ -e "$file" ]; then printf '%s\0' "$file"; fi
    done | tar -c --null --files-from=- | tar -x -C "$1"
}

install() {
    local venv="$home/$1/venv" wanted
    read -ra wanted <<<"$(packages "$1")"
    { [ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"; } &&
        "$venv/bin/python" -m pip install --quiet --upgrade pip &&
        "$venv/bin/python" -m pip install --quiet "${wanted[@]}" pytest pytest-timeout &&
        "$venv/bin/python" -m pip install --quiet "$home/tree[emulator,fsspec]" &&
        "$venv/bin/python" -m pip install --quiet --no-deps --force-reinstall "$home/tree"
}

# tests/conftest.py is for the suite's own environment, and the tree is not: the installed package is tested.
run_tests() {
    cd "$home/tree/tests/heavy"
    export AIRFLOW_HOME="$home/$1/home" AIRFLOW__CORE__LOAD_EXAMPLES=False
    "$home/$1/venv/bin/python" -m pytest -q -c /dev/null --rootdir . --confcutdir . \
        -p no:cacheprovider -W ignore --timeout 300 "with_$1.py" 2>&1 | tee "$home/$1/tests.log"
}

programs=("$@")
if [ ${#programs[@]} = 0 ]; then
    programs=(ray airflow torch)
fi

mkdir -p "$home"
copy_tree "$home/tree"
table=() failed=()
for program in "${programs[@]}"; do
    echo "== $program"
    packages "$program" >/dev/null || { echo "no program $program here: choose from ray airflow torch" >&2; exit 2; }
    mkdir -p "$home/$program"
    if ! install "$program" 2>"$home/$program/pip.log"; then
        reason="$(grep -i '^error' "$home/$program/pip.log" | tail -1)"
        echo "$program could not be installed, so nothing was tested with it:" >&2
        tail -5 "$home/$program/pip.log" >&2
        table+=("| $program | not installed: ${reason:-see .cache/heavy/$program/pip.log} | 0 tests |")
        failed+=("$program")
        continue
    fi
    if ! (run_tests "$program"); then
        failed+=("$program")
    fi
    python="$("$home/$program/venv/bin/python" -c 'import platform; print(platform.python_version())')"
    table+=("| $(version "$program") | Python $python | $(tail -1 "$home/$program/tests.log") |")
done

printf '%s\n' "${table[@]}"
if [ ${#failed[@]} != 0 ]; then
    echo "not passed: ${failed[*]}" >&2
    exit 1
fi
