/* logstore.h - the log groups, streams and events that clients made, and what was said about groups: <data>/logs.db,
 * SQLite, WAL. What containers print is not in it (joblog/).
 *
 * Any thread; calls take turns on one connection and block for some statements' time. Events of a stream are ordered by
 * time and then by `seq`, a number that grows with every event. What a call that changes something returned 0 for is on
 * disk. Errors are ERR_IO unless said otherwise.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/clock.h"
#include "base/str.h"

struct logstore;
int logstore_open(const char *path, struct logstore **ret, struct err *e) must_check;
void logstore_close(struct logstore *s); /* NULL is fine */
DEFINE_CLEANUP(struct logstore, logstore_close)

/* ---- groups ---- */

struct log_group {
	int64_t id;
	struct str name; /* a view during a callback, else empty */
	struct wall created;
	unsigned retention_days; /* 0: for ever */
	uint64_t bytes;          /* of messages */
};
/* ERR_IN_USE: it exists. */
int logstore_group_create(struct logstore *s, struct str name, struct wall now, struct err *e) must_check;
int logstore_group_find(struct logstore *s, struct str name, struct log_group *ret,
                        struct err *e) must_check; /* ERR_NOT_FOUND */
int logstore_group_retain(struct logstore *s, struct str name, unsigned days,
                          struct err *e) must_check;                                      /* ERR_NOT_FOUND */
int logstore_group_delete(struct logstore *s, struct str name, struct err *e) must_check; /* ERR_NOT_FOUND */
/* By name. fn must not call the store. */
int logstore_groups_each(struct logstore *s, void (*fn)(const struct log_group *g, void *arg), void *arg,
                         struct err *e) must_check;

enum { LOG_TAGS_MAX = 50 };
/* value.p NULL: takes the tag away. ERR_LIMIT: there would be more than LOG_TAGS_MAX. */
int logstore_tag(struct logstore *s, int64_t group, struct str key, struct str value, struct err *e) must_check;
int logstore_tags_each(struct logstore *s, int64_t group, void (*fn)(struct str key, struct str value, void *arg),
                       void *arg, struct err *e) must_check;

/* ---- streams ---- */

struct log_stream {
	int64_t id;
	struct str name;                            /* as of groups */
	struct wall created, first, last, ingested; /* first, last: times of events; ms 0: none yet */
	uint64_t bytes;
};
/* ERR_IN_USE: it exists. */
int logstore_stream_create(struct logstore *s, int64_t group, struct str name, struct wall now,
                           struct err *e) must_check;
int logstore_stream_find(struct logstore *s, int64_t group, struct str name, struct log_stream *ret,
                         struct err *e) must_check; /* ERR_NOT_FOUND */
int logstore_stream_delete(struct logstore *s, int64_t stream, struct err *e) must_check;
/* Those whose names begin with prefix, by name. fn must not call the store. */
int logstore_streams_each(struct logstore *s, int64_t group, struct str prefix,
                          void (*fn)(const struct log_stream *st, void *arg), void *arg, struct err *e) must_check;

/* ---- events ---- */

struct log_event {
	struct wall at, ingested;
	uint64_t seq;
	struct str message; /* a view during a callback */
};
/* All of them or none. */
int logstore_put(struct logstore *s, int64_t stream, const struct log_event *events, size_t count, struct wall now,
                 struct err *e) must_check;
/* Forwards: those at or behind (at, seq), in order; backwards: those before it, the last first. Until fn says false, or
 * `max` were handed out. fn must not call the store. */
int logstore_read(struct logstore *s, int64_t stream, struct wall at, uint64_t seq, bool backwards, unsigned max,
                  bool (*fn)(const struct log_event *ev, void *arg), void *arg, struct err *e) must_check;
/* Removes the events of a group from before t, some thousands at a time, until there are none. */
int logstore_expire(struct logstore *s, int64_t group, struct wall t, struct err *e) must_check;
