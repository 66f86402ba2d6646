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

/*
 * The header at *@in, which is moved behind it. Like snappy-java's reader this refuses old versions
 * alone. *@newer is set if the writer asks for a later reader than this one.
 */
static int read_header(const uint8_t **in, const uint8_t *in_end, int *newer)
{
    if (in_end - *in < HEADER_SIZE)
        return CTERA_CORRUPT;
    uint32_t version = load_be32(*in + 8);
    uint32_t compatible = load_be32(*in + 12);
    *in += HEADER_SIZE;
    *newer |= compatible > VERSION;
    return version < VERSION ? CTERA_UNSUPPORTED : CTERA_OK;
}

/*
 * The chunk at *@in, which is moved behind it: its size, 4 bytes big endian, then a raw snappy
 * block, of at most @room bytes.
 */
static int read_chunk(const uint8_t **in, const uint8_t *in_end, size_t room,
                      struct snappy_chunk *chunk)
{
    if (in_end - *in < 4)
        return CTERA_CORRUPT;
    size_t size = load_be32(*in);
    const uint8_t *start = *in + 4;
    if (size > (size_t)(in_end - start))
        return CTERA_CORRUPT;
    int error = snappy_preamble(start, start + size, chunk);
    if (error)
        return error;
    *in = start + size;
    return chunk->size > room ? CTERA_TOO_LONG : CTERA_OK;
}

/* The chunk at *@in, and the one behind it where it is a good one, which are decoded at once. */
static int decode_chunks(const uint8_t **in, const uint8_t *in_end, struct block *block)
{
    struct snappy_chunk first, second;
    int error = read_chunk(in, in_end, block_room(block), &first);
    if (error)
        return error;
    const uint8_t *behind = *in;
    if (snappy_stream_recognised(behind, (size_t)(in_end - behind)) ||
        read_chunk(&behind, in_end, block_room(block) - first.size, &second))
        return snappy_elements(&first, block);
    *in = behind;
    return snappy_elements_of_two(&first, &second, block);
}

int snappy_stream_decode(const uint8_t *in, size_t size, struct block *block)
{
    const uint8_t *in_end = in + size;
    int newer = 0;
    int error = read_header(&in, in_end, &newer);
    while (!error && in != in_end) {
        /* A header where a chunk is due: streams were concatenated. No chunk is that large. */
        if (snappy_stream_recognised(in, (size_t)(in_end - in)))
            error = read_header(&in, in_end, &newer);
        else
            error = decode_chunks(&in, in_end, block);
    }
    /* What a later version wrote is not damaged only because this one cannot read it. */
    return error == CTERA_CORRUPT && newer ? CTERA_UNSUPPORTED : error;
}

int snappy_raw_decode(const uint8_t *in, size_t size, struct block *block)
{
    struct snappy_chunk chunk;
    int error = snappy_preamble(in, in + size, &chunk);
    if (error)
        return error;
    if (chunk.size != block->size)
        return chunk.size > block->size ? CTERA_TOO_LONG : CTERA_TOO_SHORT;
    return snappy_elements(&chunk, block);
}
