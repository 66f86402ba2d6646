/*
 * The encrypted envelopes of PROTOCOL sections 3 (AES-CBC) and 5 (AES-GCM), by OpenSSL's libcrypto.
 */
#ifndef CTERA_CIPHER_H
#define CTERA_CIPHER_H

#include <stddef.h>
#include <stdint.h>

#include "block.h"
#include "worker.h"

#define CIPHER_BLOCK 16

/* One object taken apart: cipher_begin() fills it, cipher_finish() uses it up. */
struct envelope {
    EVP_CIPHER_CTX *evp;
    int cipher;                 /* enum ctera_cipher, not NONE */
    const uint8_t *ciphertext;  /* inside the object */
    size_t ciphertext_size;
    size_t plain_size;          /* exact, padding and tag taken off */
    uint8_t last[CIPHER_BLOCK]; /* AES-CBC: the last plaintext block */
};

/*
 * Checks the envelope's shape, sets the key, and finds the payload's exact size; for AES-CBC that
 * means to decrypt the last block and check its padding, before anything else is decrypted.
 */
int cipher_begin(struct worker *worker, struct envelope *envelope, int cipher, const uint8_t *key,
                 size_t key_size, uint64_t number, const uint8_t *object, size_t object_size);

/*
 * Writes the envelope's plain_size bytes to @plain, which is the envelope's ciphertext itself or
 * apart from it. After CTERA_TAG nothing of them is left there. With a @block, @plain is
 * block_next() and the bytes are committed; but not before the tag is good.
 */
int cipher_finish(struct envelope *envelope, uint8_t *plain, struct block *block);

/* AES-ECB without padding: as ctera_decrypt_ecb(). */
int cipher_decrypt_ecb(struct worker *worker, const uint8_t *key, size_t key_size,
                       const uint8_t *data, size_t size, uint8_t *out);

/*
 * Wipes the key from the worker's context, and takes what libcrypto complained of from the thread's
 * error queue, which belongs to the application's TLS. To be called after cipher_begin() and
 * cipher_decrypt_ecb(), whatever they said.
 */
void cipher_forget(struct worker *worker);

#endif
