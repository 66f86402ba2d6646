/*
 * Bug: a truncated gzip stream was refused as too long. libdeflate reads zeros past the end of its
 * input, and these decoded to bytes that did not fit. Every cut must be CTERA_CORRUPT.
 */
#include "harness.h"

#include <libdeflate.h>

int main(void)
{
    static uint8_t text[3000], member[4000], decoded[sizeof text];
    uint64_t state = 1;
    fill_text(text, sizeof text, &state);
    struct libdeflate_compressor *compressor = libdeflate_alloc_compressor(6);
    CHECK(compressor);
    size_t size = libdeflate_gzip_compress(compressor, text, sizeof text, member, sizeof member);
    libdeflate_free_compressor(compressor);
    CHECK(size > 0);
    for (size_t cut = 2; cut < size; cut++)
        CHECK(decode_payload_guarded(CTERA_COMPRESSION_AUTO, member, cut, decoded,
                                     sizeof decoded) == -CTERA_CORRUPT);
    ctera_release_thread();
    return 0;
}
