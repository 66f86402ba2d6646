#include "requirements.h"

#include "snappy.h"

#include <string.h>

#include "bytes.h"

#if defined(__GNUC__)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define ALWAYS_INLINE __attribute__((always_inline))
#else
#define UNLIKELY(condition) (condition)
#define ALWAYS_INLINE
#endif

/*
 * An element begins with a tag byte; its two low bits are its kind:
 *
 *   0  literal: length - 1 in the high six bits, or 60 to 63: in the next 1 to 4 bytes; then bytes
 *   1  copy: length - 4 in three bits, then three high bits of the offset, its low byte follows
 *   2  copy: length - 1 in the high six bits, the offset in the next two bytes
 *   3  copy: the same, the offset in the next four bytes
 *
 * All numbers are little endian. A copy's offset counts back from where it writes, and may be
 * shorter than its length: it then repeats what it has just written.
 */
enum { LITERAL = 0, COPY_4 = 3 };

/* No short element is longer. The fast loop copies this much whatever the length. */
#define STRIDE 64

/* What the fast loop may read for one element: its tag, a stride behind it, and the next tag. */
#define LOOKAHEAD (1 + STRIDE + 1)

/*
 * What a tag says: the length in the low 16 bits, and in the high ones what the offset has beside
 * the bytes that follow the tag. A literal's "offset" is its length, so it passes the fast loop's
 * test for copies that overlap; that of a long literal is 0, which no test lets pass.
 */
#define ENTRY(length, offset) ((uint32_t)(length) | (uint32_t)(offset) << 16)
#define ENTRIES(high) \
    (high) < 60 ? ENTRY((high) + 1, (high) + 1) : ENTRY(1, 0), \
        ENTRY(((high) & 7) + 4, (high) >> 3 << 8), ENTRY((high) + 1, 0), ENTRY((high) + 1, 0)
#define ENTRIES_4(high) \
    ENTRIES(high), ENTRIES((high) + 1), ENTRIES((high) + 2), ENTRIES((high) + 3)
#define ENTRIES_16(high) \
    ENTRIES_4(high), ENTRIES_4((high) + 4), ENTRIES_4((high) + 8), ENTRIES_4((high) + 12)

static const uint32_t tags[256] = {ENTRIES_16(0), ENTRIES_16(16), ENTRIES_16(32), ENTRIES_16(48)};

/*
 * Which of the bytes behind a tag belong to its offset, by kind. A four-byte offset, which no
 * compressor writes into blocks of this size, is left to element(): here it is 0, as for a long
 * literal.
 */
static const uint32_t offset_masks[4] = {0, 0xFF, 0xFFFF, 0};

/* Where decoding is. Between elements, in and out are inside their ranges or at their ends. */
struct cursor {
    const uint8_t *in, *in_end;
    uint8_t *out, *out_end;
    const uint8_t *out_start; /* no copy reaches below */
};

/* What the fast loop may write for one element: a stride, and what repeat() writes too much. */
#define OUT_MARGIN (STRIDE + 8)

/*
 * A copy that overlaps itself: repeats the @offset bytes before @out, at least one, over @length
 * bytes. Works in words of eight bytes: up to 7 more are written.
 */
static inline void repeat(uint8_t *out, size_t offset, size_t length)
{
    if (offset >= 8) {
        for (size_t done = 0; done < length; done += 8)
            memcpy(out + done, out + done - offset, 8);
        return;
    }
    /*
     * Multiplied by 1 + 2^(8 offset) + 2^(16 offset) + ..., the pattern fills a word side by side.
     */
    static const uint64_t spread[8] = {
        0,           0x0101010101010101, 0x0001000100010001, 0x0001000001000001,
        0x100000001, 0x0000010000000001, 0x0001000000000001, 0x0100000000000001};
    static const uint8_t whole[8] = {0, 8, 8, 6, 8, 5, 6, 7}; /* multiples of the offset */
    uint64_t pattern = 0;
    for (size_t i = 1; i <= offset; i++)
        pattern = pattern << 8 | *(out - i);
    pattern *= spread[offset];
    for (size_t done = 0; done < length; done += whole[offset])
        store_le64(out + done, pattern);
}

