/* stat.h - the statistics of CloudWatch, by name: SampleCount, Average, Sum, Minimum, Maximum, p90, tm90, TM(10%:90%),
 * wm, tc, ts, PR(:100), IQM; and what they are of a point.
 *
 * Pure; any thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "series/sketch.h"

/* What is known of the values of one interval. */
struct series_point {
	int64_t t;            /* where the interval begins, seconds since 1970 */
	double count, sum;    /* count > 0 */
	double min, max;      /* min == max: all values are that, and the sketch is left empty */
	struct sketch sketch; /* only where it was asked for */
};
struct series_points {
	struct series_point *v; /* by t */
	size_t n;
};
void series_points_fini(struct series_points *p);
/* The values of `from`, too; to->t stays. */
void series_point_merge(struct series_point *to, const struct series_point *from);
/* The sketch of a point, also where it was left out as it follows from min and max. *space is the caller's to fini. */
const struct sketch *series_point_sketch(const struct series_point *p, struct sketch *space);

enum stat_kind {
	STAT_SAMPLE_COUNT,
	STAT_AVERAGE,
	STAT_SUM,
	STAT_MINIMUM,
	STAT_MAXIMUM,
	STAT_PERCENTILE,      /* p */
	STAT_TRIMMED_MEAN,    /* tm, and IQM */
	STAT_WINSORIZED_MEAN, /* wm */
	STAT_TRIMMED_COUNT,   /* tc */
	STAT_TRIMMED_SUM,     /* ts */
	STAT_RANK,            /* PR: how many per cent lie within */
};
struct stat_name {
	enum stat_kind kind;
	bool by_value; /* low and high are values, else per cent */
	double low, high;
};
/* False: no statistic is called that. */
bool stat_parse(struct str name, struct stat_name *ret);
bool stat_is_extended(const struct stat_name *s); /* needs sketches */
/* False: the point does not tell (it holds statistic sets, or nothing lies in the range). */
bool stat_of(const struct stat_name *s, const struct series_point *p, double *ret);
