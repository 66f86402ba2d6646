#include "requirements.h"

#include "worker.h"

#include <pthread.h>
#include <stdlib.h>

#include <openssl/crypto.h>

#include "ctera_codec.h"

/* A thread keeps at most this much scratch memory: a block of the largest common size, and room. */
#define SCRATCH_KEPT ((size_t)8 << 20)

/* Scratch grows to multiples of this, so that blocks of slightly different sizes share it. */
#define SCRATCH_STEP ((size_t)256 << 10)

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t worker_key;
static int key_made;

static void scratch_free(struct worker *worker)
{
    if (worker->scratch)
        OPENSSL_cleanse(worker->scratch, worker->scratch_size);
    free(worker->scratch);
    worker->scratch = NULL;
    worker->scratch_size = 0;
}

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
    key_made = pthread_key_create(&worker_key, worker_free) == 0;
}

struct worker *worker_get(void)
{
    pthread_once(&key_once, make_key);
    if (!key_made)
        return NULL;
    struct worker *worker = pthread_getspecific(worker_key);
    if (worker)
        return worker;
    worker = calloc(1, sizeof *worker);
    if (!worker)
        return NULL;
    worker->evp = EVP_CIPHER_CTX_new();
    if (!worker->evp || pthread_setspecific(worker_key, worker) != 0) {
        worker_free(worker);
        return NULL;
    }
    return worker;
}

void ctera_release_thread(void)
{
    pthread_once(&key_once, make_key);
    if (!key_made)
        return;
    worker_free(pthread_getspecific(worker_key));
    pthread_setspecific(worker_key, NULL);
}

uint8_t *worker_scratch(struct worker *worker, size_t size)
{
    if (size <= worker->scratch_size && worker->scratch)
        return worker->scratch;
    if (size > SIZE_MAX - SCRATCH_STEP)
        return NULL;
    scratch_free(worker);
    size_t rounded = size / SCRATCH_STEP * SCRATCH_STEP + SCRATCH_STEP;
    worker->scratch = malloc(rounded);
    if (worker->scratch)
        worker->scratch_size = rounded;
    return worker->scratch;
}

void worker_trim(struct worker *worker)
{
    if (worker->scratch_size > SCRATCH_KEPT)
        scratch_free(worker);
}
