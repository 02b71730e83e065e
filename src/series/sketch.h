/* sketch.h - how the values of one interval are spread, for percentiles and what is like them.
 *
 * A sketch is a sorted list of (value, how often). Up to SKETCH_EXACT different values it holds the values themselves,
 * and everything computed from it is exact. With more it becomes rough: values are rounded to steps of 2 %, so that a
 * percentile is within 1 % of a value that was there, however many there are; two rough sketches merge without further
 * loss. A rough sketch never has more than SKETCH_BINS bins: beyond that its lowest ones are put together.
 * Statistic sets (count, sum, minimum, maximum) say nothing of the spread: a sketch that met one is `unknown`.
 *
 * Pure; any thread. Plain memory of the caller's: sketch_fini frees it, a zeroed one is empty.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

enum { SKETCH_EXACT = 64, SKETCH_WIDE = 4096, SKETCH_BINS = 1024 };

struct sketch_bin {
	double value, count;
};
struct sketch {
	struct sketch_bin *bins; /* by value */
	size_t n, room;
	bool rough, unknown;
	bool wide; /* one that is not kept, only computed with: exact up to SKETCH_WIDE */
};

void sketch_add(struct sketch *s, double value, double count); /* value finite, count > 0 */
void sketch_merge(struct sketch *s, const struct sketch *with);
void sketch_fini(struct sketch *s);

/* As it is kept in the database. sketch_read adds to nothing: s becomes what the bytes say. False: not such bytes. */
void sketch_write(const struct sketch *s, struct buf *out);
bool sketch_read(struct str bytes, struct sketch *ret);

double sketch_count(const struct sketch *s);
/* The smallest value that at least `percent` of a hundred of all values do not exceed. Not of an empty one. */
double sketch_percentile(const struct sketch *s, double percent);
/* Count and sum of what lies between two shares of the whole (0 <= from <= to <= 1), a bin on the border by its part.
 */
void sketch_between(const struct sketch *s, double from, double to, double *ret_count, double *ret_sum);
/* The same of the values that are greater than `low` and at most `high`. */
void sketch_within(const struct sketch *s, double low, double high, double *ret_count, double *ret_sum);
