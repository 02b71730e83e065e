/* gzip.h - one gzip member written to a descriptor, compressed in blocks on several threads, in bounded memory.
 *
 * The caller's thread fills blocks; workers compress them; one thread digests and writes them in order. Each block is
 * deflated for itself and ends on a byte, so that their concatenation is one deflate stream. A block of zeros from
 * gzip_zeros is compressed once for all, which makes holes of sparse files nearly free.
 *
 * Used by one thread. After a failure everything else fails the same way.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

struct gzip_options {
	unsigned threads; /* 0: one a core */
	int level;        /* 1 to 3; 0: default */
};

struct gzip;
/* fd is borrowed and written from its offset on. Cannot fail. */
struct gzip *gzip_new(int fd, const struct gzip_options *o);
/* Stops and joins the threads, whatever state they are in. NULL is fine. */
void gzip_free(struct gzip *z);
DEFINE_CLEANUP(struct gzip, gzip_free)

/* Where the next bytes go, *ret_room of them (at least one); the caller fills some and says how many. For reading files
 * without a copy. */
int gzip_room(struct gzip *z, char **ret_p, size_t *ret_room, struct err *e) must_check;
void gzip_filled(struct gzip *z, size_t n);
int gzip_add(struct gzip *z, struct str bytes, struct err *e) must_check;
int gzip_zeros(struct gzip *z, uint64_t n, struct err *e) must_check;
/* Writes the end and waits until all is written; not synced. md5: of what was written, lower-case hex. */
int gzip_finish(struct gzip *z, uint64_t *ret_bytes, char ret_md5[33], struct err *e) must_check;
