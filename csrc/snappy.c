#include "requirements.h"

#include "snappy.h"

#include <limits.h>
#include <stdbool.h>
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
 * An element begins with a tag byte. The tag's two low bits are the element's kind:
 *
 *   0  literal: the six high bits hold length - 1, and the bytes follow. The values 60 to 63 mean
 *      that length - 1 is in the next 1 to 4 bytes instead.
 *   1  copy: three bits hold length - 4, the three highest bits the top of the offset. The offset's
 *      low byte follows.
 *   2  copy: the six high bits hold length - 1. The offset follows in two bytes.
 *   3  copy: the six high bits hold length - 1. The offset follows in four bytes.
 *
 * All numbers are little endian. A copy's offset counts back from where the copy is written. It may
 * be smaller than the length: the copy then repeats what it has just written.
 */
enum { LITERAL = 0, COPY_4 = 3 };

/*
 * The most bytes that one short element produces: every element except a literal whose length is in
 * the bytes behind its tag. The fast loop copies up to a whole stride for any element.
 */
#define STRIDE 64

/* The fast loop reads at most this much for one element: a tag, a stride behind it, the next tag. */
#define LOOKAHEAD (1 + STRIDE + 1)

/*
 * An entry of the table of tags holds the element's length in its low 16 bits. Its high 16 bits hold
 * the part of the offset that the tag itself contains.
 *
 * A literal's "offset" is its length, so that it passes the fast loop's test for overlapping copies.
 * A long literal's is 0, which fails that test.
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
 * The bytes behind a tag that belong to its offset, by kind. Compressors do not write four-byte
 * offsets into blocks of this size. The fast loop leaves them to element(): the mask makes their
 * offset 0, as a long literal's.
 */
static const uint32_t offset_masks[4] = {0, 0xFF, 0xFFFF, 0};

/* The state between two elements: in and out are inside their ranges or at their ends. */
struct cursor {
    struct reader in;
    uint8_t *out, *out_end;
    const uint8_t *out_start; /* the start of the chunk's plaintext: a copy must not reach below */
};

/* repeat() writes up to this many bytes behind the length that it is asked for. */
#define REPEAT_EXCESS 7

/* The fast loop writes at most this much for one element. */
#define OUT_MARGIN (STRIDE + REPEAT_EXCESS + 1)

_Static_assert(CHAR_BIT == 8, "the format's bytes have eight bits");
_Static_assert(STRIDE >= 63 + 1, "a copy's length has six bits, less one");
_Static_assert(STRIDE >= 59 + 1, "so has a short literal's, up to 59");
_Static_assert(LOOKAHEAD >= 1 + 4, "the offset is loaded as four bytes behind the tag");
_Static_assert(LOOKAHEAD > 63 + 2, "both places of the next tag are read: see step()");
_Static_assert(SIZE_MAX >= UINT32_MAX, "each 32-bit length and offset fits a size_t");

/*
 * Write a copy that overlaps itself: repeat the @offset bytes before @out over @length bytes.
 * @offset must be at least 1. Up to REPEAT_EXCESS bytes behind @length are overwritten, because whole
 * words are written.
 */
static inline void repeat(uint8_t *out, size_t offset, size_t length)
{
    if (offset >= 8) {
        for (size_t done = 0; done < length; done += 8)
            memcpy(out + done, out + done - offset, 8);
        return;
    }
    /*
     * spread[offset] is 1 + 2^(8 offset) + 2^(16 offset) + ... A pattern of offset bytes times this
     * number fills a word with copies of the pattern.
     */
    static const uint64_t spread[8] = {
        0,           0x0101010101010101, 0x0001000100010001, 0x0001000001000001,
        0x100000001, 0x0000010000000001, 0x0001000000000001, 0x0100000000000001};
    /* The bytes of a word that whole patterns fill: the largest multiple of the offset. */
    static const uint8_t whole[8] = {0, 8, 8, 6, 8, 5, 6, 7};
    uint64_t pattern = 0;
    for (size_t i = 1; i <= offset; i++)
        pattern = pattern << 8 | *(out - i);
    pattern *= spread[offset];
    for (size_t done = 0; done < length; done += whole[offset])
        store_le64(out + done, pattern);
}

