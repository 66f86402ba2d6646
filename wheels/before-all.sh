#!/usr/bin/env bash
# What cibuildwheel runs once per platform, before it builds: the tools that OpenSSL's build needs, then the
# libraries, into the folder named.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if command -v dnf >/dev/null; then
    dnf install -y -q perl # all of Perl's core modules, as OpenSSL's Configure wants
elif command -v apk >/dev/null; then
    apk add --quiet perl linux-headers
fi
for python in python3 /opt/python/cp313-cp313/bin/python python; do
    if command -v "$python" >/dev/null && "$python" -c 'import sys; assert sys.version_info >= (3, 9)'; then
        export PYTHON=$python
        break
    fi
done
wheels/build-libs.sh "$1"
