/* Included first everywhere: a missing header ends the compilation with one sentence that helps. */
#ifndef CTERA_REQUIREMENTS_H
#define CTERA_REQUIREMENTS_H

#if !__has_include(<openssl/evp.h>) || !__has_include(<libdeflate.h>) || \
    !__has_include(<lz4.h>) || !__has_include(<xxhash.h>)
#error "the native codec needs C headers that are missing: run  apt-get install gcc libssl-dev libdeflate-dev liblz4-dev libxxhash-dev"
#endif

#endif
