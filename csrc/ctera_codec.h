/*
 * ctera_codec: one stored Direct IO block to checked plaintext, in one call.
 *
 * The library knows bytes. It knows nothing of Python, of files or of the network, keeps no global
 * state but constant tables and fetched ciphers, and may be called from any number of threads.
 *
 * Reading order: this header, decode.c (the one call), cipher.c, snappy_stream.c, snappy.c, gzip.c,
 * lz4_frame.c, checksum.c, worker.c (what a thread keeps between calls).
 */
#ifndef CTERA_CODEC_H
#define CTERA_CODEC_H

#include <stddef.h>
#include <stdint.h>

#if defined(CTERA_SHARED) && defined(__GNUC__)
#define CTERA_API __attribute__((visibility("default")))
#else
#define CTERA_API
#endif

/* What can go wrong. The numbers are part of the interface: they never change meaning. */
enum ctera_error {
    CTERA_OK = 0,
    CTERA_ARGUMENT = 1,     /* the caller's mistake: unknown cipher, key of a wrong length, ... */
    CTERA_MEMORY = 2,       /* no memory for a scratch buffer or a context */
    CTERA_CRYPTO = 3,       /* libcrypto refused to work */
    CTERA_ENVELOPE = 4,     /* the encrypted object has no such shape */
    CTERA_PADDING = 5,      /* AES-CBC: the plaintext does not end in PKCS#7 padding */
    CTERA_TAG = 6,          /* AES-GCM: the tag does not authenticate the block */
    CTERA_CORRUPT = 7,      /* the compressed payload is malformed or truncated */
    CTERA_CHECKSUM = 8,     /* a checksum inside the payload does not match */
    CTERA_TRAILING = 9,     /* bytes after the end of the payload */
    CTERA_UNSUPPORTED = 10, /* well-formed, but of a kind that no block may have */
    CTERA_TOO_LONG = 11,    /* the block holds more bytes than the listing says */
    CTERA_TOO_SHORT = 12    /* the block holds fewer bytes than the listing says */
};

enum ctera_cipher {
    CTERA_CIPHER_NONE = 0,
    CTERA_CIPHER_AES_CBC = 1,
    CTERA_CIPHER_AES_GCM = 2
};

enum ctera_compression {
    CTERA_COMPRESSION_NONE = 0,
    CTERA_COMPRESSION_AUTO = 1, /* snappy-java stream, gzip or raw snappy: the first bytes tell */
    CTERA_COMPRESSION_LZ4 = 2   /* LZ4 frames */
};

