/* Snappy payloads: the stream of snappy-java's SnappyOutputStream, and a single raw block. */
#ifndef CTERA_SNAPPY_STREAM_H
#define CTERA_SNAPPY_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block.h"

/* Return whether the @size bytes at @payload begin with the magic of a snappy-java stream. */
bool snappy_stream_recognised(const uint8_t *payload, size_t size);

/*
 * Decode a snappy-java stream, which snappy_stream_recognised() must have accepted, into @block.
 *
 * Return CTERA_OK if the payload is valid to its last byte; the block may still lack bytes then.
 * On failure return CTERA_CORRUPT, CTERA_UNSUPPORTED or CTERA_TOO_LONG as ctera_decode() defines
 * them; the contents of the block are undefined.
 */
enum ctera_error snappy_stream_decode(const uint8_t *payload, size_t size, struct block *block);

/*
 * Decode a payload that is one raw snappy block into @block, which must be empty.
 *
 * Return CTERA_OK if it fills the block exactly. On failure return CTERA_CORRUPT, CTERA_TOO_LONG or
 * CTERA_TOO_SHORT; the contents of the block are undefined.
 */
enum ctera_error snappy_raw_decode(const uint8_t *payload, size_t size, struct block *block);

#endif
