/* The encrypted envelopes (protocol.md: AES-CBC and AES-GCM), by OpenSSL's libcrypto. */
#ifndef CTERA_CIPHER_H
#define CTERA_CIPHER_H

#include <stddef.h>
#include <stdint.h>

#include "block.h"
#include "ctera_codec.h"
#include "worker.h"

#define CIPHER_BLOCK 16 /* AES's block, in bytes */

/* One encrypted object, taken apart. cipher_begin() fills it; cipher_finish() uses it up. */
struct envelope {
    EVP_CIPHER_CTX *evp;        /* the worker's, with key and IV set */
    enum ctera_cipher cipher;   /* not CTERA_CIPHER_NONE */
    const uint8_t *ciphertext;  /* points into the object */
    size_t ciphertext_size;     /* in bytes, without the tag */
    size_t plain_size;          /* of the payload, in bytes: exact, without padding */
    uint8_t last[CIPHER_BLOCK]; /* AES-CBC: the last block's plaintext, padding included */
};

/*
 * Check the envelope of the call's object, set the key, and find the payload's exact size. For
 * AES-CBC this decrypts the last block and checks its padding before anything else is decrypted.
 *
 * Return CTERA_OK. On failure return CTERA_ARGUMENT, CTERA_CRYPTO, CTERA_ENVELOPE or CTERA_PADDING as
 * ctera_decode() defines them; the contents of *envelope are undefined. In either case the caller
 * must call cipher_forget() when it has finished with the envelope.
 */
enum ctera_error cipher_begin(struct worker *worker, const struct ctera_decode_call *call,
                              struct envelope *envelope);

/*
 * Decrypt the payload, envelope->plain_size bytes, to @plain. @plain is either the envelope's
 * ciphertext itself or memory that does not overlap it. If @block is not NULL, @plain must be
 * block_next(), and the payload is committed to the block, with AES-GCM only once it is authentic.
 *
 * Return CTERA_OK. On failure return CTERA_CRYPTO, or CTERA_TAG if AES-GCM does not authenticate the
 * object; with AES-GCM, @plain then holds zeros, and nothing is committed.
 */
enum ctera_error cipher_finish(struct envelope *envelope, uint8_t *plain, struct block *block);

/*
 * Decrypt AES-ECB without padding, with the contract of ctera_decrypt_ecb(). The caller must call
 * cipher_forget() afterwards, whatever this returns.
 */
enum ctera_error cipher_decrypt_ecb(struct worker *worker, const uint8_t *key, size_t key_size,
                                    const uint8_t *data, size_t size, uint8_t *out);

/*
 * Wipe the key from the worker's context. Remove libcrypto's complaints since cipher_begin() or
 * cipher_decrypt_ecb() from the thread's error queue: the application's TLS reads the same queue.
 */
void cipher_forget(struct worker *worker);

#endif
