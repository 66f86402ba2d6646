#include "requirements.h"

#include "gzip.h"

#include <string.h>

#include "bytes.h"
#include "checksum.h"
#include "reader.h"

/*
 * This file reads headers and trailers; libdeflate decodes the DEFLATE between them. libdeflate's own
 * gzip call is not used: it reports a wrong checksum and malformed data as the same error.
 */

/* The flags of a member (RFC 1952, section 2.3.1). */
enum { FTEXT = 0x01, FHCRC = 0x02, FEXTRA = 0x04, FNAME = 0x08, FCOMMENT = 0x10 };
#define FLAGS_RESERVED 0xE0
#define METHOD_DEFLATE 8
#define HEADER_SIZE 10
#define TRAILER_SIZE 8

_Static_assert((FTEXT | FHCRC | FEXTRA | FNAME | FCOMMENT | FLAGS_RESERVED) == 0xFF,
               "each bit of the flags byte is either known or reserved");

bool gzip_recognised(const uint8_t *payload, size_t size)
{
    return size >= 2 && payload[0] == 0x1F && payload[1] == 0x8B;
}

/* Advance past a string and the zero byte that ends it. Return CTERA_CORRUPT if there is none. */
static enum ctera_error skip_string(struct reader *reader)
{
    const uint8_t *zero = memchr(reader->next, 0, reader_left(reader));
    if (!zero)
        return CTERA_CORRUPT;
    reader->next = zero + 1;
    return CTERA_OK;
}

/* Advance past the extra field: two bytes of size, then the field (RFC 1952, section 2.3.1.1). */
static enum ctera_error skip_extra(struct reader *reader)
{
    const uint8_t *size = reader_take(reader, 2);
    return size && reader_take(reader, load_le16(size)) ? CTERA_OK : CTERA_CORRUPT;
}

/*
 * Advance past the header's checksum, which is that of the bytes from @header up to it. Return
 * CTERA_CHECKSUM if it does not match.
 */
static enum ctera_error check_header_crc(struct reader *reader, const uint8_t *header)
{
    size_t size = (size_t)(reader->next - header);
    const uint8_t *stored = reader_take(reader, 2);
    if (!stored)
        return CTERA_CORRUPT;
    return (checksum_crc32(0, header, size) & 0xFFFF) == load_le16(stored) ? CTERA_OK
                                                                           : CTERA_CHECKSUM;
}

/* Advance past a member's header (RFC 1952, section 2.3). */
static enum ctera_error read_header(struct reader *reader)
{
    const uint8_t *header = reader_take(reader, HEADER_SIZE);
    if (!header)
        return CTERA_CORRUPT;
    uint8_t flags = header[3];
    if (header[2] != METHOD_DEFLATE || flags & FLAGS_RESERVED)
        return CTERA_UNSUPPORTED;
    enum ctera_error error = CTERA_OK;
    if (flags & FEXTRA)
        error = skip_extra(reader);
    if (!error && flags & FNAME)
        error = skip_string(reader);
    if (!error && flags & FCOMMENT)
        error = skip_string(reader);
    if (!error && flags & FHCRC)
        error = check_header_crc(reader, header);
    return error;
}

/*
 * Return why the DEFLATE at @reader did not fit the block: CTERA_TOO_LONG or CTERA_CORRUPT.
 *
 * libdeflate reads up to 8 zero bytes past the end of its input before it reports bad data. Those
 * zeros may decode to bytes that do not fit, so a truncated stream can look too long. This function
 * decodes again without the last 8 bytes, where a complete member has its trailer. If the output
 * still overflows, real data caused it; if not, the stream is truncated.
 */
static enum ctera_error judge_overflow(struct worker *worker, const struct reader *reader,
                                       struct block *block)
{
    size_t size = reader_left(reader), used, written;
    if (size < TRAILER_SIZE)
        return CTERA_CORRUPT;
    enum libdeflate_result result = libdeflate_deflate_decompress_ex(
        worker->inflater, reader->next, size - TRAILER_SIZE, block_next(block), block_room(block),
        &used, &written);
    return result == LIBDEFLATE_INSUFFICIENT_SPACE ? CTERA_TOO_LONG : CTERA_CORRUPT;
}

/*
 * Commit @size bytes to the block and return their CRC-32. Both checksums are calculated tile by
 * tile, so the second one finds its bytes in the cache.
 */
static uint32_t commit(struct block *block, size_t size)
{
    uint32_t crc = 0;
    while (size) {
        size_t step = size < BLOCK_TILE ? size : BLOCK_TILE;
        crc = checksum_crc32(crc, block_next(block), step);
        block_commit(block, step);
        size -= step;
    }
    return crc;
}

/* Decode a member's DEFLATE into the block, verify its trailer, and advance past both. */
static enum ctera_error read_body(struct worker *worker, struct reader *reader,
                                  struct block *block)
{
    size_t used, written;
    switch (libdeflate_deflate_decompress_ex(worker->inflater, reader->next, reader_left(reader),
                                             block_next(block), block_room(block), &used,
                                             &written)) {
    case LIBDEFLATE_SUCCESS:
        break;
    case LIBDEFLATE_INSUFFICIENT_SPACE:
        return judge_overflow(worker, reader, block);
    default:
        return CTERA_CORRUPT;
    }
    reader->next += used;
    const uint8_t *trailer = reader_take(reader, TRAILER_SIZE);
    if (!trailer)
        return CTERA_CORRUPT;
    if (load_le32(trailer) != commit(block, written) ||
        load_le32(trailer + 4) != (uint32_t)written)
        return CTERA_CHECKSUM;
    return CTERA_OK;
}

/*
 * Return whether the bytes that are left, at least one, are all zero. Tapes and block devices pad
 * files with zeros, and gzip(1) ignores them behind the last member. Like gzip(1), this decoder does
 * not look for another member behind such padding.
 */
static bool is_zero_padding(const struct reader *reader)
{
    const uint8_t *next = reader->next;
    return *next == 0 && memcmp(next, next + 1, reader_left(reader) - 1) == 0;
}

enum ctera_error gzip_decode(struct worker *worker, const uint8_t *payload, size_t size,
                             struct block *block)
{
    if (!worker->inflater)
        worker->inflater = libdeflate_alloc_decompressor();
    if (!worker->inflater)
        return CTERA_MEMORY;

    struct reader reader = reader_of(payload, size);
    enum ctera_error error = CTERA_OK;
    while (!error && !reader_at_end(&reader)) {
        if (!gzip_recognised(reader.next, reader_left(&reader)))
            return is_zero_padding(&reader) ? CTERA_OK : CTERA_TRAILING;
        error = read_header(&reader);
        if (!error)
            error = read_body(worker, &reader, block);
    }
    return error;
}
