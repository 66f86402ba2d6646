#include "requirements.h"

#include "ctera_codec.h"

#include <string.h>

#include "block.h"
#include "cipher.h"
#include "gzip.h"
#include "lz4_frame.h"
#include "snappy_stream.h"
#include "worker.h"

_Static_assert(CTERA_TOO_SHORT == 12, "codec/errors.py has the same numbers");
_Static_assert(CTERA_CIPHER_NONE == 0 && CTERA_COMPRESSION_NONE == 0, "a zeroed call is valid");

/* A payload without compression: copy it if its size is the block's. */
static enum ctera_error decode_plain(const uint8_t *payload, size_t size, struct block *block)
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

static enum ctera_error decode_auto(struct worker *worker, const uint8_t *payload, size_t size,
                                    struct block *block)
{
    if (snappy_stream_recognised(payload, size))
        return snappy_stream_decode(payload, size, block);
    if (gzip_recognised(payload, size))
        return gzip_decode(worker, payload, size, block);
    return snappy_raw_decode(payload, size, block);
}

/* Decode a decrypted payload. Return CTERA_OK only if it fills the block exactly. */
static enum ctera_error decode_payload(struct worker *worker, enum ctera_compression compression,
                                       const uint8_t *payload, size_t size, struct block *block)
{
    enum ctera_error error = CTERA_ARGUMENT;
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
    }
    if (!error && block_room(block))
        error = CTERA_TOO_SHORT;
    return error;
}

/*
 * Decrypt the envelope's payload and decode it. The whole object is decrypted (and, with AES-GCM,
 * authenticated) before decompression begins; doing both piece by piece was not faster. A payload
 * that is not compressed and has the right size is decrypted straight into the block.
 */
static enum ctera_error decode_envelope(struct worker *worker, struct envelope *envelope,
                                        const struct ctera_decode_call *call, struct block *block)
{
    size_t size = envelope->plain_size;
    if (call->compression == CTERA_COMPRESSION_NONE && size == block->size)
        return cipher_finish(envelope, block->data, block);

    uint8_t *payload;
    enum ctera_error error = CTERA_OK;
    if (call->workspace)
        payload = call->workspace + (envelope->ciphertext - call->object);
    else
        error = worker_scratch(worker, size, &payload); /* less than the object has */
    if (error)
        return error;
    error = cipher_finish(envelope, payload, NULL);
    if (!error)
        error = decode_payload(worker, call->compression, payload, size, block);
    worker_trim(worker);
    return error;
}

static enum ctera_error decode_encrypted(struct worker *worker,
                                         const struct ctera_decode_call *call,
                                         struct block *block)
{
    struct envelope envelope;
    enum ctera_error error = cipher_begin(worker, call, &envelope);
    if (!error)
        error = decode_envelope(worker, &envelope, call, block);
    cipher_forget(worker);
    return error;
}

static bool is_valid(const struct ctera_decode_call *call)
{
    return call->cipher <= CTERA_CIPHER_AES_GCM && call->compression <= CTERA_COMPRESSION_LZ4 &&
           (call->object || !call->object_size) && (call->out || !call->out_size);
}

enum ctera_error ctera_decode(struct ctera_decode_call *call)
{
    /* NULL is a valid address of no bytes, but C does not allow arithmetic on it. */
    static uint8_t nothing[1];
    const uint8_t *object = call->object ? call->object : nothing;
    struct block block = {
        .data = call->out ? call->out : nothing,
        .size = call->out_size,
        .wants_crc32c = call->wants_crc32c,
    };
    struct worker *worker;
    call->crc32c = 0;
    if (!is_valid(call))
        return CTERA_ARGUMENT;
    enum ctera_error error = worker_get(&worker);
    if (error)
        return error;
    if (call->cipher == CTERA_CIPHER_NONE)
        error = decode_payload(worker, call->compression, object, call->object_size, &block);
    else
        error = decode_encrypted(worker, call, &block);
    if (!error)
        call->crc32c = block.crc32c;
    return error;
}

enum ctera_error ctera_decrypt_ecb(const uint8_t *key, size_t key_size, const uint8_t *data,
                                   size_t size, uint8_t *out)
{
    struct worker *worker;
    if ((!data || !out) && size)
        return CTERA_ARGUMENT;
    enum ctera_error error = worker_get(&worker);
    if (error)
        return error;
    error = cipher_decrypt_ecb(worker, key, key_size, data, size, out);
    cipher_forget(worker);
    return error;
}
