#include "requirements.h"

#include "snappy_stream.h"

#include <string.h>

#include "bytes.h"
#include "snappy.h"

/*
 * The header: magic, the writer's version, the lowest version that can read it (4 bytes each, big
 * endian).
 */
static const uint8_t magic[8] = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0x00};
#define HEADER_SIZE 16
#define VERSION 1

int snappy_stream_recognised(const uint8_t *in, size_t size)
{
    return size >= sizeof magic && memcmp(in, magic, sizeof magic) == 0;
}

/* The header at *@in, which is moved behind it. */
static int read_header(const uint8_t **in, const uint8_t *in_end)
{
    if (in_end - *in < HEADER_SIZE)
        return CTERA_CORRUPT;
    uint32_t version = load_be32(*in + 8);
    uint32_t compatible = load_be32(*in + 12);
    *in += HEADER_SIZE;
    return version < VERSION || compatible > VERSION ? CTERA_UNSUPPORTED : CTERA_OK;
}

/*
 * The chunk at *@in, which is moved behind it: its size, 4 bytes big endian, then a raw snappy
 * block.
 */
static int read_chunk(const uint8_t **in, const uint8_t *in_end, struct block *block)
{
    if (in_end - *in < 4)
        return CTERA_CORRUPT;
    size_t chunk_size = load_be32(*in);
    *in += 4;
    if (chunk_size > (size_t)(in_end - *in))
        return CTERA_CORRUPT;
    const uint8_t *chunk = *in, *chunk_end = *in + chunk_size;
    *in = chunk_end;

    size_t size;
    int error = snappy_preamble(&chunk, chunk_end, &size);
    if (error)
        return error;
    if (size > block_room(block))
        return CTERA_TOO_LONG;
    return snappy_elements(chunk, chunk_end, block, size);
}

int snappy_stream_decode(const uint8_t *in, size_t size, struct block *block)
{
    const uint8_t *in_end = in + size;
    int error = read_header(&in, in_end);
    while (!error && in != in_end) {
        /* A header where a chunk is due: streams were concatenated. No chunk is that large. */
        if (snappy_stream_recognised(in, (size_t)(in_end - in)))
            error = read_header(&in, in_end);
        else
            error = read_chunk(&in, in_end, block);
    }
    return error;
}

int snappy_raw_decode(const uint8_t *in, size_t size, struct block *block)
{
    const uint8_t *in_end = in + size;
    size_t plain_size;
    int error = snappy_preamble(&in, in_end, &plain_size);
    if (error)
        return error;
    if (plain_size != block->size)
        return plain_size > block->size ? CTERA_TOO_LONG : CTERA_TOO_SHORT;
    return snappy_elements(in, in_end, block, plain_size);
}
