/* gzip members; a flag of the input says whether the first header is given. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t prefix_size = size > 2 && data[2] & 0x80 ? 2 : 10;
    return fuzz_payload(CTERA_COMPRESSION_AUTO, "\x1F\x8B\x08\0\0\0\0\0\0\xFF", prefix_size, data, size);
}
