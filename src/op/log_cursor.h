/* log_cursor.h - the events of one stream, whoever wrote it, one after the other: a training host's log (joblog/) or
 * events that clients put (logstore/). Inside op/ only; used by one thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "joblog/joblog.h"
#include "logstore/logstore.h"

/* Where a stream is. */
struct log_place {
	char *path;     /* of a host's log, owned; NULL: the store's */
	int64_t stream; /* in the store */
};

struct log_shown { /* a view, valid until the next call on the cursor */
	int64_t at_ms, ingested_ms;
	struct str message; /* as the service shows it */
	uint64_t n;         /* tells it from all others of the stream */
};

/* Between two events. Of a host's log `at` is 0 and n the offset; else the next event is the first at or behind (at,
 * n). A position stays what it is while the stream grows. */
struct log_pos {
	int64_t at;
	uint64_t n;
};
int log_pos_compare(struct log_pos a, struct log_pos b);

struct log_cursor;
/* store is borrowed, path copied. At the first event. ERR_NOT_FOUND: nothing was written yet (a host's). */
int log_cursor_open(struct logstore *store, const struct log_place *place, struct log_cursor **ret,
                    struct err *e) must_check;
void log_cursor_close(struct log_cursor *c); /* NULL is fine */
DEFINE_CLEANUP(struct log_cursor, log_cursor_close)
struct log_pos log_cursor_pos(const struct log_cursor *c);
/* ERR_INVALID: no event is there. */
int log_cursor_seek(struct log_cursor *c, struct log_pos pos, struct err *e) must_check;
int log_cursor_seek_time(struct log_cursor *c, int64_t at_ms, struct err *e) must_check;
int log_cursor_next(struct log_cursor *c, struct log_shown *ret, struct err *e) must_check; /* 1; 0 at the end */
int log_cursor_prev(struct log_cursor *c, struct log_shown *ret, struct err *e) must_check; /* 1; 0 at the start */
/* Lets go of files and memory until it is used again. */
void log_cursor_park(struct log_cursor *c);
