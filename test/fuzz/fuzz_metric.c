/* The first line is an expression, the rest are lines: what is found by way of literals is what is found by trying
 * every line.  SPDX-License-Identifier: Apache-2.0 */
#include "metric/metric.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct sum {
	uint64_t n, hash;
};

static void add(void *arg, const struct metric_match *m)
{
	struct sum *s = arg;

	s->n++;
	s->hash = s->hash * 31 + (uint64_t)m->kind * 7 + m->line.n;
	for (size_t i = 0; i < m->text.n; i++)
		s->hash = s->hash * 31 + (unsigned char)m->text.p[i];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str rest = { (const char *)data, size }, regex = str_cut(&rest, '\n');
	struct metric_definition d[] = { { STR("a"), regex }, { STR("b"), STR("loss=(\\S+)") } };
	struct metric_set *fast, *slow;
	struct sum a = { 0 }, b = { 0 };

	if (!regex.n || regex.n > 500 || size > 20000 || !utf8_valid(regex))
		return 0;
	if (metric_set_new(d, 2, &fast, NULL) < 0)
		return 0;
	must(metric_set_new(d, 2, &slow, NULL) == 0);
	metric_set_without_literals(slow);
	metric_set_lines(fast, rest, add, &a);
	metric_set_lines(slow, rest, add, &b);
	/* Where a search may begin further on, it may stay within limits that it else exceeds. */
	if (!metric_set_counts(fast, 0)->limited && !metric_set_counts(slow, 0)->limited)
		must(a.n == b.n && a.hash == b.hash);
	metric_set_free(fast);
	metric_set_free(slow);
	return 0;
}
