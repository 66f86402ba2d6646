/*
 * Bug: a snappy-java stream was refused because its header names a later compatible version, which
 * snappy-java's own reader ignores. It must decode; what does not decode is CTERA_UNSUPPORTED.
 */
#include "harness.h"

#define NEWER "\x82SNAPPY\0\0\0\0\2\0\0\0\2"
#define CHUNK "\0\0\0\5\3\x08" "abc"
#define DECODE(payload, out, size) \
    decode_payload_guarded(CTERA_COMPRESSION_AUTO, (const uint8_t *)payload, sizeof payload - 1, \
                           out, size)

int main(void)
{
    uint8_t out[8];
    CHECK(DECODE(NEWER CHUNK, out, 3) >= 0);
    CHECK(memcmp(out, "abc", 3) == 0);
    CHECK(DECODE(NEWER CHUNK, out, 4) == -CTERA_TOO_SHORT);
    CHECK(DECODE(NEWER "\0\0\0\5\3\x0C" "abc", out, 3) == -CTERA_UNSUPPORTED);
    return 0;
}
