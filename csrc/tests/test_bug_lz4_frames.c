/*
 * Bug: LZ4 frames behind the first one were refused as trailing bytes, and skippable frames as
 * unknown. lz4(1) writes both. Then a match could have reached into the content of the previous
 * frame, which must be CTERA_CORRUPT.
 */
#include "harness.h"

#define FRAME "\x04\x22\x4D\x18\x60\x40\x82\3\0\0\x80" "abc\0\0\0\0"
#define SKIPPABLE "\x50\x2A\x4D\x18\2\0\0\0??"
#define EMPTY "\x04\x22\x4D\x18\x60\x40\x82\0\0\0\0"
/* A linked block: "a", then a match of 8 bytes that begins 2 bytes back. */
#define LINKED "\x04\x22\x4D\x18\x40\x40\xC0\x0A\0\0\0\x14" "a\2\0\x50" "bcdef\0\0\0\0"
#define DECODE(payload, out, size) \
    decode_payload_guarded(CTERA_COMPRESSION_LZ4, (const uint8_t *)payload, sizeof payload - 1, \
                           out, size)

int main(void)
{
    uint8_t out[32];
    CHECK(DECODE(FRAME SKIPPABLE FRAME EMPTY, out, 6) >= 0);
    CHECK(memcmp(out, "abcabc", 6) == 0);
    CHECK(DECODE(SKIPPABLE EMPTY, out, 0) == 0);
    CHECK(DECODE(FRAME "x", out, 3) == -CTERA_TRAILING);
    CHECK(DECODE(FRAME LINKED, out, 17) == -CTERA_CORRUPT);
    return 0;
}
