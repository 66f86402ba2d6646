/* LZ4 frames of liblz4's own writer with every option, and hand-made ones that break each rule. */
#include "harness.h"

#include <lz4frame.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

static uint8_t decoded[1 << 20], text[150000], frame[200000];

static int64_t decode(const uint8_t *payload, size_t size, size_t plain_size)
{
    return decode_payload_guarded(CTERA_COMPRESSION_LZ4, payload, size, decoded, plain_size);
}

static size_t make_frame(const uint8_t *plain, size_t size, unsigned options)
{
    LZ4F_preferences_t preferences;
    memset(&preferences, 0, sizeof preferences);
    preferences.frameInfo.blockSizeID = (LZ4F_blockSizeID_t)(4 + options % 4);
    preferences.frameInfo.blockMode = options & 4 ? LZ4F_blockLinked : LZ4F_blockIndependent;
    preferences.frameInfo.contentChecksumFlag = options & 8 ? 1 : 0;
    preferences.frameInfo.blockChecksumFlag = options & 16 ? 1 : 0;
    preferences.frameInfo.contentSize = options & 32 ? size : 0;
    preferences.compressionLevel = options & 64 ? 9 : 0;
    size_t written = LZ4F_compressFrame(frame, sizeof frame, plain, size, &preferences);
    CHECK(!LZ4F_isError(written));
    return written;
}

static void test_every_option(void)
{
    static const size_t sizes[] = {0, 1, 13, 1000, 65537, 150000};
    for (unsigned options = 0; options < 128; options++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            size_t plain_size = sizes[i], size = make_frame(text, plain_size, options);
            CHECK(decode(frame, size, plain_size) >= 0);
            CHECK(memcmp(decoded, text, plain_size) == 0);
            CHECK(decode(frame, size, plain_size + 1) == -CTERA_TOO_SHORT);
            if (plain_size)
                CHECK(decode(frame, size, plain_size - 1) == -CTERA_TOO_LONG);
            CHECK(decode(frame, size + 1, plain_size) == -CTERA_TRAILING);
            CHECK(decode(frame, size - 1, plain_size) == -CTERA_CORRUPT);
        }
}

