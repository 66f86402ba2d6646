/* What the C tests share: checks, a fixed random sequence, buffers that end at an unmapped page. */
#ifndef CTERA_HARNESS_H
#define CTERA_HARNESS_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ctera_codec.h"

#define CHECK(condition)                                                                \
    do {                                                                                \
        if (!(condition)) {                                                             \
            fprintf(stderr, "%s:%d: %s: not so: %s\n", __FILE__, __LINE__, __func__,    \
                    #condition);                                                        \
            abort();                                                                    \
        }                                                                               \
    } while (0)

/* Marsaglia's xorshift64: the same numbers in every run. */
static inline uint64_t random_word(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static inline size_t random_below(uint64_t *state, size_t bound)
{
    return (size_t)(random_word(state) % bound);
}

/* Memory whose last byte is followed by an inaccessible page. */
struct guarded {
    uint8_t *data;
    size_t size;
    void *mapping;
    size_t mapping_size;
};

static inline struct guarded guarded_new(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t usable = (size + page - 1) / page * page;
    struct guarded memory = {.size = size, .mapping_size = usable + page};
    memory.mapping = mmap(NULL, memory.mapping_size, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory.mapping != MAP_FAILED);
    CHECK(mprotect((uint8_t *)memory.mapping + usable, page, PROT_NONE) == 0);
    memory.data = (uint8_t *)memory.mapping + usable - size;
    return memory;
}

static inline struct guarded guarded_copy(const void *data, size_t size)
{
    struct guarded memory = guarded_new(size);
    if (size)
        memcpy(memory.data, data, size);
    return memory;
}

static inline void guarded_free(struct guarded *memory)
{
    munmap(memory->mapping, memory->mapping_size);
}

/* @size bytes at the end of one mapping that is used again and again; @which is 0 or 1. */
static inline uint8_t *guarded_reused(int which, size_t size)
{
    static struct guarded memory[2];
    if (!memory[which].mapping)
        memory[which] = guarded_new((size_t)1 << 20);
    CHECK(size <= memory[which].size);
    return memory[which].data + memory[which].size - size;
}

/*
 * Return what a call of ctera_decode() gives as one number: the CRC-32C, or 0 if it is not wanted;
 * on failure the negated error. A failed call must not leave a CRC-32C.
 */
static inline int64_t result_of(struct ctera_decode_call call)
{
    call.crc32c = 0xAAAAAAAA;
    enum ctera_error error = ctera_decode(&call);
    CHECK(!error || call.crc32c == 0);
    return error ? -(int64_t)error : (int64_t)call.crc32c;
}

/*
 * Decode a payload without an envelope between guard pages, with and without its CRC-32C. The object
 * must come out untouched.
 */
static inline int64_t decode_payload_guarded(enum ctera_compression compression,
                                             const uint8_t *payload, size_t size, uint8_t *plain,
                                             size_t plain_size)
{
    uint8_t *object = guarded_reused(0, size), *out = guarded_reused(1, plain_size);
    struct ctera_decode_call call = {
        .compression = compression,
        .object = object,
        .object_size = size,
        .out = out,
        .out_size = plain_size,
        .wants_crc32c = true,
    };
    memcpy(object, payload, size);
    int64_t result = result_of(call);
    CHECK(memcmp(object, payload, size) == 0);
    if (result >= 0) {
        CHECK((uint32_t)result == ctera_crc32c(0, out, plain_size));
        memcpy(plain, out, plain_size);
        memset(out, 0xFF, plain_size);
    }
    call.wants_crc32c = false;
    int64_t unsummed = result_of(call);
    CHECK(unsummed == (result < 0 ? result : 0));
    CHECK(result <= 0 || memcmp(plain, out, plain_size) == 0);
    return result;
}

/* Text-like bytes: words of a small vocabulary, with numbers in between. */
static inline void fill_text(uint8_t *data, size_t size, uint64_t *state)
{
    static const char *const words[] = {"block ", "offset ", "length", "\n    ", "return ", "if (",
                                        "size ",  "==",      " the ",  "stream", "uint8_t *"};
    for (size_t done = 0; done < size;) {
        const char *word = words[random_below(state, sizeof words / sizeof *words)];
        char number[24];
        if (random_below(state, 6) == 0) {
            snprintf(number, sizeof number, "%u", (unsigned)random_below(state, 100000));
            word = number;
        }
        size_t length = strlen(word);
        if (length > size - done)
            length = size - done;
        memcpy(data + done, word, length);
        done += length;
    }
}

#endif
