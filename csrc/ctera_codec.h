/*
 * ctera_codec decodes one stored Direct IO block to verified plaintext, in one call.
 *
 * The library takes bytes and returns bytes. It does not depend on Python, files or the network. Its
 * only global state is constant tables and fetched ciphers. Any number of threads may call it.
 *
 * Reading order: this header, decode.c (the call), cipher.c, snappy_stream.c, snappy.c, gzip.c,
 * lz4_frame.c, checksum.c, worker.c (what a thread keeps between calls).
 */
#ifndef CTERA_CODEC_H
#define CTERA_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(CTERA_SHARED) && defined(__GNUC__)
#define CTERA_API __attribute__((visibility("default")))
#else
#define CTERA_API
#endif

/*
 * What can go wrong. Python's codec/errors.py has the same numbers, so their meaning never changes.
 */
enum ctera_error {
    CTERA_OK = 0,
    CTERA_ARGUMENT = 1,     /* an invalid argument, such as an unknown cipher or a key of 5 bytes */
    CTERA_MEMORY = 2,       /* no memory for a scratch buffer or a context */
    CTERA_CRYPTO = 3,       /* libcrypto refused to work, for example because of a FIPS policy */
    CTERA_ENVELOPE = 4,     /* the object is not an envelope of the call's cipher */
    CTERA_PADDING = 5,      /* AES-CBC: the plaintext does not end in PKCS#7 padding */
    CTERA_TAG = 6,          /* AES-GCM: the tag does not authenticate the block */
    CTERA_CORRUPT = 7,      /* the compressed payload is malformed or truncated */
    CTERA_CHECKSUM = 8,     /* a checksum inside the payload does not match */
    CTERA_TRAILING = 9,     /* bytes after the end of the payload */
    CTERA_UNSUPPORTED = 10, /* valid, but of a kind that the protocol excludes */
    CTERA_TOO_LONG = 11,    /* the block is longer than its listed length */
    CTERA_TOO_SHORT = 12    /* the block is shorter than its listed length */
};

enum ctera_cipher {
    CTERA_CIPHER_NONE = 0,
    CTERA_CIPHER_AES_CBC = 1,
    CTERA_CIPHER_AES_GCM = 2
};

enum ctera_compression {
    CTERA_COMPRESSION_NONE = 0,
    CTERA_COMPRESSION_AUTO = 1, /* snappy-java stream, gzip or raw snappy: the first bytes decide */
    CTERA_COMPRESSION_LZ4 = 2   /* LZ4 frames */
};

/*
 * The arguments and the result of ctera_decode(). Python fills this struct through ctera_codec.cdef,
 * by position: the two must name the same fields in the same order.
 *
 * out must not overlap object or workspace.
 */
struct ctera_decode_call {
    /* How the object is stored. */
    enum ctera_cipher cipher;
    enum ctera_compression compression;
    const uint8_t *key; /* ignored with CTERA_CIPHER_NONE */
    size_t key_size;    /* in bytes: 16, 24 or 32; ignored with CTERA_CIPHER_NONE */
    uint64_t number;    /* of the block in its file: AES-GCM authenticates it, others ignore it */

    /* The stored object. NULL is allowed if its size is 0. */
    const uint8_t *object;
    size_t object_size; /* in bytes */

    /*
     * Where the decrypted payload may be written: object_size bytes, either the object itself, which
     * is overwritten then, or memory that does not overlap it. If this is NULL, the object is only
     * read, and the thread's own scratch memory is used.
     */
    uint8_t *workspace;

    /* Where the plaintext goes. NULL is allowed if its size is 0. */
    uint8_t *out;
    size_t out_size; /* in bytes: the length that the portal listed */

    bool wants_crc32c; /* whether to calculate the plaintext's CRC-32C */

    /* The result: the plaintext's CRC-32C, or 0 if it is not wanted or the call fails. */
    uint32_t crc32c;
};

