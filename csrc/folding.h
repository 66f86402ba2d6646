/*
 * A template: CRCs by carry-less multiplication of vectors. checksum.c includes this file once for
 * each width of vector. Each inclusion defines update_WIDTH(), which is an update_function for any
 * CRC, and update_mixed_WIDTH(), which is one for CRC-32C only.
 *
 * The method is that of V. Gopal, E. Ozturk, J. Guilford et al., "Fast CRC Computation for Generic
 * Polynomials Using PCLMULQDQ Instruction", Intel, December 2009. A CRC is the remainder of the
 * message, as a polynomial over GF(2), modulo P. "Folding" replaces a vector V that stands n bits
 * before another vector W by (V * (x^n mod P)) + W, which leaves the remainder unchanged. So vectors
 * are folded onto later ones until 16 bytes are left. Their remainder is calculated by table.
 *
 * The paper folds four vectors of 128 bits in parallel. This file does the same with vectors of 128,
 * 256 and 512 bits; a wide vector is folded as two or four independent lanes of 128 bits.
 *
 * The paper derives its constants for each polynomial; checksum.c calculates them when the library
 * is first used. See folding_by() there for the exponents.
 *
 * Parameters, which the includer defines and this file undefines:
 *
 *   WIDTH        Bits of a vector: 128, 256 or 512.
 *   FOUR_WIDTHS  The number 4 * WIDTH. Both numbers become parts of names: struct crc must have the
 *                members by_WIDTH and by_FOUR_WIDTHS, the constants that fold by that many bits.
 *   VECTOR       The type of a vector of WIDTH bits.
 *
 * The includer also defines, for each WIDTH:
 *
 *   TARGET_WIDTH         The attribute that lets a function use the instructions.
 *   load_WIDTH(p)        Return the vector at p, which may have any alignment.
 *   store_WIDTH(p, v)    Store v at p, which may have any alignment.
 *   register_WIDTH(s)    Return a vector whose first 8 bytes are the CRC's register s; the rest is 0.
 *   constants_WIDTH(by)  Return a vector that repeats the two constants of *by in each lane.
 *   fold_WIDTH(v, by, w) Return w + v * by in each lane, where by is a result of constants_WIDTH().
 */
#define JOINED(name, width) name##_##width
#define EXPANDED(name, width) JOINED(name, width)
#define OF_WIDTH(name) EXPANDED(name, WIDTH)
#define TARGET OF_WIDTH(TARGET)
#define SIZE ((size_t)WIDTH / 8) /* of a vector, in bytes */

/* Vectors that are folded in parallel, so that none waits for the last multiplication's result. */
#define PARTS 4

_Static_assert(FOUR_WIDTHS == PARTS * WIDTH, "the four vectors are folded by their own length");
_Static_assert(sizeof(VECTOR) == SIZE, "VECTOR has WIDTH bits");
_Static_assert(SIZE % 16 == 0, "narrow() folds whole lanes of 128 bits");

/* Fold the four vectors, and then the lanes of the result, to one vector of 128 bits. */
TARGET static inline __m128i OF_WIDTH(joined)(const struct crc *crc, VECTOR part[PARTS])
{
    VECTOR by = OF_WIDTH(constants)(&crc->OF_WIDTH(by)), all = part[0];
    for (int i = 1; i < PARTS; i++)
        all = OF_WIDTH(fold)(all, by, part[i]);
    uint8_t bytes[SIZE];
    OF_WIDTH(store)(bytes, all);
    return narrow(crc, bytes, sizeof bytes);
}

/* Load the four vectors at @p and add the register to the first one. */
TARGET static inline void OF_WIDTH(begin)(VECTOR part[PARTS], uint64_t state, const uint8_t *p)
{
    for (size_t i = 0; i < PARTS; i++)
        part[i] = OF_WIDTH(load)(p + SIZE * i);
    part[0] ^= OF_WIDTH(register)(state);
}

