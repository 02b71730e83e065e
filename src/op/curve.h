/* curve.h - the values of a metric as they come, drawn together to as few points as a plot can show. Pure.
 *
 * Values come by time; how many there will be is not known, so a point is one value first, and each becomes of twice as
 * many whenever there are more than twice as many points as wanted. Statistics are exact whatever is drawn.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "base/clock.h"

struct curve_point {
	int64_t ms; /* of its first value */
	double count, sum, min, max;
};
struct curve {
	size_t wanted; /* points; 0: none */
	int64_t first_ms, last_ms;
	double last, min, max, count;
	uint64_t added, of_each; /* of_each: how many make a point */
	struct curve_point *points;
	size_t n;
};
void curve_add(struct curve *c, struct wall at, double value); /* not before the one that came last */
/* What is known of `count` values together. */
void curve_add_many(struct curve *c, struct wall at, double count, double sum, double min, double max);
void curve_fini(struct curve *c);
/* Members Count, Last, Min, Max, First, LastTime, and where points are wanted Points: [[seconds, min, max, mean], ...];
 * a new reference. */
json_t *curve_to_json(const struct curve *c);
