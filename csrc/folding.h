/*
 * CRCs by carry-less multiplication of vectors: checksum.c includes this once for each WIDTH of them,
 * in bits, and gets update_WIDTH() and, for CRC-32C alone, update_mixed_WIDTH().
 *
 * VECTOR: the type. BY_WIDTH and BY_PARTS: the members of struct crc that move a vector on by one of
 * them and by four. load_WIDTH(), store_WIDTH(), register_WIDTH(), constants_WIDTH(), fold_WIDTH(),
 * TARGET_WIDTH: see there.
 */
#define JOINED(name, width) name##_##width
#define EXPANDED(name, width) JOINED(name, width)
#define OF_WIDTH(name) EXPANDED(name, WIDTH)
#define TARGET OF_WIDTH(TARGET)
#define SIZE ((size_t)WIDTH / 8)

/* Four vectors are under way at a time, so that none waits for the last multiplication's result. */
#define PARTS 4

/* The four as one of 16 bytes. */
TARGET static inline __m128i OF_WIDTH(joined)(const struct crc *crc, VECTOR part[PARTS])
{
    VECTOR by = OF_WIDTH(constants)(&crc->BY_WIDTH), all = part[0];
    for (int i = 1; i < PARTS; i++)
        all = OF_WIDTH(fold)(all, by, part[i]);
    uint8_t bytes[SIZE];
    OF_WIDTH(store)(bytes, all);
    return narrow(crc, bytes, sizeof bytes);
}

/* The four that @p begins with, the register added. */
TARGET static inline void OF_WIDTH(begin)(VECTOR part[PARTS], uint64_t state, const uint8_t *p)
{
    for (size_t i = 0; i < PARTS; i++)
        part[i] = OF_WIDTH(load)(p + SIZE * i);
    part[0] ^= OF_WIDTH(register)(state);
}

/* Each moved on by four vectors, to those at @p. */
TARGET static inline void OF_WIDTH(advance)(VECTOR part[PARTS], VECTOR by, const uint8_t *p)
{
    for (size_t i = 0; i < PARTS; i++)
        part[i] = OF_WIDTH(fold)(part[i], by, OF_WIDTH(load)(p + SIZE * i));
}

TARGET static uint64_t OF_WIDTH(update)(const struct crc *crc, uint64_t state, const uint8_t *p,
                                        size_t n)
{
    if (n < 2 * PARTS * SIZE) /* not worth it, or less than the first vectors are */
        return WIDTH > 128 ? update_128(crc, state, p, n) : update_table(crc, state, p, n);
    VECTOR by = OF_WIDTH(constants)(&crc->BY_PARTS), part[PARTS];
    OF_WIDTH(begin)(part, state, p);
    for (p += PARTS * SIZE, n -= PARTS * SIZE; n >= PARTS * SIZE;
         p += PARTS * SIZE, n -= PARTS * SIZE)
        OF_WIDTH(advance)(part, by, p);
    return finish(crc, OF_WIDTH(joined)(crc, part), p, n);
}

/* What a stretch is: vectors in front, then the three lanes. */
#define VECTORS (PARTS * SIZE * (ROUNDS + 1))
#define STRETCH (VECTORS + 3 * LANE)

TARGET static inline uint64_t OF_WIDTH(update_stretch)(const struct crc *crc, uint64_t state,
                                                       const uint8_t *p)
{
    const uint8_t *lane = p + VECTORS;
    uint64_t a = 0, b = 0, c = 0;
    VECTOR by = OF_WIDTH(constants)(&crc->BY_PARTS), part[PARTS];
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
 * CRC-32C alone: while the vector unit folds the front of a stretch, the CPU's own CRC32
 * instruction, which is another unit, takes three lanes behind it: half as fast again, and more
 * where vectors are narrow.
 */
TARGET static uint64_t OF_WIDTH(update_mixed)(const struct crc *crc, uint64_t state,
                                              const uint8_t *p, size_t n)
{
    for (; n >= STRETCH; p += STRETCH, n -= STRETCH)
        state = OF_WIDTH(update_stretch)(crc, state, p);
    return OF_WIDTH(update)(crc, state, p, n);
}

#undef WIDTH
#undef BY_WIDTH
#undef BY_PARTS
#undef VECTOR
#undef JOINED
#undef EXPANDED
#undef OF_WIDTH
#undef TARGET
#undef SIZE
#undef PARTS
#undef VECTORS
#undef STRETCH
