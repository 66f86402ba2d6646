/* The block that is being decoded: the caller's buffer, how far it is filled, its checksum so far. */
#ifndef CTERA_BLOCK_H
#define CTERA_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctera_codec.h"

struct block {
    uint8_t *data;       /* the caller's buffer, never NULL */
    size_t size;         /* of the buffer, in bytes: the length that the portal listed */
    size_t filled;       /* bytes that are decoded; never more than size */
    bool wants_crc32c;   /* whether the caller asked for the checksum */
    uint32_t crc32c;     /* of the filled bytes, if wants_crc32c; else 0 */
};

/*
 * Decoders that copy commit this many bytes at a time. A tile fits the second-level cache beside its
 * source, so the checksum finds its bytes there. It is large enough to hide the cost of a call.
 */
#define BLOCK_TILE ((size_t)65536)

/* Return where the next byte of plaintext goes. */
static inline uint8_t *block_next(const struct block *block)
{
    return block->data + block->filled;
}

/* Return the number of bytes that the block still lacks. */
static inline size_t block_room(const struct block *block)
{
    return block->size - block->filled;
}

/*
 * Add @size bytes to the block, which the caller has written at block_next(). @size must not exceed
 * block_room().
 */
static inline void block_commit(struct block *block, size_t size)
{
    if (block->wants_crc32c)
        block->crc32c = ctera_crc32c(block->crc32c, block_next(block), size);
    block->filled += size;
}

#endif
