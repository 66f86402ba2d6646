/*
 * Raw snappy blocks and snappy-java streams: random valid programs against a model, then broken
 * ones.
 */
#include "harness.h"

/* A block being written: its elements, and what they must decode to. */
struct program {
    uint8_t in[40000], plain[120000];
    size_t in_size, plain_size;
};

static void put(struct program *program, uint64_t value, int bytes)
{
    for (; bytes; bytes--, value >>= 8)
        program->in[program->in_size++] = (uint8_t)value;
}

static void put_literal(struct program *program, size_t length, uint64_t *state)
{
    if (length <= 60) {
        put(program, (length - 1) << 2, 1);
    } else {
        int bytes = length <= 256 ? 1 : 2;
        bytes += (int)random_below(state, (size_t)(5 - bytes)); /* longer than need be is valid */
        put(program, (uint64_t)(59 + bytes) << 2, 1);
        put(program, length - 1, bytes);
    }
    for (; length; length--) {
        uint8_t byte = (uint8_t)random_word(state);
        program->plain[program->plain_size++] = byte;
        put(program, byte, 1);
    }
}

static void put_copy(struct program *program, size_t offset, size_t length, int kind)
{
    if (kind == 1) {
        put(program, 1 | (length - 4) << 2 | offset >> 8 << 5, 1);
        put(program, offset, 1);
    } else {
        put(program, (uint64_t)kind | (length - 1) << 2, 1);
        put(program, offset, kind == 2 ? 2 : 4);
    }
    for (; length; length--, program->plain_size++)
        program->plain[program->plain_size] = program->plain[program->plain_size - offset];
}

static void put_random_copy(struct program *program, uint64_t *state)
{
    int kind = 1 + (int)random_below(state, 3);
    size_t longest = program->plain_size;
    if (kind == 1 && longest > 2047)
        longest = 2047;
    if (kind == 2 && longest > 65535)
        longest = 65535;
    size_t offset = 1 + random_below(state, random_below(state, 3) ? longest : longest % 70 + 1);
    if (offset > longest)
        offset = longest;
    size_t length = kind == 1 ? 4 + random_below(state, 8) : 1 + random_below(state, 64);
    put_copy(program, offset, length, kind);
}


/* Some elements, behind a preamble of three bytes (longer than need be is valid). */
static void make_program(struct program *program, size_t elements, uint64_t *state)
{
    program->in_size = 3;
    program->plain_size = 0;
    put_literal(program, 1 + random_below(state, 80), state);
    while (elements--) {
        if (random_below(state, 4) == 0)
            put_literal(program, 1 + random_below(state, random_below(state, 9) ? 40 : 700), state);
        else
            put_random_copy(program, state);
    }
    program->in[0] = (uint8_t)(program->plain_size | 0x80);
    program->in[1] = (uint8_t)(program->plain_size >> 7 | 0x80);
    program->in[2] = (uint8_t)(program->plain_size >> 14);
}

static uint8_t decoded[1 << 20];

static int64_t decode(const uint8_t *payload, size_t size, size_t plain_size)
{
    return decode_payload_guarded(CTERA_COMPRESSION_AUTO, payload, size, decoded, plain_size);
}

static void test_random_programs(void)
{
    static struct program program;
    uint64_t state = 3;
    for (int round = 0; round < 2000; round++) {
        make_program(&program, random_below(&state, round % 10 ? 60 : 900), &state);
        CHECK(decode(program.in, program.in_size, program.plain_size) >= 0);
        CHECK(memcmp(decoded, program.plain, program.plain_size) == 0);
        CHECK(decode(program.in, program.in_size, program.plain_size + 1) == -CTERA_TOO_SHORT);
        CHECK(decode(program.in, program.in_size, program.plain_size - 1) == -CTERA_TOO_LONG);
    }
}

/* Every offset up to a few words with every length: all ways to repeat a pattern. */
static void test_every_overlap(void)
{
    static struct program program;
    uint64_t state = 5;
    for (size_t offset = 1; offset <= 72; offset++)
        for (size_t length = 1; length <= 64; length++) {
            program.in_size = 2;
            program.plain_size = 0;
            put_literal(&program, 72, &state);
            put_copy(&program, offset, length, 2);
            put_literal(&program, 80 + length % 3, &state); /* room for the fast way */
            program.in[0] = (uint8_t)(program.plain_size | 0x80);
            program.in[1] = (uint8_t)(program.plain_size >> 7);
            CHECK(decode(program.in, program.in_size, program.plain_size) >= 0);
            CHECK(memcmp(decoded, program.plain, program.plain_size) == 0);
        }
}

