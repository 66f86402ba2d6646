#include "requirements.h"

#include "ctera_codec.h"

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>

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
 * The three checksums are reflected CRCs that differ only in the polynomial, so the same code serves
 * them. It uses tables on any CPU. Where the CPU multiplies without carry, it uses vectors of 16
 * bytes (PCLMULQDQ) or of 32 or 64 bytes (VPCLMULQDQ with AVX2 or AVX-512): see folding.h.
 *
 * Polynomials are reflected: in a register of w bits, bit i is the coefficient of x^(w-1-i).
 */

/* Two constants that fold a vector of 128 bits by some number of bits: see folding_by(). */
struct folding {
    uint64_t low, high; /* the factors of its low and its high half */
};

struct crc {
    const uint64_t polynomial; /* P without its highest coefficient, reflected */
    const unsigned width;      /* the degree of P: 32 or 64 */
    uint64_t table[8][256];    /* table[k][b]: the remainder of byte b followed by k zero bytes */
    struct folding by_128, by_256, by_512, by_1024, by_2048;
    uint64_t lanes_on[3]; /* the factors that move a register on by one, two, three lanes */
};

/*
 * Return the CRC's register after the @n bytes at @p, from the register before them. Registers are
 * not inverted here; the public functions do that.
 */
typedef uint64_t update_function(const struct crc *crc, uint64_t state, const uint8_t *p, size_t n);

static struct crc crc32 = {.polynomial = 0xEDB88320, .width = 32};
static struct crc crc32c = {.polynomial = 0x82F63B78, .width = 32};
static struct crc crc64nvme = {.polynomial = 0x9A6C9329AC4BC9B5, .width = 64};

static pthread_once_t once = PTHREAD_ONCE_INIT;

_Static_assert(CHAR_BIT == 8, "a table has an entry for each value of eight bits");

/* Return @value, a register of crc->width bits, times x, modulo P. */
static uint64_t times_x(const struct crc *crc, uint64_t value)
{
    return value >> 1 ^ (crc->polynomial & (0 - (value & 1)));
}

/* Return x^n modulo P as a 64-bit register: its high crc->width bits hold the remainder. */
static uint64_t power_of_x(const struct crc *crc, unsigned n)
{
    uint64_t value = (uint64_t)1 << (crc->width - 1);
    while (n--)
        value = times_x(crc, value);
    return value << (64 - crc->width);
}

/*
 * Return the constants that fold a vector of 128 bits by @bits.
 *
 * The vector is L * x^64 + H: its low half L holds the first bytes, and so the higher powers. Folding
 * it gives L * x^(bits+64) + H * x^bits. The carry-less product of two reflected registers of 64 bits,
 * read as a reflected register of 128 bits, is their product times x. So each exponent is one lower:
 * low = x^(bits+63) mod P, high = x^(bits-1) mod P.
 */
static struct folding folding_by(const struct crc *crc, unsigned bits)
{
    return (struct folding){power_of_x(crc, bits + 63), power_of_x(crc, bits - 1)};
}

/*
 * The shape of a stretch, which update_mixed_WIDTH() of folding.h processes by two units of the CPU
 * in parallel. In each of ROUNDS rounds the vectors advance once, and the CRC32 instruction processes
 * LANE_WORDS words of 8 bytes in each of three lanes. Both numbers are the fastest that were measured.
 */
#define ROUNDS 57
#define LANE_WORDS 5
#define LANE ((size_t)8 * LANE_WORDS * ROUNDS) /* of one lane, in bytes */

/* move_on() and crc32c_of_128() together multiply by this much more than the factor: x^33. */
#define MOVE_EXCESS 33

_Static_assert(8 * LANE > MOVE_EXCESS, "the exponent of a lane's factor is not negative");

/* Calculate the tables and constants of a CRC. */
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
    crc->by_256 = folding_by(crc, 256);
    crc->by_512 = folding_by(crc, 512);
    crc->by_1024 = folding_by(crc, 1024);
    crc->by_2048 = folding_by(crc, 2048);
    for (unsigned lanes = 1; lanes <= 3; lanes++)
        crc->lanes_on[lanes - 1] = power_of_x(crc, 8 * (unsigned)LANE * lanes - MOVE_EXCESS);
}

