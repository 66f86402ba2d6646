#include "requirements.h"

#include "gzip.h"

#include <string.h>

#include "bytes.h"
#include "checksum.h"

/*
 * The header and the trailer are read here, and libdeflate has the DEFLATE between them: its own
 * gzip call reports a wrong checksum and malformed data as one, and its CRC-32 is slow in the
 * versions that distributions have.
 */
enum { FTEXT = 0x01, FHCRC = 0x02, FEXTRA = 0x04, FNAME = 0x08, FCOMMENT = 0x10 }; /* RFC 1952, 2.3.1 */
#define FLAGS_RESERVED 0xE0
#define METHOD_DEFLATE 8
#define HEADER_SIZE 10
#define TRAILER_SIZE 8

int gzip_recognised(const uint8_t *in, size_t size)
{
    return size >= 2 && in[0] == 0x1F && in[1] == 0x8B;
}

/* Moves *@in behind the zero byte that ends a string. */
static int skip_string(const uint8_t **in, const uint8_t *in_end)
{
    const uint8_t *zero = memchr(*in, 0, (size_t)(in_end - *in));
    if (!zero)
        return CTERA_CORRUPT;
    *in = zero + 1;
    return CTERA_OK;
}

static int skip_extra(const uint8_t **in, const uint8_t *in_end)
{
    if (in_end - *in < 2)
        return CTERA_CORRUPT;
    size_t size = load_le16(*in);
    *in += 2;
    if ((size_t)(in_end - *in) < size)
        return CTERA_CORRUPT;
    *in += size;
    return CTERA_OK;
}

static int check_header_crc(const uint8_t *header, const uint8_t **in, const uint8_t *in_end)
{
    if (in_end - *in < 2)
        return CTERA_CORRUPT;
    uint32_t crc = checksum_crc32(0, header, (size_t)(*in - header));
    if ((crc & 0xFFFF) != load_le16(*in))
        return CTERA_CHECKSUM;
    *in += 2;
    return CTERA_OK;
}

/* Moves *@in behind the member's header (RFC 1952, 2.3). */
static int read_header(const uint8_t **in, const uint8_t *in_end)
{
    const uint8_t *header = *in;
    if (in_end - header < HEADER_SIZE)
        return CTERA_CORRUPT;
    uint8_t flags = header[3];
    if (header[2] != METHOD_DEFLATE || flags & FLAGS_RESERVED)
        return CTERA_UNSUPPORTED;
    *in += HEADER_SIZE;
    int error = CTERA_OK;
    if (flags & FEXTRA)
        error = skip_extra(in, in_end);
    if (!error && flags & FNAME)
        error = skip_string(in, in_end);
    if (!error && flags & FCOMMENT)
        error = skip_string(in, in_end);
    if (!error && flags & FHCRC)
        error = check_header_crc(header, in, in_end);
    return error;
}

/*
 * Why the output did not suffice. libdeflate reads up to 8 zero bytes past the end of its input
 * before it calls it bad, and those may decode to bytes that do not fit: a cut stream looks too
 * long. So ask again with the last 8 bytes kept back, where a whole member has its trailer: what
 * overflows even so did it with real data, and what does not was cut.
 */
static int judge_overflow(struct worker *worker, const uint8_t *in, size_t size, struct block *block)
{
    size_t used, written;
    if (size < TRAILER_SIZE)
        return CTERA_CORRUPT;
    return libdeflate_deflate_decompress_ex(worker->inflater, in, size - TRAILER_SIZE,
                                            block_next(block), block_room(block), &used,
                                            &written) == LIBDEFLATE_INSUFFICIENT_SPACE
               ? CTERA_TOO_LONG
               : CTERA_CORRUPT;
}

/* Takes a member's bytes, and gives their CRC-32: by portions, so that the second sum is cheap. */
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

/* Moves *@in behind the member's data and trailer. */
static int read_body(struct worker *worker, const uint8_t **in, const uint8_t *in_end,
                     struct block *block)
{
    size_t size = (size_t)(in_end - *in), used, written;
    switch (libdeflate_deflate_decompress_ex(worker->inflater, *in, size, block_next(block),
                                             block_room(block), &used, &written)) {
    case LIBDEFLATE_SUCCESS:
        break;
    case LIBDEFLATE_INSUFFICIENT_SPACE:
        return judge_overflow(worker, *in, size, block);
    default:
        return CTERA_CORRUPT;
    }
    if (size - used < TRAILER_SIZE)
        return CTERA_CORRUPT;
    const uint8_t *trailer = *in + used;
    if (load_le32(trailer) != commit(block, written) ||
        load_le32(trailer + 4) != (uint32_t)written)
        return CTERA_CHECKSUM;
    *in = trailer + TRAILER_SIZE;
    return CTERA_OK;
}

/*
 * Whether only zero bytes are left. Tapes and block devices pad files with them, and gzip(1) ignores
 * them behind the last member. Another member behind such padding is not looked for, as in gzip(1).
 */
static int is_zero_padding(const uint8_t *in, const uint8_t *in_end)
{
    return *in == 0 && memcmp(in, in + 1, (size_t)(in_end - in) - 1) == 0;
}

int gzip_decode(struct worker *worker, const uint8_t *in, size_t size, struct block *block)
{
    if (!worker->inflater)
        worker->inflater = libdeflate_alloc_decompressor();
    if (!worker->inflater)
        return CTERA_MEMORY;

    const uint8_t *in_end = in + size;
    int error = CTERA_OK;
    while (!error && in != in_end) {
        if (!gzip_recognised(in, (size_t)(in_end - in)))
            return is_zero_padding(in, in_end) ? CTERA_OK : CTERA_TRAILING;
        error = read_header(&in, in_end);
        if (!error)
            error = read_body(worker, &in, in_end, block);
    }
    return error;
}
