#include "requirements.h"

#include "cipher.h"

#include <pthread.h>
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

/*
 * libcrypto takes an int for a size: longer ciphertexts go in steps, a multiple of the AES block.
 */
#define UPDATE_MAX ((size_t)1 << 30)

static pthread_once_t fetch_once = PTHREAD_ONCE_INIT;
/* For keys of 16, 24 and 32 bytes. */
static EVP_CIPHER *cbc_ciphers[3], *gcm_ciphers[3], *ecb_ciphers[3];

/*
 * Ciphers are fetched once, into a library context of our own that is never freed: the
 * application's OpenSSL configuration does not reach it, and a decode that is under way while the
 * process exits does not lose its provider to OpenSSL's clean-up.
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

/* The one of @ciphers that fits the key. CTERA_ARGUMENT: none does. */
static int find_cipher(EVP_CIPHER *const ciphers[3], const uint8_t *key, size_t key_size,
                       const EVP_CIPHER **found)
{
    if (!key || (key_size != 16 && key_size != 24 && key_size != 32))
        return CTERA_ARGUMENT;
    pthread_once(&fetch_once, fetch_ciphers);
    *found = ciphers[(key_size - 16) / 8];
    return *found ? CTERA_OK : CTERA_CRYPTO;
}

/* Decrypts @size bytes at the context's place in the stream. */
static int update(EVP_CIPHER_CTX *evp, uint8_t *plain, const uint8_t *ciphertext, size_t size)
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

/* The size of a PKCS#7 padding (RFC 5652, 6.3), or 0. Looks at all 16 bytes whatever they are. */
static size_t padding_size(const uint8_t last[CIPHER_BLOCK])
{
    unsigned size = last[CIPHER_BLOCK - 1];
    unsigned wrong = (size == 0) | (size > CIPHER_BLOCK);
    for (unsigned i = 0; i < CIPHER_BLOCK; i++)
        wrong |= (i + size >= CIPHER_BLOCK) & (last[i] != size);
    return wrong ? 0 : size;
}

static int cbc_begin(struct envelope *envelope, const EVP_CIPHER *cipher, const uint8_t *key,
                     const uint8_t *object, size_t object_size)
{
    if (object_size < CBC_HEADER + CIPHER_BLOCK || (object_size - CBC_HEADER) % CIPHER_BLOCK)
        return CTERA_ENVELOPE;
    envelope->ciphertext = object + CBC_HEADER;
    envelope->ciphertext_size = object_size - CBC_HEADER;

    /* In CBC the block before is a block's IV, be it the first block's. */
    const uint8_t *last = object + object_size - CIPHER_BLOCK;
    if (EVP_DecryptInit_ex2(envelope->evp, cipher, key, last - CIPHER_BLOCK, NULL) != 1 ||
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

static int gcm_begin(struct envelope *envelope, const EVP_CIPHER *cipher, const uint8_t *key,
                     uint64_t number, const uint8_t *object, size_t object_size)
{
    if (object_size < GCM_HEADER + GCM_TAG || object[0] != GCM_FORMAT)
        return CTERA_ENVELOPE;
    envelope->ciphertext = object + GCM_HEADER;
    envelope->ciphertext_size = object_size - GCM_HEADER - GCM_TAG;
    envelope->plain_size = envelope->ciphertext_size;

    uint8_t additional[8];
    store_be64(additional, number);
    int written;
    if (EVP_DecryptInit_ex2(envelope->evp, cipher, key, object + FORMAT_SIZE, NULL) != 1 ||
        EVP_DecryptUpdate(envelope->evp, NULL, &written, additional, sizeof additional) != 1)
        return CTERA_CRYPTO;
    return CTERA_OK;
}

int cipher_begin(struct worker *worker, struct envelope *envelope, int cipher, const uint8_t *key,
                 size_t key_size, uint64_t number, const uint8_t *object, size_t object_size)
{
    ERR_set_mark();
    const EVP_CIPHER *evp_cipher;
    int error = find_cipher(cipher == CTERA_CIPHER_AES_CBC ? cbc_ciphers : gcm_ciphers, key,
                            key_size, &evp_cipher);
    if (error)
        return error;
    envelope->evp = worker->evp;
    envelope->cipher = cipher;
    return cipher == CTERA_CIPHER_AES_CBC
               ? cbc_begin(envelope, evp_cipher, key, object, object_size)
               : gcm_begin(envelope, evp_cipher, key, number, object, object_size);
}

/*
 * All but the last block, then what the padding leaves of that one: nothing goes past plain_size.
 */
static int cbc_finish(struct envelope *envelope, uint8_t *plain, struct block *block)
{
    const uint8_t *ciphertext = envelope->ciphertext;
    size_t left = envelope->ciphertext_size - CIPHER_BLOCK;
    while (left) {
        size_t step = block && left > BLOCK_TILE ? BLOCK_TILE : left;
        int error = update(envelope->evp, plain, ciphertext, step);
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

static int gcm_finish(struct envelope *envelope, uint8_t *plain, struct block *block)
{
    uint8_t tag[GCM_TAG], none[CIPHER_BLOCK];
    int written;
    memcpy(tag, envelope->ciphertext + envelope->ciphertext_size, GCM_TAG);
    int error = update(envelope->evp, plain, envelope->ciphertext, envelope->ciphertext_size);
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

int cipher_finish(struct envelope *envelope, uint8_t *plain, struct block *block)
{
    return envelope->cipher == CTERA_CIPHER_AES_CBC ? cbc_finish(envelope, plain, block)
                                                    : gcm_finish(envelope, plain, block);
}

int cipher_decrypt_ecb(struct worker *worker, const uint8_t *key, size_t key_size,
                       const uint8_t *data, size_t size, uint8_t *out)
{
    ERR_set_mark();
    const EVP_CIPHER *cipher;
    int error = find_cipher(ecb_ciphers, key, key_size, &cipher);
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
