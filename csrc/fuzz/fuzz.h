/* What the fuzz targets share: one input decoded in several ways, which must all agree. */
#ifndef CTERA_FUZZ_H
#define CTERA_FUZZ_H

#include "../tests/harness.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The longest block that is asked for. */
#define FUZZ_LENGTH_MAX ((size_t)1 << 18)

/*
 * Decode an input in two ways: into memory that ends at an unmapped page, over two different fillings,
 * the second time in place and without a checksum. @call says how, except for object, out and
 * workspace; its out_size is the block's length. The result must depend on the input alone, and the
 * object must stay as it is unless it is the workspace. Return the CRC-32C or the negated error.
 */
static inline int64_t fuzz_check(struct ctera_decode_call call, const uint8_t *data, size_t size)
{
    static uint8_t first_out[FUZZ_LENGTH_MAX];
    uint8_t *object = guarded_reused(0, size), *out = guarded_reused(1, call.out_size);
    if (size)
        memcpy(object, data, size);
    call.object = object;
    call.object_size = size;
    call.out = out;
    call.wants_crc32c = true;
    memset(out, 0x00, call.out_size);
    int64_t first = result_of(call);
    CHECK(size == 0 || memcmp(object, data, size) == 0);
    memcpy(first_out, out, call.out_size);

    memset(out, 0xFF, call.out_size);
    call.workspace = object;
    call.wants_crc32c = false;
    int64_t second = result_of(call);
    CHECK(second == (first < 0 ? first : 0));
    CHECK(first >= -CTERA_TOO_SHORT && first <= UINT32_MAX);
    CHECK(first != -CTERA_ARGUMENT && first != -CTERA_MEMORY && first != -CTERA_CRYPTO);
    if (first >= 0) {
        CHECK(memcmp(out, first_out, call.out_size) == 0);
        CHECK((uint32_t)first == ctera_crc32c(0, out, call.out_size));
    }
    return first;
}

/* A payload without an envelope: three bytes of length, then the payload behind @prefix. */
static inline int fuzz_payload(enum ctera_compression compression, const void *prefix,
                               size_t prefix_size, const uint8_t *data, size_t size)
{
    static uint8_t payload[1 << 17];
    struct ctera_decode_call call = {.compression = compression};
    if (size < 3 || size > sizeof payload / 2)
        return 0;
    call.out_size = (data[0] | (size_t)data[1] << 8 | (size_t)data[2] << 16) % FUZZ_LENGTH_MAX;
    memcpy(payload, prefix, prefix_size);
    memcpy(payload + prefix_size, data + 3, size - 3);
    fuzz_check(call, payload, prefix_size + size - 3);
    return 0;
}

#endif
