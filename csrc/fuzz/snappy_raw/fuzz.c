/*
 * Raw snappy elements: the preamble is made from the length, so that mutations go into the
 * elements.
 */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t preamble[3];
    if (size < 3)
        return 0;
    size_t length = (data[0] | (size_t)data[1] << 8 | (size_t)data[2] << 16) % FUZZ_LENGTH_MAX;
    preamble[0] = (uint8_t)(length | 0x80);
    preamble[1] = (uint8_t)(length >> 7 | 0x80);
    preamble[2] = (uint8_t)(length >> 14);
    return fuzz_payload(CTERA_COMPRESSION_AUTO, preamble, sizeof preamble, data, size);
}
