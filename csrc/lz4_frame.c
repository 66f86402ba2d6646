#include "requirements.h"

#include "lz4_frame.h"

#include <string.h>

#include <lz4.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "bytes.h"

/*
 * liblz4's own frame interface copies each block through buffers of its own, and hashes slowly:
 * with a content checksum it reaches a third of what this file does with the same block decoder.
 */
#define MAGIC 0x184D2204u
#define MAGIC_LEGACY 0x184C2102u
#define MAGIC_SKIPPABLE 0x184D2A50u /* to ...5F */

/* The frame descriptor's first byte (FLG) and second (BD). */
enum {
    FLG_DICTIONARY_ID = 0x01,
    FLG_RESERVED = 0x02,
    FLG_CONTENT_CHECKSUM = 0x04,
    FLG_CONTENT_SIZE = 0x08,
    FLG_BLOCK_CHECKSUM = 0x10,
    FLG_BLOCK_INDEPENDENT = 0x20,
    FLG_VERSION = 0xC0,
    FLG_VERSION_1 = 0x40,
    BD_RESERVED = 0x8F
};
#define BLOCK_UNCOMPRESSED 0x80000000u
#define WINDOW 65536 /* how far back a linked block may refer */

struct frame {
    uint8_t flags;
    size_t block_max;
    uint64_t content_size; /* with FLG_CONTENT_SIZE */
    size_t start;          /* where in the block the frame's content begins */
};

/* The frame descriptor at *@in, which is moved behind it. */
static int read_descriptor(const uint8_t **in, const uint8_t *in_end, struct frame *frame)
{
    const uint8_t *descriptor = *in;
    if (in_end - descriptor < 3)
        return CTERA_CORRUPT;
    frame->flags = descriptor[0];
    if ((frame->flags & FLG_VERSION) != FLG_VERSION_1)
        return CTERA_UNSUPPORTED;
    size_t size = 2;
    if (frame->flags & FLG_CONTENT_SIZE)
        size += 8;
    if (frame->flags & FLG_DICTIONARY_ID)
        size += 4;
    if ((size_t)(in_end - descriptor) < size + 1)
        return CTERA_CORRUPT;
    if (descriptor[size] != (XXH32(descriptor, size, 0) >> 8 & 0xFF))
        return CTERA_CHECKSUM;
    *in += size + 1;

    uint8_t block_id = descriptor[1] >> 4;
    if (frame->flags & (FLG_DICTIONARY_ID | FLG_RESERVED) || descriptor[1] & BD_RESERVED ||
        block_id < 4)
        return CTERA_UNSUPPORTED;
    frame->block_max = (size_t)1 << (8 + 2 * block_id); /* 64 KiB, 256 KiB, 1 MiB, 4 MiB */
    frame->content_size = frame->flags & FLG_CONTENT_SIZE ? load_le64(descriptor + 2) : 0;
    return CTERA_OK;
}

/* A length of 15 goes on in further bytes, up to the first that is not 255. */
static int read_length(const uint8_t **in, const uint8_t *in_end, size_t *length)
{
    uint8_t byte = 255;
    if (*length < 15)
        return CTERA_OK;
    while (byte == 255) {
        if (*in == in_end)
            return CTERA_CORRUPT;
        byte = *(*in)++;
        *length += byte;
    }
    return CTERA_OK;
}

/*
 * Why a compressed block did not decode into @room bytes: counts what its sequences give, without
 * writing. liblz4 says only that it failed.
 */
static int judge_failure(const uint8_t *in, size_t size, size_t room)
{
    const uint8_t *in_end = in + size;
    size_t total = 0;
    while (in != in_end) {
        uint8_t token = *in++;
        size_t literals = token >> 4, match = token & 15;
        if (read_length(&in, in_end, &literals) || literals > (size_t)(in_end - in))
            return CTERA_CORRUPT;
        in += literals;
        total += literals;
        if (in != in_end) {
            if (in_end - in < 2)
                return CTERA_CORRUPT;
            in += 2;
            if (read_length(&in, in_end, &match))
                return CTERA_CORRUPT;
            total += match + 4;
        }
        if (total > room)
            return CTERA_TOO_LONG;
    }
    return CTERA_CORRUPT;
}