/*
 * ctera_decode() - decrypt, decompress and, if wanted, checksum one stored object.
 *
 * @cipher, @key, @key_size: with CTERA_CIPHER_NONE the key is not looked at; else 16, 24 or 32
 * bytes.
 * @number: the block's number in its file; AES-GCM authenticates it, the others ignore it.
 * @object, @object_size: what the storage gave.
 * @workspace: NULL, or where the decrypted payload may be put: @object_size bytes, either @object
 *     itself (decrypt in place: the object is spoiled) or memory apart from it. With NULL the
 *     object is only read, and the thread's own scratch memory is used.
 * @checksum: whether the plaintext's CRC32C is wanted; if not, none is calculated.
 * @out, @out_size: the block's plaintext. @out_size is the length that the listing promised;
 *     nothing is ever written past it. @out must not overlap @object nor @workspace.
 *
 * Returns the CRC32C of the plaintext (0 to 2^32-1; 0 without @checksum), and then @out is filled
 * to the last byte; or the negated enum ctera_error, and then the content of @out is undefined,
 * though never plaintext that AES-GCM did not authenticate.
 *
 * The order of judgement, which every implementation of this contract keeps:
 *
 * 1. The envelope. AES-CBC: byte 0 ignored, 16 bytes of IV, then ciphertext, not empty, a multiple
 *    of 16; else CTERA_ENVELOPE. AES-GCM: byte 0 is 0x02, 12 bytes of nonce, ciphertext (it may be
 *    empty), 16 bytes of tag; an object under 29 bytes or of another format is CTERA_ENVELOPE. The
 *    additional data is @number as 8 bytes, big endian.
 * 2. The padding (every defect is CTERA_PADDING) or the tag (CTERA_TAG), before any
 *    question of length and before a byte is decompressed.
 * 3. The payload, from its start to its end; the first defect met decides.
 *
 *    No compression: the payload's length is the block's, or CTERA_TOO_LONG / CTERA_TOO_SHORT.
 *
 *    Raw snappy (AUTO, when it is none of the next two): a preamble other than @out_size is
 *    TOO_LONG or TOO_SHORT at once. An empty payload, a preamble over five bytes or over 2^32-1, an
 *    element that reads or writes out of bounds (elements behind the last byte do) are CORRUPT.
 *
 *    snappy-java stream (AUTO, first bytes 82 53 4E 41 50 50 59 00): under 16 bytes of header is
 *    CORRUPT; a version below 1 is UNSUPPORTED. snappy-java's reader ignores the compatible
 *    version, and so do we; but if it is above 1, what would be CORRUPT is UNSUPPORTED. Chunks
 *    follow, in order. The whole 16-byte header may come again where a chunk's length is due, as in
 *    snappy-java's own reader: streams may be concatenated. A chunk's preamble above what is left
 *    of @out_size is TOO_LONG. A chunk with an empty plaintext (one zero byte) is fine; a chunk of
 *    zero bytes lacks its preamble and is CORRUPT, as are a cut length or a cut chunk. End of the
 *    payload before @out_size bytes: TOO_SHORT.
 *
 *    gzip (AUTO, first bytes 1F 8B): one member or more (RFC 1952). After a member comes
 *    nothing, another member (1F 8B), or zero bytes alone up to the end, as gzip(1) accepts them;
 *    anything else is TRAILING. A method other than 8 or a reserved flag is UNSUPPORTED; FHCRC,
 *    CRC-32 and ISIZE are verified (CHECKSUM). A member that yields more than what is left of
 *    @out_size is TOO_LONG; cut or invalid DEFLATE is CORRUPT. (The member that overflows must do so
 *    before the payload's last 8 bytes, where its trailer would be: an overflow within them is a cut
 *    stream, CORRUPT.) All members done below @out_size: TOO_SHORT.
 *
 *    LZ4 (compression LZ4 only): one frame or more; skippable frames may stand anywhere. A magic
 *    that no frame has is CORRUPT at the start and TRAILING behind a frame. Legacy frames, versions
 *    other than 01, reserved bits, block size codes below 4, dictionary IDs: UNSUPPORTED. Header,
 *    block and content checksums are verified (CHECKSUM). A content size or a block that goes past
 *    what is left of @out_size: TOO_LONG; a block over the frame's block size, a cut frame, a missing
 *    end mark, a content size that is not what the blocks give: CORRUPT. (A match of offset 0, which the format forbids, is not noticed by liblz4, here as
 *    everywhere: the frame's checksums are there for that.)
 *
 * DEFLATE that RFC 1951 forbids may still be accepted, by some versions of some libraries, if its
 * meaning is not in doubt. CRC-32 and ISIZE then confirm every byte. The kinds are:
 *
 *    - more than 286 literal/length codes or 30 distance codes are declared (3.2.7);
 *    - a run of code lengths goes on past the last one (3.2.7);
 *    - literal/length codes 286 and 287, or distance codes 30 and 31, are used (3.2.5, 3.2.6);
 *    - a set of codes is incomplete (3.2.2), whether or not the unassigned code is used.
 *
 * libdeflate 1.14 accepts the first three and, of the last, a set of one code or none. zlib accepts
 * none of them but a set of one code whose other bit is not used, and ISA-L some incomplete sets. No
 * compressor is known to write the others. All other defects of DEFLATE are CORRUPT everywhere.
 *
 * A payload with several defects is refused in every implementation; which of them names the
 * error may depend on how far its decoder looks ahead.
 */
CTERA_API int64_t ctera_decode(int cipher, const uint8_t *key, size_t key_size, uint64_t number,
                               int compression, const uint8_t *object, size_t object_size,
                               uint8_t *workspace, int checksum, uint8_t *out, size_t out_size);

/*
 * ctera_decrypt_ecb() - AES-ECB (NIST SP 800-38A, 6.1) without padding, by which a file's key is
 * wrapped: decrypts @size bytes, a multiple of 16, of @data to @out, which is @data itself or apart
 * from it.
 *
 * Returns CTERA_OK; CTERA_ARGUMENT for a @key_size other than 16, 24 and 32 or a @size that is no
 * multiple, CTERA_MEMORY or CTERA_CRYPTO, and then the content of @out is undefined.
 */
CTERA_API int ctera_decrypt_ecb(const uint8_t *key, size_t key_size, const uint8_t *data,
                                size_t size, uint8_t *out);

/*
 * CRC-32C (RFC 3720 B.4; x-goog-hash, x-amz-checksum-crc32c) of @data, taken up from @crc (0 to
 * start).
 */
CTERA_API uint32_t ctera_crc32c(uint32_t crc, const uint8_t *data, size_t size);

/* The CRC-32C of A followed by B, from that of A, that of B and the size of B in bytes. */
CTERA_API uint32_t ctera_crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t size_b);

/* CRC-64/NVME (x-amz-checksum-crc64nvme) of @data, taken up from @crc (0 to start). */
CTERA_API uint64_t ctera_crc64nvme(uint64_t crc, const uint8_t *data, size_t size);

/*
 * Frees what the calling thread keeps between calls (a cipher context, scratch memory, cleansed
 * first). A thread that ends does this by itself; only a test that counts memory needs the call.
 */
CTERA_API void ctera_release_thread(void);

#endif
