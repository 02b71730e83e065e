/* out.h - the writing end of one FIFO: bytes go in as the reader takes them, and who waited for whom is counted.
 *
 * Used by the thread of one stream. SIGPIPE must be ignored. The descriptor is borrowed, and made non-blocking: all
 * waiting for the reader is in one poll() here, which is how waiting for it is told from waiting for the store.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdatomic.h>
#include <sys/types.h>

#include "base/str.h"

/* What became of all streams of a channel, since the start. Added to by any thread. */
struct feed_counts {
	atomic_ullong objects, bytes;
	atomic_ullong stalls_reader, stalls_store;
	atomic_ullong wait_reader_ns, wait_store_ns;
};

/* What is shorter than this is work, not waiting. */
enum { OUT_STALL_NS = 1000000 };

/* The reader has gone (early close): not an error, but the end of this stream. */
enum { OUT_GONE = 2 };

struct out {
	int fd;
	struct feed_counts *counts;
	int64_t since; /* when the last byte went in; what passes from then on may be waiting for the store */
	bool was_full; /* the FIFO was full the last time we looked, so the reader has enough */
	char *pending; /* small pieces on their way to becoming one write */
	size_t pending_n;
};

/* Also gives the FIFO as much room as it can get, up to 1 MiB. */
void out_init(struct out *o, int fd, struct feed_counts *counts);
void out_fini(struct out *o); /* what is pending is dropped */

/* All of these: 0, OUT_GONE, or -1. */
/* Adds bytes; small ones may be kept back until there are more, or out_flush(). */
int out_add(struct out *o, struct str bytes, struct err *e) must_check;
/* Adds `length` bytes of a regular file without a copy through user space. ERR_IO when it is shorter than that. */
int out_splice(struct out *o, int fd, uint64_t offset, uint64_t length, struct err *e) must_check;
/* To be called before anything that may take long, and at the end. */
int out_flush(struct out *o, struct err *e) must_check;
/* To be called now and then while the store is waited for, so that long waits are counted as they go on. */
void out_waiting(struct out *o);
/* Whether the reader has gone; asks, and does not wait. */
bool out_gone(const struct out *o);
