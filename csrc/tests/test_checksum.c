/* Each way to calculate the checksums, against the definition bit by bit. */
#include "../checksum.c"

#include "harness.h"

static uint64_t bitwise(const struct crc *crc, uint64_t state, const uint8_t *p, size_t n)
{
    for (; n; p++, n--) {
        state ^= *p;
        for (int bit = 0; bit < 8; bit++)
            state = times_x(crc, state);
    }
    return state;
}

/* The CRC catalogue's check values: those of the nine digits. */
static void test_check_values(void)
{
    const uint8_t *digits = (const uint8_t *)"123456789";
    CHECK(checksum_crc32(0, digits, 9) == 0xCBF43926);
    CHECK(ctera_crc32c(0, digits, 9) == 0xE3069283);
    CHECK(ctera_crc64nvme(0, digits, 9) == 0xAE8B14860A799888);
    CHECK(checksum_crc32(0, NULL, 0) == 0 && ctera_crc32c(0, NULL, 0) == 0);
    CHECK(ctera_crc64nvme(0, NULL, 0) == 0);
}

/* RFC 3720 B.4. */
static void test_rfc_3720(void)
{
    uint8_t data[32];
    memset(data, 0, sizeof data);
    CHECK(ctera_crc32c(0, data, sizeof data) == 0x8A9136AA);
    memset(data, 0xFF, sizeof data);
    CHECK(ctera_crc32c(0, data, sizeof data) == 0x62A8AB43);
    for (unsigned i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)i;
    CHECK(ctera_crc32c(0, data, sizeof data) == 0x46DD794E);
}

static void compare(const struct crc *crc, update_function *update)
{
    uint64_t state = 1;
    for (size_t size = 0; size < 140000; size += size < 700 ? 1 : 13 + size) {
        struct guarded memory = guarded_new(size);
        for (size_t i = 0; i < size; i++)
            memory.data[i] = (uint8_t)random_word(&state);
        uint64_t start = random_word(&state) >> (64 - crc->width);
        CHECK(update(crc, start, memory.data, size) == bitwise(crc, start, memory.data, size));
        guarded_free(&memory);
    }
}

static void test_every_way(void)
{
    const struct crc *all[] = {&crc32, &crc32c, &crc64nvme};
    for (int i = 0; i < 3; i++) {
        compare(all[i], update_table);
        compare(all[i], best_update(all[i]));
#if HAVE_X86
        for (unsigned width = 128; width <= widest(); width *= 2)
            compare(all[i], update_by(all[i], width));
#endif
    }
}

static void test_pieces_and_combine(void)
{
    uint64_t state = 7;
    uint8_t data[5000];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)random_word(&state);
    uint32_t whole = ctera_crc32c(0, data, sizeof data);
    uint32_t whole_32 = checksum_crc32(0, data, sizeof data);
    uint64_t whole_64 = ctera_crc64nvme(0, data, sizeof data);
    for (size_t cut = 0; cut <= sizeof data; cut += 1 + cut / 3) {
        uint32_t first = ctera_crc32c(0, data, cut);
        uint32_t second = ctera_crc32c(0, data + cut, sizeof data - cut);
        CHECK(ctera_crc32c(first, data + cut, sizeof data - cut) == whole);
        CHECK(ctera_crc32c_combine(first, second, sizeof data - cut) == whole);
        uint32_t first_32 = checksum_crc32(0, data, cut);
        CHECK(checksum_crc32(first_32, data + cut, sizeof data - cut) == whole_32);
        uint64_t first_64 = ctera_crc64nvme(0, data, cut);
        CHECK(ctera_crc64nvme(first_64, data + cut, sizeof data - cut) == whole_64);
    }
    CHECK(ctera_crc32c_combine(0x12345678, 0, 0) == 0x12345678);
    /* Only the size matters, however large: 2^40 zero bytes, in two steps and in one. */
    uint32_t half = ctera_crc32c_combine(1, 0, (uint64_t)1 << 39);
    CHECK(ctera_crc32c_combine(half, 0, (uint64_t)1 << 39) ==
          ctera_crc32c_combine(1, 0, (uint64_t)1 << 40));
}

int main(void)
{
    test_check_values();
    test_rfc_3720();
    test_every_way();
    test_pieces_and_combine();
    return 0;
}
