/*
 * Bug: zero bytes behind the last gzip member were refused as trailing bytes. Tapes pad files with
 * them, and gzip(1) ignores them. Other bytes there must still be CTERA_TRAILING.
 */
#include "harness.h"

int main(void)
{
    /* An empty member, then padding. */
    static uint8_t payload[20 + 600] = "\x1F\x8B\x08\0\0\0\0\0\0\xFF\3";
    uint8_t none[1];
    for (size_t size = 20; size <= sizeof payload; size++)
        CHECK(decode_payload_guarded(CTERA_COMPRESSION_AUTO, payload, size, none, 0) == 0);
    payload[sizeof payload - 1] = 1;
    CHECK(decode_payload_guarded(CTERA_COMPRESSION_AUTO, payload, sizeof payload, none, 0) ==
          -CTERA_TRAILING);
    ctera_release_thread();
    return 0;
}
