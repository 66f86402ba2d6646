/*
 * The block that is being decoded: the caller's buffer, how far it is filled, the checksum so far.
 */
#ifndef CTERA_BLOCK_H
#define CTERA_BLOCK_H

#include <stddef.h>
#include <stdint.h>

#include "ctera_codec.h"

struct block {
    uint8_t *data;
    size_t size;
    size_t filled; /* never above size */
    int summed; /* whether the caller wants the checksum */
    uint32_t crc32c; /* of data[0 .. filled), if summed */
};

static inline uint8_t *block_next(const struct block *block)
{
    return block->data + block->filled;
}

static inline size_t block_room(const struct block *block)
{
    return block->size - block->filled;
}

/*
 * Takes @size bytes, at most block_room(), that were written at block_next(). Decoders commit in
 * portions of some ten kilobytes where their format allows, so that the checksum finds
 * the bytes in the cache.
 */
static inline void block_commit(struct block *block, size_t size)
{
    if (block->summed)
        block->crc32c = ctera_crc32c(block->crc32c, block_next(block), size);
    block->filled += size;
}

/* A portion that fits the second-level cache beside its source, and hides the cost of a call. */
#define BLOCK_TILE ((size_t)65536)

#endif
