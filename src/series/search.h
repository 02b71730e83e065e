/* search.h - the search expressions of SEARCH(): '{Namespace,Dim1,Dim2} terms'.
 *
 * The braces, which may be left out, say of which namespace and of exactly which dimensions a metric is to be. A term
 * is looked for in the metric's name, its namespace, and the names and values of its dimensions, or only where its
 * designator says: MetricName=, Namespace=, or a dimension's name (Host=). Terms in a row must all be there; AND, OR,
 * NOT and parentheses work as they do elsewhere. Text is compared by its tokens, pieces of letters or digits in a row
 * (also split at camel case): `job/algo-` is in `my-job/algo-1`. "In double quotes" it must be the whole of a name or
 * value. Letters compare without case.
 *
 * Pure; any thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "series/series.h"

enum { SEARCH_DIMENSIONS_MAX = 30, SEARCH_DEPTH = 20 };

struct search {
	bool schema;
	struct str ns; /* of the schema */
	struct str dims[SEARCH_DIMENSIONS_MAX];
	size_t dim_count;
	struct str terms;
};
/* Views into text. ERR_INVALID: where it is not understood. */
int search_parse(struct str text, struct search *ret, struct err *e) must_check;
bool search_matches(const struct search *s, const struct series_metric *m);
