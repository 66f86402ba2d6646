/*
 * Envelopes: sizes, keys, every wrong padding, every flipped bit; memory and error queue left
 * clean.
 */
#include "seal.h"

#include <openssl/err.h>

static const size_t key_sizes[] = {16, 24, 32};
static uint8_t key[32], text[70000], object[70000 + SEAL_OVERHEAD];

/*
 * All ways to say where the plaintext goes must agree: own scratch, a workspace apart, in place.
 * The object ends at an unmapped page, and so does the output.
 */
static int64_t open_object(enum ctera_cipher cipher, size_t key_size, uint64_t number, size_t object_size,
                           uint8_t *plain, size_t plain_size)
{
    struct guarded apart = guarded_new(object_size), out = guarded_new(plain_size);
    struct ctera_decode_call call = {
        .cipher = cipher,
        .key = key,
        .key_size = key_size,
        .number = number,
        .object_size = object_size,
        .out = out.data,
        .out_size = plain_size,
        .wants_crc32c = true,
    };
    int64_t results[3];
    for (int way = 0; way < 3; way++) {
        struct guarded copy = guarded_copy(object, object_size);
        call.object = copy.data;
        call.workspace = way == 0 ? NULL : way == 1 ? apart.data : copy.data;
        results[way] = result_of(call);
        if (way < 2 && object_size)
            CHECK(memcmp(copy.data, object, object_size) == 0);
        guarded_free(&copy);
    }
    CHECK(results[0] == results[1] && results[0] == results[2]);
    if (plain && plain_size)
        memcpy(plain, out.data, plain_size);
    call.object = object;
    call.workspace = NULL;
    call.wants_crc32c = false;
    int64_t unsummed = result_of(call);
    CHECK(unsummed == (results[0] < 0 ? results[0] : 0));
    CHECK(!plain || !plain_size || memcmp(plain, out.data, plain_size) == 0);
    guarded_free(&apart);
    guarded_free(&out);
    CHECK(ERR_peek_error() == 0);
    return results[0];
}

static void test_sizes_and_keys(void)
{
    static uint8_t plain[sizeof text];
    for (enum ctera_cipher cipher = CTERA_CIPHER_AES_CBC; cipher <= CTERA_CIPHER_AES_GCM; cipher++)
        for (int k = 0; k < 3; k++)
            for (size_t size = 0; size <= sizeof text; size += size < 70 ? 1 : size) {
                size_t sealed = seal(cipher, key, key_sizes[k], 7, text, size, 0, object);
                int64_t result = open_object(cipher, key_sizes[k], 7, sealed, plain, size);
                CHECK(result == (int64_t)ctera_crc32c(0, text, size));
                CHECK(size == 0 || memcmp(plain, text, size) == 0);
                CHECK(open_object(cipher, key_sizes[k], 7, sealed, NULL, size + 1) == -CTERA_TOO_SHORT);
                if (size)
                    CHECK(open_object(cipher, key_sizes[k], 7, sealed, NULL, size - 1) ==
                          -CTERA_TOO_LONG);
            }
}

/* NIST SP 800-38A, F.2.5: CBC-AES256. */
static void test_nist_cbc(void)
{
    static const uint8_t nist_key[] =
        "\x60\x3d\xeb\x10\x15\xca\x71\xbe\x2b\x73\xae\xf0\x85\x7d\x77\x81"
        "\x1f\x35\x2c\x07\x3b\x61\x08\xd7\x2d\x98\x10\xa3\x09\x14\xdf\xf4";
    static const uint8_t plain[] = "\x6b\xc1\xbe\xe2\x2e\x40\x9f\x96\xe9\x3d\x7e\x11\x73\x93\x17\x2a";
    static const uint8_t encrypted[] = "\xf5\x8c\x4c\x04\xd6\xe5\xf1\xba\x77\x9e\xab\xfb\x5f\x7b\xfb\xd6";
    uint8_t out[16];
    size_t size = seal(CTERA_CIPHER_AES_CBC, nist_key, 32, 0, plain, 16, 0, object);
    CHECK(memcmp(object + 17, encrypted, 16) == 0);
    CHECK(result_of((struct ctera_decode_call){
              .cipher = CTERA_CIPHER_AES_CBC,
              .key = nist_key,
              .key_size = 32,
              .object = object,
              .object_size = size,
              .out = out,
              .out_size = 16,
          }) == 0);
    CHECK(memcmp(out, plain, 16) == 0);
}