static int decompress(const uint8_t *in, size_t size, const struct frame *frame,
                      struct block *block)
{
    size_t room = block_room(block);
    int capacity = (int)(room < frame->block_max ? room : frame->block_max);
    char *out = (char *)block_next(block);
    int written;
    if (frame->flags & FLG_BLOCK_INDEPENDENT) {
        written = LZ4_decompress_safe((const char *)in, out, (int)size, capacity);
    } else {
        /* A match must not reach into the content of the frame before. */
        size_t content = block->filled - frame->start;
        size_t window = content < WINDOW ? content : WINDOW;
        written = LZ4_decompress_safe_usingDict((const char *)in, out, (int)size, capacity,
                                                out - window, (int)window);
    }
    if (written < 0)
        return room < frame->block_max ? judge_failure(in, size, room) : CTERA_CORRUPT;
    block_commit(block, (size_t)written);
    return CTERA_OK;
}

static void copy(const uint8_t *in, size_t size, struct block *block)
{
    for (size_t step; size; in += step, size -= step) {
        step = size < BLOCK_TILE ? size : BLOCK_TILE;
        memcpy(block_next(block), in, step);
        block_commit(block, step);
    }
}

/* The data block at *@in, which is moved behind it. *@last: it was the end mark. */
static int read_block(const uint8_t **in, const uint8_t *in_end, const struct frame *frame,
                      struct block *block, int *last)
{
    if (in_end - *in < 4)
        return CTERA_CORRUPT;
    uint32_t word = load_le32(*in);
    *in += 4;
    *last = word == 0;
    if (*last)
        return CTERA_OK;

    size_t size = word & ~BLOCK_UNCOMPRESSED, room = block_room(block);
    size_t checksum_size = frame->flags & FLG_BLOCK_CHECKSUM ? 4 : 0;
    const uint8_t *data = *in;
    size_t available = (size_t)(in_end - data);
    if (size > frame->block_max)
        return CTERA_CORRUPT;
    if (word & BLOCK_UNCOMPRESSED && size > room && available > room)
        return CTERA_TOO_LONG; /* of a block that is cut off as well, this comes first */
    if (available < size + checksum_size)
        return CTERA_CORRUPT;
    *in += size + checksum_size;
    if (checksum_size && XXH32(data, size, 0) != load_le32(data + size))
        return CTERA_CHECKSUM;
    if (!(word & BLOCK_UNCOMPRESSED))
        return decompress(data, size, frame, block);
    copy(data, size, block);
    return CTERA_OK;
}

/* What comes behind the end mark at *@in, which is moved behind it. */
static int check_content(const uint8_t **in, const uint8_t *in_end, const struct frame *frame,
                         const struct block *block)
{
    size_t size = block->filled - frame->start;
    if (frame->flags & FLG_CONTENT_SIZE && frame->content_size != size)
        return CTERA_CORRUPT;
    if (!(frame->flags & FLG_CONTENT_CHECKSUM))
        return CTERA_OK;
    if (in_end - *in < 4)
        return CTERA_CORRUPT;
    if (XXH32(block->data + frame->start, size, 0) != load_le32(*in))
        return CTERA_CHECKSUM;
    *in += 4;
    return CTERA_OK;
}

/* The frame whose descriptor is at *@in, which is moved behind the frame. */
static int decode_frame(const uint8_t **in, const uint8_t *in_end, struct block *block)
{
    struct frame frame = {.start = block->filled};
    int last = 0;
    int error = read_descriptor(in, in_end, &frame);
    if (!error && frame.content_size > block_room(block))
        error = CTERA_TOO_LONG;
    while (!error && !last)
        error = read_block(in, in_end, &frame, block, &last);
    return error ? error : check_content(in, in_end, &frame, block);
}

/* The skippable frame whose size is at *@in, which is moved behind the frame. */
static int skip_frame(const uint8_t **in, const uint8_t *in_end)
{
    if (in_end - *in < 4)
        return CTERA_CORRUPT;
    size_t size = load_le32(*in);
    *in += 4;
    if (size > (size_t)(in_end - *in))
        return CTERA_CORRUPT;
    *in += size;
    return CTERA_OK;
}

/* Frames may follow each other in any number (LZ4 Frame Format 1.6.4, "Frame Concatenation"). */
int lz4_frame_decode(const uint8_t *in, size_t size, struct block *block)
{
    const uint8_t *in_end = in + size;
    int unrecognised = CTERA_CORRUPT; /* behind a frame: CTERA_TRAILING */
    do {
        if (in_end - in < 4)
            return unrecognised;
        uint32_t magic = load_le32(in);
        int error = unrecognised;
        in += 4;
        if (magic == MAGIC)
            error = decode_frame(&in, in_end, block);
        else if ((magic & ~0xFu) == MAGIC_SKIPPABLE)
            error = skip_frame(&in, in_end);
        else if (magic == MAGIC_LEGACY)
            error = CTERA_UNSUPPORTED;
        if (error)
            return error;
        unrecognised = CTERA_TRAILING;
    } while (in != in_end);
    return CTERA_OK;
}
