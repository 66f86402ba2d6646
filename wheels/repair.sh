#!/usr/bin/env bash
# wheels/repair.sh WHEEL DEST: what cibuildwheel runs on each wheel it has built. The platform's tool checks
# that nothing of the system is needed, and names the tag; dress.py adds licences and SBOM.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repaired=$(mktemp -d)
trap 'rm -rf "$repaired"' EXIT
case "$(uname -s)" in
    Linux) auditwheel repair --wheel-dir "$repaired" "$1" ;;
    Darwin) delocate-wheel --require-archs "$(uname -m)" -w "$repaired" -v "$1" ;;
    *) delvewheel repair -w "$repaired" "$1" ;;
esac
python "$here/dress.py" "$repaired"/*.whl "$CTERA_DIRECT_LIBS_PREFIX" "$2"
