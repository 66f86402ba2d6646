/* A cursor over input bytes, which checks every bound before a byte is read. */
#ifndef CTERA_READER_H
#define CTERA_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The bytes from next to end are still to be read. next never exceeds end. Both point into, or just
 * behind, one object in memory.
 */
struct reader {
    const uint8_t *next, *end;
};

/* Return a reader of the @size bytes at @data. */
static inline struct reader reader_of(const uint8_t *data, size_t size)
{
    return (struct reader){data, data + size};
}

/* Return the number of bytes that are still to be read. */
static inline size_t reader_left(const struct reader *reader)
{
    return (size_t)(reader->end - reader->next);
}

/* Return whether all bytes have been read. */
static inline bool reader_at_end(const struct reader *reader)
{
    return reader->next == reader->end;
}

/*
 * Return the next @size bytes and advance past them. Return NULL, without advancing, if fewer bytes
 * are left.
 */
static inline const uint8_t *reader_take(struct reader *reader, size_t size)
{
    if (reader_left(reader) < size)
        return NULL;
    const uint8_t *taken = reader->next;
    reader->next += size;
    return taken;
}

#endif
