/*
 * LZ4 payloads: LZ4 frames (lz4/lz4, doc/lz4_Frame_format.md 1.6) over liblz4's block decoder.
 */
#ifndef CTERA_LZ4_FRAME_H
#define CTERA_LZ4_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "block.h"

int lz4_frame_decode(const uint8_t *in, size_t size, struct block *block);

#endif
