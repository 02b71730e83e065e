/* source.h - where the bytes of an epoch come from: its items in order, each to be taken to its end, or passed by.
 *
 * Two kinds: the embedded store's files (source_store.c) and another S3 (source_remote.c). A source belongs to one
 * stream's thread, and works ahead of it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "feed/out.h"
#include "feed/walk.h"

struct source;
struct source_ops {
	/* 1: *ret is the next item, borrowed until the next call; 0: the end of the epoch; -1. */
	int (*next)(struct source *s, struct out *o, const struct feed_item **ret, struct err *e);
	/* The next n bytes of the item that is an object to the FIFO; they must be there. 0, OUT_GONE, -1. */
	int (*give)(struct source *s, uint64_t n, struct out *o, struct err *e);
	/* The next bytes of it in memory, valid until the next call. 1; 0: that was all; OUT_GONE; -1. */
	int (*read)(struct source *s, struct out *o, struct str *ret, struct err *e);
	void (*free)(struct source *s);
};
struct source {
	const struct source_ops *ops;
};
static inline void source_free(struct source *s)
{
	s->ops->free(s);
}
DEFINE_CLEANUP(struct source, source_free)

/* Both take the walk over. */
struct source *source_store_new(int objects_fd, struct walk *w);

/* What the streams of a channel share: the client, the threads that make requests, and the memory. */
struct remote;
int remote_share_new(const struct s3_target *t, struct remote **ret, struct err *e) must_check;
struct source *source_remote_new(struct remote *r, struct walk *w);
