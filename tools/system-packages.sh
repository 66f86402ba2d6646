#!/bin/sh
# Install the Debian packages that a list names and that are missing, or say the line that does.
# Usage: tools/system-packages.sh LIST
set -eu

cd "$(dirname "$0")/.."

if ! command -v dpkg-query >/dev/null; then
    echo "No Debian system: a C compiler and the headers of OpenSSL 3, libdeflate, lz4 and xxHash" >&2
    echo "are expected to be installed already." >&2
    exit 0
fi

missing=
while read -r package; do
    case $package in '' | '#'*) continue ;; esac
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done <"$1"

[ -z "$missing" ] && exit 0

if [ "$(id -u)" != 0 ]; then
    echo "Packages are missing. Run this, then try again:" >&2
    echo "    sudo apt-get install -y$missing" >&2
    exit 1
fi

echo "Installing$missing"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # one word per package
apt-get install -y -qq $missing >/dev/null 2>&1 || {
    apt-get update -qq
    apt-get install -y -qq $missing >/dev/null
}
