#include "requirements.h"

#include "ctera_codec.h"

#include <pthread.h>

#include "bytes.h"
#include "checksum.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define HAVE_X86 1
#elif defined(__aarch64__) && defined(__linux__) && defined(__GNUC__)
#include <sys/auxv.h>
#define HAVE_ARM 1
#endif

/*
 * All checksums are reflected CRCs and differ in the polynomial alone, so one code serves them, in
 * three speeds: tables anywhere, carry-less multiplication of 16 bytes (PCLMULQDQ) or 64
 * (VPCLMULQDQ on AVX-512) at a time where the CPU has it.
 *
 * Polynomials are reflected: in a register of w bits, bit i is the coefficient of x^(w-1-i).
 */
struct folding {
    uint64_t low, high; /* what moves a register's halves on by some number of bits */
};

struct crc {
    const uint64_t polynomial;
    const unsigned width;
    uint64_t table[8][256]; /* table[k][b]: byte b, followed by k zero bytes */
    struct folding by_128, by_512, by_2048;
    uint64_t lanes_on[3]; /* what moves a register on by one, two, three lanes: see update_mixed() */
};

typedef uint64_t update_function(const struct crc *crc, uint64_t state, const uint8_t *p, size_t n);

static struct crc crc32 = {.polynomial = 0xEDB88320, .width = 32};
static struct crc crc32c = {.polynomial = 0x82F63B78, .width = 32};
static struct crc crc64nvme = {.polynomial = 0x9A6C9329AC4BC9B5, .width = 64};

static pthread_once_t once = PTHREAD_ONCE_INIT;

static uint64_t times_x(const struct crc *crc, uint64_t value)
{
    return value >> 1 ^ (crc->polynomial & (0 - (value & 1)));
}

/* x^n modulo the polynomial, as a 64-bit register. */
static uint64_t power_of_x(const struct crc *crc, unsigned n)
{
    uint64_t value = (uint64_t)1 << (crc->width - 1);
    while (n--)
        value = times_x(crc, value);
    return value << (64 - crc->width);
}

/*
 * The carry-less product of two 64-bit registers, seen as one of 128 bits, is their product times
 * x: hence the exponents one lower. The low half holds the bits of the first bytes, 64 powers up.
 */
static struct folding folding_by(const struct crc *crc, unsigned bits)
{
    return (struct folding){power_of_x(crc, bits + 63), power_of_x(crc, bits - 1)};
}

/*
 * A stretch of update_mixed(): so many rounds, and what they take by vectors and in each of three
 * lanes.
 */
#define ROUNDS 57
#define LANE_WORDS 5
#define VECTORS ((size_t)256 * (ROUNDS + 1))
#define LANE ((size_t)8 * LANE_WORDS * ROUNDS)
#define STRETCH (VECTORS + 3 * LANE)

static void prepare(struct crc *crc)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        uint64_t value = byte;
        for (int bit = 0; bit < 8; bit++)
            value = times_x(crc, value);
        crc->table[0][byte] = value;
    }
    for (unsigned byte = 0; byte < 256; byte++)
        for (int k = 1; k < 8; k++) {
            uint64_t value = crc->table[k - 1][byte];
            crc->table[k][byte] = value >> 8 ^ crc->table[0][value & 0xFF];
        }
    crc->by_128 = folding_by(crc, 128);
    crc->by_512 = folding_by(crc, 512);
    crc->by_2048 = folding_by(crc, 2048);
    for (unsigned lanes = 1; lanes <= 3; lanes++)
        crc->lanes_on[lanes - 1] = power_of_x(crc, 8 * (unsigned)LANE * lanes - 33);
}

/* Eight bytes at a time by table. */
static uint64_t update_table(const struct crc *crc, uint64_t state, const uint8_t *p, size_t n)
{
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t word = state ^ load_le64(p);
        state = 0;
        for (int k = 0; k < 8; k++)
            state ^= crc->table[7 - k][word >> 8 * k & 0xFF];
    }
    for (; n; p++, n--)
        state = state >> 8 ^ crc->table[0][(state ^ *p) & 0xFF];
    return state;
}

#if HAVE_X86

#define X86_128 __attribute__((target("pclmul,sse4.1")))
#define X86_512 __attribute__((target("pclmul,sse4.1,avx512f,vpclmulqdq")))

X86_128 static inline __m128i constants_128(const struct folding *by)
{
    return _mm_set_epi64x((long long)by->high, (long long)by->low);
}

/* Moves @value on by what @by says, and adds what is there. */
X86_128 static inline __m128i fold_128(__m128i value, __m128i by, __m128i there)
{
    __m128i low = _mm_clmulepi64_si128(value, by, 0x00);
    __m128i high = _mm_clmulepi64_si128(value, by, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), there);
}

