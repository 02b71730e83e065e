/* How the series of GetMetricData are called. SPDX-License-Identifier: Apache-2.0
 *
 * A label of the request may hold ${PROP('MetricName')}, also of Namespace, Stat, Period, AccountId, Region and
 * Dim.NAME, and ${LABEL}, ${FIRST}, ${LAST}, ${MIN}, ${MAX}, ${AVG}, ${SUM}, ${DATAPOINT_COUNT}; what else is in ${} is
 * left as it is. */
#include <math.h>
#include <stdlib.h>

#include "aws/wire.h"
#include "op/cloudwatch_query.h"

static bool dimension(const struct math_line *l, struct str name, struct buf *out)
{
	struct series_dimension *dims = NULL;
	size_t n = 0;
	bool found = false;

	if (!l->dims || !series_dims_split(str_of(l->dims), &dims, &n))
		return false;
	for (size_t i = 0; i < n && !found; i++)
		if (str_eq(dims[i].name, name)) {
			buf_str(out, dims[i].value);
			found = true;
		}
	free(dims);
	return found;
}

/* ---- without a label ---- */

/* What is different among the series of a result: their names, and the values of dimensions. */
static void add_different(const struct query *q, const struct math_line *l, struct buf *out)
{
	struct series_dimension *dims = NULL;
	bool names = false;
	size_t n = 0;

	if (!series_dims_split(str_of(l->dims), &dims, &n))
		n = 0;
	for (size_t k = 0; k < n; k++)
		for (size_t i = 0; i < q->value.n; i++) {
			_cleanup_buf_ struct buf other = { 0 };

			if (dimension(&q->value.lines[i], dims[k].name, &other) &&
			    str_eq(buf_view(&other), dims[k].value))
				continue;
			buf_f(out, "%s" PRIstr, out->n ? " " : "", ARGstr(dims[k].value));
			break;
		}
	for (size_t i = 0; i < q->value.n; i++)
		names |= !q->value.lines[i].name || strcmp(q->value.lines[i].name, l->name);
	if (names || !out->n)
		buf_f(out, "%s%s", out->n ? " " : "", l->name);
	free(dims);
}

static void add_default(const struct query *q, const struct math_line *l, struct buf *out)
{
	if (q->stat)
		buf_z(out, l->name);
	else if (q->value.kind == MATH_LINES && l->name)
		add_different(q, l, out);
	else
		buf_str(out, q->id);
}

/* ---- with one ---- */

static bool property(const struct queries *all, const struct query *q, const struct math_line *l, struct str name,
                     struct buf *out)
{
	if (str_skip(&name, STR("Dim.")))
		return dimension(l, name, out);
	if (str_is(name, "MetricName") && l->name)
		buf_z(out, l->name);
	else if (str_is(name, "Namespace") && l->ns)
		buf_z(out, l->ns);
	else if (str_is(name, "Stat") && l->stat)
		buf_z(out, l->stat);
	else if (str_is(name, "Period"))
		buf_f(out, "%lld", (long long)l->period);
	else if (str_is(name, "AccountId"))
		buf_z(out, all->call->api->account);
	else if (str_is(name, "Region"))
		buf_z(out, all->call->api->region);
	else if (str_is(name, "MetricId") || str_is(name, "Id"))
		buf_str(out, q->id);
	else
		return false;
	return true;
}

static bool value(const struct math_line *l, struct str name, struct buf *out)
{
	double sum = 0, min = INFINITY, max = -INFINITY;

	if (str_is(name, "DATAPOINT_COUNT")) {
		buf_f(out, "%zu", l->n);
		return true;
	}
	for (size_t i = 0; i < l->n; i++) {
		sum += l->v[i];
		min = fmin(min, l->v[i]);
		max = fmax(max, l->v[i]);
	}
	const struct {
		const char *name;
		double v;
	} rows[] = {
		{ "AVG", sum / (double)l->n },
		{ "SUM", sum },
		{ "MIN", min },
		{ "MAX", max },
		{ "FIRST", l->n ? l->v[0] : 0 },
		{ "LAST", l->n ? l->v[l->n - 1] : 0 },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (str_is(name, rows[i].name)) {
			if (l->n && isfinite(rows[i].v))
				buf_double(out, rows[i].v);
			else
				buf_z(out, "--");
			return true;
		}
	return false;
}

static bool dynamic(const struct queries *all, const struct query *q, const struct math_line *l, struct str inside,
                    struct buf *out)
{
	inside = str_trim(inside);
	if (str_is(inside, "LABEL")) {
		add_default(q, l, out);
		return true;
	}
	if (str_skip(&inside, STR("PROP('")) && str_ends(inside, STR("')")))
		return property(all, q, l, (struct str){ inside.p, inside.n - 2 }, out);
	return value(l, inside, out);
}

char *query_label(const struct queries *all, const struct query *q, size_t at)
{
	const struct math_line *l = &q->value.lines[at];
	struct str rest = q->label;
	struct buf out = { 0 };

	buf_init(&out);
	if (!rest.n)
		add_default(q, l, &out);
	while (rest.n) {
		ptrdiff_t from = str_find(rest, STR("${")), to;
		struct str tail;

		if (from < 0)
			break;
		tail = (struct str){ rest.p + from + 2, rest.n - (size_t)from - 2 };
		to = str_find(tail, STR("}"));
		buf_add(&out, rest.p, (size_t)from);
		if (to < 0 || !dynamic(all, q, l, (struct str){ tail.p, (size_t)to }, &out))
			buf_add(&out, rest.p + from, to < 0 ? 2 : (size_t)to + 3);
		rest = to < 0 ? tail : (struct str){ tail.p + to + 1, tail.n - (size_t)to - 1 };
	}
	buf_str(&out, rest);
	return buf_take(&out);
}