/* NIST SP 800-38A, F.1.2, F.1.4 and F.1.6: the same two blocks under keys of each size. */
static void test_nist_ecb(void)
{
    static const uint8_t keys[3][33] = {
        "\x2b\x7e\x15\x16\x28\xae\xd2\xa6\xab\xf7\x15\x88\x09\xcf\x4f\x3c",
        "\x8e\x73\xb0\xf7\xda\x0e\x64\x52\xc8\x10\xf3\x2b\x80\x90\x79\xe5"
        "\x62\xf8\xea\xd2\x52\x2c\x6b\x7b",
        "\x60\x3d\xeb\x10\x15\xca\x71\xbe\x2b\x73\xae\xf0\x85\x7d\x77\x81"
        "\x1f\x35\x2c\x07\x3b\x61\x08\xd7\x2d\x98\x10\xa3\x09\x14\xdf\xf4"};
    static const uint8_t plain[] =
        "\x6b\xc1\xbe\xe2\x2e\x40\x9f\x96\xe9\x3d\x7e\x11\x73\x93\x17\x2a"
        "\xae\x2d\x8a\x57\x1e\x03\xac\x9c\x9e\xb7\x6f\xac\x45\xaf\x8e\x51";
    static const uint8_t encrypted[3][33] = {
        "\x3a\xd7\x7b\xb4\x0d\x7a\x36\x60\xa8\x9e\xca\xf3\x24\x66\xef\x97"
        "\xf5\xd3\xd5\x85\x03\xb9\x69\x9d\xe7\x85\x89\x5a\x96\xfd\xba\xaf",
        "\xbd\x33\x4f\x1d\x6e\x45\xf2\x5f\xf7\x12\xa2\x14\x57\x1f\xa5\xcc"
        "\x97\x41\x04\x84\x6d\x0a\xd3\xad\x77\x34\xec\xb3\xec\xee\x4e\xef",
        "\xf3\xee\xd1\xbd\xb5\xd2\xa0\x3c\x06\x4b\x5a\x7e\x3d\xb1\x81\xf8"
        "\x59\x1c\xcb\x10\xd4\x10\xed\x26\xdc\x5b\xa7\x4a\x31\x36\x28\x70"};
    for (int k = 0; k < 3; k++) {
        struct guarded data = guarded_copy(encrypted[k], 32), out = guarded_new(32);
        CHECK(ctera_decrypt_ecb(keys[k], key_sizes[k], data.data, 32, out.data) == CTERA_OK);
        CHECK(memcmp(out.data, plain, 32) == 0);
        CHECK(memcmp(data.data, encrypted[k], 32) == 0);
        CHECK(ctera_decrypt_ecb(keys[k], key_sizes[k], data.data, 32, data.data) == CTERA_OK);
        CHECK(memcmp(data.data, plain, 32) == 0);
        for (size_t size = 1; size < 16; size++)
            CHECK(ctera_decrypt_ecb(keys[k], key_sizes[k], data.data, 16 + size, out.data) ==
                  CTERA_ARGUMENT);
        guarded_free(&data);
        guarded_free(&out);
    }
    for (size_t size = 0; size < 40; size++)
        if (size != 16 && size != 24 && size != 32)
            CHECK(ctera_decrypt_ecb(key, size, text, 16, object) == CTERA_ARGUMENT);
    CHECK(ctera_decrypt_ecb(NULL, 16, text, 16, object) == CTERA_ARGUMENT);
    CHECK(ctera_decrypt_ecb(key, 16, NULL, 16, object) == CTERA_ARGUMENT);
    CHECK(ctera_decrypt_ecb(key, 16, text, 16, NULL) == CTERA_ARGUMENT);
    CHECK(ctera_decrypt_ecb(key, 16, NULL, 0, NULL) == CTERA_OK);
    CHECK(ERR_peek_error() == 0);
}

/* Every last byte, right or wrong, and every wrong byte inside a right length. */
static void test_padding(void)
{
    uint8_t plain[48];
    for (unsigned last = 0; last < 256; last++)
        for (size_t wrong = 0; wrong <= 16; wrong++) {
            memset(plain, 0xEE, sizeof plain);
            size_t padding = last >= 1 && last <= 16 ? last : 16;
            memset(plain + 48 - padding, (int)last, padding);
            if (wrong)
                plain[48 - wrong] ^= 0x40;
            int good = last >= 1 && last <= 16 && (wrong == 0 || wrong > padding);
            size_t size = seal(CTERA_CIPHER_AES_CBC, key, 32, 0, plain, 48, 1, object);
            int64_t result = open_object(CTERA_CIPHER_AES_CBC, 32, 0, size, NULL, 48 - padding);
            if (wrong == 1 && (last ^ 0x40) >= 1 && (last ^ 0x40) <= 16)
                continue; /* the flip made another last byte: some other round's case */
            CHECK(good ? result >= 0 : result == -CTERA_PADDING);
            if (!good) /* whatever the length: padding is judged first */
                CHECK(open_object(CTERA_CIPHER_AES_CBC, 32, 0, size, NULL, 1) == -CTERA_PADDING);
        }
}

static void test_envelopes(void)
{
    size_t size = seal(CTERA_CIPHER_AES_CBC, key, 32, 0, text, 100, 0, object);
    for (size_t cut = 0; cut < size; cut++) {
        int64_t result = open_object(CTERA_CIPHER_AES_CBC, 32, 0, cut, NULL, 100);
        if (cut < 33 || (cut - 17) % 16)
            CHECK(result == -CTERA_ENVELOPE);
        else
            CHECK(result < 0);
    }
    size = seal(CTERA_CIPHER_AES_GCM, key, 32, 0, text, 100, 0, object);
    for (size_t cut = 0; cut < size; cut++)
        CHECK(open_object(CTERA_CIPHER_AES_GCM, 32, 0, cut, NULL, 100) ==
              (cut < 29 ? -CTERA_ENVELOPE : -CTERA_TAG));
}