/* Fold each of the four vectors onto its successor among the four at @p. */
TARGET static inline void OF_WIDTH(advance)(VECTOR part[PARTS], VECTOR by, const uint8_t *p)
{
    for (size_t i = 0; i < PARTS; i++)
        part[i] = OF_WIDTH(fold)(part[i], by, OF_WIDTH(load)(p + SIZE * i));
}

TARGET static uint64_t OF_WIDTH(update)(const struct crc *crc, uint64_t state, const uint8_t *p,
                                        size_t n)
{
    /* Too short to be worth the set-up: narrower vectors, or the table, are faster. */
    if (n < 2 * PARTS * SIZE)
        return WIDTH > 128 ? update_128(crc, state, p, n) : update_table(crc, state, p, n);
    VECTOR by = OF_WIDTH(constants)(&crc->EXPANDED(by, FOUR_WIDTHS)), part[PARTS];
    OF_WIDTH(begin)(part, state, p);
    for (p += PARTS * SIZE, n -= PARTS * SIZE; n >= PARTS * SIZE;
         p += PARTS * SIZE, n -= PARTS * SIZE)
        OF_WIDTH(advance)(part, by, p);
    return finish(crc, OF_WIDTH(joined)(crc, part), p, n);
}

/* A stretch is this many bytes for the vectors, followed by the three lanes of the CRC32 unit. */
#define VECTORS (PARTS * SIZE * (ROUNDS + 1))
#define STRETCH (VECTORS + 3 * LANE)

/* Return the register after one stretch at @p. CRC-32C only: see update_mixed_WIDTH(). */
TARGET static inline uint64_t OF_WIDTH(update_stretch)(const struct crc *crc, uint64_t state,
                                                       const uint8_t *p)
{
    const uint8_t *lane = p + VECTORS;
    uint64_t a = 0, b = 0, c = 0;
    VECTOR by = OF_WIDTH(constants)(&crc->EXPANDED(by, FOUR_WIDTHS)), part[PARTS];
    OF_WIDTH(begin)(part, state, p);
    for (int round = 0; round < ROUNDS; round++) {
        p += PARTS * SIZE;
        OF_WIDTH(advance)(part, by, p);
        for (int i = 0; i < LANE_WORDS; i++, lane += 8) {
            a = _mm_crc32_u64(a, load_le64(lane));
            b = _mm_crc32_u64(b, load_le64(lane + LANE));
            c = _mm_crc32_u64(c, load_le64(lane + 2 * LANE));
        }
    }
    __m128i moved = move_on(crc32c_of_128(OF_WIDTH(joined)(crc, part)), crc->lanes_on[2]);
    moved = _mm_xor_si128(moved, move_on(a, crc->lanes_on[1]));
    moved = _mm_xor_si128(moved, move_on(b, crc->lanes_on[0]));
    return crc32c_of_128(moved) ^ c;
}

/*
 * CRC-32C only. The CPU has a CRC32 instruction for this polynomial, in another unit than the
 * multiplication. While the vectors fold the front of a stretch, that instruction processes three
 * lanes behind it. This is half as fast again, and more than that with narrow vectors.
 *
 * The lanes hide the instruction's latency of three cycles. They are those of V. Gopal, J. Guilford
 * et al., "Fast CRC Computation for iSCSI Polynomial Using CRC32 Instruction", Intel, April 2011.
 */
TARGET static uint64_t OF_WIDTH(update_mixed)(const struct crc *crc, uint64_t state,
                                              const uint8_t *p, size_t n)
{
    for (; n >= STRETCH; p += STRETCH, n -= STRETCH)
        state = OF_WIDTH(update_stretch)(crc, state, p);
    return OF_WIDTH(update)(crc, state, p, n);
}

#undef WIDTH
#undef FOUR_WIDTHS
#undef VECTOR
#undef JOINED
#undef EXPANDED
#undef OF_WIDTH
#undef TARGET
#undef SIZE
#undef PARTS
#undef VECTORS
#undef STRETCH
