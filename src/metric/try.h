/* try.h - definitions and stored logs: how an expression does on a job's log, and how a job's definitions have done.
 *
 * For the command line, and whoever serves it. Trying reads whole logs and blocks.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "metric/out.h"

enum { TRY_SHOWN_MAX = 1000 /* values and refused lines that are kept of each */ };

struct metric_try_value {
	struct wall at;
	double v;
	char *line; /* cut to METRIC_SAMPLE_BYTES */
};

struct metric_try_refused {
	struct wall at;
	char *text;      /* what was captured; "" for nothing */
	const char *why; /* to stand behind it */
	char *line;
};

struct metric_tried {
	uint64_t lines, matched, refused, limited;
	struct metric_try_value *values; /* the first ones */
	size_t value_count;
	struct metric_try_refused *refusals;
	size_t refusal_count;
	char *nearest; /* NULL: something matched, or nothing is like it */
	char *says;    /* "0 of 10,000 lines matched ..." when no line gave a value, else NULL */
};

/* Applies the expression to the logs (of the job's hosts, in this order; a missing one is empty). ERR_INVALID: it does
 * not compile. */
int metric_try(const char *const *logs, size_t count, struct str regex, struct metric_tried *ret,
               struct err *e) must_check;
/* The same; progress is called now and then with how far which log is read, and -1 from it ends the work. */
int metric_try_watched(const char *const *logs, size_t count, struct str regex,
                       int (*progress)(void *arg, size_t log, uint64_t offset, struct err *e), void *arg,
                       struct metric_tried *ret, struct err *e) must_check;
void metric_tried_fini(struct metric_tried *t);

/* The last counts of a file of metrics: 1 and a new reference; 0 when there are none (yet). Those of a host that runs
 * are as old as they may be (follow.h). */
int metric_counts_read(const char *path, json_t **ret, struct err *e) must_check;
