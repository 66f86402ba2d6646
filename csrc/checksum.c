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
 * All checksums are reflected CRCs and differ in the polynomial alone, so one code serves them:
 * tables anywhere, and carry-less multiplication where the CPU has it, by vectors of 16 bytes
 * (PCLMULQDQ), 32 or 64 (VPCLMULQDQ on AVX2 or AVX-512).
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
    struct folding by_128, by_256, by_512, by_1024, by_2048;
    uint64_t lanes_on[3]; /* what moves a register on by one, two, three lanes: see folding.h */
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
 * What CRC-32C goes through by two units of the CPU at once (see folding.h): so many rounds, and the
 * bytes that each of three lanes takes in them.
 */
#define ROUNDS 57
#define LANE_WORDS 5
#define LANE ((size_t)8 * LANE_WORDS * ROUNDS)

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

#define TARGET_128 __attribute__((target("pclmul,sse4.2")))
#define TARGET_256 __attribute__((target("pclmul,sse4.2,avx2,vpclmulqdq")))
#define TARGET_512 __attribute__((target("pclmul,sse4.2,avx512f,vpclmulqdq")))

/*
 * What folding.h wants of each width: a vector of memory, and back; one that begins with the register
 * and is zero behind it; one of constants again and again; and @value moved on by what @by says, with what
 * is @there added.
 */
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

TARGET_128 static inline __m128i fold_128(__m128i value, __m128i by, __m128i there)
{
    __m128i low = _mm_clmulepi64_si128(value, by, 0x00);
    __m128i high = _mm_clmulepi64_si128(value, by, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), there);
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

TARGET_256 static inline __m256i fold_256(__m256i value, __m256i by, __m256i there)
{
    __m256i low = _mm256_clmulepi64_epi128(value, by, 0x00);
    __m256i high = _mm256_clmulepi64_epi128(value, by, 0x11);
    return _mm256_xor_si256(_mm256_xor_si256(low, high), there);
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

TARGET_512 static inline __m512i fold_512(__m512i value, __m512i by, __m512i there)
{
    __m512i low = _mm512_clmulepi64_epi128(value, by, 0x00);
    __m512i high = _mm512_clmulepi64_epi128(value, by, 0x11);
    return _mm512_ternarylogic_epi64(low, high, there, 0x96);
}

/* A folded vector, whose @size bytes are a multiple of 16, as one of 16 bytes. */
TARGET_128 static inline __m128i narrow(const struct crc *crc, const uint8_t *bytes, size_t size)
{
    __m128i by = constants_128(&crc->by_128), all = load_128(bytes);
    for (size_t at = 16; at < size; at += 16)
        all = fold_128(all, by, load_128(bytes + at));
    return all;
}

/* The register behind what is folded to 16 bytes and the @n bytes that follow; the end by table. */
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

TARGET_128 static inline uint64_t crc32c_of_128(__m128i value)
{
    uint64_t low = (uint64_t)_mm_cvtsi128_si64(value);
    return _mm_crc32_u64(_mm_crc32_u64(0, low), (uint64_t)_mm_extract_epi64(value, 1));
}

/* @state times x to what @power stands for, but for the division that crc32c_of_128() ends with. */
TARGET_128 static inline __m128i move_on(uint64_t state, uint64_t power)
{
    return _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)(state << 32)),
                                _mm_cvtsi64_si128((long long)power), 0x00);
}

#define WIDTH 128
#define BY_WIDTH by_128
#define BY_PARTS by_512
#define VECTOR __m128i
#include "folding.h"

#define WIDTH 256
#define BY_WIDTH by_256
#define BY_PARTS by_1024
#define VECTOR __m256i
#include "folding.h"

#define WIDTH 512
#define BY_WIDTH by_512
#define BY_PARTS by_2048
#define VECTOR __m512i
#include "folding.h"

/* Bits of the widest vectors that this CPU multiplies without carry; 0: none. */
static unsigned widest(void)
{
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("pclmul") || !__builtin_cpu_supports("sse4.2"))
        return 0;
    if (!__builtin_cpu_supports("vpclmulqdq") || !__builtin_cpu_supports("avx2"))
        return 128;
    return __builtin_cpu_supports("avx512f") ? 512 : 256;
}

static update_function *update_by(const struct crc *crc, unsigned width)
{
    int mixed = crc == &crc32c;
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

static update_function *best_update(const struct crc *crc)
{
    return update_by(crc, widest());
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