/* The update_function of any CPU: eight bytes at a time by table ("slicing by 8"). */
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

#define TARGET_128 __attribute__((target("pclmul,sse4.2")))
#define TARGET_256 __attribute__((target("pclmul,sse4.2,avx2,vpclmulqdq")))
#define TARGET_512 __attribute__((target("pclmul,sse4.2,avx512f,vpclmulqdq")))

/* The functions that folding.h requires for each width. Their contracts are there. */

TARGET_128 static inline __m128i load_128(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

TARGET_128 static inline void store_128(uint8_t *p, __m128i value)
{
    _mm_storeu_si128((__m128i *)(void *)p, value);
}

TARGET_128 static inline __m128i register_128(uint64_t state)
{
    return _mm_cvtsi64_si128((long long)state);
}

TARGET_128 static inline __m128i constants_128(const struct folding *by)
{
    return _mm_set_epi64x((long long)by->high, (long long)by->low);
}

TARGET_128 static inline __m128i fold_128(__m128i value, __m128i by, __m128i onto)
{
    __m128i low = _mm_clmulepi64_si128(value, by, 0x00);
    __m128i high = _mm_clmulepi64_si128(value, by, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), onto);
}

TARGET_256 static inline __m256i load_256(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

TARGET_256 static inline void store_256(uint8_t *p, __m256i value)
{
    _mm256_storeu_si256((__m256i *)(void *)p, value);
}

TARGET_256 static inline __m256i register_256(uint64_t state)
{
    return _mm256_zextsi128_si256(register_128(state));
}

TARGET_256 static inline __m256i constants_256(const struct folding *by)
{
    return _mm256_broadcastsi128_si256(constants_128(by));
}

TARGET_256 static inline __m256i fold_256(__m256i value, __m256i by, __m256i onto)
{
    __m256i low = _mm256_clmulepi64_epi128(value, by, 0x00);
    __m256i high = _mm256_clmulepi64_epi128(value, by, 0x11);
    return _mm256_xor_si256(_mm256_xor_si256(low, high), onto);
}

TARGET_512 static inline __m512i load_512(const uint8_t *p)
{
    return _mm512_loadu_si512(p);
}

TARGET_512 static inline void store_512(uint8_t *p, __m512i value)
{
    _mm512_storeu_si512(p, value);
}

TARGET_512 static inline __m512i register_512(uint64_t state)
{
    return _mm512_zextsi128_si512(register_128(state));
}

TARGET_512 static inline __m512i constants_512(const struct folding *by)
{
    return _mm512_broadcast_i32x4(constants_128(by));
}

TARGET_512 static inline __m512i fold_512(__m512i value, __m512i by, __m512i onto)
{
    __m512i low = _mm512_clmulepi64_epi128(value, by, 0x00);
    __m512i high = _mm512_clmulepi64_epi128(value, by, 0x11);
    return _mm512_ternarylogic_epi64(low, high, onto, 0x96); /* 0x96: XOR of all three */
}

/* Fold the vector of @size bytes at @bytes, a multiple of 16, to 16 bytes. */
TARGET_128 static inline __m128i narrow(const struct crc *crc, const uint8_t *bytes, size_t size)
{
    __m128i by = constants_128(&crc->by_128), all = load_128(bytes);
    for (size_t at = 16; at < size; at += 16)
        all = fold_128(all, by, load_128(bytes + at));
    return all;
}

/*
 * Return the register after a message that was folded to @all, followed by the @n bytes at @p. The
 * last bytes and the remainder of the folded vector are calculated by table.
 */
TARGET_128 static inline uint64_t finish(const struct crc *crc, __m128i all, const uint8_t *p,
                                         size_t n)
{
    uint8_t bytes[16];
    __m128i by = constants_128(&crc->by_128);
    for (; n >= 16; p += 16, n -= 16)
        all = fold_128(all, by, load_128(p));
    store_128(bytes, all);
    return update_table(crc, update_table(crc, 0, bytes, sizeof bytes), p, n);
}

/* Return the remainder of @value times x^32, which is what the CRC32 instruction calculates. */
TARGET_128 static inline uint64_t crc32c_of_128(__m128i value)
{
    uint64_t low = (uint64_t)_mm_cvtsi128_si64(value);
    return _mm_crc32_u64(_mm_crc32_u64(0, low), (uint64_t)_mm_extract_epi64(value, 1));
}

/*
 * Return @state, a CRC-32C register, times the factor @power times x. The result is not reduced; pass
 * it to crc32c_of_128(), which also multiplies by x^32.
 */
TARGET_128 static inline __m128i move_on(uint64_t state, uint64_t power)
{
    return _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)(state << 32)),
                                _mm_cvtsi64_si128((long long)power), 0x00);
}