/*
 * Decrypt and decompress the call's object into call->out, and set call->crc32c.
 *
 * Return CTERA_OK if the plaintext fills out exactly. On failure return another enum ctera_error; the
 * contents of out are undefined then, but never plaintext that AES-GCM did not authenticate. In no
 * case is a byte written past out_size.
 *
 * Every implementation of this contract, in C or in Python, checks in this order:
 *
 * 1. The envelope. AES-CBC: byte 0 ignored, 16 bytes of IV, then ciphertext, not empty, a multiple
 *    of 16; else CTERA_ENVELOPE. AES-GCM: byte 0 is 0x02, 12 bytes of nonce, ciphertext (it may be
 *    empty), 16 bytes of tag; an object under 29 bytes or of another format is CTERA_ENVELOPE. The
 *    additional data is number as 8 bytes, big endian.
 * 2. The padding (every defect is CTERA_PADDING) or the tag (CTERA_TAG), before any
 *    length is compared and before a byte is decompressed.
 * 3. The payload, from its start to its end. The first defect decides.
 *
 *    No compression: the payload's length is the block's, or CTERA_TOO_LONG / CTERA_TOO_SHORT.
 *
 *    Raw snappy (AUTO, if it is neither of the next two): a preamble other than out_size is
 *    TOO_LONG or TOO_SHORT at once. An empty payload, a preamble over five bytes or over 2^32-1, an
 *    element that reads or writes out of bounds (elements behind the last byte do) are CORRUPT.
 *
 *    snappy-java stream (AUTO, first bytes 82 53 4E 41 50 50 59 00): under 16 bytes of header is
 *    CORRUPT; a version below 1 is UNSUPPORTED. snappy-java's reader ignores the compatible
 *    version, and so do we; but if it is above 1, what would be CORRUPT is UNSUPPORTED. Chunks
 *    follow, in order. The whole 16-byte header may come again where a chunk's length is due, as in
 *    snappy-java's own reader: streams may be concatenated. A chunk's preamble above what is left
 *    of out_size is TOO_LONG. A chunk with an empty plaintext (one zero byte) is fine; a chunk of
 *    zero bytes lacks its preamble and is CORRUPT, as are a cut length or a cut chunk. End of the
 *    payload before out_size bytes: TOO_SHORT.
 *
 *    gzip (AUTO, first bytes 1F 8B): one member or more (RFC 1952). After a member comes
 *    nothing, another member (1F 8B), or zero bytes alone up to the end, as gzip(1) accepts them;
 *    anything else is TRAILING. A method other than 8 or a reserved flag is UNSUPPORTED; FHCRC,
 *    CRC-32 and ISIZE are verified (CHECKSUM). A member that yields more than what is left of
 *    out_size is TOO_LONG; cut or invalid DEFLATE is CORRUPT. (The member that overflows must do so
 *    before the payload's last 8 bytes, where its trailer would be: an overflow within them is a cut
 *    stream, CORRUPT.) All members done below out_size: TOO_SHORT.
 *
 *    LZ4 (compression LZ4 only): one frame or more; skippable frames may stand anywhere. Any
 *    other magic is CORRUPT at the start and TRAILING behind a frame. Legacy frames, versions
 *    other than 01, reserved bits, block size codes below 4, dictionary IDs: UNSUPPORTED. Header,
 *    block and content checksums are verified (CHECKSUM). A content size or a block that goes past
 *    what is left of out_size: TOO_LONG; a block over the frame's block size, a cut frame, a missing
 *    end mark, a content size that differs from the blocks' sum: CORRUPT. (liblz4 does not notice a
 *    match of offset 0, which the format forbids. The frame's checksums detect the wrong bytes.)
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
CTERA_API enum ctera_error ctera_decode(struct ctera_decode_call *call);

/*
 * Decrypt @size bytes of AES-ECB without padding (NIST SP 800-38A, section 6.1) from @data to @out.
 * The protocol wraps a file's key in this way. @out is @data itself or does not overlap it.
 *
 * Return CTERA_OK on success. On failure return CTERA_ARGUMENT (@key_size is not 16, 24 or 32, @size
 * is not a multiple of 16, or a pointer is NULL), CTERA_MEMORY or CTERA_CRYPTO; the contents of @out
 * are undefined.
 */
CTERA_API enum ctera_error ctera_decrypt_ecb(const uint8_t *key, size_t key_size,
                                             const uint8_t *data, size_t size, uint8_t *out);

/*
 * Return the CRC-32C (RFC 3720, appendix B.4) of @size bytes at @data, which follow bytes whose
 * CRC-32C is @crc. @crc is 0 if @data is the start. The cloud storages call it x-goog-hash and
 * x-amz-checksum-crc32c.
 */
CTERA_API uint32_t ctera_crc32c(uint32_t crc, const uint8_t *data, size_t size);

/*
 * Return the CRC-32C of A followed by B, from the CRC-32C of A, the CRC-32C of B, and the size of B
 * in bytes. The time grows with the logarithm of @size_b.
 */
CTERA_API uint32_t ctera_crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t size_b);

/*
 * Return the CRC-64/NVME (x-amz-checksum-crc64nvme) of @size bytes at @data, which follow bytes whose
 * CRC-64/NVME is @crc. @crc is 0 if @data is the start.
 */
CTERA_API uint64_t ctera_crc64nvme(uint64_t crc, const uint8_t *data, size_t size);

/*
 * Free what the calling thread keeps between calls: a cipher context, a decompressor, and scratch
 * memory, which is wiped first. The end of a thread does the same, so only tests that look for leaks
 * need this call.
 */
CTERA_API void ctera_release_thread(void);

#endif
