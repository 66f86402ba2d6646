/* What a thread keeps between calls, so that a block costs no set-up. */
#ifndef CTERA_WORKER_H
#define CTERA_WORKER_H

#include <stddef.h>
#include <stdint.h>

#include <libdeflate.h>
#include <openssl/evp.h>

struct worker {
    EVP_CIPHER_CTX *evp;                      /* holds no key between calls */
    struct libdeflate_decompressor *inflater; /* made by the first gzip block */
    uint8_t *scratch;
    size_t scratch_size;
};

/*
 * The calling thread's worker, made by its first call and freed when the thread ends; NULL: no
 * memory.
 */
struct worker *worker_get(void);

/* @size bytes of scratch memory, valid until the next call; NULL: no memory. */
uint8_t *worker_scratch(struct worker *worker, size_t size);

/* Gives back scratch memory above what is worth keeping. */
void worker_trim(struct worker *worker);

#endif