/* What an element's kind decides: where its bytes are, how long it is itself, the tag behind it. */
struct way {
    const uint8_t *from;
    size_t size;
    size_t next_tag;
};

/*
 * @literal where @kind is 0, else @copy, without a branch. Which element comes next is a coin toss
 * to a branch predictor; gcc insists on branching unless it is taken out of its hands (a quarter
 * slower).
 */
static inline struct way choose(size_t kind, struct way copy, struct way literal)
{
#if defined(__x86_64__) && defined(__GNUC__)
    __asm__("test %3, %3\n\tcmovz %4, %0\n\tcmovz %5, %1\n\tcmovz %6, %2"
            : "+&r"(copy.from), "+&r"(copy.size), "+&r"(copy.next_tag)
            : "r"(kind), "r"(literal.from), "r"(literal.size), "r"(literal.next_tag)
            : "cc");
    return copy;
#else
    return kind ? copy : literal;
#endif
}

/* Both may overlap: all is read before anything is written. */
static inline void copy_16(uint8_t *out, const uint8_t *from)
{
    uint8_t bytes[16];
    memcpy(bytes, from, sizeof bytes);
    memcpy(out, bytes, sizeof bytes);
}

/*
 * Copies @length bytes, at most a stride, that end before @out begins; up to a stride is written.
 */
static inline void copy_stride(uint8_t *out, const uint8_t *from, size_t length)
{
    copy_16(out, from);
    copy_16(out + 16, from + 16);
    if (UNLIKELY(length > 32)) {
        copy_16(out + 32, from + 32);
        copy_16(out + 48, from + 48);
    }
}

/* The fast loop's cursor: how far it may go, and the tag at @in, read ahead. */
struct lane {
    const uint8_t *in, *in_last;
    uint8_t *out, *out_last;
    const uint8_t *out_start;
    size_t tag;
};

/* 0 where an end is too near. */
static inline int enter_lane(struct lane *lane, const struct cursor *cursor)
{
    if (cursor->in_end - cursor->in < LOOKAHEAD || cursor->out_end - cursor->out < OUT_MARGIN)
        return 0;
    *lane = (struct lane){cursor->in, cursor->in_end - LOOKAHEAD, cursor->out,
                          cursor->out_end - OUT_MARGIN, cursor->out_start, *cursor->in};
    return 1;
}

static inline void leave_lane(const struct lane *lane, struct cursor *cursor)
{
    cursor->in = lane->in;
    cursor->out = lane->out;
}

/*
 * Decodes one short element while both ends are far, without a branch on what it is; 0 before one
 * that it cannot vouch for: element() then judges it.
 *
 * What limits the speed is the way from one tag to the next. So both places where the next tag may
 * be, behind a literal and behind a copy, are read at once, and then one is chosen.
 */
static inline ALWAYS_INLINE int step(struct lane *lane)
{
    const uint8_t *in = lane->in;
    uint8_t *out = lane->out;
    size_t tag = lane->tag;
    if (UNLIKELY(in > lane->in_last || out > lane->out_last))
        return 0;
    size_t kind = tag & 3;
    size_t length = tags[tag] & 0xFFFF;
    size_t offset = (tags[tag] >> 16) + (load_le32(in + 1) & offset_masks[kind]);
    if (UNLIKELY(offset > (size_t)(out - lane->out_start)))
        return 0;

    size_t literal_size = (tag >> 2) + 2, copy_size = kind + 1;
    struct way literal = {in + 1, literal_size, in[literal_size]};
    struct way copy = {out - offset, copy_size, in[copy_size]};
    struct way way = choose(kind, copy, literal);
    if (UNLIKELY(offset < length)) {
        if (offset == 0)
            return 0;
        repeat(out, offset, length);
    } else {
        copy_stride(out, way.from, length);
    }
    lane->out = out + length;
    lane->in = in + way.size;
    lane->tag = way.next_tag;
    return 1;
}

static void fast_elements(struct cursor *cursor)
{
    struct lane lane;
    if (!enter_lane(&lane, cursor))
        return;
    while (step(&lane))
        ;
    leave_lane(&lane, cursor);
}

/*
 * The same in two places in turn, which do not wait for each other. 0 where an end is too near in
 * one of them.
 */
