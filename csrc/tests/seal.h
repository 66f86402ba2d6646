/* Writes encrypted objects, with libcrypto's own calls. */
#ifndef CTERA_SEAL_H
#define CTERA_SEAL_H

#include <openssl/evp.h>

#include "harness.h"

#define SEAL_OVERHEAD 64

static inline const EVP_CIPHER *seal_cipher(enum ctera_cipher cipher, size_t key_size)
{
    if (cipher == CTERA_CIPHER_AES_CBC)
        return key_size == 16 ? EVP_aes_128_cbc() : key_size == 24 ? EVP_aes_192_cbc() : EVP_aes_256_cbc();
    return key_size == 16 ? EVP_aes_128_gcm() : key_size == 24 ? EVP_aes_192_gcm() : EVP_aes_256_gcm();
}

/*
 * @plain in an envelope, at @object (room for SEAL_OVERHEAD more); its size. CBC pads unless @plain
 * is padded already.
 */
static inline size_t seal(enum ctera_cipher cipher, const uint8_t *key, size_t key_size,
                          uint64_t number, const uint8_t *plain, size_t size, int padded,
                          uint8_t *object)
{
    size_t nonce_size = cipher == CTERA_CIPHER_AES_CBC ? 16 : 12;
    uint8_t *next = object, additional[8];
    int written = 0, finished = 0;
    *next++ = 2;
    for (size_t i = 0; i < nonce_size; i++)
        *next++ = (uint8_t)i;
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    CHECK(context);
    CHECK(EVP_EncryptInit_ex(context, seal_cipher(cipher, key_size), NULL, key, object + 1) == 1);
    if (cipher == CTERA_CIPHER_AES_GCM) {
        for (int i = 0; i < 8; i++)
            additional[i] = (uint8_t)(number >> (56 - 8 * i));
        CHECK(EVP_EncryptUpdate(context, NULL, &written, additional, 8) == 1);
    }
    CHECK(EVP_CIPHER_CTX_set_padding(context, !padded) == 1);
    written = 0;
    if (size)
        CHECK(EVP_EncryptUpdate(context, next, &written, plain, (int)size) == 1);
    next += written;
    CHECK(EVP_EncryptFinal_ex(context, next, &finished) == 1);
    next += finished;
    if (cipher == CTERA_CIPHER_AES_GCM) {
        CHECK(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, 16, next) == 1);
        next += 16;
    }
    EVP_CIPHER_CTX_free(context);
    return (size_t)(next - object);
}

#endif
