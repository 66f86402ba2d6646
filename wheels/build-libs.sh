#!/usr/bin/env bash
# Builds what the native codec links statically: libcrypto, liblz4, libdeflate (and xxhash.h, which
# is a header alone).
#
#   wheels/build-libs.sh PREFIX        gives PREFIX/include, PREFIX/lib/*.a, PREFIX/licences, PREFIX/versions
#
# For Linux (glibc and musl), macOS, and Windows under MSYS2 (UCRT64: the codec is GNU C). Sources are
# those of wheels/sources.py. CC, AR, JOBS, ARCHFLAGS (macOS: "-arch arm64") and EXTRA_CFLAGS are obeyed;
# OPENSSL_TARGET names another target of OpenSSL's Configure (cross compilation).
#
# The same sources and compiler give the same bytes, in whatever folder and whenever.
set -euo pipefail

if [ $# != 1 ]; then
    sed -n '2,/^set /p' "$0" | sed '$d; s/^# \{0,1\}//' >&2
    exit 2
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1"
prefix=$(cd "$1" && pwd)
python=${PYTHON:-python3}
command -v "$python" >/dev/null || python=python
jobs=${JOBS:-$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)}
export SOURCE_DATE_EPOCH=315619200 LC_ALL=C TZ=UTC ZERO_AR_DATE=1

case "$(uname -s)-$(uname -m)" in
    Linux-x86_64) target=linux-x86_64 ;;
    Linux-aarch64) target=linux-aarch64 ;;
    Darwin-*)
        # cibuildwheel may build for the other architecture than the machine's.
        case "${ARCHFLAGS:-$(uname -m)}" in
            *arm64*) target=darwin64-arm64-cc ;;
            *) target=darwin64-x86_64-cc ;;
        esac
        ;;
    MINGW*-* | MSYS*-*) target=mingw64 ;;
    *) target= ;;
esac
target=${OPENSSL_TARGET:-$target}
if [ -z "$target" ]; then
    echo "No wheels are built for $(uname -sm): install the libraries' headers and use pip install ." >&2
    exit 1
fi

CC=${CC:-cc}
AR=${AR:-ar}
# Each function in its own section, so that the linker takes no more than is called.
cflags="-O3 -fvisibility=hidden -ffunction-sections -fdata-sections ${ARCHFLAGS:-} ${EXTRA_CFLAGS:-}"
[ "$target" = mingw64 ] || cflags="$cflags -fPIC -fstack-protector-strong"

work=$prefix/work
rm -rf "$work"
mkdir -p "$work" "$prefix/include" "$prefix/lib" "$prefix/licences"
mkdir -p "$prefix/../sources"
"$python" "$here/sources.py" fetch "$prefix/../sources"
sources=$(cd "$prefix/../sources" && pwd)

# What the codec calls is AES in CBC and GCM, through EVP. All else that can be left out is: no TLS, no
# key exchange, no signatures, no certificates' protocols, no sockets, no configuration file, no plug-ins,
# no handler at exit. Code that is not in the wheel needs no security release.
openssl_options=(
    no-shared no-module no-dso no-engine no-legacy no-deprecated
    no-apps no-tests no-docs no-makedepend
    no-bulk no-ssl no-tls no-dtls no-quic
    no-scrypt no-argon2 no-slh-dsa no-gost no-rfc3779
    no-http no-sock no-posix-io no-thread-pool no-secure-memory no-sslkeylog
    no-atexit no-autoload-config no-filenames no-ui-console
    --with-rand-seed=none
    --prefix=/nonexistent --openssldir=/nonexistent --libdir=lib
)
(
    cp -R "$sources/openssl" "$work/openssl"
    cd "$work/openssl"
    # shellcheck disable=SC2086 # one word per flag
    CC=$CC perl ./Configure "$target" "${openssl_options[@]}" $cflags >"$work/openssl.log" 2>&1
    make -s build_generated >>"$work/openssl.log" 2>&1
    make -s -j"$jobs" libcrypto.a >>"$work/openssl.log" 2>&1
) || { tail -n 40 "$work/openssl.log" >&2; exit 1; }
cp -R "$work/openssl/include/openssl" "$prefix/include/"
find "$prefix/include/openssl" -name '*.in' -delete
cp "$work/openssl/libcrypto.a" "$prefix/lib/"

# archive LIBRARY FOLDER SOURCE... : compiles with the flags above, and makes lib/libLIBRARY.a. Object
# files are named, and archived, in the order given.
archive() {
    local library=$1 folder=$2 source object objects=()
    shift 2
    mkdir -p "$work/$library"
    for source in "$@"; do
        object=${#objects[@]}-$(basename "$source" .c).o
        # shellcheck disable=SC2086 # one word per flag
        (cd "$sources/$folder" && $CC $cflags -I. -DNDEBUG -c "$source" -o "$work/$library/$object")
        objects+=("$object")
    done
    rm -f "$prefix/lib/lib$library.a"
    (cd "$work/$library" && "$AR" rcs "$prefix/lib/lib$library.a" "${objects[@]}")
}

# The decoder alone. Of the two cpu_features.c, each is empty on the other's architecture.
archive deflate libdeflate lib/deflate_decompress.c lib/utils.c \
    lib/x86/cpu_features.c lib/arm/cpu_features.c
archive lz4 lz4 lib/lz4.c

cp "$sources/libdeflate/libdeflate.h" "$sources/lz4/lib/lz4.h" "$sources/xxhash/xxhash.h" \
    "$prefix/include/"
"$python" "$here/sources.py" licences "$sources" "$prefix/licences"
cp "$sources/versions" "$prefix/versions"
rm -rf "$work"
echo "Built for $target: $(tr '\n' ',' <"$prefix/versions" | sed 's/,$//; s/,/, /g')"
