#!/usr/bin/env bash
# wheels/check-debian.sh SUITE WHEEL TESTS-FOLDER CACHE: installs a wheel in an older Debian that has python3
# and pip and nothing else, and runs the smoke test and the test suite there. Needs root and debootstrap.
#
# The system is unpacked once, into CACHE, and copied for each run. What pip installs is downloaded outside,
# by PYTHON39 (an environment of the same version as Debian 11's, with what it needs), so that the system inside needs no network.
set -euo pipefail
suite=$1 wheel=$2 tests=$3 cache=$4
base=$cache/debian-$suite.tar
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
system=$(mktemp -d "${TMPDIR:-/tmp}/ctera-direct-debian.XXXXXX")
trap 'rm -rf --one-file-system "$system"' EXIT

if ! [ -e "$base" ]; then
    debootstrap --variant=minbase --include=python3,python3-pip "$suite" "$system" \
        https://deb.debian.org/debian >"$base.log" 2>&1 || { tail -n 20 "$base.log" >&2; exit 1; }
    rm -rf "$system"/var/cache/apt/archives/*.deb
    tar -C "$system" -cf "$base.part" . && mv "$base.part" "$base"
else
    tar -C "$system" -xf "$base"
fi
mkdir -p "$system/wheels" "$system/suite"
cp "$wheel" "$system/wheels/"
# What PYTHON39 has installed, in versions that run on that Debian's C library.
"$PYTHON39" -m pip freeze --exclude ctera-direct-sync >"$system/wheels/requirements.txt"
platforms=(manylinux2014 manylinux2010 manylinux1)
for minor in $(seq 17 31); do
    platforms+=("manylinux_2_$minor")
done
"$PYTHON39" -m pip download -q --dest "$system/wheels" --no-deps --only-binary=:all: --platform=any \
    $(printf -- "--platform=%s_$(uname -m) " "${platforms[@]}") -r "$system/wheels/requirements.txt" >"$base.pip.log" 2>&1 ||
    { cat "$base.pip.log" >&2; exit 1; }
cp -R "$tests/." "$system/suite/"
cp "$here/smoke.py" "$here/vectors.json" "$system/wheels/"

cat >"$system/run.sh" <<INSIDE
set -eu
cd /wheels
grep PRETTY_NAME /etc/os-release
! command -v gcc
pip3 install -q --no-index --find-links /wheels "/wheels/$(basename "$wheel")" -r requirements.txt
python3 smoke.py
cd /suite
[ -z "${TESTS-}" ] || CTERA_DIRECT_CODEC=native python3 -m pytest -q -n 2 -p no:cacheprovider ${TESTS-}
INSIDE
# A mount namespace of its own: nothing stays mounted, however this ends.
unshare --mount --fork sh -c '
    set -e
    mount -t proc proc "$1/proc"
    mount --rbind /dev "$1/dev"
    exec chroot "$1" /usr/bin/env -i PATH=/usr/local/bin:/usr/bin:/bin HOME=/root LANG=C.UTF-8 sh /run.sh
' sh "$system"
