#include "requirements.h"

#include "lz4_frame.h"

#include <limits.h>
#include <string.h>

#include <lz4.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "bytes.h"
#include "reader.h"

/*
 * liblz4's own frame interface copies each block through its own buffers, and its hash is slow: with
 * a content checksum it reaches a third of the speed of this file, which uses the same block decoder.
 */
#define MAGIC 0x184D2204u
#define MAGIC_LEGACY 0x184C2102u
#define MAGIC_SKIPPABLE 0x184D2A50u /* the last four bits are free: up to 0x184D2A5F */
#define MAGIC_SKIPPABLE_MASK 0xFFFFFFF0u

/* The frame descriptor's first byte (FLG) and second byte (BD). */
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
#define BLOCK_ID_MIN 4
#define BLOCK_ID_MAX 7
#define WINDOW 65536 /* how far back a linked block may refer, in bytes */

/* The largest block that a block size code allows: 64 KiB, 256 KiB, 1 MiB or 4 MiB. */
#define BLOCK_MAX(id) ((size_t)1 << (8 + 2 * (id)))

_Static_assert(BLOCK_MAX(BLOCK_ID_MAX) == (size_t)4 << 20, "code 7 stands for 4 MiB");
_Static_assert(BLOCK_MAX(BLOCK_ID_MAX) <= INT_MAX, "liblz4 takes an int for each size");
_Static_assert(SIZE_MAX >= UINT32_MAX, "each 32-bit size of the format fits a size_t");

struct frame {
    uint8_t flags;         /* FLG */
    size_t block_max;      /* the largest plaintext of one of its blocks, in bytes */
    uint64_t content_size; /* as the descriptor declares it; 0 without FLG_CONTENT_SIZE */
    size_t start;          /* offset in the block at which the frame's content begins */
};

/* Read the frame descriptor into @frame, except its start, and advance past it. */
static enum ctera_error read_descriptor(struct reader *reader, struct frame *frame)
{
    /* Every descriptor has at least FLG, BD and one byte of checksum. */
    if (reader_left(reader) < 3)
        return CTERA_CORRUPT;
    uint8_t flags = reader->next[0], bd = reader->next[1];
    if ((flags & FLG_VERSION) != FLG_VERSION_1)
        return CTERA_UNSUPPORTED;
    size_t size = 2;
    if (flags & FLG_CONTENT_SIZE)
        size += 8;
    if (flags & FLG_DICTIONARY_ID)
        size += 4;
    const uint8_t *descriptor = reader_take(reader, size + 1);
    if (!descriptor)
        return CTERA_CORRUPT;
    if (descriptor[size] != (XXH32(descriptor, size, 0) >> 8 & 0xFF))
        return CTERA_CHECKSUM;

    unsigned block_id = bd >> 4;
    if (flags & (FLG_DICTIONARY_ID | FLG_RESERVED) || bd & BD_RESERVED || block_id < BLOCK_ID_MIN)
        return CTERA_UNSUPPORTED;
    frame->flags = flags;
    frame->block_max = BLOCK_MAX(block_id);
    frame->content_size = flags & FLG_CONTENT_SIZE ? load_le64(descriptor + 2) : 0;
    return CTERA_OK;
}

/*
 * Add to *length the bytes that continue a length of 15, up to the first one that is not 255, and
 * advance past them. A smaller length is complete already.
 */
static enum ctera_error read_length(struct reader *reader, size_t *length)
{
    uint8_t byte = 255;
    if (*length < 15)
        return CTERA_OK;
    while (byte == 255) {
        if (reader_at_end(reader))
            return CTERA_CORRUPT;
        byte = *reader->next++;
        *length += byte;
    }
    return CTERA_OK;
}

/*
 * Return why a compressed block did not decode into @room bytes: CTERA_TOO_LONG or CTERA_CORRUPT.
 * liblz4 reports only that it failed, so this counts what the block's sequences produce, without
 * writing anything.
 */
static enum ctera_error judge_failure(const uint8_t *data, size_t size, size_t room)
{
    struct reader reader = reader_of(data, size);
    size_t total = 0;
    while (!reader_at_end(&reader)) {
        uint8_t token = *reader.next++;
        size_t literals = token >> 4, match = token & 15;
        if (read_length(&reader, &literals) || !reader_take(&reader, literals))
            return CTERA_CORRUPT;
        total += literals;
        if (!reader_at_end(&reader)) {
            if (!reader_take(&reader, 2) || read_length(&reader, &match)) /* 2: the offset */
                return CTERA_CORRUPT;
            total += match + 4;
        }
        if (total > room)
            return CTERA_TOO_LONG;
    }
    return CTERA_CORRUPT;
}

