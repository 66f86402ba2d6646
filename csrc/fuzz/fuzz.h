/* What the fuzz targets share: one input decoded in several ways, which must all agree. */
#ifndef CTERA_FUZZ_H
#define CTERA_FUZZ_H

#include "../tests/harness.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The longest block that is asked for. */
#define FUZZ_LENGTH_MAX ((size_t)1 << 18)

struct fuzz_call {
    int cipher, compression;
    const uint8_t *key;
    size_t key_size, length;
    uint64_t number;
};

static inline int64_t fuzz_decode(const struct fuzz_call *call, const uint8_t *object, size_t size,
                                  uint8_t *workspace, int checksum, uint8_t *out)
{
    return ctera_decode(call->cipher, call->key, call->key_size, call->number, call->compression,
                        object, size, workspace, checksum, out, call->length);
}

/*
 * Decodes into memory that ends at an unmapped page, over two different fillings, and in place without a
 * checksum. The result must depend on the input alone; the object must stay as it is unless it is the workspace.
 */
static inline int64_t fuzz_check(const struct fuzz_call *call, const uint8_t *data, size_t size)
{
    static uint8_t first_out[FUZZ_LENGTH_MAX];
    uint8_t *object = guarded_reused(0, size), *out = guarded_reused(1, call->length);
    if (size)
        memcpy(object, data, size);
    memset(out, 0x00, call->length);
    int64_t first = fuzz_decode(call, object, size, NULL, 1, out);
    CHECK(size == 0 || memcmp(object, data, size) == 0);
    memcpy(first_out, out, call->length);

    memset(out, 0xFF, call->length);
    int64_t second = fuzz_decode(call, object, size, object, 0, out);
    CHECK(second == (first < 0 ? first : 0));
    CHECK(first >= -CTERA_TOO_SHORT && first <= UINT32_MAX);
    CHECK(first != -CTERA_ARGUMENT && first != -CTERA_MEMORY && first != -CTERA_CRYPTO);
    if (first >= 0) {
        CHECK(memcmp(out, first_out, call->length) == 0);
        CHECK((uint32_t)first == ctera_crc32c(0, out, call->length));
    }
    return first;
}

/* A payload without an envelope: three bytes of length, then the payload behind @prefix. */
static inline int fuzz_payload(int compression, const void *prefix, size_t prefix_size,
                               const uint8_t *data, size_t size)
{
    static uint8_t payload[1 << 17];
    struct fuzz_call call = {.compression = compression};
    if (size < 3 || size > sizeof payload / 2)
        return 0;
    call.length = (data[0] | (size_t)data[1] << 8 | (size_t)data[2] << 16) % FUZZ_LENGTH_MAX;
    memcpy(payload, prefix, prefix_size);
    memcpy(payload + prefix_size, data + 3, size - 3);
    fuzz_check(&call, payload, prefix_size + size - 3);
    return 0;
}

#endif
