/* Snappy payloads: the stream of snappy-java's SnappyOutputStream, and a lone raw block. */
#ifndef CTERA_SNAPPY_STREAM_H
#define CTERA_SNAPPY_STREAM_H

#include <stddef.h>
#include <stdint.h>

#include "block.h"

int snappy_stream_recognised(const uint8_t *in, size_t size);
int snappy_stream_decode(const uint8_t *in, size_t size, struct block *block);
int snappy_raw_decode(const uint8_t *in, size_t size, struct block *block);

#endif
