/* joblog.h - what the container printed, byte for byte, with the time each line arrived. Written by bloomery-job only,
 * read by bloomeryd (logs API), the command line and FailureReason.
 *
 * A log is known by one path, but lies in a series of files there, its segments, of which old ones are packed and may
 * be removed (series.h; frame.h says what is in them). Offsets go through all of them and stay what they are. Who waits
 * for more to come watches the directory: the log grows in a file of it, or in a new one.
 *
 * A record is one line (or a piece of an over-long one). Records are numbered from 0; their times never go back. A
 * reader may read while the writer writes: a torn tail is not seen. kill -9 of the writer loses no whole record that
 * joblog_add or joblog_add_lines returned for: nothing is buffered, each call is one write to the kernel. Writer and
 * readers are used by one thread each; errors are ERR_IO unless said otherwise.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/clock.h"
#include "base/str.h"

enum joblog_source { LOG_FROM_CONTAINER, LOG_FROM_PLATFORM };

struct log_record {
	struct wall at;
	enum joblog_source source;
	bool ends_line;   /* false: the next record goes on with the same line */
	struct str bytes; /* without '\n'; a view, valid until the next call on the reader */
	uint64_t n;       /* number of the record */
};

struct joblog;
/* Creates (0644) or appends (a torn tail is cut, numbering goes on, a line that was left unfinished is added).
 * ERR_INVALID: the file is no job log. */
int joblog_open(const char *path, struct joblog **ret, struct err *e) must_check;
/* Adds one record; bytes hold no '\n'. Over-long ones become several records. An `at` before the last record's counts
 * as the last record's. Nothing is added when there is nothing to say (no bytes and no end of line). */
int joblog_add(struct joblog *l, struct wall at, enum joblog_source source, bool ends_line, struct str bytes,
               struct err *e) must_check;
/* Adds everything that came in one read, '\n' and all, as one record a line: the cheap way, a frame costs 36 bytes and
 * a system call however many lines are in it. Bytes after the last '\n' become a record that does not end its line, so
 * a caller with two sources hands in whole lines and keeps the rest until it is whole or too long. */
int joblog_add_lines(struct joblog *l, struct wall at, enum joblog_source source, struct str bytes,
                     struct err *e) must_check;
/* ---- lines without an end ----
 *
 * The bytes of a line are in a record only when it has ended, or is too long, or its pipe was closed. So that what is
 * there of it does not die with the writer, it hands in drafts: `more` is what has come since the last one, or with
 * `all`, all of the line. No reader sees them. The first of the lines that joblog_add_drafted adds is the one of which
 * there were drafts, from its beginning. When the writer has gone, who opens the log next adds what was drafted as the
 * last record. A draft is at most JOBLOG_DRAFT_MAX bytes, all drafts of a line together as well; after JOBLOG_DRAFT_FAR
 * bytes of log since the last that was handed in with `all` it is time for another. */
enum { JOBLOG_PIPES = 2, JOBLOG_DRAFT_MAX = 256 << 10, JOBLOG_DRAFT_FAR = 4 << 20 };
int joblog_draft(struct joblog *l, struct wall at, unsigned pipe, bool all, struct str more, struct err *e) must_check;
int joblog_add_drafted(struct joblog *l, struct wall at, unsigned pipe, struct str bytes, struct err *e) must_check;
/* Opens the log and closes it, as its writer has gone. */
int joblog_recover(const char *path, struct err *e) must_check;

uint64_t joblog_end(const struct joblog *l);                 /* offset behind the last record */
int joblog_close(struct joblog *l, struct err *e);           /* syncs; l is freed whatever happens */
void joblog_segment_bytes(struct joblog *l, uint64_t bytes); /* a segment that is longer is closed; for tests */

struct joblog_reader;
/* At the first record. ERR_NOT_FOUND: nothing was printed yet. ERR_INVALID: the file is no job log. */
int joblog_reader_open(const char *path, struct joblog_reader **ret, struct err *e) must_check;
void joblog_reader_close(struct joblog_reader *r); /* NULL is fine */
DEFINE_CLEANUP(struct joblog_reader, joblog_reader_close)
/* Positions the reader: at byte offset `offset` as told by joblog_offset (0: start). ERR_INVALID: not a record's start.
 */
int joblog_seek(struct joblog_reader *r, uint64_t offset, struct err *e) must_check;
uint64_t joblog_offset(const struct joblog_reader *r);                                      /* of the next record */
int joblog_next(struct joblog_reader *r, struct log_record *ret, struct err *e) must_check; /* 1, 0 at the end, -1 */
/* What is left of the frame at the current position, in one piece: `bytes` with their '\n's, of one time and source; it
 * begins with record `n` of the log, and its last line may have no end. For who reads the whole log fast. Otherwise as
 * joblog_next. */
int joblog_next_lines(struct joblog_reader *r, struct log_record *ret, struct err *e) must_check;
/* One record before the current position, moving back over it: 1, 0 at the start, -1. */
int joblog_prev(struct joblog_reader *r, struct log_record *ret, struct err *e) must_check;
/* Moves to the first record at or after t (the end if there is none); reads O(log size). Other kinds of errors where
 * the whole log is removed meanwhile: ERR_NOT_FOUND. */
int joblog_seek_time(struct joblog_reader *r, struct wall t, struct err *e) must_check;
/* Appends the last lines of the log (container's only), at most max_lines and max_bytes, made printable, '\n' between.
 * The very last line is cut at its front to fit; earlier ones are there whole or not at all. A missing log has none. */
int joblog_tail(const char *path, size_t max_lines, size_t max_bytes, struct buf *out, struct err *e) must_check;
/* ---- for a copy on another machine ---- */

/* What a log would be in one segment, in pieces: a file to which they are appended in order is a log of that name. */
struct joblog_copy;
int joblog_copy_open(const char *path, struct joblog_copy **ret, struct err *e) must_check; /* as a reader */
void joblog_copy_close(struct joblog_copy *c);                                              /* NULL is fine */
DEFINE_CLEANUP(struct joblog_copy, joblog_copy_close)
/* The bytes from offset (0, or where an earlier piece ended) on, whole frames; none at the end. */
int joblog_copy_read(struct joblog_copy *c, uint64_t offset, struct buf *out, struct err *e) must_check;
/* Offset behind the last byte there is now, which may be one of a frame that is being written. */
int joblog_copy_end(struct joblog_copy *c, uint64_t *ret, struct err *e) must_check;

/* ---- old segments, for one thread of one process at a time (bloomeryd) ---- */

/* Packs the closed segments that are not; with `ended`, nobody will write any more, also the last one if it is long.
 * A crash in between leaves each segment as it was or packed. ERR_INVALID, ERR_IO: a segment that is not understood
 * stays as it is, the others are packed. */
int joblog_pack(const char *path, bool ended, struct err *e) must_check;
/* Removes the segments, from the front, that hold nothing at or after t; never the last one, unless `ended`. */
int joblog_trim(const char *path, struct wall t, bool ended, struct err *e) must_check;
/* Removes the log. Missing is fine. */
int joblog_remove(const char *path, struct err *e) must_check;
/* Whether there is a log, how many bytes of disk it takes, and when it was written to the last time, roughly: without
 * opening it. False: there is none. */
struct joblog_size {
	uint64_t bytes;
	struct wall written;
};
bool joblog_measure(const char *path, struct joblog_size *ret);

/* Appends bytes as the service shows them: TAB becomes #011 and so on (contract 6.1), non-UTF-8 bytes are replaced. */
void joblog_escape(struct str bytes, struct buf *out);
