/* Expressions and searches of GetMetricData, and names of statistics. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>

#include "series/math.h"
#include "series/search.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct math_line line(double factor)
{
	struct math_line l = { .t = xcalloc(4, sizeof(*l.t)), .v = xcalloc(4, sizeof(*l.v)), .n = 4, .period = 60 };

	for (int i = 0; i < 4; i++) {
		l.t[i] = 60 * i;
		l.v[i] = factor * (i - 1);
	}
	return l;
}

static int lines(struct math_value *ret, size_t n)
{
	*ret = (struct math_value){ .kind = n == 1 ? MATH_LINE : MATH_LINES,
		                    .lines = xcalloc(n, sizeof(*ret->lines)),
		                    .n = n };
	for (size_t i = 0; i < n; i++)
		ret->lines[i] = line((double)i + 0.5);
	return 0;
}

static int on_id(void *arg, struct str id, struct math_value *ret, struct err *e)
{
	(void)arg;
	return id.p[0] == 'z' ? err_set(e, ERR_INVALID, "no such id") : lines(ret, 1);
}

static int on_metrics(void *arg, struct str part, struct math_value *ret, struct err *e)
{
	(void)arg, (void)part, (void)e;
	return lines(ret, 3);
}

static int on_search(void *arg, struct str text, struct str stat, int64_t period, struct math_value *ret, struct err *e)
{
	struct series_dimension d = { STR("Host"), STR("job/algo-1") };
	const struct series_metric m = { .ns = (char *)"ns", .name = (char *)"CPU", .dims = &d, .dim_count = 1 };
	struct stat_name name;
	struct search s;

	(void)arg, (void)period;
	if (search_parse(text, &s, e) < 0)
		return -1;
	if (!stat_parse(stat, &name))
		return err_set(e, ERR_INVALID, "no such statistic");
	return lines(ret, search_matches(&s, &m) ? 2 : 3);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t points = 0;
	const struct math_env env = { 0, 240, 60, &points, NULL, on_id, on_metrics, on_search };
	struct math_value v = { 0 };
	struct err e = { 0 };

	if (size > 4096)
		return 0;
	if (math_evaluate((struct str){ (const char *)data, size }, &env, &v, &e) < 0) {
		must(e.kind == ERR_INVALID && e.depth);
		return 0;
	}
	for (size_t i = 0; i < v.n; i++)
		for (size_t k = 0; k < v.lines[i].n; k++)
			must(isfinite(v.lines[i].v[k]) && (!k || v.lines[i].t[k] > v.lines[i].t[k - 1]));
	math_value_fini(&v);
	return 0;
}
