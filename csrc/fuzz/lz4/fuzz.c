/* LZ4 frames whose header checksum is made right, so that mutations go into the rest. */
#include "fuzz.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t copy[1 << 16];
    if (size < 3 + 15 || size > sizeof copy)
        return 0;
    memcpy(copy, data, size);
    uint8_t *descriptor = copy + 3;
    size_t descriptor_size = 2u + (descriptor[0] & 8 ? 8 : 0) + (descriptor[0] & 1 ? 4 : 0);
    descriptor[descriptor_size] = (uint8_t)(XXH32(descriptor, descriptor_size, 0) >> 8);
    return fuzz_payload(CTERA_COMPRESSION_LZ4, "\x04\x22\x4D\x18", 4, copy, size);
}
