/* tarstream.h - the bytes of a tar archive in two steps: undo the compression, then read entries; both sides hashed.
 *
 * libarchive could do both at once, but the digest of the uncompressed archive is an image's identity, so the bytes
 * have to pass by here in between. Decompression is by libraries only; no program is ever started.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <archive.h>

#include "base/hash.h"

struct tarstream;

/* Reads from fd, which stays the caller's. Of the uncompressed archive not much more than tar_bytes_max is read, be it
 * files, what goes nowhere, or what follows the end: reading on fails with ERR_TOO_LARGE. */
struct tarstream *tarstream_open(int fd, uint64_t tar_bytes_max, struct err *e) must_check;
void tarstream_close(struct tarstream *t); /* NULL is fine */
DEFINE_CLEANUP(struct tarstream, tarstream_close)
/* The reader of entries, for archive_read_next_header and archive_read_data_block. */
struct archive *tarstream_entries(struct tarstream *t);
uint64_t tarstream_bytes(const struct tarstream *t); /* read from fd so far */
/* Reads to the end of fd, whatever follows the archive, and gives both digests. */
int tarstream_finish(struct tarstream *t, unsigned char stream_sha256[SHA256_BYTES],
                     unsigned char tar_sha256[SHA256_BYTES], struct err *e) must_check;
/* What libarchive says about its last failure, as an error of ours. */
int tarstream_failed(struct tarstream *t, struct err *e);
