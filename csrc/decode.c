#include "requirements.h"

#include "ctera_codec.h"

#include <string.h>

#include "block.h"
#include "cipher.h"
#include "gzip.h"
#include "lz4_frame.h"
#include "snappy_stream.h"
#include "worker.h"

static int decode_plain(const uint8_t *payload, size_t size, struct block *block)
{
    if (size != block->size)
        return size > block->size ? CTERA_TOO_LONG : CTERA_TOO_SHORT;
    while (block_room(block)) {
        size_t step = block_room(block) < BLOCK_TILE ? block_room(block) : BLOCK_TILE;
        memcpy(block_next(block), payload + block->filled, step);
        block_commit(block, step);
    }
    return CTERA_OK;
}

static int decode_auto(struct worker *worker, const uint8_t *payload, size_t size,
                       struct block *block)
{
    if (snappy_stream_recognised(payload, size))
        return snappy_stream_decode(payload, size, block);
    if (gzip_recognised(payload, size))
        return gzip_decode(worker, payload, size, block);
    return snappy_raw_decode(payload, size, block);
}

static int decode_payload(struct worker *worker, int compression, const uint8_t *payload,
                          size_t size, struct block *block)
{
    int error;
    switch (compression) {
    case CTERA_COMPRESSION_NONE:
        error = decode_plain(payload, size, block);
        break;
    case CTERA_COMPRESSION_AUTO:
        error = decode_auto(worker, payload, size, block);
        break;
    case CTERA_COMPRESSION_LZ4:
        error = lz4_frame_decode(payload, size, block);
        break;
    default:
        error = CTERA_ARGUMENT;
    }
    if (!error && block_room(block))
        error = CTERA_TOO_SHORT;
    return error;
}

/*
 * The whole object is decrypted (and, with AES-GCM, authenticated), then decompressed: measured no
 * slower than piece by piece. What is not compressed and has the right size goes straight to the
 * block.
 */
static int decode_envelope(struct worker *worker, struct envelope *envelope, int compression,
                           const uint8_t *object, uint8_t *workspace, struct block *block)
{
    if (compression == CTERA_COMPRESSION_NONE && envelope->plain_size == block->size)
        return cipher_finish(envelope, block->data, block);

    uint8_t *payload = workspace ? workspace + (envelope->ciphertext - object)
                                 : worker_scratch(worker, envelope->plain_size);
    if (!payload)
        return CTERA_MEMORY;
    int error = cipher_finish(envelope, payload, NULL);
    if (!error)
        error = decode_payload(worker, compression, payload, envelope->plain_size, block);
    worker_trim(worker);
    return error;
}

static int arguments_valid(int cipher, int compression, const uint8_t *object, size_t object_size,
                           const uint8_t *out, size_t out_size)
{
    return cipher >= CTERA_CIPHER_NONE && cipher <= CTERA_CIPHER_AES_GCM &&
           compression >= CTERA_COMPRESSION_NONE && compression <= CTERA_COMPRESSION_LZ4 &&
           (object || !object_size) && (out || !out_size);
}

int64_t ctera_decode(int cipher, const uint8_t *key, size_t key_size, uint64_t number,
                     int compression, const uint8_t *object, size_t object_size,
                     uint8_t *workspace, int checksum, uint8_t *out, size_t out_size)
{
    static uint8_t nothing[1]; /* NULL is a fine address of no bytes, but none to calculate with */
    if (!arguments_valid(cipher, compression, object, object_size, out, out_size))
        return -CTERA_ARGUMENT;
    if (!object)
        object = nothing;
    struct block block = {.data = out ? out : nothing, .size = out_size, .summed = checksum != 0};
    struct worker *worker = worker_get();
    if (!worker)
        return -CTERA_MEMORY;

    int error;
    if (cipher == CTERA_CIPHER_NONE) {
        error = decode_payload(worker, compression, object, object_size, &block);
    } else {
        struct envelope envelope;
        error = cipher_begin(worker, &envelope, cipher, key, key_size, number, object, object_size);
        if (!error)
            error = decode_envelope(worker, &envelope, compression, object, workspace, &block);
        cipher_forget(worker);
    }
    return error ? -error : (int64_t)block.crc32c;
}

int ctera_decrypt_ecb(const uint8_t *key, size_t key_size, const uint8_t *data, size_t size,
                      uint8_t *out)
{
    if ((!data || !out) && size)
        return CTERA_ARGUMENT;
    struct worker *worker = worker_get();
    if (!worker)
        return CTERA_MEMORY;
    int error = cipher_decrypt_ecb(worker, key, key_size, data, size, out);
    cipher_forget(worker);
    return error;
}
