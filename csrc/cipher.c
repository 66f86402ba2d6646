#include "requirements.h"

#include "cipher.h"

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/err.h>

#include "bytes.h"

#define FORMAT_SIZE 1
#define CBC_HEADER (FORMAT_SIZE + CIPHER_BLOCK)
#define GCM_FORMAT 0x02
#define GCM_NONCE 12
#define GCM_HEADER (FORMAT_SIZE + GCM_NONCE)
#define GCM_TAG 16

/* A ciphertext longer than this is decrypted in steps of this size, in bytes. */
#define UPDATE_MAX ((size_t)1 << 30)

_Static_assert(UPDATE_MAX <= INT_MAX, "libcrypto takes an int for each size");
_Static_assert(UPDATE_MAX % CIPHER_BLOCK == 0, "libcrypto holds back a part of a block");
_Static_assert(BLOCK_TILE % CIPHER_BLOCK == 0, "so each tile must be whole blocks, too");
_Static_assert(CBC_HEADER == 17 && GCM_HEADER == 13, "the sizes that the protocol gives");

static pthread_once_t fetch_once = PTHREAD_ONCE_INIT;

/* The ciphers for keys of 16, 24 and 32 bytes; NULL if libcrypto lacks one. */
static EVP_CIPHER *cbc_ciphers[3], *gcm_ciphers[3], *ecb_ciphers[3];

/*
 * Fetch the ciphers into a library context of their own, which is never freed. So the application's
 * OpenSSL configuration does not affect them, and OpenSSL's clean-up at exit does not take the
 * provider away from a thread that still decodes.
 */
static void fetch_ciphers(void)
{
    static const char *const cbc[3] = {"AES-128-CBC", "AES-192-CBC", "AES-256-CBC"};
    static const char *const gcm[3] = {"AES-128-GCM", "AES-192-GCM", "AES-256-GCM"};
    static const char *const ecb[3] = {"AES-128-ECB", "AES-192-ECB", "AES-256-ECB"};
    OSSL_LIB_CTX *library = OSSL_LIB_CTX_new();
    if (!library)
        return;
    for (int i = 0; i < 3; i++) {
        cbc_ciphers[i] = EVP_CIPHER_fetch(library, cbc[i], NULL);
        gcm_ciphers[i] = EVP_CIPHER_fetch(library, gcm[i], NULL);
        ecb_ciphers[i] = EVP_CIPHER_fetch(library, ecb[i], NULL);
    }
}

/*
 * Set *found to the one of @ciphers for keys of @key_size bytes. Return CTERA_ARGUMENT if AES has no
 * keys of that size or @key is NULL, CTERA_CRYPTO if libcrypto lacks the cipher.
 */
static enum ctera_error find_cipher(EVP_CIPHER *const ciphers[3], const uint8_t *key,
                                    size_t key_size, const EVP_CIPHER **found)
{
    if (!key || (key_size != 16 && key_size != 24 && key_size != 32))
        return CTERA_ARGUMENT;
    pthread_once(&fetch_once, fetch_ciphers);
    *found = ciphers[(key_size - 16) / 8];
    return *found ? CTERA_OK : CTERA_CRYPTO;
}

/* Decrypt @size bytes, which continue what the context has decrypted so far. */
static enum ctera_error update(EVP_CIPHER_CTX *evp, uint8_t *plain, const uint8_t *ciphertext,
                               size_t size)
{
    while (size) {
        size_t step = size < UPDATE_MAX ? size : UPDATE_MAX;
        int written = 0;
        if (EVP_DecryptUpdate(evp, plain, &written, ciphertext, (int)step) != 1 ||
            written != (int)step)
            return CTERA_CRYPTO;
        plain += step;
        ciphertext += step;
        size -= step;
    }
    return CTERA_OK;
}

/*
 * Return the size of the PKCS#7 padding (RFC 5652, section 6.3) that ends a block, or 0 if the
 * padding is invalid. The time does not depend on the bytes.
 */
static size_t padding_size(const uint8_t last[CIPHER_BLOCK])
{
    unsigned size = last[CIPHER_BLOCK - 1];
    unsigned wrong = (size == 0) | (size > CIPHER_BLOCK);
    for (unsigned i = 0; i < CIPHER_BLOCK; i++)
        wrong |= (i + size >= CIPHER_BLOCK) & (last[i] != size);
    return wrong ? 0 : size;
}

static enum ctera_error cbc_begin(struct envelope *envelope, const EVP_CIPHER *cipher,
                                  const struct ctera_decode_call *call)
{
    const uint8_t *object = call->object;
    size_t size = call->object_size;
    if (size < CBC_HEADER + CIPHER_BLOCK || (size - CBC_HEADER) % CIPHER_BLOCK)
        return CTERA_ENVELOPE;
    envelope->ciphertext = object + CBC_HEADER;
    envelope->ciphertext_size = size - CBC_HEADER;

    /* The IV of a block is the ciphertext before it; the header's IV precedes the first block. */
    const uint8_t *last = object + size - CIPHER_BLOCK;
    if (EVP_DecryptInit_ex2(envelope->evp, cipher, call->key, last - CIPHER_BLOCK, NULL) != 1 ||
        EVP_CIPHER_CTX_set_padding(envelope->evp, 0) != 1 ||
        update(envelope->evp, envelope->last, last, CIPHER_BLOCK) != CTERA_OK ||
        EVP_DecryptInit_ex2(envelope->evp, NULL, NULL, object + FORMAT_SIZE, NULL) != 1)
        return CTERA_CRYPTO;

    size_t padding = padding_size(envelope->last);
    if (!padding)
        return CTERA_PADDING;
    envelope->plain_size = envelope->ciphertext_size - padding;
    return CTERA_OK;
}

