/* out.h - the file of a host's metrics: written by bloomery-metric (one process at a time), read by whoever stores
 * them.
 *
 * It is a job log (joblog.h) whose lines are JSON objects, each of one kind:
 *
 *   {"t":ms,"n":"loss","v":0.5}               a value of an algorithm metric, from the log; t is when the line came
 *   {"t":ms,"n":"loss","v":0.5,"s":7,"src":"file"}     one from a file (tracker.h); s (the step) where it has one
 *   {"t":ms,"i":"CPUUtilization","v":12.5,"u":"Percent"}    a sample of the instance
 *   {"at":offset,"done":n}      of the log all before offset is extracted, and n values of what begins there
 *   {"files":[{"name":"7.json","inode":n,"offset":n}],...}   how far files are read, see tracker.h
 *   {"counts":[{"lines":n,"matched":n,"refused":n,"limited":n,"last":"nan","why":"...","nearest":"..."}],"counted_at":offset}
 *                               one entry a definition, of all lines before offset; absolute numbers
 *
 * Values are written together with the place that comes after them, in one frame, which is there whole or not at all:
 * a writer that goes on where the last one was killed writes each value once.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "base/clock.h"
#include "metric/metric.h"

enum { METRIC_FRAME_BYTES = 128 << 10 /* what is put together is written when it is longer */ };

/* How far a log is extracted: `done` of the values that come after `at` are out already. */
struct metric_place {
	uint64_t at, done;
};

/* What an earlier writer has left. */
struct metric_left {
	struct metric_place place;
	uint64_t counted_at;
	json_t *counts, *files; /* NULL: none */
};
void metric_left_fini(struct metric_left *l);

struct metric_out;
int metric_out_open(const char *path, struct metric_out **ret, struct metric_left *ret_left, struct err *e) must_check;
/* One that writes the same lines to a descriptor (borrowed) that somebody reads, and leaves nothing behind. */
struct metric_out *metric_out_to(int fd);
void metric_out_close(struct metric_out *o); /* syncs; what is put together is lost; NULL is fine */
DEFINE_CLEANUP(struct metric_out, metric_out_close)

/* Appends to what is put together. name is text; quoted is the same as JSON has it, from metric_quote(). */
char *metric_quote(struct str text); /* caller frees */
void metric_out_value(struct metric_out *o, struct wall t, const char *quoted, double v, struct str text);
void metric_out_file_value(struct metric_out *o, struct wall t, struct str name, double v, const int64_t *step);
void metric_out_sample(struct metric_out *o, struct wall t, const char *name, double v, const char *unit);
/* Appends a line as it is; steals j. */
void metric_out_json(struct metric_out *o, json_t *j);
void metric_out_line(struct metric_out *o, struct str line);
void metric_out_counts(struct metric_out *o, struct metric_set *s, uint64_t at);

size_t metric_out_pending(const struct metric_out *o); /* bytes */
/* Writes what is put together, with the place, as one frame. */
int metric_out_write(struct metric_out *o, struct metric_place place, struct err *e) must_check;

/* Takes over the counts of an earlier writer. False: they are of other definitions. */
bool metric_counts_restore(struct metric_set *s, const json_t *counts);
