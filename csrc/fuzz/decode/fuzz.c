/*
 * Whole objects: any cipher, key size and compression; the envelope as given, or sealed here around
 * the payload.
 */
#include "fuzz.h"

#include "../tests/seal.h"

#define SEALED 0x80

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t object[1 << 17];
    static const uint8_t key[32] = "the key is not what is fuzzed..";
    if (size < 6 || size > sizeof object - SEAL_OVERHEAD)
        return 0;
    unsigned cipher = data[0] & 3;
    struct ctera_decode_call call = {
        .cipher = cipher == 3 ? CTERA_CIPHER_NONE : (enum ctera_cipher)cipher,
        .compression = (data[0] >> 2 & 3) % 3,
        .key = key,
        .key_size = 16 + 8 * ((size_t)(data[0] >> 4 & 3) % 3),
        .number = data[1],
        .out_size = (data[2] | (size_t)data[3] << 8 | (size_t)data[4] << 16) % FUZZ_LENGTH_MAX,
    };
    int sealed = data[0] & SEALED;
    data += 5;
    size -= 5;
    if (call.cipher == CTERA_CIPHER_NONE || !sealed) {
        fuzz_check(call, data, size);
        return 0;
    }
    size_t sealed_size = seal(call.cipher, key, call.key_size, call.number, data, size, 0, object);
    int64_t result = fuzz_check(call, object, sealed_size);
    CHECK(result != -CTERA_ENVELOPE && result != -CTERA_PADDING && result != -CTERA_TAG);

    /* The envelope must not change what becomes of the payload. */
    struct ctera_decode_call bare = call;
    bare.cipher = CTERA_CIPHER_NONE;
    CHECK(fuzz_check(bare, data, size) == result);

    /* What is not whole is not accepted. */
    if (call.cipher == CTERA_CIPHER_AES_GCM) {
        object[data[0] % sealed_size] ^= 1;
        CHECK(fuzz_check(call, object, sealed_size) < 0);
    }
    return 0;
}