/* Decompress the @size bytes at @data, at most the frame's block_max, into the block. */
static enum ctera_error decompress(const uint8_t *data, size_t size, const struct frame *frame,
                                   struct block *block)
{
    size_t room = block_room(block);
    int capacity = (int)(room < frame->block_max ? room : frame->block_max);
    char *out = (char *)block_next(block);
    int written;
    if (frame->flags & FLG_BLOCK_INDEPENDENT) {
        written = LZ4_decompress_safe((const char *)data, out, (int)size, capacity);
    } else {
        /* A match must not reach into the content of the previous frame. */
        size_t content = block->filled - frame->start;
        size_t window = content < WINDOW ? content : WINDOW;
        written = LZ4_decompress_safe_usingDict((const char *)data, out, (int)size, capacity,
                                                out - window, (int)window);
    }
    if (written < 0)
        return room < frame->block_max ? judge_failure(data, size, room) : CTERA_CORRUPT;
    block_commit(block, (size_t)written);
    return CTERA_OK;
}

/* Copy @size bytes, at most block_room(), into the block. */
static void copy(const uint8_t *data, size_t size, struct block *block)
{
    for (size_t step; size; data += step, size -= step) {
        step = size < BLOCK_TILE ? size : BLOCK_TILE;
        memcpy(block_next(block), data, step);
        block_commit(block, step);
    }
}

/*
 * Decode one data block of the frame into @block and advance past it. Set *last if it was the end
 * mark, which ends the frame's blocks.
 */
static enum ctera_error read_block(struct reader *reader, const struct frame *frame,
                                   struct block *block, bool *last)
{
    const uint8_t *field = reader_take(reader, 4);
    if (!field)
        return CTERA_CORRUPT;
    uint32_t word = load_le32(field);
    *last = word == 0;
    if (*last)
        return CTERA_OK;

    size_t size = word & ~BLOCK_UNCOMPRESSED, room = block_room(block);
    size_t checksum_size = frame->flags & FLG_BLOCK_CHECKSUM ? 4 : 0;
    if (size > frame->block_max)
        return CTERA_CORRUPT;
    /* Of a block that is too long and also truncated, the overflow comes first. */
    if (word & BLOCK_UNCOMPRESSED && size > room && reader_left(reader) > room)
        return CTERA_TOO_LONG;
    const uint8_t *data = reader_take(reader, size + checksum_size);
    if (!data)
        return CTERA_CORRUPT;
    if (checksum_size && XXH32(data, size, 0) != load_le32(data + size))
        return CTERA_CHECKSUM;
    if (!(word & BLOCK_UNCOMPRESSED))
        return decompress(data, size, frame, block);
    copy(data, size, block);
    return CTERA_OK;
}

/* Verify the content size and the content checksum behind the end mark, and advance past them. */
static enum ctera_error check_content(struct reader *reader, const struct frame *frame,
                                      const struct block *block)
{
    size_t size = block->filled - frame->start;
    if (frame->flags & FLG_CONTENT_SIZE && frame->content_size != size)
        return CTERA_CORRUPT;
    if (!(frame->flags & FLG_CONTENT_CHECKSUM))
        return CTERA_OK;
    const uint8_t *stored = reader_take(reader, 4);
    if (!stored)
        return CTERA_CORRUPT;
    return XXH32(block->data + frame->start, size, 0) == load_le32(stored) ? CTERA_OK
                                                                           : CTERA_CHECKSUM;
}

/* Decode one frame, whose magic the caller has read, and advance past it. */
static enum ctera_error decode_frame(struct reader *reader, struct block *block)
{
    struct frame frame = {.start = block->filled};
    bool last = false;
    enum ctera_error error = read_descriptor(reader, &frame);
    if (!error && frame.content_size > block_room(block))
        error = CTERA_TOO_LONG;
    while (!error && !last)
        error = read_block(reader, &frame, block, &last);
    return error ? error : check_content(reader, &frame, block);
}

/* Advance past a skippable frame, whose magic the caller has read. */
static enum ctera_error skip_frame(struct reader *reader)
{
    const uint8_t *size = reader_take(reader, 4);
    return size && reader_take(reader, load_le32(size)) ? CTERA_OK : CTERA_CORRUPT;
}

/* Any number of frames may follow each other (LZ4 Frame Format 1.6.4, "Frame Concatenation"). */
enum ctera_error lz4_frame_decode(const uint8_t *payload, size_t size, struct block *block)
{
    struct reader reader = reader_of(payload, size);
    enum ctera_error unrecognised = CTERA_CORRUPT; /* behind a frame: CTERA_TRAILING */
    do {
        const uint8_t *field = reader_take(&reader, 4);
        if (!field)
            return unrecognised;
        uint32_t magic = load_le32(field);
        enum ctera_error error = unrecognised;
        if (magic == MAGIC)
            error = decode_frame(&reader, block);
        else if ((magic & MAGIC_SKIPPABLE_MASK) == MAGIC_SKIPPABLE)
            error = skip_frame(&reader);
        else if (magic == MAGIC_LEGACY)
            error = CTERA_UNSUPPORTED;
        if (error)
            return error;
        unrecognised = CTERA_TRAILING;
    } while (!reader_at_end(&reader));
    return CTERA_OK;
}
