#include "requirements.h"

#include "snappy_stream.h"

#include <string.h>

#include "bytes.h"
#include "reader.h"
#include "snappy.h"

/*
 * A stream begins with this magic, the version of its writer, and the lowest version that can read
 * it: 8, 4 and 4 bytes, big endian.
 */
static const uint8_t magic[8] = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0x00};
#define HEADER_SIZE 16
#define VERSION 1

_Static_assert(HEADER_SIZE == sizeof magic + 4 + 4, "the header is the magic and two numbers");
_Static_assert(SIZE_MAX >= UINT32_MAX, "each 32-bit size of the format fits a size_t");

bool snappy_stream_recognised(const uint8_t *payload, size_t size)
{
    return size >= sizeof magic && memcmp(payload, magic, sizeof magic) == 0;
}

/*
 * Advance past a header. Like snappy-java's reader, this refuses only versions that are too old
 * (CTERA_UNSUPPORTED). It sets *newer if the writer asks for a later reader than this one.
 */
static enum ctera_error read_header(struct reader *reader, bool *newer)
{
    const uint8_t *header = reader_take(reader, HEADER_SIZE);
    if (!header)
        return CTERA_CORRUPT;
    uint32_t version = load_be32(header + sizeof magic);
    uint32_t compatible = load_be32(header + sizeof magic + 4);
    if (compatible > VERSION)
        *newer = true;
    return version < VERSION ? CTERA_UNSUPPORTED : CTERA_OK;
}

/*
 * Read a chunk into *chunk and advance past it: its size, 4 bytes big endian, then a raw snappy
 * block. Return CTERA_TOO_LONG if it decodes to more than @room bytes.
 */
static enum ctera_error read_chunk(struct reader *reader, size_t room, struct snappy_chunk *chunk)
{
    const uint8_t *field = reader_take(reader, 4);
    if (!field)
        return CTERA_CORRUPT;
    size_t size = load_be32(field);
    const uint8_t *data = reader_take(reader, size);
    if (!data)
        return CTERA_CORRUPT;
    enum ctera_error error = snappy_preamble(reader_of(data, size), chunk);
    if (error)
        return error;
    return chunk->size > room ? CTERA_TOO_LONG : CTERA_OK;
}

/*
 * Decode the next chunk into @block and advance past it. If a valid chunk follows, decode both in one
 * loop. An invalid one is left for the next call, so that errors keep their order.
 */
static enum ctera_error decode_chunks(struct reader *reader, struct block *block)
{
    struct snappy_chunk first, second;
    enum ctera_error error = read_chunk(reader, block_room(block), &first);
    if (error)
        return error;
    struct reader ahead = *reader;
    if (snappy_stream_recognised(ahead.next, reader_left(&ahead)) ||
        read_chunk(&ahead, block_room(block) - first.size, &second))
        return snappy_elements(&first, block);
    *reader = ahead;
    return snappy_elements_of_two(&first, &second, block);
}

enum ctera_error snappy_stream_decode(const uint8_t *payload, size_t size, struct block *block)
{
    struct reader reader = reader_of(payload, size);
    bool newer = false;
    enum ctera_error error = read_header(&reader, &newer);
    while (!error && !reader_at_end(&reader)) {
        /*
         * Streams may be concatenated, so a header may stand where a chunk is due. It cannot be
         * mistaken for one: as a chunk's size, the magic would exceed 2 GiB.
         */
        if (snappy_stream_recognised(reader.next, reader_left(&reader)))
            error = read_header(&reader, &newer);
        else
            error = decode_chunks(&reader, block);
    }
    /* A later version's stream is not damaged just because this version cannot read it. */
    return error == CTERA_CORRUPT && newer ? CTERA_UNSUPPORTED : error;
}

enum ctera_error snappy_raw_decode(const uint8_t *payload, size_t size, struct block *block)
{
    struct snappy_chunk chunk;
    enum ctera_error error = snappy_preamble(reader_of(payload, size), &chunk);
    if (error)
        return error;
    if (chunk.size != block->size)
        return chunk.size > block->size ? CTERA_TOO_LONG : CTERA_TOO_SHORT;
    return snappy_elements(&chunk, block);
}
