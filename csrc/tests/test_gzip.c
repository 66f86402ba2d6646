/* gzip payloads: every header field, several members, and what is wrong with each. */
#include "harness.h"

#include <libdeflate.h>

static uint8_t decoded[1 << 17];

static int64_t decode(const uint8_t *payload, size_t size, size_t plain_size)
{
    return decode_payload_guarded(CTERA_COMPRESSION_AUTO, payload, size, decoded, plain_size);
}

/* A member with the header fields that @flags ask for. */
static size_t make_member(uint8_t *out, const uint8_t *plain, size_t size, uint8_t flags, int level)
{
    static const uint8_t extra[] = {5, 0, 'A', 'B', 1, 0, 'x'};
    uint8_t *next = out;
    memcpy(next, "\x1F\x8B\x08\0\0\0\0\0\0\xFF", 10);
    out[3] = flags;
    next += 10;
    if (flags & 0x04) {
        memcpy(next, extra, sizeof extra);
        next += sizeof extra;
    }
    if (flags & 0x08)
        next = (uint8_t *)strcpy((char *)next, "a name") + 7;
    if (flags & 0x10)
        next = (uint8_t *)strcpy((char *)next, "a comment") + 10;
    if (flags & 0x02) {
        uint32_t crc = libdeflate_crc32(0, out, (size_t)(next - out));
        *next++ = (uint8_t)crc;
        *next++ = (uint8_t)(crc >> 8);
    }
    struct libdeflate_compressor *compressor = libdeflate_alloc_compressor(level);
    next += libdeflate_deflate_compress(compressor, plain, size, next, size + 1000);
    libdeflate_free_compressor(compressor);
    uint64_t trailer = libdeflate_crc32(0, plain, size) | (uint64_t)size << 32;
    for (int i = 0; i < 8; i++, trailer >>= 8)
        *next++ = (uint8_t)trailer;
    return (size_t)(next - out);
}

static uint8_t text[1 << 16], member[1 << 18];

static void test_every_header(void)
{
    for (unsigned flags = 0; flags < 32; flags++) {
        size_t size = make_member(member, text, 1000, (uint8_t)flags, 6);
        CHECK(decode(member, size, 1000) >= 0);
        CHECK(memcmp(decoded, text, 1000) == 0);
        for (size_t cut = 2; cut < size; cut++)
            CHECK(decode(member, cut, 1000) == -CTERA_CORRUPT);
        if (flags & 0x02) {
            member[4] ^= 1; /* the time: under the header's checksum alone */
            CHECK(decode(member, size, 1000) == -CTERA_CHECKSUM);
        }
    }
}

static void test_levels_and_sizes(void)
{
    for (int level = 0; level <= 12; level++)
        for (size_t plain_size = 0; plain_size <= sizeof text; plain_size = 3 * plain_size + 1) {
            size_t size = make_member(member, text, plain_size, 0, level);
            CHECK(decode(member, size, plain_size) >= 0);
            CHECK(memcmp(decoded, text, plain_size) == 0);
            CHECK(decode(member, size, plain_size + 1) == -CTERA_TOO_SHORT);
            if (plain_size)
                CHECK(decode(member, size, plain_size - 1) == -CTERA_TOO_LONG);
        }
}

static void test_trailer_and_trailing(void)
{
    size_t size = make_member(member, text, 500, 0, 6);
    for (size_t i = size - 8; i < size; i++) {
        member[i] ^= 0x10;
        CHECK(decode(member, size, 500) == -CTERA_CHECKSUM);
        member[i] ^= 0x10;
    }
    memcpy(member + size, "\x1F\x8B", 2);
    CHECK(decode(member, size + 1, 500) == -CTERA_TRAILING);
    CHECK(decode(member, size + 2, 500) == -CTERA_CORRUPT);
}

/* gzip(1) ignores zero bytes behind the last member, and takes nothing for a member behind them. */
static void test_zero_padding(void)
{
    size_t size = make_member(member, text, 500, 0, 6);
    memset(member + size, 0, 70000);
    for (size_t padding = 1; padding <= 70000; padding = 3 * padding) {
        CHECK(decode(member, size + padding, 500) >= 0);
        CHECK(memcmp(decoded, text, 500) == 0);
        CHECK(decode(member, size + padding, 501) == -CTERA_TOO_SHORT);
        for (size_t at = 0; at < padding; at += padding > 2 ? padding / 2 : 1) {
            member[size + at] = 1;
            CHECK(decode(member, size + padding, 500) == -CTERA_TRAILING);
            member[size + at] = 0;
        }
    }
    size_t second = make_member(member + size + 8, text, 500, 0, 6);
    CHECK(decode(member, size + 8 + second, 1000) == -CTERA_TRAILING);
    memset(member + size - 8, 0, 100); /* in place of the trailer */
    CHECK(decode(member, size + 92, 500) == -CTERA_CHECKSUM);
}

static void test_members(void)
{
    size_t size = 0;
    for (size_t i = 0; i < 10; i++)
        size += make_member(member + size, text + 100 * i, i == 5 ? 0 : 100, (uint8_t)i, 6);
    CHECK(decode(member, size, 900) >= 0);
    CHECK(memcmp(decoded, text, 500) == 0 && memcmp(decoded + 500, text + 600, 400) == 0);
    CHECK(decode(member, size, 901) == -CTERA_TOO_SHORT);
    CHECK(decode(member, size, 899) == -CTERA_TOO_LONG);
    CHECK(decode(member, size, 99) == -CTERA_TOO_LONG);
}

static void test_unsupported(void)
{
    size_t size = make_member(member, text, 100, 0, 6);
    for (int bit = 5; bit < 8; bit++) {
        member[3] = (uint8_t)(1 << bit);
        CHECK(decode(member, size, 100) == -CTERA_UNSUPPORTED);
    }
    member[3] = 0;
    member[2] = 7;
    CHECK(decode(member, size, 100) == -CTERA_UNSUPPORTED);
}

static void test_flipped_bits(void)
{
    size_t size = make_member(member, text, 300, 0, 9);
    for (size_t bit = 80; bit < 8 * size; bit++) {
        member[bit / 8] ^= (uint8_t)(1 << bit % 8);
        /* The bits between the last code and the next byte have no meaning. */
        CHECK(decode(member, size, 300) < 0 || memcmp(decoded, text, 300) == 0);
        member[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

int main(void)
{
    uint64_t state = 17;
    fill_text(text, sizeof text, &state);
    test_every_header();
    test_levels_and_sizes();
    test_trailer_and_trailing();
    test_zero_padding();
    test_members();
    test_unsupported();
    test_flipped_bits();
    ctera_release_thread();
    return 0;
}
