/* math.h - metric math: the expressions of GetMetricData over time series.
 *
 * + - * / ^ and unary minus over numbers and series, parentheses, [lists], ids, and functions: ABS AVG CEIL DIFF
 * DIFF_TIME FILL FIRST FLOOR LAST LOG LOG10 MAX METRIC_COUNT METRICS MIN PERIOD RATE REMOVE_EMPTY RUNNING_SUM SEARCH
 * SLICE SORT STDDEV SUM TIME_SERIES. Two series are combined where both have a point; a point without a value (a
 * division by 0) is left out. STDDEV is that of a whole population.
 *
 * Pure but for the callbacks; any thread. Errors are ERR_INVALID with a sentence about the expression.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

enum {
	MATH_DEPTH = 50,           /* of parentheses and calls */
	MATH_LINES_MAX = 500,      /* series in one value */
	MATH_POINTS_MAX = 4000000, /* made by all expressions of a request together */
};

/* One series. What it is of is for labels: NULL where it is computed of several. */
struct math_line {
	int64_t *t; /* ascending, seconds */
	double *v;
	size_t n;
	int64_t period;
	char *ns, *name, *dims, *stat; /* dims as series_dims_text has them */
};
void math_line_fini(struct math_line *l);

enum math_kind { MATH_SCALAR, MATH_LINE, MATH_LINES, MATH_TEXT, MATH_WORD };
struct math_value {
	enum math_kind kind;
	double scalar;
	struct math_line *lines; /* LINE has one */
	size_t n;
	char *text; /* of TEXT, and WORD: REPEAT, DESC */
};
void math_value_fini(struct math_value *v);

struct math_env {
	int64_t start, end, period; /* of the request; period is that of TIME_SERIES */
	size_t *points;             /* made so far, of MATH_POINTS_MAX */
	void *arg;
	/* Each gives a value of its own, which the caller finishes. */
	int (*id)(void *arg, struct str id, struct math_value *ret, struct err *e);
	/* All metrics of the request whose id contains `part`. */
	int (*metrics)(void *arg, struct str part, struct math_value *ret, struct err *e);
	int (*search)(void *arg, struct str query, struct str stat, int64_t period, struct math_value *ret,
	              struct err *e);
};
int math_evaluate(struct str expression, const struct math_env *env, struct math_value *ret, struct err *e) must_check;
/* A copy, counted in env->points: ERR_INVALID when there are too many. */
int math_copy(const struct math_value *v, const struct math_env *env, struct math_value *ret, struct err *e) must_check;