static void test_cut_and_flipped(void)
{
    for (unsigned options = 0; options < 64; options += 4) {
        size_t size = make_frame(text, 400, options);
        for (size_t cut = 0; cut < size; cut++)
            CHECK(decode(frame, cut, 400) == -CTERA_CORRUPT);
        for (size_t bit = 0; bit < 8 * size; bit++) {
            frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
            int64_t result = decode(frame, size, 400);
            CHECK(result < 0 || !(options & 8) || memcmp(decoded, text, 400) == 0);
            frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
    }
}

/* A descriptor with its checksum, then whatever follows. */
static int64_t decode_frame(uint8_t flags, uint8_t block_id, const char *fields, size_t fields_size,
                            const char *rest, size_t rest_size, size_t plain_size)
{
    uint8_t bytes[128] = {0x04, 0x22, 0x4D, 0x18, flags, block_id};
    memcpy(bytes + 6, fields, fields_size);
    bytes[6 + fields_size] = (uint8_t)(XXH32(bytes + 4, 2 + fields_size, 0) >> 8);
    memcpy(bytes + 7 + fields_size, rest, rest_size);
    return decode(bytes, 7 + fields_size + rest_size, plain_size);
}

static void test_descriptors(void)
{
    const char end[4] = {0};
    CHECK(decode_frame(0x60, 0x40, "", 0, end, 4, 0) == 0);
    CHECK(decode_frame(0x20, 0x40, "", 0, end, 4, 0) == -CTERA_UNSUPPORTED); /* version 00 */
    CHECK(decode_frame(0xA0, 0x40, "", 0, end, 4, 0) == -CTERA_UNSUPPORTED);
    CHECK(decode_frame(0x62, 0x40, "", 0, end, 4, 0) == -CTERA_UNSUPPORTED); /* reserved */
    CHECK(decode_frame(0x60, 0xC0, "", 0, end, 4, 0) == -CTERA_UNSUPPORTED);
    CHECK(decode_frame(0x60, 0x41, "", 0, end, 4, 0) == -CTERA_UNSUPPORTED);
    CHECK(decode_frame(0x60, 0x30, "", 0, end, 4, 0) == -CTERA_UNSUPPORTED); /* block size 3 */
    CHECK(decode_frame(0x61, 0x40, "\1\2\3\4", 4, end, 4, 0) == -CTERA_UNSUPPORTED);
    CHECK(decode_frame(0x68, 0x40, "\1\0\0\0\0\0\0\0", 8, end, 4, 0) == -CTERA_TOO_LONG);
    CHECK(decode_frame(0x68, 0x40, "\1\0\0\0\0\0\0\0", 8, end, 4, 1) == -CTERA_CORRUPT);
    CHECK(decode((const uint8_t *)"\x02\x21\x4C\x18\0\0\0\0", 8, 0) == -CTERA_UNSUPPORTED);
    CHECK(decode((const uint8_t *)"\x04\x22\x4D\x19\0\0\0\0", 8, 0) == -CTERA_CORRUPT);
    CHECK(decode((const uint8_t *)"\x04\x22\x4D\x18\x60\x40\x83\0\0\0\0", 11, 0) ==
          -CTERA_CHECKSUM);
}

#define BLOCK(bytes, size, length) decode_frame(0x60, 0x40, "", 0, bytes, size, length)

static void test_blocks(void)
{
    CHECK(BLOCK("\3\0\0\x80" "abc\0\0\0\0", 11, 3) >= 0);
    CHECK(BLOCK("\3\0\0\x80" "abc\0\0\0\0", 11, 2) == -CTERA_TOO_LONG);
    CHECK(BLOCK("\0\0\0\x80\0\0\0\0", 8, 0) == 0); /* an uncompressed block of nothing */
    CHECK(BLOCK("\1\0\1\0" "a", 5, 9) == -CTERA_CORRUPT); /* over the block size */
    CHECK(BLOCK("\4\0\0\0" "\x30" "abc\0\0\0\0", 12, 3) >= 0);
    CHECK(BLOCK("\4\0\0\0" "\x30" "abc\0\0\0\0", 12, 2) == -CTERA_TOO_LONG);
    CHECK(BLOCK("\4\0\0\0" "\x40" "abc\0\0\0\0", 12, 9) == -CTERA_CORRUPT);
    CHECK(BLOCK("\2\0\0\0" "\xF0\xFF\0\0\0\0", 10, 9) == -CTERA_CORRUPT);
    /* An offset that reaches before the content. */
    CHECK(BLOCK("\x0A\0\0\0" "\x14" "a\2\0" "\x50" "bcdef\0\0\0\0", 18, 14) == -CTERA_CORRUPT);
    CHECK(BLOCK("\x0A\0\0\0" "\x14" "a\1\0" "\x50" "bcdef\0\0\0\0", 18, 14) >= 0);
    CHECK(memcmp(decoded, "aaaaaaaaabcdef", 14) == 0);
}

/* A frame, or a skippable one, behind what @used bytes of @out hold; the size of all. */
static size_t add_frame(uint8_t *out, size_t used, const uint8_t *plain, size_t size, unsigned options)
{
    size_t written = make_frame(plain, size, options);
    memcpy(out + used, frame, written);
    return used + written;
}

static size_t add_skippable(uint8_t *out, size_t used, uint8_t nibble, size_t size)
{
    const uint8_t head[8] = {(uint8_t)(0x50 | nibble), 0x2A, 0x4D, 0x18, (uint8_t)size, (uint8_t)(size >> 8)};
    memcpy(out + used, head, sizeof head);
    memset(out + used + sizeof head, 0x18, size);
    return used + sizeof head + size;
}

static uint8_t frames[400000];

static void test_frames_in_a_row(void)
{
    for (unsigned options = 0; options < 128; options++) {
        size_t size = add_frame(frames, 0, text, 70000, options);
        size = add_skippable(frames, size, (uint8_t)(options & 15), options);
        size = add_frame(frames, size, text, 0, options);
        size = add_frame(frames, size, text + 70000, 30000, 127 - options);
        CHECK(decode(frames, size, 100000) >= 0);
        CHECK(memcmp(decoded, text, 100000) == 0);
        CHECK(decode(frames, size, 99999) == -CTERA_TOO_LONG);
        CHECK(decode(frames, size, 100001) == -CTERA_TOO_SHORT);
        CHECK(decode(frames, size - 1, 100000) == -CTERA_CORRUPT);
        memcpy(frames + size, "\0\2\x21\x4C\x18", 5);
        CHECK(decode(frames, size + 1, 100000) == -CTERA_TRAILING);
        CHECK(decode(frames, size + 4, 100000) == -CTERA_TRAILING);
        memmove(frames + size, frames + size + 1, 4);
        CHECK(decode(frames, size + 4, 100000) == -CTERA_UNSUPPORTED); /* a legacy frame */
    }
}

static void test_skippable(void)
{
    size_t size = add_skippable(frames, 0, 7, 300);
    CHECK(decode(frames, size, 0) == 0);
    CHECK(decode(frames, size, 1) == -CTERA_TOO_SHORT);
    for (size_t cut = 0; cut < size; cut++)
        CHECK(decode(frames, cut, 0) == -CTERA_CORRUPT);
    memset(frames + 4, 0xFF, 4); /* 4 GiB */
    CHECK(decode(frames, size, 0) == -CTERA_CORRUPT);
}

/* A linked block's window begins with its frame: the frame before is not its history. */
static void test_match_into_the_frame_before(void)
{
    static const uint8_t start[] = {0x04, 0x22, 0x4D, 0x18, 0x40, 0x40, 0xC0};
    static const uint8_t rest[] = {10, 0, 0, 0, 0x14, 'a', 2, 0, 0x50, 'b', 'c', 'd', 'e', 'f', 0, 0, 0, 0};
    size_t size = add_frame(frames, 0, text, 100, 4);
    memcpy(frames + size, start, sizeof start);
    memcpy(frames + size + sizeof start, rest, sizeof rest);
    size += sizeof start + sizeof rest;
    CHECK(decode(frames, size, 114) == -CTERA_CORRUPT);
    frames[size - 12] = 1; /* the offset, now into the frame itself */
    CHECK(decode(frames, size, 114) >= 0);
    CHECK(memcmp(decoded + 100, "aaaaaaaaabcdef", 14) == 0);
}

/* Time in proportion: a million of frames that give nothing take well under a second. */
static void test_a_million_of_empty_frames(void)
{
    static const uint8_t empty[] = {0x04, 0x22, 0x4D, 0x18, 0x60, 0x40, 0x82, 0, 0, 0, 0};
    size_t count = 1000000, size = count * sizeof empty;
    uint8_t *payload = malloc(size), none[1];
    CHECK(payload);
    for (size_t i = 0; i < count; i++)
        memcpy(payload + i * sizeof empty, empty, sizeof empty);
    CHECK(result_of((struct ctera_decode_call){
              .compression = CTERA_COMPRESSION_LZ4,
              .object = payload,
              .object_size = size,
              .out = none,
          }) == 0);
    free(payload);
}

int main(void)
{
    uint64_t state = 19;
    fill_text(text, 100000, &state);
    for (size_t i = 100000; i < sizeof text; i++)
        text[i] = (uint8_t)random_word(&state);
    test_every_option();
    test_cut_and_flipped();
    test_descriptors();
    test_blocks();
    test_frames_in_a_row();
    test_skippable();
    test_match_into_the_frame_before();
    test_a_million_of_empty_frames();
    return 0;
}
