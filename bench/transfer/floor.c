/*
 * The transfer as plain C does it, for comparison: libcurl easy handles on a few threads, OpenSSL's
 * AES-CBC, and the stock libsnappy and libdeflate. Buffers and connections are reused.
 *
 *     floor MANIFEST        floor --version
 *
 * The manifest is text, a word and its values per line:
 *
 *     threads 4                  before any get
 *     key 00112233...            hexadecimal; without: the objects are not encrypted
 *     format snappy|gzip|none    the payload
 *     ca PATH                    a CA bundle, for https
 *     get URL LENGTH [A-B]       an object and its plaintext's length; a byte range of it
 *
 * One line of JSON on stdout, as the other clients print; 1 and a line on stderr when an object does
 * not come, or does not decode to its length.
 */
#define _GNU_SOURCE

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <curl/curl.h>
#include <libdeflate.h>
#include <openssl/evp.h>
#include <snappy-c.h>

enum { MAX_THREADS = 64, MAX_LINE = 8192, KEY_MAX = 32, ENVELOPE = 17, SNAPPY_HEADER = 16 };

typedef enum { FORMAT_NONE, FORMAT_SNAPPY, FORMAT_GZIP } payload_format;

typedef struct {
    char *url;
    char *range;
    size_t length;
} object;

typedef struct {
    unsigned char *data;
    size_t size;
    size_t capacity;
} buffer;

typedef struct {
    object *objects;
    size_t count;
    size_t capacity;
    unsigned threads;
    payload_format format;
    unsigned char key[KEY_MAX];
    size_t key_size;
    char *ca;
} manifest;

typedef struct {
    buffer stored;
    buffer payload;
    buffer plain;
    CURL *curl;
    EVP_CIPHER_CTX *cipher_context;
    struct libdeflate_decompressor *inflater;
} worker;

static manifest task;
static EVP_CIPHER *cipher;
static atomic_size_t next_object;
static atomic_size_t received_plaintext;
static atomic_bool failed;

static void fail(const char *what, const char *detail)
{
    if (!atomic_exchange(&failed, true)) {
        fprintf(stderr, "floor: %s: %s\n", what, detail);
    }
}

static bool reserve(buffer *into, size_t capacity)
{
    if (capacity <= into->capacity) {
        return true;
    }
    unsigned char *data = realloc(into->data, capacity);
    if (data == NULL) {
        return false;
    }
    into->data = data;
    into->capacity = capacity;
    return true;
}

/* libcurl's write callback: append to the buffer. */
static size_t append(char *data, size_t one, size_t size, void *user)
{
    buffer *into = user;
    (void)one;
    if (size > into->capacity - into->size && !reserve(into, 2 * (into->size + size))) {
        return 0;
    }
    memcpy(into->data + into->size, data, size);
    into->size += size;
    return size;
}

static bool fetch(worker *self, const object *wanted)
{
    self->stored.size = 0;
    curl_easy_setopt(self->curl, CURLOPT_URL, wanted->url);
    curl_easy_setopt(self->curl, CURLOPT_RANGE, wanted->range);
    CURLcode code = curl_easy_perform(self->curl);
    if (code != CURLE_OK) {
        fail(wanted->url, curl_easy_strerror(code));
        return false;
    }
    return true;
}

/* Decrypt all but the envelope's head into the payload buffer. */
static bool decrypt(worker *self)
{
    const buffer *from = &self->stored;
    buffer *to = &self->payload;
    int size = 0;
    int rest = 0;
    if (from->size <= ENVELOPE || from->size - ENVELOPE > 1u << 30 || !reserve(to, from->size)) {
        return false;
    }
    if (!EVP_DecryptInit_ex2(self->cipher_context, cipher, task.key, from->data + 1, NULL)
        || !EVP_DecryptUpdate(self->cipher_context, to->data, &size, from->data + ENVELOPE,
                              (int)(from->size - ENVELOPE))
        || !EVP_DecryptFinal_ex(self->cipher_context, to->data + size, &rest)) {
        return false;
    }
    to->size = (size_t)size + (size_t)rest;
    return true;
}