X86_128 static inline __m128i load_128(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

/* What is folded to 16 bytes ends by table, and with it the bytes that are left. */
X86_128 static inline uint64_t finish_128(const struct crc *crc, const __m128i part[4],
                                          const uint8_t *p, size_t n)
{
    __m128i by = constants_128(&crc->by_128), all = part[0];
    uint8_t bytes[16];
    for (int i = 1; i < 4; i++)
        all = fold_128(all, by, part[i]);
    for (; n >= 16; p += 16, n -= 16)
        all = fold_128(all, by, load_128(p));
    _mm_storeu_si128((__m128i *)(void *)bytes, all);
    return update_table(crc, update_table(crc, 0, bytes, sizeof bytes), p, n);
}

X86_128 static uint64_t update_128(const struct crc *crc, uint64_t state, const uint8_t *p,
                                   size_t n)
{
    if (n < 128)
        return update_table(crc, state, p, n);
    __m128i by = constants_128(&crc->by_512), part[4];
    for (int i = 0; i < 4; i++)
        part[i] = load_128(p + 16 * i);
    part[0] = _mm_xor_si128(part[0], _mm_cvtsi64_si128((long long)state));
    for (p += 64, n -= 64; n >= 64; p += 64, n -= 64)
        for (int i = 0; i < 4; i++)
            part[i] = fold_128(part[i], by, load_128(p + 16 * i));
    return finish_128(crc, part, p, n);
}

X86_512 static inline __m512i constants_512(const struct folding *by)
{
    return _mm512_broadcast_i32x4(constants_128(by));
}

X86_512 static inline __m512i fold_512(__m512i value, __m512i by, __m512i there)
{
    __m512i low = _mm512_clmulepi64_epi128(value, by, 0x00);
    __m512i high = _mm512_clmulepi64_epi128(value, by, 0x11);
    return _mm512_ternarylogic_epi64(low, high, there, 0x96);
}

X86_512 static uint64_t update_512(const struct crc *crc, uint64_t state, const uint8_t *p,
                                   size_t n)
{
    if (n < 512)
        return update_128(crc, state, p, n);
    __m512i by = constants_512(&crc->by_2048), lane[4];
    for (int i = 0; i < 4; i++)
        lane[i] = _mm512_loadu_si512(p + 64 * i);
    lane[0] = _mm512_xor_si512(lane[0],
                               _mm512_zextsi128_si512(_mm_cvtsi64_si128((long long)state)));
    for (p += 256, n -= 256; n >= 256; p += 256, n -= 256)
        for (int i = 0; i < 4; i++)
            lane[i] = fold_512(lane[i], by, _mm512_loadu_si512(p + 64 * i));
    by = constants_512(&crc->by_512);
    for (int i = 1; i < 4; i++)
        lane[0] = fold_512(lane[0], by, lane[i]);
    __m128i part[4];
    _mm512_storeu_si512(part, lane[0]);
    return finish_128(crc, part, p, n);
}

#define X86_MIXED __attribute__((target("pclmul,sse4.2,avx512f,vpclmulqdq")))

X86_MIXED static inline uint64_t crc32c_of_128(__m128i value)
{
    uint64_t low = (uint64_t)_mm_cvtsi128_si64(value);
    return _mm_crc32_u64(_mm_crc32_u64(0, low), (uint64_t)_mm_extract_epi64(value, 1));
}

/* @state times x to what @power stands for, but for the division that crc32c_of_128() ends with. */
X86_MIXED static inline __m128i move_on(uint64_t state, uint64_t power)
{
    return _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)(state << 32)),
                                _mm_cvtsi64_si128((long long)power), 0x00);
}

X86_MIXED static uint64_t update_stretch(const struct crc *crc, uint64_t state, const uint8_t *p)
{
    const uint8_t *lane = p + VECTORS;
    uint64_t a = 0, b = 0, c = 0;
    __m512i by = constants_512(&crc->by_2048), part[4];
    for (int i = 0; i < 4; i++)
        part[i] = _mm512_loadu_si512(p + 64 * i);
    part[0] = _mm512_xor_si512(part[0],
                               _mm512_zextsi128_si512(_mm_cvtsi64_si128((long long)state)));
    for (int round = 0; round < ROUNDS; round++) {
        p += 256;
        for (int i = 0; i < 4; i++)
            part[i] = fold_512(part[i], by, _mm512_loadu_si512(p + 64 * i));
        for (int i = 0; i < LANE_WORDS; i++, lane += 8) {
            a = _mm_crc32_u64(a, load_le64(lane));
            b = _mm_crc32_u64(b, load_le64(lane + LANE));
            c = _mm_crc32_u64(c, load_le64(lane + 2 * LANE));
        }
    }
    by = constants_512(&crc->by_512);
    for (int i = 1; i < 4; i++)
        part[0] = fold_512(part[0], by, part[i]);
    __m128i all = _mm512_castsi512_si128(part[0]), by_128 = constants_128(&crc->by_128);
    all = fold_128(all, by_128, _mm512_extracti32x4_epi32(part[0], 1));
    all = fold_128(all, by_128, _mm512_extracti32x4_epi32(part[0], 2));
    all = fold_128(all, by_128, _mm512_extracti32x4_epi32(part[0], 3));

    __m128i moved = move_on(crc32c_of_128(all), crc->lanes_on[2]);
    moved = _mm_xor_si128(moved, move_on(a, crc->lanes_on[1]));
    moved = _mm_xor_si128(moved, move_on(b, crc->lanes_on[0]));
    return crc32c_of_128(moved) ^ c;
}

