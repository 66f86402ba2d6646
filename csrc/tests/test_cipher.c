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
static int64_t open_object(int cipher, size_t key_size, uint64_t number, size_t object_size,
                           uint8_t *plain, size_t plain_size)
{
    struct guarded apart = guarded_new(object_size), out = guarded_new(plain_size);
    int64_t results[3];
    for (int way = 0; way < 3; way++) {
        struct guarded copy = guarded_copy(object, object_size);
        uint8_t *workspace = way == 0 ? NULL : way == 1 ? apart.data : copy.data;
        results[way] = ctera_decode(cipher, key, key_size, number, CTERA_COMPRESSION_NONE,
                                    copy.data, object_size, workspace, 1, out.data, plain_size);
        if (way < 2 && object_size)
            CHECK(memcmp(copy.data, object, object_size) == 0);
        guarded_free(&copy);
    }
    CHECK(results[0] == results[1] && results[0] == results[2]);
    if (plain && plain_size)
        memcpy(plain, out.data, plain_size);
    int64_t unsummed = ctera_decode(cipher, key, key_size, number, CTERA_COMPRESSION_NONE, object,
                                    object_size, NULL, 0, out.data, plain_size);
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
    for (int cipher = CTERA_CIPHER_AES_CBC; cipher <= CTERA_CIPHER_AES_GCM; cipher++)
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
    CHECK(ctera_decode(CTERA_CIPHER_AES_CBC, nist_key, 32, 0, CTERA_COMPRESSION_NONE, object, size,
                       NULL, 1, out, 16) >= 0);
    CHECK(memcmp(out, plain, 16) == 0);
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

static void test_arguments(void)
{
    uint8_t out[1];
    CHECK(ctera_decode(-1, key, 32, 0, 0, object, 50, NULL, 1, out, 1) == -CTERA_ARGUMENT);
    CHECK(ctera_decode(3, key, 32, 0, 0, object, 50, NULL, 1, out, 1) == -CTERA_ARGUMENT);
    CHECK(ctera_decode(1, key, 32, 0, -1, object, 50, NULL, 1, out, 1) == -CTERA_ARGUMENT);
    CHECK(ctera_decode(1, key, 32, 0, 3, object, 50, NULL, 1, out, 1) == -CTERA_ARGUMENT);
    CHECK(ctera_decode(1, NULL, 32, 0, 0, object, 50, NULL, 1, out, 1) == -CTERA_ARGUMENT);
    CHECK(ctera_decode(0, NULL, 0, 0, 0, NULL, 50, NULL, 1, out, 1) == -CTERA_ARGUMENT);
    CHECK(ctera_decode(0, NULL, 0, 0, 0, object, 1, NULL, 1, NULL, 1) == -CTERA_ARGUMENT);
    for (size_t size = 0; size < 40; size++)
        if (size != 16 && size != 24 && size != 32)
            CHECK(ctera_decode(1, key, size, 0, 0, object, 33, NULL, 1, out, 1) == -CTERA_ARGUMENT);
    CHECK(ctera_decode(0, NULL, 0, 0, 0, NULL, 0, NULL, 1, NULL, 0) == 0);
    CHECK(ctera_decode(0, NULL, 0, 0, 1, NULL, 0, NULL, 1, NULL, 0) == -CTERA_CORRUPT);
    CHECK(ctera_decode(0, NULL, 0, 0, 2, NULL, 0, NULL, 1, NULL, 0) == -CTERA_CORRUPT);
}

static void test_sentences(void)
{
    for (int error = -1; error <= 14; error++)
        CHECK(strlen(ctera_strerror(error)) > 5);
    CHECK(strcmp(ctera_strerror(13), ctera_strerror(-1)) == 0);
}

/* Scratch over what a thread keeps is given back, and the next call makes its own. */
static void test_large_scratch(void)
{
    size_t size = (size_t)9 << 20;
    uint8_t *plain = calloc(1, size), *sealed = malloc(size + SEAL_OVERHEAD), out[100];
    CHECK(plain && sealed);
    size_t sealed_size = seal(CTERA_CIPHER_AES_CBC, key, 32, 0, plain, size, 0, sealed);
    for (int i = 0; i < 2; i++)
        CHECK(ctera_decode(CTERA_CIPHER_AES_CBC, key, 32, 0, CTERA_COMPRESSION_AUTO, sealed,
                           sealed_size, NULL, 1, out, sizeof out) == -CTERA_TOO_SHORT);
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
    test_padding();
    test_envelopes();
    test_gcm_authenticates();
    test_arguments();
    test_sentences();
    test_large_scratch();
    ctera_release_thread();
    ctera_release_thread();
    return 0;
}
