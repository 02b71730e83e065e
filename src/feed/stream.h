/* stream.h - one epoch of a channel, written into one FIFO: the units in their order, in the shape that was asked for
 * (contract 2.5 to 2.7, 3.3).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "feed/source.h"
#include "feed/spool.h"

/* A channel, as all of its streams see it. Set once; what changes is atomic or behind its own lock. */
struct feed {
	const struct feeder_order *order;
	struct feed_index index;
	struct remote *remote; /* PLACE_REMOTE */
	struct feed_counts counts;
	atomic_ullong spooled; /* bytes of memory that spools have */
};

/* Writes epoch `epoch` to fd, which stays the caller's. 0 at its end and OUT_GONE when the reader has closed before;
 * -1: the channel cannot be fed; the error names the object. Blocks as long as the reader wants. Any thread. */
int stream_epoch(struct feed *f, uint64_t epoch, int fd, struct err *e) must_check;
