/* cloudwatch_query.h - the queries of one GetMetricData: what each comes to. Inside op/ only; one thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "op/cloudwatch.h"
#include "series/math.h"

enum { QUERIES_MAX = 500 };

struct query {
	struct str id, expression, label;
	const json_t *stat; /* MetricStat; NULL: it has an expression */
	int64_t period;
	bool returns, cut; /* cut: a SEARCH of it found more than it gives */
	size_t number;     /* from 1 */
	enum { QUERY_NEW, QUERY_RUNNING, QUERY_DONE } progress;
	struct math_value value;
};
struct queries {
	const struct api_call *call;
	struct query *v;
	size_t n;
	struct wall start, end;
	size_t points;     /* read and made */
	struct query *now; /* whose expression is evaluated */
};
/* Reads and checks MetricDataQueries, StartTime and EndTime; views into `in`. */
int queries_read(const struct api_call *call, const json_t *in, struct queries *ret, struct err *e) must_check;
void queries_fini(struct queries *q);
/* Evaluates a query; again is cheap. */
int query_run(struct queries *all, struct query *q, struct err *e) must_check;

/* cloudwatch_label.c: how line `at` of the query's result is called; the caller frees. */
char *query_label(const struct queries *all, const struct query *q, size_t at);