static void test_broken_programs(void)
{
    static struct program program;
    uint64_t state = 11;
    for (int round = 0; round < 25; round++) {
        make_program(&program, random_below(&state, 60), &state);
        for (size_t size = 3; size < program.in_size; size++)
            CHECK(decode(program.in, size, program.plain_size) == -CTERA_CORRUPT);
        put(&program, 0, 1);
        put(&program, 'x', 1);
        CHECK(decode(program.in, program.in_size, program.plain_size) == -CTERA_CORRUPT);
        program.in_size -= 2;
        for (size_t bit = 24; bit < 8 * program.in_size; bit++) {
            program.in[bit / 8] ^= (uint8_t)(1 << bit % 8);
            int64_t result = decode(program.in, program.in_size, program.plain_size);
            CHECK(result >= 0 || result == -CTERA_CORRUPT);
            program.in[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
    }
}

static void test_preambles(void)
{
    CHECK(decode((const uint8_t *)"", 0, 0) == -CTERA_CORRUPT);
    CHECK(decode((const uint8_t *)"\x00", 1, 0) == 0);
    CHECK(decode((const uint8_t *)"\x00", 1, 1) == -CTERA_TOO_SHORT);
    CHECK(decode((const uint8_t *)"\x00\x00x", 3, 0) == -CTERA_CORRUPT);
    CHECK(decode((const uint8_t *)"\x80\x80", 2, 0) == -CTERA_CORRUPT);
    CHECK(decode((const uint8_t *)"\xFF\xFF\xFF\xFF\x0F", 5, 9) == -CTERA_TOO_LONG);
    CHECK(decode((const uint8_t *)"\xFF\xFF\xFF\xFF\x1F", 5, 9) == -CTERA_CORRUPT);
    CHECK(decode((const uint8_t *)"\x80\x80\x80\x80\x80\x00", 6, 0) == -CTERA_CORRUPT);
}

#define HEADER "\x82SNAPPY\0\0\0\0\1\0\0\0\1"

static size_t put_chunk(uint8_t *out, const uint8_t *chunk, size_t size)
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(size >> (24 - 8 * i));
    memcpy(out + 4, chunk, size);
    return 4 + size;
}

static void test_streams(void)
{
    static struct program program;
    static uint8_t stream[200000], plain[1 << 20];
    uint64_t state = 13;
    for (int round = 0; round < 200; round++) {
        size_t size = 16, plain_size = 0, chunks = random_below(&state, 4);
        memcpy(stream, HEADER, 16);
        while (chunks--) {
            make_program(&program, random_below(&state, 200), &state);
            memcpy(plain + plain_size, program.plain, program.plain_size);
            plain_size += program.plain_size;
            size += put_chunk(stream + size, program.in, program.in_size);
            if (random_below(&state, 2)) /* an empty chunk */
                size += put_chunk(stream + size, (const uint8_t *)"\0", 1);
            if (random_below(&state, 2)) { /* a stream ends and another begins */
                memcpy(stream + size, HEADER, 16);
                size += 16;
            }
        }
        CHECK(decode(stream, size, plain_size) >= 0);
        CHECK(memcmp(decoded, plain, plain_size) == 0);
        CHECK(decode(stream, size, plain_size + 1) == -CTERA_TOO_SHORT);
        if (plain_size)
            CHECK(decode(stream, size, plain_size - 1) == -CTERA_TOO_LONG);
        CHECK(decode(stream, size - 1, plain_size) < 0);
    }
}

static void flip(struct program *program, uint64_t *state)
{
    size_t bit = 24 + random_below(state, 8 * program->in_size - 24); /* behind the preamble */
    program->in[bit / 8] ^= (uint8_t)(1 << bit % 8);
}

/* Two chunks, decoded at once, give what each gives by itself; if one is broken, an error. */
static void test_two_chunks(void)
{
    static struct program programs[2];
    static uint8_t stream[100000];
    uint64_t state = 17;
    int good = 0, bad = 0;
    for (int round = 0; round < 3000; round++) {
        size_t size = 16, plain_size = 0;
        int broken = 0;
        memcpy(stream, HEADER, 16);
        for (int i = 0; i < 2; i++) {
            struct program *program = &programs[i];
            make_program(program, random_below(&state, random_below(&state, 2) ? 30 : 400), &state);
            if (random_below(&state, 3) == 0)
                flip(program, &state);
            broken |= decode(program->in, program->in_size, program->plain_size) < 0;
            if (!broken) /* a flipped bit of a literal is another text */
                memcpy(program->plain, decoded, program->plain_size);
            size += put_chunk(stream + size, program->in, program->in_size);
            plain_size += program->plain_size;
        }
        int64_t result = decode(stream, size, plain_size);
        if (broken) {
            CHECK(result == -CTERA_CORRUPT);
            bad++;
        } else {
            CHECK(result >= 0);
            CHECK(memcmp(decoded, programs[0].plain, programs[0].plain_size) == 0);
            CHECK(memcmp(decoded + programs[0].plain_size, programs[1].plain,
                         programs[1].plain_size) == 0);
            good++;
        }
    }
    CHECK(good > 200 && bad > 200);
}

static void test_broken_streams(void)
{
    uint8_t stream[64];
    memcpy(stream, HEADER, 16);
    CHECK(decode(stream, 16, 0) == 0);
    for (size_t size = 8; size < 16; size++)
        CHECK(decode(stream, size, 0) == -CTERA_CORRUPT);
    memset(stream + 16, 0, 4); /* a chunk of no bytes lacks its preamble */
    CHECK(decode(stream, 20, 0) == -CTERA_CORRUPT);
    for (size_t size = 17; size < 20; size++)
        CHECK(decode(stream, size, 0) == -CTERA_CORRUPT);
    memset(stream + 16, 0xFF, 4);
    CHECK(decode(stream, 20, 0) == -CTERA_CORRUPT);
    stream[11] = 0;
    CHECK(decode(stream, 16, 0) == -CTERA_UNSUPPORTED);
    stream[11] = 2;
    CHECK(decode(stream, 16, 0) == 0);
    stream[15] = 2; /* for later readers: decoded all the same, and UNSUPPORTED where it fails */
    CHECK(decode(stream, 16, 0) == 0);
    CHECK(decode(stream, 16, 1) == -CTERA_TOO_SHORT);
    CHECK(decode(stream, 20, 0) == -CTERA_UNSUPPORTED);
    stream[15] = 1;
    CHECK(decode(stream, 20, 0) == -CTERA_CORRUPT);
}

int main(void)
{
    test_random_programs();
    test_every_overlap();
    test_broken_programs();
    test_preambles();
    test_streams();
    test_two_chunks();
    test_broken_streams();
    return 0;
}