static size_t big_endian_32(const unsigned char *at)
{
    return (size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | (size_t)at[3];
}

/* snappy-java's stream: a header of 16 bytes, then length-prefixed raw chunks. */
static bool unsnap(const buffer *from, buffer *to, size_t length)
{
    size_t in = SNAPPY_HEADER;
    size_t out = 0;
    if (from->size < SNAPPY_HEADER || memcmp(from->data, "\x82SNAPPY", 8) != 0) {
        return false;
    }
    while (in < from->size) {
        if (from->size - in < 4) {
            return false;
        }
        size_t chunk = big_endian_32(from->data + in);
        size_t room = length - out;
        in += 4;
        if (from->size - in < chunk
            || snappy_uncompress((const char *)from->data + in, chunk, (char *)to->data + out,
                                 &room) != SNAPPY_OK) {
            return false;
        }
        in += chunk;
        out += room;
    }
    to->size = out;
    return true;
}

static bool gunzip(worker *self, const buffer *from, buffer *to, size_t length)
{
    return libdeflate_gzip_decompress(self->inflater, from->data, from->size, to->data, length,
                                      &to->size) == LIBDEFLATE_SUCCESS;
}

static bool decode(worker *self, size_t length)
{
    const buffer *payload = &self->stored;
    if (task.key_size != 0) {
        if (!decrypt(self)) {
            return false;
        }
        payload = &self->payload;
    }
    if (task.format == FORMAT_NONE) {
        return payload->size == length;
    }
    if (!reserve(&self->plain, length)) {
        return false;
    }
    bool good = task.format == FORMAT_SNAPPY ? unsnap(payload, &self->plain, length)
                                             : gunzip(self, payload, &self->plain, length);
    return good && self->plain.size == length;
}

static bool set_up(worker *self)
{
    memset(self, 0, sizeof *self);
    self->curl = curl_easy_init();
    self->cipher_context = EVP_CIPHER_CTX_new();
    self->inflater = libdeflate_alloc_decompressor();
    if (self->curl == NULL || self->cipher_context == NULL || self->inflater == NULL) {
        return false;
    }
    curl_easy_setopt(self->curl, CURLOPT_WRITEFUNCTION, append);
    curl_easy_setopt(self->curl, CURLOPT_WRITEDATA, &self->stored);
    curl_easy_setopt(self->curl, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(self->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(self->curl, CURLOPT_BUFFERSIZE, 512L * 1024);
    if (task.ca != NULL) {
        curl_easy_setopt(self->curl, CURLOPT_CAINFO, task.ca);
    }
    return true;
}

static void tear_down(worker *self)
{
    curl_easy_cleanup(self->curl);
    EVP_CIPHER_CTX_free(self->cipher_context);
    libdeflate_free_decompressor(self->inflater);
    free(self->stored.data);
    free(self->payload.data);
    free(self->plain.data);
}

static void *work(void *unused)
{
    worker self;
    (void)unused;
    if (!set_up(&self)) {
        fail("out of memory", "a worker cannot start");
    }
    while (!atomic_load(&failed)) {
        size_t index = atomic_fetch_add(&next_object, 1);
        if (index >= task.count) {
            break;
        }
        const object *wanted = &task.objects[index];
        if (!fetch(&self, wanted)) {
            break;
        }
        if (!decode(&self, wanted->length)) {
            fail(wanted->url, "does not decode to its length");
            break;
        }
        atomic_fetch_add(&received_plaintext, wanted->length);
    }
    tear_down(&self);
    return NULL;
}

/* --- the manifest ----------------------------------------------------------------------------- */

static bool read_key(const char *hex)
{
    size_t size = strlen(hex) / 2;
    if (size != 16 && size != 24 && size != 32) {
        return false;
    }
    for (size_t index = 0; index < size; index++) {
        unsigned value = 0;
        if (sscanf(hex + 2 * index, "%2x", &value) != 1) {
            return false;
        }
        task.key[index] = (unsigned char)value;
    }
    task.key_size = size;
    return true;
}

static bool add_object(const char *url, size_t length, const char *range)
{
    if (task.count == task.capacity) {
        size_t capacity = task.capacity == 0 ? 1024 : 2 * task.capacity;
        object *objects = realloc(task.objects, capacity * sizeof *objects);
        if (objects == NULL) {
            return false;
        }
        task.objects = objects;
        task.capacity = capacity;
    }
    object *added = &task.objects[task.count++];
    added->url = strdup(url);
    added->range = range[0] == '\0' ? NULL : strdup(range);
    added->length = length;
    return added->url != NULL && (range[0] == '\0' || added->range != NULL);
}

static bool read_line(const char *line)
{
    static char word[MAX_LINE];
    char range[64] = "";
    size_t length = 0;
    if (sscanf(line, "threads %u", &task.threads) == 1) {
        return task.threads >= 1 && task.threads <= MAX_THREADS;
    }
    if (sscanf(line, "get %8191s %zu %63s", word, &length, range) >= 2) {
        return add_object(word, length, range);
    }
    if (sscanf(line, "key %8191s", word) == 1) {
        return read_key(word);
    }
    if (sscanf(line, "ca %8191s", word) == 1) {
        task.ca = strdup(word);
        return task.ca != NULL;
    }
    if (sscanf(line, "format %8191s", word) == 1) {
        task.format = strcmp(word, "snappy") == 0 ? FORMAT_SNAPPY
                      : strcmp(word, "gzip") == 0 ? FORMAT_GZIP
                                                  : FORMAT_NONE;
        return task.format != FORMAT_NONE || strcmp(word, "none") == 0;
    }
    return false;
}

static bool read_manifest(const char *path)
{
    static char line[MAX_LINE];
    FILE *file = fopen(path, "r");
    bool good = file != NULL;
    while (good && fgets(line, sizeof line, file) != NULL) {
        good = read_line(line);
        if (!good) {
            fprintf(stderr, "floor: not understood: %s", line);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return good && task.threads > 0;
}

/* --- main ------------------------------------------------------------------------------------- */

static double wall_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double cpu_seconds(const struct rusage *usage)
{
    return (double)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec)
           + (double)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) / 1e6;
}

/* Peak resident set in bytes; ru_maxrss would count the parent's at the time of the fork. */
static long peak_memory(void)
{
    char line[256];
    long kib = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status != NULL && fgets(line, sizeof line, status) != NULL) {
        if (sscanf(line, "VmHWM: %ld", &kib) == 1) {
            break;
        }
    }
    if (status != NULL) {
        fclose(status);
    }
    return kib * 1024;
}

static bool run_threads(void)
{
    pthread_t threads[MAX_THREADS];
    unsigned started = 0;
    while (started < task.threads && pthread_create(&threads[started], NULL, work, NULL) == 0) {
        started++;
    }
    for (unsigned index = 0; index < started; index++) {
        pthread_join(threads[index], NULL);
    }
    return started == task.threads && !atomic_load(&failed);
}

int main(int argc, char **argv)
{
    struct rusage before;
    struct rusage after;
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("%s, libdeflate/%s\n", curl_version(), LIBDEFLATE_VERSION_STRING);
        return 0;
    }
    if (argc != 2 || !read_manifest(argv[1])) {
        fprintf(stderr, "usage: floor MANIFEST\n");
        return 2;
    }
    getrusage(RUSAGE_SELF, &before);
    double start = wall_seconds();
    curl_global_init(CURL_GLOBAL_DEFAULT);
    if (task.key_size != 0) {
        cipher = EVP_CIPHER_fetch(NULL,
                                  task.key_size == 16   ? "AES-128-CBC"
                                  : task.key_size == 24 ? "AES-192-CBC"
                                                        : "AES-256-CBC",
                                  NULL);
    }
    bool good = run_threads();
    double seconds = wall_seconds() - start;
    getrusage(RUSAGE_SELF, &after);
    printf("{\"bytes\": %zu, \"seconds\": %.6f, \"cpu_seconds\": %.6f, \"maxrss\": %ld, "
           "\"requests\": %zu}\n",
           atomic_load(&received_plaintext), seconds, cpu_seconds(&after) - cpu_seconds(&before),
           peak_memory(), task.count);
    return good ? 0 : 1;
}
