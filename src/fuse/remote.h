/* remote.h - the bytes of objects of another S3: fetched by ranges with If-Match, read ahead, kept in a bounded cache.
 *
 * A piece is what one GET brings: a run of blocks of 64 KiB of one object. A block is in one piece at most, so that all
 * who want it wait for the same request. What a reader waits for is fetched before what is read ahead. The cache has
 * the least recently used first to go, and before them what a sequence has read to its end, as the kernel has it now.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <sys/uio.h>

#include "fuse/tree.h"

struct remote_options {
	struct tree *tree;          /* the caller's */
	const struct s3_target *s3; /* copied */
	const char *bucket;         /* the caller's */
	uint64_t cache_bytes;       /* goes over it by what is being asked for at the moment */
	unsigned threads;           /* GETs at once */
	unsigned patience_s;        /* how long a store that does not answer is waited for */

	/* The answer to a read: its bytes, valid until it returns; or why there are none (ERR_CONFLICT: the object was
	 * replaced; ERR_BUSY: remote_free() was called). `waited`: they were not there when they were asked for. Called
	 * once for every remote_read(), by any thread, also from within. */
	void (*answer)(void *arg, void *asked, const struct iovec *bytes, int count, bool waited,
	               const struct err *why);
	void *arg;
};

struct remote;
int fuse_remote_new(const struct remote_options *o, struct remote **ret, struct err *e) must_check;
/* Answers what is not answered yet, and waits for the threads, a second or so. No reads meanwhile. NULL is fine. */
void remote_free(struct remote *r);
DEFINE_CLEANUP(struct remote, remote_free)

/* length > 0, the range inside of the file. Does not wait; any thread. */
void remote_read(struct remote *r, uint32_t file, uint64_t offset, size_t length, void *asked);

/* For tests and logs: what the cache holds, and what was asked of the store. */
struct remote_numbers {
	uint64_t cached_bytes, gets, got_bytes;
};
struct remote_numbers remote_numbers(struct remote *r);
