/* What a thread keeps between calls, so that a block needs no set-up. */
#ifndef CTERA_WORKER_H
#define CTERA_WORKER_H

#include <stddef.h>
#include <stdint.h>

#include <libdeflate.h>
#include <openssl/evp.h>

#include "ctera_codec.h"

struct worker {
    EVP_CIPHER_CTX *evp;                      /* never NULL; it holds no key between calls */
    struct libdeflate_decompressor *inflater; /* NULL until the first gzip block */
    uint8_t *scratch;                         /* NULL until worker_scratch() */
    size_t scratch_size;                      /* in bytes */
};

/*
 * Set *worker to the calling thread's worker. The thread's first call creates it, and the end of the
 * thread frees it.
 *
 * Return CTERA_OK, or CTERA_MEMORY; *worker is undefined then.
 */
enum ctera_error worker_get(struct worker **worker);

/*
 * Set *scratch to at least @size bytes of the worker's scratch memory, whose contents are undefined.
 * They are valid until the next call of worker_scratch() or worker_trim(). @size must be bounded by
 * what the caller holds in memory, not by a number that was received.
 *
 * Return CTERA_OK, or CTERA_MEMORY; *scratch is undefined then.
 */
enum ctera_error worker_scratch(struct worker *worker, size_t size, uint8_t **scratch);

/* Free the worker's scratch memory if it is larger than what a thread may keep. */
void worker_trim(struct worker *worker);

#endif
