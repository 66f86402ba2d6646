/*
 * The stock C libraries called one after the other, as their manuals show: a fresh context for each block, the whole
 * block decrypted, then decompressed. No checksum of the plaintext.
 */
#include <stdint.h>
#include <stdlib.h>

#include <libdeflate.h>
#include <lz4frame.h>
#include <openssl/evp.h>
#include <snappy-c.h>

enum { NONE, SNAPPY_RAW, SNAPPY_STREAM, GZIP, LZ4 };
enum { PLAIN, CBC, GCM };

static size_t decrypt(int cipher, const uint8_t *key, uint64_t number, const uint8_t *object,
                      size_t size, uint8_t *plain)
{
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    int written = 0, rest = 0, ok;
    if (cipher == CBC) {
        ok = EVP_DecryptInit_ex(context, EVP_aes_256_cbc(), NULL, key, object + 1) &&
             EVP_DecryptUpdate(context, plain, &written, object + 17, (int)(size - 17));
    } else {
        uint8_t additional[8];
        for (int i = 0; i < 8; i++)
            additional[i] = (uint8_t)(number >> (56 - 8 * i));
        ok = EVP_DecryptInit_ex(context, EVP_aes_256_gcm(), NULL, key, object + 1) &&
             EVP_DecryptUpdate(context, NULL, &written, additional, 8) &&
             EVP_DecryptUpdate(context, plain, &written, object + 13, (int)(size - 29)) &&
             EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, 16, (void *)(object + size - 16));
    }
    ok = ok && EVP_DecryptFinal_ex(context, plain + written, &rest);
    EVP_CIPHER_CTX_free(context);
    return ok ? (size_t)(written + rest) : 0;
}

static size_t snappy_stream(const uint8_t *in, size_t size, uint8_t *out, size_t out_size)
{
    size_t done = 0;
    for (size_t at = 16; at + 4 <= size;) {
        size_t chunk = (size_t)in[at] << 24 | (size_t)in[at + 1] << 16 | (size_t)in[at + 2] << 8 | in[at + 3];
        size_t length = out_size - done;
        if (snappy_uncompress((const char *)in + at + 4, chunk, (char *)out + done, &length) != SNAPPY_OK)
            return 0;
        done += length;
        at += 4 + chunk;
    }
    return done;
}

static size_t gunzip(const uint8_t *in, size_t size, uint8_t *out, size_t out_size)
{
    struct libdeflate_decompressor *decompressor = libdeflate_alloc_decompressor();
    size_t length = 0;
    if (libdeflate_gzip_decompress(decompressor, in, size, out, out_size, &length) != LIBDEFLATE_SUCCESS)
        length = 0;
    libdeflate_free_decompressor(decompressor);
    return length;
}

static size_t lz4_frame(const uint8_t *in, size_t size, uint8_t *out, size_t out_size)
{
    LZ4F_dctx *context;
    LZ4F_createDecompressionContext(&context, LZ4F_VERSION);
    size_t done = 0, result = 1;
    while (result != 0 && !LZ4F_isError(result)) {
        size_t length = out_size - done, used = size;
        result = LZ4F_decompress(context, out + done, &length, in, &used, NULL);
        in += used;
        size -= used;
        done += length;
    }
    LZ4F_freeDecompressionContext(context);
    return done;
}

/* The number of bytes put at @out, or 0. @scratch has room for the object. */
size_t stock_decode(int cipher, const uint8_t *key, uint64_t number, int compression,
                    const uint8_t *object, size_t size, uint8_t *scratch, uint8_t *out, size_t out_size)
{
    const uint8_t *payload = object;
    if (cipher != PLAIN) {
        size = decrypt(cipher, key, number, object, size, compression == NONE ? out : scratch);
        payload = scratch;
    }
    switch (compression) {
    case SNAPPY_RAW:
        return snappy_uncompress((const char *)payload, size, (char *)out, &out_size) == SNAPPY_OK ? out_size : 0;
    case SNAPPY_STREAM:
        return snappy_stream(payload, size, out, out_size);
    case GZIP:
        return gunzip(payload, size, out, out_size);
    case LZ4:
        return lz4_frame(payload, size, out, out_size);
    default:
        return size;
    }
}
