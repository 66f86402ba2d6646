/*
 * Sixteen threads, each with its own key, cipher, compression and block, decode at once for the
 * seconds given as the argument. No thread may see the bytes of another.
 */
#include "seal.h"

#include <pthread.h>
#include <time.h>

#include <libdeflate.h>
#include <lz4frame.h>

#define THREADS 16
#define PLAIN_SIZE 50000

static pthread_barrier_t barrier;
static time_t deadline;

struct job {
    enum ctera_cipher cipher;
    enum ctera_compression compression;
    uint64_t number;
    size_t key_size, object_size;
    uint8_t key[32], plain[PLAIN_SIZE], object[2 * PLAIN_SIZE];
    unsigned long decoded;
};

static size_t compress_gzip(const uint8_t *plain, uint8_t *out)
{
    struct libdeflate_compressor *compressor = libdeflate_alloc_compressor(6);
    size_t size = libdeflate_gzip_compress(compressor, plain, PLAIN_SIZE, out, 2 * PLAIN_SIZE);
    libdeflate_free_compressor(compressor);
    return size;
}

/* One literal: what matters here is the way through the stream. */
static size_t compress_snappy(const uint8_t *plain, uint8_t *out)
{
    static const uint8_t head[] = {(PLAIN_SIZE & 0x7F) | 0x80, (PLAIN_SIZE >> 7 & 0x7F) | 0x80,
                                   PLAIN_SIZE >> 14, 61 << 2, (PLAIN_SIZE - 1) & 0xFF,
                                   (PLAIN_SIZE - 1) >> 8};
    memcpy(out, head, sizeof head);
    memcpy(out + sizeof head, plain, PLAIN_SIZE);
    return sizeof head + PLAIN_SIZE;
}

static void prepare(struct job *job, unsigned index)
{
    static uint8_t payload[2 * PLAIN_SIZE];
    uint64_t state = index + 1;
    size_t size = PLAIN_SIZE;
    fill_text(job->plain, PLAIN_SIZE, &state);
    memcpy(payload, job->plain, PLAIN_SIZE);
    for (size_t i = 0; i < sizeof job->key; i++)
        job->key[i] = (uint8_t)random_word(&state);
    job->key_size = 16 + 8 * (index % 3);
    job->cipher = index % 2 ? CTERA_CIPHER_AES_CBC : CTERA_CIPHER_AES_GCM;
    job->number = index;
    switch (index / 2 % 4) {
    case 0:
        job->compression = CTERA_COMPRESSION_NONE;
        break;
    case 1:
        job->compression = CTERA_COMPRESSION_AUTO;
        size = compress_gzip(job->plain, payload);
        break;
    case 2:
        job->compression = CTERA_COMPRESSION_AUTO;
        size = compress_snappy(job->plain, payload);
        break;
    default:
        job->compression = CTERA_COMPRESSION_LZ4;
        size = LZ4F_compressFrame(payload, sizeof payload, job->plain, PLAIN_SIZE, NULL);
    }
    job->object_size =
        seal(job->cipher, job->key, job->key_size, job->number, payload, size, 0, job->object);
}

static void *work(void *argument)
{
    struct job *job = argument;
    uint8_t *out = malloc(PLAIN_SIZE);
    uint32_t crc = ctera_crc32c(0, job->plain, PLAIN_SIZE);
    CHECK(out);
    pthread_barrier_wait(&barrier);
    do {
        int64_t result = result_of((struct ctera_decode_call){
            .cipher = job->cipher,
            .compression = job->compression,
            .key = job->key,
            .key_size = job->key_size,
            .number = job->number,
            .object = job->object,
            .object_size = job->object_size,
            .out = out,
            .out_size = PLAIN_SIZE,
            .wants_crc32c = true,
        });
        CHECK(result == (int64_t)crc && memcmp(out, job->plain, PLAIN_SIZE) == 0);
        job->decoded++;
    } while (time(NULL) < deadline);
    free(out);
    return NULL;
}

int main(int count, char **arguments)
{
    static struct job jobs[THREADS];
    pthread_t threads[THREADS];
    unsigned long decoded = 0;
    for (unsigned i = 0; i < THREADS; i++)
        prepare(&jobs[i], i);
    deadline = time(NULL) + (count > 1 ? atoi(arguments[1]) : 1);
    CHECK(pthread_barrier_init(&barrier, NULL, THREADS) == 0);
    for (unsigned i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, work, &jobs[i]) == 0);
    for (unsigned i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        decoded += jobs[i].decoded;
    }
    pthread_barrier_destroy(&barrier);
    printf("%lu blocks decoded by %d threads\n", decoded, THREADS);
    return 0;
}
