/*
 * The checksum that is nobody's business but a decoder's. The others are in ctera_codec.h.
 */
#ifndef CTERA_CHECKSUM_H
#define CTERA_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* CRC-32 (RFC 1952, 8) of @data, taken up from @crc (0 to start). */
uint32_t checksum_crc32(uint32_t crc, const uint8_t *data, size_t size);

#endif