static void test_gcm_authenticates(void)
{
    static const uint8_t zeros[200];
    uint8_t plain[200];
    size_t size = seal(CTERA_CIPHER_AES_GCM, key, 32, 0x0102030405060708, text, 200, 0, object);
    CHECK(open_object(CTERA_CIPHER_AES_GCM, 32, 0x0102030405060708, size, plain, 200) >= 0);
    CHECK(open_object(CTERA_CIPHER_AES_GCM, 32, 0x0102030405060709, size, plain, 200) == -CTERA_TAG);
    CHECK(memcmp(plain, zeros, sizeof zeros) == 0);
    CHECK(open_object(CTERA_CIPHER_AES_GCM, 32, 9, size, plain, 100) == -CTERA_TAG);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        object[bit / 8] ^= (uint8_t)(1 << bit % 8);
        CHECK(open_object(CTERA_CIPHER_AES_GCM, 32, 0x0102030405060708, size, plain, 200) ==
              (bit < 8 ? -CTERA_ENVELOPE : -CTERA_TAG));
        CHECK(memcmp(plain, zeros, sizeof zeros) == 0);
        object[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

/* A valid call with one field changed, and what it must return. */
static void test_arguments(void)
{
    uint8_t out[1];
    const struct ctera_decode_call cbc = {
        .cipher = CTERA_CIPHER_AES_CBC,
        .key = key,
        .key_size = 32,
        .object = object,
        .object_size = 33,
        .out = out,
        .out_size = 1,
    };
    const struct ctera_decode_call empty = {0};
    struct ctera_decode_call call;
#define CHANGED(base, field, value) (call = base, call.field = value, ctera_decode(&call))
    CHECK(CHANGED(cbc, cipher, (enum ctera_cipher)-1) == CTERA_ARGUMENT);
    CHECK(CHANGED(cbc, cipher, (enum ctera_cipher)3) == CTERA_ARGUMENT);
    CHECK(CHANGED(cbc, compression, (enum ctera_compression)-1) == CTERA_ARGUMENT);
    CHECK(CHANGED(cbc, compression, (enum ctera_compression)3) == CTERA_ARGUMENT);
    CHECK(CHANGED(cbc, key, NULL) == CTERA_ARGUMENT);
    CHECK(CHANGED(cbc, object, NULL) == CTERA_ARGUMENT);
    CHECK(CHANGED(cbc, out, NULL) == CTERA_ARGUMENT);
    CHECK(CHANGED(empty, object_size, 50) == CTERA_ARGUMENT);
    CHECK(CHANGED(empty, out_size, 1) == CTERA_ARGUMENT);
    for (size_t size = 0; size < 40; size++)
        if (size != 16 && size != 24 && size != 32)
            CHECK(CHANGED(cbc, key_size, size) == CTERA_ARGUMENT);
    CHECK(CHANGED(empty, compression, CTERA_COMPRESSION_NONE) == CTERA_OK);
    CHECK(CHANGED(empty, compression, CTERA_COMPRESSION_AUTO) == CTERA_CORRUPT);
    CHECK(CHANGED(empty, compression, CTERA_COMPRESSION_LZ4) == CTERA_CORRUPT);
#undef CHANGED
}

/* Scratch over what a thread keeps is given back, and the next call makes its own. */
static void test_large_scratch(void)
{
    size_t size = (size_t)9 << 20;
    uint8_t *plain = calloc(1, size), *sealed = malloc(size + SEAL_OVERHEAD), out[100];
    CHECK(plain && sealed);
    size_t sealed_size = seal(CTERA_CIPHER_AES_CBC, key, 32, 0, plain, size, 0, sealed);
    for (int i = 0; i < 2; i++)
        CHECK(result_of((struct ctera_decode_call){
                  .cipher = CTERA_CIPHER_AES_CBC,
                  .compression = CTERA_COMPRESSION_AUTO,
                  .key = key,
                  .key_size = 32,
                  .object = sealed,
                  .object_size = sealed_size,
                  .out = out,
                  .out_size = sizeof out,
              }) == -CTERA_TOO_SHORT);
    free(plain);
    free(sealed);
}

int main(void)
{
    uint64_t state = 23;
    fill_text(text, sizeof text, &state);
    for (size_t i = 0; i < sizeof key; i++)
        key[i] = (uint8_t)random_word(&state);
    test_sizes_and_keys();
    test_nist_cbc();
    test_nist_ecb();
    test_padding();
    test_envelopes();
    test_gcm_authenticates();
    test_arguments();
    test_large_scratch();
    ctera_release_thread();
    ctera_release_thread();
    return 0;
}
