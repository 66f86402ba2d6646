#include "requirements.h"

#include "worker.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include <openssl/crypto.h>

/*
 * A thread keeps at most this much scratch memory, in bytes: enough for a block of the largest common
 * size.
 */
#define SCRATCH_KEPT ((size_t)8 << 20)

/* Scratch memory has a multiple of this size, so that blocks of slightly different sizes share it. */
#define SCRATCH_STEP ((size_t)256 << 10)

_Static_assert(SCRATCH_KEPT % SCRATCH_STEP == 0, "what a thread keeps is a size that it can have");

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t worker_key;
static bool has_key;

static void scratch_free(struct worker *worker)
{
    if (worker->scratch)
        OPENSSL_cleanse(worker->scratch, worker->scratch_size);
    free(worker->scratch);
    worker->scratch = NULL;
    worker->scratch_size = 0;
}

/* Free a worker, which may be incomplete or NULL. POSIX calls this when a thread ends. */
static void worker_free(void *memory)
{
    struct worker *worker = memory;
    if (!worker)
        return;
    EVP_CIPHER_CTX_free(worker->evp);
    if (worker->inflater)
        libdeflate_free_decompressor(worker->inflater);
    scratch_free(worker);
    free(worker);
}

static void make_key(void)
{
    has_key = pthread_key_create(&worker_key, worker_free) == 0;
}

enum ctera_error worker_get(struct worker **worker)
{
    pthread_once(&key_once, make_key);
    if (!has_key)
        return CTERA_MEMORY;
    *worker = pthread_getspecific(worker_key);
    if (*worker)
        return CTERA_OK;
    struct worker *made = calloc(1, sizeof *made);
    if (!made)
        return CTERA_MEMORY;
    made->evp = EVP_CIPHER_CTX_new();
    if (!made->evp || pthread_setspecific(worker_key, made) != 0) {
        worker_free(made);
        return CTERA_MEMORY;
    }
    *worker = made;
    return CTERA_OK;
}

void ctera_release_thread(void)
{
    pthread_once(&key_once, make_key);
    if (!has_key)
        return;
    worker_free(pthread_getspecific(worker_key));
    pthread_setspecific(worker_key, NULL);
}

enum ctera_error worker_scratch(struct worker *worker, size_t size, uint8_t **scratch)
{
    if (size > worker->scratch_size || !worker->scratch) {
        if (size > SIZE_MAX - SCRATCH_STEP)
            return CTERA_MEMORY;
        scratch_free(worker);
        size_t rounded = size / SCRATCH_STEP * SCRATCH_STEP + SCRATCH_STEP;
        worker->scratch = malloc(rounded);
        if (!worker->scratch)
            return CTERA_MEMORY;
        worker->scratch_size = rounded;
    }
    *scratch = worker->scratch;
    return CTERA_OK;
}

void worker_trim(struct worker *worker)
{
    if (worker->scratch_size > SCRATCH_KEPT)
        scratch_free(worker);
}
