/* The checksum that only decoders use. ctera_codec.h declares the public ones. */
#ifndef CTERA_CHECKSUM_H
#define CTERA_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/*
 * Return the CRC-32 (RFC 1952, section 8) of @size bytes at @data, which follow bytes whose CRC-32 is
 * @crc. @crc is 0 if @data is the start.
 *
 * libdeflate has this function, too. docs/development/adr-crc32.md says why this one exists.
 */
uint32_t checksum_crc32(uint32_t crc, const uint8_t *data, size_t size);

#endif
