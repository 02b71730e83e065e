/* ahead.h - how far to read ahead of whom: sequences are recognised, random reads are left alone.
 *
 * A stream is a place in a file from which reading goes on. The kernel reads for several threads and ahead by itself,
 * so the reads of one stream come in pieces and a little out of order, and a file may have several streams. A stream's
 * window doubles with every step up to a share of the cache; a read that belongs to no stream starts a new one without
 * a window, but for the start of a file.
 *
 * Not thread-safe: remote.c has it under its lock.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

enum {
	AHEAD_BLOCK = 64 << 10,      /* plans start and end at multiples of it, or at the end of the file */
	AHEAD_FIRST = 512 << 10,     /* a window's first size */
	AHEAD_WINDOW_MAX = 32 << 20, /* and its last */
	AHEAD_PIECE_MAX = 4 << 20,   /* asked for at once */
	AHEAD_NEAR = 1 << 20,        /* how far off its place a read still belongs to a stream */
	AHEAD_STREAMS = 64,          /* remembered */
};

struct ahead {
	uint64_t budget; /* for all windows together; set by ahead_init() */
	uint64_t reads;
	struct stream {
		uint32_t file;
		uint64_t at;      /* where the next read is expected */
		uint64_t planned; /* up to where plans have been made */
		uint64_t window;
		uint64_t used; /* number of the last read; 0: free */
	} streams[AHEAD_STREAMS];
};

/* What to fetch besides what was asked for: from..to in pieces of `piece` bytes. Nothing when from == to. */
struct ahead_plan {
	uint64_t from, to;
	uint32_t piece;
};

void ahead_init(struct ahead *a, uint64_t budget);
/* file_size > offset, length > 0, offset + length <= file_size */
struct ahead_plan ahead_read(struct ahead *a, uint32_t file, uint64_t file_size, uint64_t offset, uint64_t length);
