/* Included first everywhere: a missing header ends the compilation with one sentence that helps. */
#ifndef CTERA_REQUIREMENTS_H
#define CTERA_REQUIREMENTS_H

#if !__has_include(<openssl/evp.h>) || !__has_include(<libdeflate.h>) || \
    !__has_include(<lz4.h>) || !__has_include(<xxhash.h>)
#error "the native codec needs C headers that are missing: run  apt-get install gcc libssl-dev libdeflate-dev liblz4-dev libxxhash-dev"
#endif

/*
 * ffi_build.py hardens the extension. No call of the codec happens to need a checked variant, so the
 * binary cannot prove that _FORTIFY_SOURCE was in effect. The compiler proves it here.
 */
#if defined(CTERA_HARDENED)
#include <limits.h>
#if defined(__GLIBC__) && (!defined(__USE_FORTIFY_LEVEL) || __USE_FORTIFY_LEVEL < 2)
#error "the extension must be compiled with optimisation and -D_FORTIFY_SOURCE=2 or 3"
#endif
#if !defined(__SSP_STRONG__) && !defined(__SSP_ALL__)
#error "the extension must be compiled with -fstack-protector-strong"
#endif
#endif

#endif