/* What the fast loop needs to know of an element, as far as it depends on the element's kind. */
struct source {
    const uint8_t *from; /* where its bytes are */
    size_t size;         /* of the element itself, in bytes */
    size_t next_tag;     /* the tag behind it */
};

/*
 * Return @literal if @kind is 0, else @copy, without a branch. A branch predictor cannot guess the
 * kind of the next element. gcc compiles the C expression to a branch, which is a quarter slower, so
 * x86-64 gets assembly.
 */
static inline struct source choose(size_t kind, struct source copy, struct source literal)
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

/* Copy 16 bytes. The two may overlap: all bytes are read before one is written. */
static inline void copy_16(uint8_t *out, const uint8_t *from)
{
    uint8_t bytes[16];
    memcpy(bytes, from, sizeof bytes);
    memcpy(out, bytes, sizeof bytes);
}

/*
 * Copy @length bytes, at most a stride, to @out. Up to a whole stride is read and written. The
 * @length bytes must not overlap @out; what is read behind them may.
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

/* The fast loop's state. An element may begin up to in_last and write from up to out_last. */
struct lane {
    const uint8_t *in, *in_last;
    uint8_t *out, *out_last;
    const uint8_t *out_start;
    size_t tag; /* the one at in, which is loaded ahead */
};

/* Set up *lane from @cursor. Return false if an end is too near for the fast loop. */
static inline bool enter_lane(struct lane *lane, const struct cursor *cursor)
{
    if (reader_left(&cursor->in) < LOOKAHEAD || cursor->out_end - cursor->out < OUT_MARGIN)
        return false;
    *lane = (struct lane){cursor->in.next, cursor->in.end - LOOKAHEAD, cursor->out,
                          cursor->out_end - OUT_MARGIN, cursor->out_start, *cursor->in.next};
    return true;
}

static inline void leave_lane(const struct lane *lane, struct cursor *cursor)
{
    cursor->in.next = lane->in;
    cursor->out = lane->out;
}

/*
 * Decode one short element and return true, without a branch on its kind. Return false, and leave
 * *lane as it is, if an end is too near or if the element may be long or invalid. element() must
 * judge that one.
 *
 * The speed is limited by the time from one tag to the next. The next tag is either behind a literal
 * or behind a copy. Both places are loaded before the kind is known, and then one is chosen.
 */
static inline ALWAYS_INLINE bool step(struct lane *lane)
{
    const uint8_t *in = lane->in;
    uint8_t *out = lane->out;
    size_t tag = lane->tag;
    if (UNLIKELY(in > lane->in_last || out > lane->out_last))
        return false;
    size_t kind = tag & 3;
    size_t length = tags[tag] & 0xFFFF;
    size_t offset = (tags[tag] >> 16) + (load_le32(in + 1) & offset_masks[kind]);
    if (UNLIKELY(offset > (size_t)(out - lane->out_start)))
        return false;

    size_t literal_size = (tag >> 2) + 2, copy_size = kind + 1;
    struct source literal = {in + 1, literal_size, in[literal_size]};
    struct source copy = {out - offset, copy_size, in[copy_size]};
    struct source source = choose(kind, copy, literal);
    if (UNLIKELY(offset < length)) {
        if (offset == 0)
            return false;
        repeat(out, offset, length);
    } else {
        copy_stride(out, source.from, length);
    }
    lane->out = out + length;
    lane->in = in + source.size;
    lane->tag = source.next_tag;
    return true;
}

/* Decode elements as long as step() accepts them. */
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
 * Do the same in two places in turn. Neither waits for the other's next tag, so the CPU overlaps
 * them. Return false, and decode nothing, if an end is too near in one of them.
 */
