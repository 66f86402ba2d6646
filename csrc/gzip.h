/* gzip payloads (RFC 1952) over libdeflate's DEFLATE. */
#ifndef CTERA_GZIP_H
#define CTERA_GZIP_H

#include <stddef.h>
#include <stdint.h>

#include "block.h"
#include "worker.h"

int gzip_recognised(const uint8_t *in, size_t size);
int gzip_decode(struct worker *worker, const uint8_t *in, size_t size, struct block *block);

#endif
