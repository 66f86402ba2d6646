#!/usr/bin/env bash
# An older C library to link against, so that a wheel built on today's Linux runs on yesterday's.
#
#   wheels/sysroot.sh FOLDER        gives FOLDER/bin/{gcc,cc}: the machine's gcc, with glibc 2.31
#
# Without it the wheel asks for the glibc of the machine that built it (pthread_* moved into libc in 2.34,
# under new symbol versions). Needs gcc, ar and xz; no root, no container. The packages are Debian 11's,
# used only with the SHA-256 below.
set -euo pipefail

[ $# = 1 ] || { sed -n '2,/^set /p' "$0" | sed '$d; s/^# \{0,1\}//' >&2; exit 2; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1/bin" "$1/root" "$1/packages"
folder=$(cd "$1" && pwd)
root=$folder/root
gcc=$(command -v gcc)
triplet=$(gcc -dumpmachine)

case $triplet in
    x86_64-linux-gnu) packages='
        g/glibc/libc6_2.31-13+deb11u11_amd64.deb 05f7264da867b37f4c5ce49266b558ea1e81e05a9464f623152fca70f3550282
        g/glibc/libc6-dev_2.31-13+deb11u11_amd64.deb e7f7b45d9c5cfcf37609f0b6efd3c645272c812144703af89dfd32218fcb0fd3
        l/linux/linux-libc-dev_5.10.223-1_amd64.deb e3be603bd12377bb90fcfb0f2048ca3a81c886e49d6f09945b82159d1c54f7b2' ;;
    aarch64-linux-gnu) packages='
        g/glibc/libc6_2.31-13+deb11u11_arm64.deb baaa9aa184e2f21738c5819055e6740cc5b22f198e3f416e33f82b40ff6933d8
        g/glibc/libc6-dev_2.31-13+deb11u11_arm64.deb 28d478134722dcd4b0bd2045a199301d18713bf95947b9fce66634e7aeacab2e
        l/linux/linux-libc-dev_5.10.223-1_arm64.deb 8b6374a64412d33eac61d74f77b8f932da4b8a707ea8a614791e2a35b8917618' ;;
    *) echo "No older C library is pinned for $triplet" >&2; exit 1 ;;
esac

while read -r path sha256; do
    [ -n "$path" ] || continue
    package=$folder/packages/$(basename "$path")
    "${PYTHON:-python3}" "$here/sources.py" debian "$path" "$sha256" "$package"
    (cd "$root" && ar p "$package" data.tar.xz | tar -xJ)
done <<<"$packages"

# Links to /lib/... mean the sysroot's.
find "$root" -type l -lname '/*' | while read -r link; do
    ln -sfn "$(realpath -m --relative-to "$(dirname "$link")" "$root$(readlink "$link")")" "$link"
done

# gcc looks into the machine's own library folders, sysroot or not; -B and -L come before them. What only
# the machine has (Python's headers) is found after everything of the sysroot's.
libraries=$root/usr/lib/$triplet
cat >"$folder/bin/gcc" <<WRAPPER
#!/bin/sh
exec "$gcc" --sysroot="$root" -B"$libraries/" -L"$libraries" -L"$root/lib/$triplet" "\$@" -idirafter /usr/include
WRAPPER
chmod +x "$folder/bin/gcc"
ln -sf gcc "$folder/bin/cc"
ln -sf gcc "$folder/bin/$triplet-gcc"
