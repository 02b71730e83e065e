/* walk.h - what one epoch consists of, part by part, in its order.
 *
 * A walk belongs to one thread; many can go through one list at once. Items outlive it: they are counted, because
 * requests for them may still be on their way when an epoch ends early.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "channel/feeder.h"
#include "jobdir/list.h"

/* Where the units of the list begin. Read once, then only looked at. */
struct feed_index {
	uint64_t *offsets;
	uint32_t count;
};
int feed_index_read(int list_fd, struct feed_index *ret, struct err *e) must_check;
void feed_index_fini(struct feed_index *x);

/* A unit's part: bytes that stand in the list, or an object to be read. */
struct feed_item {
	_Atomic unsigned users;
	bool literal;
	uint64_t size;
	struct str bytes;             /* when literal */
	struct str bucket, key, etag; /* when not */
	struct str id;                /* of the object in the store; NUL-terminated */
	int fd;                       /* for who reads it; closed with the item */
	char text[];                  /* what the views view */
};
struct feed_item *feed_item_ref(struct feed_item *i);
void feed_item_unref(struct feed_item *i); /* NULL is fine */

struct walk;
/* list_fd is borrowed: the walk opens the file anew. */
int walk_new(const struct feeder_order *order, const struct feed_index *x, uint64_t epoch, struct walk **ret,
             struct err *e) must_check;
void walk_free(struct walk *w); /* NULL is fine */
DEFINE_CLEANUP(struct walk, walk_free)

/* 1: *ret is the next part, the caller's to unref; 0: that was the epoch; -1. */
int walk_next(struct walk *w, struct feed_item **ret, struct err *e) must_check;
