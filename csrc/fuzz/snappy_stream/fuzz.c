/* snappy-java streams, behind their header. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_payload(CTERA_COMPRESSION_AUTO, "\x82SNAPPY\0\0\0\0\1\0\0\0\1", 16, data, size);
}
