/* extract.h - from a host's log to the file of its metrics, going on where an earlier one was stopped.
 *
 * Every line of the container's is looked at once; platform lines are not. A line in several records is put together,
 * up to EXTRACT_LINE_MAX_BYTES; what is longer is looked at as far as that. Used by bloomery-metric and, for whole
 * stored logs, by try.h; on one thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "metric/out.h"

enum { EXTRACT_LINE_MAX_BYTES = 4 << 20 };

struct extract;
/* set and out are borrowed. left: what out has been left with. ERR_NOT_FOUND: there is no log (yet). */
int extract_open(const char *log_path, struct metric_set *set, struct metric_out *out, const struct metric_left *left,
                 struct extract **ret, struct err *e) must_check;
void extract_close(struct extract *x); /* NULL is fine */
DEFINE_CLEANUP(struct extract, extract_close)

/* Extracts about max_bytes more of the log: 1 when there may be more, 0 at its end (so far). Values are in `out` as
 * soon as METRIC_FRAME_BYTES of them are there. */
int extract_more(struct extract *x, size_t max_bytes, struct err *e) must_check;
/* The log has ended: what is left of a last line is one. */
int extract_end(struct extract *x, struct err *e) must_check;
/* Writes what is put together in `out`, with the place; with_counts: and the counts, where they can be told now. */
int extract_write(struct extract *x, bool with_counts, struct err *e) must_check;
/* The place has moved since it was written. */
bool extract_moved(const struct extract *x);
