/* The raw snappy block format (google/snappy, format_description.txt). */
#ifndef CTERA_SNAPPY_H
#define CTERA_SNAPPY_H

#include <stddef.h>
#include <stdint.h>

#include "block.h"

/*
 * The preamble at *@in, which is moved behind it: the plaintext's size, in *@size. CTERA_CORRUPT if
 * there is none.
 */
int snappy_preamble(const uint8_t **in, const uint8_t *in_end, size_t *size);

/*
 * Decodes the elements in [@in, @in_end) into exactly @size bytes, at most block_room(), and
 * commits them; or CTERA_CORRUPT.
 */
int snappy_elements(const uint8_t *in, const uint8_t *in_end, struct block *block, size_t size);

#endif