#define WIDTH 128
#define FOUR_WIDTHS 512
#define VECTOR __m128i
#include "folding.h"

#define WIDTH 256
#define FOUR_WIDTHS 1024
#define VECTOR __m256i
#include "folding.h"

#define WIDTH 512
#define FOUR_WIDTHS 2048
#define VECTOR __m512i
#include "folding.h"

/* Return the bits of the widest vectors that this CPU multiplies without carry, or 0. */
static unsigned widest(void)
{
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("pclmul") || !__builtin_cpu_supports("sse4.2"))
        return 0;
    if (!__builtin_cpu_supports("vpclmulqdq") || !__builtin_cpu_supports("avx2"))
        return 128;
    return __builtin_cpu_supports("avx512f") ? 512 : 256;
}

/* Return the function for vectors of @width bits, or the one by table for 0. */
static update_function *update_by(const struct crc *crc, unsigned width)
{
    bool mixed = crc == &crc32c;
    switch (width) {
    case 128:
        return mixed ? update_mixed_128 : update_128;
    case 256:
        return mixed ? update_mixed_256 : update_256;
    case 512:
        return mixed ? update_mixed_512 : update_512;
    default:
        return update_table;
    }
}

/* Return the fastest function that this CPU can run. */
static update_function *best_update(const struct crc *crc)
{
    return update_by(crc, widest());
}

#elif HAVE_ARM

/*
 * ARMv8 has instructions for CRC-32 and CRC-32C, 8 bytes at a time, but none for CRC-64. gcc and clang
 * name both the feature and the instructions differently. <arm_acle.h> is not used: before version 16
 * clang's declares the intrinsics only if the whole file is compiled for CPUs that have them.
 */
#if defined(__clang__)
#define TARGET_CRC __attribute__((target("crc")))
#define crc32_of_word __builtin_arm_crc32d
#define crc32c_of_word __builtin_arm_crc32cd
#else
#define TARGET_CRC __attribute__((target("+crc")))
#define crc32_of_word __builtin_aarch64_crc32x
#define crc32c_of_word __builtin_aarch64_crc32cx
#endif

TARGET_CRC static uint64_t update_arm_32(const struct crc *crc, uint64_t state, const uint8_t *p,
                                         size_t n)
{
    uint32_t value = (uint32_t)state;
    for (; n >= 8; p += 8, n -= 8)
        value = crc32_of_word(value, load_le64(p));
    return update_table(crc, value, p, n);
}

TARGET_CRC static uint64_t update_arm_32c(const struct crc *crc, uint64_t state, const uint8_t *p,
                                          size_t n)
{
    uint32_t value = (uint32_t)state;
    for (; n >= 8; p += 8, n -= 8)
        value = crc32c_of_word(value, load_le64(p));
    return update_table(crc, value, p, n);
}

/* Return the fastest function that this CPU can run. */
static update_function *best_update(const struct crc *crc)
{
    const unsigned long hwcap_crc32 = 1ul << 7; /* HWCAP_CRC32 of <asm/hwcap.h> */
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

/* Return the product of two CRC-32C registers modulo P. */
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
     * A stands 8 * size_b bits before the end, so its CRC is multiplied by x^(8 * size_b): by
     * x^(8 * 2^k) for each bit k of size_b.
     */
    uint32_t square = (uint32_t)1 << (31 - 8); /* x^8 */
    for (; size_b; size_b >>= 1, square = multiply(square, square))
        if (size_b & 1)
            crc_a = multiply(crc_a, square);
    return crc_a ^ crc_b;
}
