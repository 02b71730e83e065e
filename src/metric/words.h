/* words.h - what is told about metric definitions, in the job's log and by `metrics try`. Pure.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "metric/metric.h"

enum metric_told {
	TOLD_NEVER = 1,   /* nothing matched, while the job runs */
	TOLD_REFUSED = 2, /* the first text that is no number */
	TOLD_LIMITED = 4, /* the first line that the expression took too long for */
	TOLD_GIVEN_UP = 8,
};

/* What there is to be said of a definition now and was not: appends a sentence for each to out, a line each, and notes
 * it in the counts. late: it has had its time to match something. */
void metric_words_now(struct metric_set *s, size_t definition, bool late, struct buf *out);
/* At the end: a sentence when it has matched nothing, or not only. */
void metric_words_end(struct metric_set *s, size_t definition, struct buf *out);
/* "0 of 10,000 lines matched `loss=(\S+)`; nearest line: ..." */
void metric_words_never(struct metric_set *s, size_t definition, struct buf *out);
void metric_words_number(uint64_t n, struct buf *out); /* "10,000" */