/*
 * CRC-32C alone: while the vector unit folds the front of a stretch, the CPU's own CRC32
 * instruction, which is another unit, takes three lanes behind it; half as fast again.
 */
X86_MIXED static uint64_t update_mixed(const struct crc *crc, uint64_t state, const uint8_t *p,
                                       size_t n)
{
    for (; n >= STRETCH; p += STRETCH, n -= STRETCH)
        state = update_stretch(crc, state, p);
    return update_512(crc, state, p, n);
}

static update_function *best_update(const struct crc *crc)
{
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("pclmul") || !__builtin_cpu_supports("sse4.1"))
        return update_table;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vpclmulqdq"))
        return crc == &crc32c ? update_mixed : update_512;
    return update_128;
}

#elif HAVE_ARM

/* ARMv8's CRC32 and CRC32C instructions, 8 bytes at a time; there is none for CRC-64. */
__attribute__((target("+crc"))) static uint64_t
update_arm_32(const struct crc *crc, uint64_t state, const uint8_t *p, size_t n)
{
    uint32_t value = (uint32_t)state;
    for (; n >= 8; p += 8, n -= 8)
        value = __builtin_aarch64_crc32x(value, load_le64(p));
    return update_table(crc, value, p, n);
}

__attribute__((target("+crc"))) static uint64_t
update_arm_32c(const struct crc *crc, uint64_t state, const uint8_t *p, size_t n)
{
    uint32_t value = (uint32_t)state;
    for (; n >= 8; p += 8, n -= 8)
        value = __builtin_aarch64_crc32cx(value, load_le64(p));
    return update_table(crc, value, p, n);
}

static update_function *best_update(const struct crc *crc)
{
    const unsigned long hwcap_crc32 = 1ul << 7;
    if (crc->width != 32 || !(getauxval(AT_HWCAP) & hwcap_crc32))
        return update_table;
    return crc == &crc32c ? update_arm_32c : update_arm_32;
}

#else

static update_function *best_update(const struct crc *crc)
{
    (void)crc;
    return update_table;
}

#endif

static update_function *update_crc32, *update_crc32c, *update_crc64nvme;

static void prepare_all(void)
{
    prepare(&crc32);
    prepare(&crc32c);
    prepare(&crc64nvme);
    update_crc32 = best_update(&crc32);
    update_crc32c = best_update(&crc32c);
    update_crc64nvme = best_update(&crc64nvme);
}

uint32_t checksum_crc32(uint32_t crc, const uint8_t *data, size_t size)
{
    pthread_once(&once, prepare_all);
    return ~(uint32_t)update_crc32(&crc32, ~crc, data, size);
}

uint32_t ctera_crc32c(uint32_t crc, const uint8_t *data, size_t size)
{
    pthread_once(&once, prepare_all);
    return ~(uint32_t)update_crc32c(&crc32c, ~crc, data, size);
}

uint64_t ctera_crc64nvme(uint64_t crc, const uint8_t *data, size_t size)
{
    pthread_once(&once, prepare_all);
    return ~update_crc64nvme(&crc64nvme, ~crc, data, size);
}

/* a times b modulo the polynomial of CRC-32C. */
static uint32_t multiply(uint32_t a, uint32_t b)
{
    uint64_t product = 0;
    for (uint64_t term = b; a; a <<= 1, term = times_x(&crc32c, term))
        if (a >> 31)
            product ^= term;
    return (uint32_t)product;
}

uint32_t ctera_crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t size_b)
{
    /*
     * A's remainder moves on by x^(8 size_b): the product of x^(2^k) over the bits k of 8 size_b.
     */
    uint32_t square = (uint32_t)1 << (31 - 8); /* x^8 */
    for (; size_b; size_b >>= 1, square = multiply(square, square))
        if (size_b & 1)
            crc_a = multiply(crc_a, square);
    return crc_a ^ crc_b;
}