static bool fast_elements_of_two(struct cursor *first, struct cursor *second)
{
    struct lane a, b;
    if (!enter_lane(&a, first) || !enter_lane(&b, second))
        return false;
    while (step(&a) && step(&b))
        ;
    leave_lane(&a, first);
    leave_lane(&b, second);
    return true;
}

/* Return the number that the @size bytes at @data hold; @size is 1 to 4. */
static uint32_t load_number(const uint8_t *data, size_t size)
{
    uint32_t value = 0;
    while (size--)
        value = value << 8 | data[size];
    return value;
}

/* Decode a literal behind its tag, whose six high bits are @high. */
static enum ctera_error literal_element(struct cursor *cursor, uint32_t high)
{
    uint64_t length = (uint64_t)high + 1;
    if (high >= 60) {
        size_t size = high - 59;
        const uint8_t *field = reader_take(&cursor->in, size);
        if (!field)
            return CTERA_CORRUPT;
        length = (uint64_t)load_number(field, size) + 1;
    }
    if (length > reader_left(&cursor->in) || length > (size_t)(cursor->out_end - cursor->out))
        return CTERA_CORRUPT;
    memcpy(cursor->out, cursor->in.next, (size_t)length);
    cursor->in.next += length;
    cursor->out += length;
    return CTERA_OK;
}

/* Decode a copy behind its tag. */
static enum ctera_error copy_element(struct cursor *cursor, uint32_t tag)
{
    size_t size = (tag & 3) == COPY_4 ? 4 : tag & 3;
    const uint8_t *field = reader_take(&cursor->in, size);
    if (!field)
        return CTERA_CORRUPT;
    size_t offset = (size_t)(tags[tag] >> 16) + load_number(field, size);
    size_t length = tags[tag] & 0xFFFF;
    if (offset == 0 || offset > (size_t)(cursor->out - cursor->out_start) ||
        length > (size_t)(cursor->out_end - cursor->out))
        return CTERA_CORRUPT;
    for (; length; length--, cursor->out++)
        *cursor->out = *(cursor->out - offset);
    return CTERA_OK;
}

/*
 * Decode one element of any kind, with every bound checked. At least its tag must be left to read.
 * Return CTERA_CORRUPT if it reads or writes out of bounds.
 */
static enum ctera_error element(struct cursor *cursor)
{
    uint32_t tag = *cursor->in.next++;
    return (tag & 3) == LITERAL ? literal_element(cursor, tag >> 2) : copy_element(cursor, tag);
}

/* Decode all elements that are left. Return CTERA_CORRUPT unless they fill the output exactly. */
static enum ctera_error all_elements(struct cursor *cursor)
{
    for (;;) {
        fast_elements(cursor);
        if (reader_at_end(&cursor->in))
            return cursor->out == cursor->out_end ? CTERA_OK : CTERA_CORRUPT;
        enum ctera_error error = element(cursor);
        if (error)
            return error;
    }
}

static struct cursor cursor_at(const struct snappy_chunk *chunk, uint8_t *out)
{
    return (struct cursor){chunk->elements, out, out + chunk->size, out};
}

enum ctera_error snappy_elements(const struct snappy_chunk *chunk, struct block *block)
{
    struct cursor cursor = cursor_at(chunk, block_next(block));
    enum ctera_error error = all_elements(&cursor);
    if (!error)
        block_commit(block, chunk->size);
    return error;
}

enum ctera_error snappy_elements_of_two(const struct snappy_chunk *first,
                                        const struct snappy_chunk *second, struct block *block)
{
    struct cursor a = cursor_at(first, block_next(block));
    struct cursor b = cursor_at(second, block_next(block) + first->size);
    enum ctera_error error = CTERA_OK;
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

enum ctera_error snappy_preamble(struct reader reader, struct snappy_chunk *chunk)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 35; shift += 7) {
        if (reader_at_end(&reader))
            return CTERA_CORRUPT;
        uint8_t byte = *reader.next++;
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            *chunk = (struct snappy_chunk){reader, (size_t)value};
            return value <= UINT32_MAX ? CTERA_OK : CTERA_CORRUPT;
        }
    }
    return CTERA_CORRUPT;
}
