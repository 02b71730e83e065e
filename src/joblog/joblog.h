/* joblog.h - what the container printed, byte for byte, with the time each line arrived. Written by bloomery-job only,
 * read by bloomeryd (logs API), the command line and FailureReason. See joblog.c for the file's format.
 *
 * A record is one line (or a piece of an over-long one). Records are numbered from 0; their times never go back. A
 * reader may read while the writer writes: a torn tail is not seen. kill -9 of the writer loses no whole record that
 * joblog_add returned for.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/clock.h"
#include "base/str.h"

enum joblog_source { LOG_FROM_CONTAINER, LOG_FROM_PLATFORM };

struct log_record {
	struct wall at;
	enum joblog_source source;
	bool ends_line;       /* false: the next record goes on with the same line */
	struct str bytes;     /* without '\n'; a view, valid until the next call on the reader */
	uint64_t n;           /* number of the record */
};

struct joblog;
/* Creates or appends (a torn tail is cut). */
int joblog_open(const char *path, struct joblog **ret, struct err *e) must_check;
int joblog_add(struct joblog *l, struct wall at, enum joblog_source source, bool ends_line, struct str bytes,
               struct err *e) must_check;
int joblog_close(struct joblog *l, struct err *e); /* syncs; l is freed whatever happens */

struct joblog_reader;
/* ERR_NOT_FOUND: nothing was printed yet. */
int joblog_reader_open(const char *path, struct joblog_reader **ret, struct err *e) must_check;
void joblog_reader_close(struct joblog_reader *r); /* NULL is fine */
DEFINE_CLEANUP(struct joblog_reader, joblog_reader_close)
/* Positions the reader: at byte offset `offset` as told by joblog_offset (0: start). ERR_INVALID: not a record's start. */
int joblog_seek(struct joblog_reader *r, uint64_t offset, struct err *e) must_check;
uint64_t joblog_offset(const struct joblog_reader *r); /* of the next record */
int joblog_next(struct joblog_reader *r, struct log_record *ret, struct err *e) must_check; /* 1, 0 at the end, -1 */
/* One record before the current position, moving back over it: 1, 0 at the start, -1. */
int joblog_prev(struct joblog_reader *r, struct log_record *ret, struct err *e) must_check;
/* Moves to the first record at or after t. */
int joblog_seek_time(struct joblog_reader *r, struct wall t, struct err *e) must_check;
/* Appends the last lines of the log (container's only), at most max_lines and max_bytes, made printable, '\n' between. */
int joblog_tail(const char *path, size_t max_lines, size_t max_bytes, struct buf *out, struct err *e) must_check;
/* Appends bytes as the service shows them: TAB becomes #011 and so on (contract 6.1), non-UTF-8 bytes are replaced. */
void joblog_escape(struct str bytes, struct buf *out);