static int fast_elements_of_two(struct cursor *first, struct cursor *second)
{
    struct lane a, b;
    if (!enter_lane(&a, first) || !enter_lane(&b, second))
        return 0;
    while (step(&a) && step(&b))
        ;
    leave_lane(&a, first);
    leave_lane(&b, second);
    return 1;
}

/* The @size bytes before the input's cursor as a number; @size is 1 to 4. */
static uint32_t number_before(const uint8_t *in, size_t size)
{
    uint32_t value = 0;
    for (size_t i = 1; i <= size; i++)
        value = value << 8 | *(in - i);
    return value;
}

static int literal_element(struct cursor *cursor, uint32_t high)
{
    uint64_t length = (uint64_t)high + 1;
    if (high >= 60) {
        size_t size = high - 59;
        if ((size_t)(cursor->in_end - cursor->in) < size)
            return CTERA_CORRUPT;
        cursor->in += size;
        length = (uint64_t)number_before(cursor->in, size) + 1;
    }
    if (length > (size_t)(cursor->in_end - cursor->in) ||
        length > (size_t)(cursor->out_end - cursor->out))
        return CTERA_CORRUPT;
    memcpy(cursor->out, cursor->in, (size_t)length);
    cursor->in += length;
    cursor->out += length;
    return CTERA_OK;
}

static int copy_element(struct cursor *cursor, uint32_t tag)
{
    size_t size = (tag & 3) == COPY_4 ? 4 : tag & 3;
    if ((size_t)(cursor->in_end - cursor->in) < size)
        return CTERA_CORRUPT;
    cursor->in += size;
    size_t offset = (size_t)(tags[tag] >> 16) + number_before(cursor->in, size);
    size_t length = tags[tag] & 0xFFFF;
    if (offset == 0 || offset > (size_t)(cursor->out - cursor->out_start) ||
        length > (size_t)(cursor->out_end - cursor->out))
        return CTERA_CORRUPT;
    for (; length; length--, cursor->out++)
        *cursor->out = *(cursor->out - offset);
    return CTERA_OK;
}

/* Decodes any one element, with every bound checked: the judge, and the way to the ends. */
static int element(struct cursor *cursor)
{
    uint32_t tag = *cursor->in++;
    return (tag & 3) == LITERAL ? literal_element(cursor, tag >> 2) : copy_element(cursor, tag);
}

/* Everything from @cursor to the ends. */
static int all_elements(struct cursor *cursor)
{
    for (;;) {
        fast_elements(cursor);
        if (cursor->in == cursor->in_end)
            return cursor->out == cursor->out_end ? CTERA_OK : CTERA_CORRUPT;
        int error = element(cursor);
        if (error)
            return error;
    }
}

static struct cursor cursor_at(const struct snappy_chunk *chunk, uint8_t *out)
{
    return (struct cursor){chunk->in, chunk->in_end, out, out + chunk->size, out};
}

int snappy_elements(const struct snappy_chunk *chunk, struct block *block)
{
    struct cursor cursor = cursor_at(chunk, block_next(block));
    int error = all_elements(&cursor);
    if (!error)
        block_commit(block, chunk->size);
    return error;
}

int snappy_elements_of_two(const struct snappy_chunk *first, const struct snappy_chunk *second,
                           struct block *block)
{
    struct cursor a = cursor_at(first, block_next(block));
    struct cursor b = cursor_at(second, block_next(block) + first->size);
    int error = CTERA_OK;
    while (!error && fast_elements_of_two(&a, &b)) {
        error = element(&a);
        if (!error)
            error = element(&b);
    }
    if (!error)
        error = all_elements(&a);
    if (!error)
        error = all_elements(&b);
    if (!error)
        block_commit(block, first->size + second->size);
    return error;
}

int snappy_preamble(const uint8_t *in, const uint8_t *in_end, struct snappy_chunk *chunk)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 35; shift += 7) {
        if (in == in_end)
            return CTERA_CORRUPT;
        uint8_t byte = *in++;
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            *chunk = (struct snappy_chunk){in, in_end, (size_t)value};
            return value <= UINT32_MAX ? CTERA_OK : CTERA_CORRUPT;
        }
    }
    return CTERA_CORRUPT;
}
