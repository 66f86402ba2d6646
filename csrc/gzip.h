/* gzip payloads (RFC 1952) over libdeflate's DEFLATE (RFC 1951). */
#ifndef CTERA_GZIP_H
#define CTERA_GZIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block.h"
#include "worker.h"

/* Return whether the payload begins with the two bytes of a gzip member (RFC 1952, section 2.3.1). */
bool gzip_recognised(const uint8_t *payload, size_t size);

/*
 * Decode all members of the payload, which gzip_recognised() must have accepted, into @block.
 *
 * Return CTERA_OK if the payload is valid to its last byte; the block may still lack bytes then.
 * On failure return CTERA_MEMORY, CTERA_CORRUPT, CTERA_CHECKSUM, CTERA_TRAILING, CTERA_UNSUPPORTED or
 * CTERA_TOO_LONG as ctera_decode() defines them; the contents of the block are undefined.
 */
enum ctera_error gzip_decode(struct worker *worker, const uint8_t *payload, size_t size,
                             struct block *block);

#endif
