/* The raw snappy block format (google/snappy, format_description.txt). */
#ifndef CTERA_SNAPPY_H
#define CTERA_SNAPPY_H

#include <stddef.h>
#include <stdint.h>

#include "block.h"

/* A raw block: its elements, and the size of what they decode to. */
struct snappy_chunk {
    const uint8_t *in, *in_end;
    size_t size;
};

/* The raw block in [@in, @in_end), whose preamble tells its size; or CTERA_CORRUPT. */
int snappy_preamble(const uint8_t *in, const uint8_t *in_end, struct snappy_chunk *chunk);

/*
 * Decodes the elements into exactly the chunk's size of bytes, at most block_room(), and commits
 * them; or CTERA_CORRUPT.
 */
int snappy_elements(const struct snappy_chunk *chunk, struct block *block);

/* The same with two chunks, one behind the other, both at once: faster than in turn. */
int snappy_elements_of_two(const struct snappy_chunk *first, const struct snappy_chunk *second,
                           struct block *block);

#endif