static enum ctera_error gcm_begin(struct envelope *envelope, const EVP_CIPHER *cipher,
                                  const struct ctera_decode_call *call)
{
    const uint8_t *object = call->object;
    size_t size = call->object_size;
    if (size < GCM_HEADER + GCM_TAG || object[0] != GCM_FORMAT)
        return CTERA_ENVELOPE;
    envelope->ciphertext = object + GCM_HEADER;
    envelope->ciphertext_size = size - GCM_HEADER - GCM_TAG;
    envelope->plain_size = envelope->ciphertext_size;

    uint8_t additional[8];
    store_be64(additional, call->number);
    int written;
    if (EVP_DecryptInit_ex2(envelope->evp, cipher, call->key, object + FORMAT_SIZE, NULL) != 1 ||
        EVP_DecryptUpdate(envelope->evp, NULL, &written, additional, sizeof additional) != 1)
        return CTERA_CRYPTO;
    return CTERA_OK;
}

enum ctera_error cipher_begin(struct worker *worker, const struct ctera_decode_call *call,
                              struct envelope *envelope)
{
    bool is_cbc = call->cipher == CTERA_CIPHER_AES_CBC;
    const EVP_CIPHER *cipher;
    ERR_set_mark();
    enum ctera_error error =
        find_cipher(is_cbc ? cbc_ciphers : gcm_ciphers, call->key, call->key_size, &cipher);
    if (error)
        return error;
    envelope->evp = worker->evp;
    envelope->cipher = call->cipher;
    return is_cbc ? cbc_begin(envelope, cipher, call) : gcm_begin(envelope, cipher, call);
}

/*
 * Decrypt all blocks but the last, then copy that one's bytes without its padding. So nothing is
 * written past plain_size.
 */
static enum ctera_error cbc_finish(struct envelope *envelope, uint8_t *plain, struct block *block)
{
    const uint8_t *ciphertext = envelope->ciphertext;
    size_t left = envelope->ciphertext_size - CIPHER_BLOCK;
    while (left) {
        size_t step = block && left > BLOCK_TILE ? BLOCK_TILE : left;
        enum ctera_error error = update(envelope->evp, plain, ciphertext, step);
        if (error)
            return error;
        if (block)
            block_commit(block, step);
        plain += step;
        ciphertext += step;
        left -= step;
    }
    size_t rest = envelope->plain_size % CIPHER_BLOCK;
    memcpy(plain, envelope->last, rest);
    if (block)
        block_commit(block, rest);
    return CTERA_OK;
}

/* The plaintext is wiped unless the tag authenticates it. */
static enum ctera_error gcm_finish(struct envelope *envelope, uint8_t *plain, struct block *block)
{
    uint8_t tag[GCM_TAG], none[CIPHER_BLOCK];
    int written;
    memcpy(tag, envelope->ciphertext + envelope->ciphertext_size, GCM_TAG);
    enum ctera_error error = update(envelope->evp, plain, envelope->ciphertext, envelope->ciphertext_size);
    if (!error && EVP_CIPHER_CTX_ctrl(envelope->evp, EVP_CTRL_AEAD_SET_TAG, GCM_TAG, tag) != 1)
        error = CTERA_CRYPTO;
    if (!error && EVP_DecryptFinal_ex(envelope->evp, none, &written) != 1)
        error = CTERA_TAG;
    if (error) {
        OPENSSL_cleanse(plain, envelope->plain_size);
        return error;
    }
    if (block)
        block_commit(block, envelope->plain_size);
    return CTERA_OK;
}

enum ctera_error cipher_finish(struct envelope *envelope, uint8_t *plain, struct block *block)
{
    return envelope->cipher == CTERA_CIPHER_AES_CBC ? cbc_finish(envelope, plain, block)
                                                    : gcm_finish(envelope, plain, block);
}

enum ctera_error cipher_decrypt_ecb(struct worker *worker, const uint8_t *key, size_t key_size,
                                    const uint8_t *data, size_t size, uint8_t *out)
{
    ERR_set_mark();
    const EVP_CIPHER *cipher;
    enum ctera_error error = find_cipher(ecb_ciphers, key, key_size, &cipher);
    if (error)
        return error;
    if (size % CIPHER_BLOCK)
        return CTERA_ARGUMENT;
    if (EVP_DecryptInit_ex2(worker->evp, cipher, key, NULL, NULL) != 1 ||
        EVP_CIPHER_CTX_set_padding(worker->evp, 0) != 1)
        return CTERA_CRYPTO;
    return update(worker->evp, out, data, size);
}

void cipher_forget(struct worker *worker)
{
    EVP_CIPHER_CTX_reset(worker->evp);
    ERR_pop_to_mark();
}
