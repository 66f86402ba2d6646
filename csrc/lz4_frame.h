/* LZ4 payloads: LZ4 frames (lz4/lz4, doc/lz4_Frame_format.md 1.6) over liblz4's block decoder. */
#ifndef CTERA_LZ4_FRAME_H
#define CTERA_LZ4_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "block.h"

/*
 * Decode all frames of the payload into @block.
 *
 * Return CTERA_OK if the payload is valid to its last byte; the block may still lack bytes then.
 * On failure return CTERA_CORRUPT, CTERA_CHECKSUM, CTERA_TRAILING, CTERA_UNSUPPORTED or
 * CTERA_TOO_LONG as ctera_decode() defines them; the contents of the block are undefined.
 */
enum ctera_error lz4_frame_decode(const uint8_t *payload, size_t size, struct block *block);

#endif
