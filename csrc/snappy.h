/* The raw snappy block format (google/snappy, format_description.txt). */
#ifndef CTERA_SNAPPY_H
#define CTERA_SNAPPY_H

#include <stddef.h>
#include <stdint.h>

#include "block.h"
#include "reader.h"

/* A raw snappy block behind its preamble. */
struct snappy_chunk {
    struct reader elements;
    size_t size; /* what the preamble declares that the elements decode to, in bytes */
};

/*
 * Read the preamble of the raw snappy block that @reader holds into *chunk. The chunk's elements are
 * all bytes behind the preamble.
 *
 * Return CTERA_OK, or CTERA_CORRUPT if the preamble is truncated, longer than five bytes or above
 * 2^32-1; the contents of *chunk are undefined then.
 */
enum ctera_error snappy_preamble(struct reader reader, struct snappy_chunk *chunk);

/*
 * Decode the chunk's elements and commit them to @block. chunk->size must not exceed block_room().
 *
 * Return CTERA_OK if the elements decode to exactly chunk->size bytes. Else return CTERA_CORRUPT,
 * commit nothing, and leave the rest of the block's buffer undefined.
 */
enum ctera_error snappy_elements(const struct snappy_chunk *chunk, struct block *block);

/*
 * Do the same for two chunks, the second one behind the first, in one loop, which is faster than two
 * calls. The sum of their sizes must not exceed block_room().
 */
enum ctera_error snappy_elements_of_two(const struct snappy_chunk *first,
                                        const struct snappy_chunk *second, struct block *block);

#endif
