/* SPDX-License-Identifier: Apache-2.0 */
#include "op/cloudwatch_query.h"

#include <stdlib.h>

#include "op/training_job.h"
#include "series/search.h"

enum { SEARCH_MAX = 100, LIST_PAGE = 1000 };

/* ---- reading ---- */

static bool is_id(struct str s)
{
	if (!s.n || s.p[0] < 'a' || s.p[0] > 'z')
		return false;
	for (size_t i = 1; i < s.n; i++)
		if (!((s.p[i] | 32) >= 'a' && (s.p[i] | 32) <= 'z') && !(s.p[i] >= '0' && s.p[i] <= '9') &&
		    s.p[i] != '_')
			return false;
	return true;
}

static int check_id(const struct queries *all, const struct query *q, struct err *e)
{
	if (!is_id(q->id))
		return err_set(e, ERR_INVALID,
		               "The value " PRIstr " for parameter MetricDataQueries.member.%zu.Id is not matching the "
		               "expected pattern ^[a-z][a-zA-Z0-9_]*$.",
		               ARGstr(q->id), q->number);
	for (const struct query *other = all->v; other < q; other++)
		if (str_eq(other->id, q->id))
			return err_set(e, ERR_INVALID,
			               "The values for parameter Id in MetricDataQueries are not unique: " PRIstr ".",
			               ARGstr(q->id));
	return 0;
}

static int check_period(const struct query *q, const char *member, struct err *e)
{
	return cw_period_fits(q->period) ? 0
	                                 : err_set(e, ERR_INVALID,
	                                           "The value %lld for parameter MetricDataQueries.member.%zu.%s must "
	                                           "be 1, 5, 10, 20, 30, or "
	                                           "a multiple of 60.",
	                                           (long long)q->period, q->number, member);
}

static int read_query(const struct queries *all, struct query *q, const json_t *in, struct err *e)
{
	const json_t *returns = json_object_get(in, "ReturnData"), *period = json_object_get(in, "Period");
	struct stat_name name;

	q->id = in_str(in, "Id");
	q->expression = in_str(in, "Expression");
	q->label = in_str(in, "Label");
	q->stat = json_object_get(in, "MetricStat");
	q->returns = !returns || json_is_true(returns);
	if (check_id(all, q, e) < 0)
		return -1;
	if (!q->stat == !q->expression.n)
		return err_set(e, ERR_INVALID,
		               "MetricDataQueries.member.%zu must have either MetricStat or Expression, and not both.",
		               q->number);
	if (!q->stat) {
		q->period = period ? json_integer_value(period) : 0;
		return period ? check_period(q, "Period", e) : 0;
	}
	q->period = json_integer_value(json_object_get(q->stat, "Period"));
	if (!stat_parse(in_str(q->stat, "Stat"), &name))
		return err_set(e, ERR_INVALID,
		               "The value " PRIstr
		               " for parameter MetricDataQueries.member.%zu.MetricStat.Stat is not a "
		               "valid statistic.",
		               ARGstr(in_str(q->stat, "Stat")), q->number);
	return check_period(q, "MetricStat.Period", e);
}

/* What an expression without a period of its own has: the least of the metrics'. */
static void default_periods(struct queries *all)
{
	int64_t least = 0;

	for (size_t i = 0; i < all->n; i++)
		if (all->v[i].stat && (!least || all->v[i].period < least))
			least = all->v[i].period;
	for (size_t i = 0; i < all->n; i++)
		if (!all->v[i].period)
			all->v[i].period = least ? least : 60;
}

int queries_read(const struct api_call *call, const json_t *in, struct queries *ret, struct err *e)
{
	const json_t *list = json_object_get(in, "MetricDataQueries");
	struct queries all = { .call = call,
		               .start = cw_time(json_object_get(in, "StartTime")),
		               .end = cw_time(json_object_get(in, "EndTime")) };

	if (!json_array_size(list))
		return err_set(e, ERR_INVALID, "The collection MetricDataQueries must not be empty.");
	if (json_array_size(list) > QUERIES_MAX)
		return err_set(e, ERR_INVALID, "The collection MetricDataQueries must not have a size greater than %d.",
		               QUERIES_MAX);
	if (all.start.ms >= all.end.ms)
		return err_set(e, ERR_INVALID, "The parameter StartTime must be less than the parameter EndTime.");
	all.v = xcalloc(json_array_size(list), sizeof(*all.v));
	for (; all.n < json_array_size(list); all.n++) {
		all.v[all.n].number = all.n + 1;
		if (read_query(&all, &all.v[all.n], json_array_get(list, all.n), e) < 0) {
			queries_fini(&all);
			return -1;
		}
	}
	default_periods(&all);
	*ret = all;
	return 0;
}

void queries_fini(struct queries *q)
{
	for (size_t i = 0; i < q->n; i++)
		math_value_fini(&q->v[i].value);
	free(q->v);
	*q = (struct queries){ 0 };
}

/* ---- points ---- */

static int too_many(struct err *e)
{
	return err_set(e, ERR_INVALID,
	               "The request reads more than %d data points. You may reduce them by increasing Period, or "
	               "decreasing the time range.",
	               MATH_POINTS_MAX);
}

static int read_line(struct queries *all, const struct series_key *key, const char *stat, int64_t period,
                     struct math_line *ret, struct err *e)
{
	const struct api_call *call = all->call;
	struct series_window w = cw_window(all->start, all->end, period, call->now);
	struct series_points points = { 0 };
	_cleanup_buf_ struct buf dims = { 0 };
	struct stat_name name;
	struct math_line line = { .period = period };
	double v;

	must(stat_parse(str_of(stat), &name));
	w.sketch = stat_is_extended(&name);
	if (series_read_points(call->api->series, key, &w, call->now, &points, e) < 0)
		return -1;
	all->points += points.n;
	if (all->points > MATH_POINTS_MAX) {
		series_points_fini(&points);
		return too_many(e);
	}
	line.t = xcalloc(points.n + 1, sizeof(*line.t));
	line.v = xcalloc(points.n + 1, sizeof(*line.v));
	for (size_t i = 0; i < points.n; i++)
		if (stat_of(&name, &points.v[i], &v)) {
			line.t[line.n] = points.v[i].t;
			line.v[line.n++] = v;
		}
	series_points_fini(&points);
	series_dims_text(key->dims, key->dim_count, &dims);
	line.ns = str_dup(key->ns);
	line.name = str_dup(key->name);
	line.dims = str_dup(buf_view(&dims));
	line.stat = xstrdup(stat);
	*ret = line;
	return 0;
}

static void one_line(struct math_value *v, struct math_line line)
{
	*v = (struct math_value){ .kind = MATH_LINE, .lines = xcalloc(1, sizeof(line)), .n = 1 };
	v->lines[0] = line;
}

static int run_stat(struct queries *all, struct query *q, struct err *e)
{
	const json_t *metric = json_object_get(q->stat, "Metric");
	_cleanup_free_ char *stat = str_dup(in_str(q->stat, "Stat"));
	struct str unit = in_str(q->stat, "Unit");
	struct math_line line;
	struct cw_metric m;

	cw_metric_read(metric, in_str(metric, "Namespace"), &m);
	m.key.unit = unit.n ? unit : (struct str){ 0 };
	if (read_line(all, &m.key, stat, q->period, &line, e) < 0)
		return -1;
	one_line(&q->value, line);
	return 0;
}

/* ---- what expressions ask for ---- */

static int give(struct queries *all, struct query *q, const struct math_env *env, struct math_value *ret, struct err *e)
{
	return query_run(all, q, e) < 0 ? -1 : math_copy(&q->value, env, ret, e);
}

static int on_id(void *arg, struct str id, struct math_value *ret, struct err *e)
{
	struct queries *all = arg;
	const struct math_env env = { .points = &all->points };

	for (size_t i = 0; i < all->n; i++)
		if (str_eq(all->v[i].id, id))
			return give(all, &all->v[i], &env, ret, e);
	return err_set(e, ERR_INVALID, "The following ids are undefined: [" PRIstr "]", ARGstr(id));
}

static int on_metrics(void *arg, struct str part, struct math_value *ret, struct err *e)
{
	struct queries *all = arg;
	const struct math_env env = { .points = &all->points };
	struct math_value v = { .kind = MATH_LINES, .lines = xcalloc(all->n + 1, sizeof(*v.lines)) };

	for (size_t i = 0; i < all->n; i++) {
		struct query *q = &all->v[i];
		struct math_value one;

		if (!q->stat || str_find(q->id, part) < 0)
			continue;
		if (give(all, q, &env, &one, e) < 0) {
			math_value_fini(&v);
			return -1;
		}
		v.lines[v.n++] = one.lines[0];
		one.n = 0;
		math_value_fini(&one);
	}
	*ret = v;
	return 0;
}

static int add_found(struct queries *all, const struct series_metric *m, const char *stat, int64_t period,
                     struct math_value *v, struct err *e)
{
	const struct series_key key = {
		.ns = str_of(m->ns), .name = str_of(m->name), .dims = m->dims, .dim_count = m->dim_count
	};
	struct math_line line;

	if (read_line(all, &key, stat, period, &line, e) < 0)
		return -1;
	if (!line.n) { /* of another time */
		math_line_fini(&line);
		return 0;
	}
	v->lines[v->n++] = line;
	return 0;
}

/* Metrics are looked at a page at a time; those without points in the time are left out. */
static int on_search(void *arg, struct str text, struct str stat_text, int64_t period, struct math_value *ret,
                     struct err *e)
{
	struct queries *all = arg;
	_cleanup_free_ char *stat = str_dup(stat_text);
	struct math_value v = { .kind = MATH_LINES, .lines = xcalloc(SEARCH_MAX, sizeof(*v.lines)) };
	struct series_filter f = { .limit = LIST_PAGE, .since = all->start };
	struct series_metrics page = { 0 };
	struct stat_name name;
	struct search s;
	int rc = search_parse(text, &s, e);

	if (rc == 0 && (!stat_parse(stat_text, &name) || !cw_period_fits(period)))
		rc = err_set(e, ERR_INVALID,
		             "SEARCH wants a statistic and a period of 1, 5, 10, 20, 30, or a multiple of 60");
	if (rc == 0 && s.schema)
		f.ns = s.ns;
	while (rc == 0) {
		rc = series_list(all->call->api->series, &f, &page, e);
		for (size_t i = 0; i < page.n && rc == 0; i++) {
			if (!search_matches(&s, &page.v[i]))
				continue;
			if (v.n == SEARCH_MAX) {
				all->now->cut = true;
				break;
			}
			rc = add_found(all, &page.v[i], stat, period, &v, e);
		}
		f.after = page.n ? page.v[page.n - 1].id : 0;
		if (page.n < LIST_PAGE || all->now->cut)
			break;
		series_metrics_fini(&page);
	}
	series_metrics_fini(&page);
	if (rc < 0)
		math_value_fini(&v);
	else
		*ret = v;
	return rc;
}

static int run_expression(struct queries *all, struct query *q, struct err *e)
{
	struct series_window w = cw_window(all->start, all->end, q->period, all->call->now);
	const struct math_env env = { .start = w.start,
		                      .end = w.end,
		                      .period = q->period,
		                      .points = &all->points,
		                      .arg = all,
		                      .id = on_id,
		                      .metrics = on_metrics,
		                      .search = on_search };
	struct query *outer = all->now;
	struct err why = { 0 };
	char text[2048];
	int rc;

	all->now = q;
	rc = math_evaluate(q->expression, &env, &q->value, &why);
	all->now = outer;
	if (rc == 0 && q->value.kind > MATH_LINES) {
		math_value_fini(&q->value);
		rc = err_set(&why, ERR_INVALID, "it is a %s, and no time series", "text");
	}
	if (rc == 0)
		return 0;
	if (why.kind != ERR_INVALID || str_starts(str_of(why.frame[0]), STR("Error in expression"))) {
		if (e)
			*e = why;
		return -1;
	}
	return err_set(e, ERR_INVALID, "Error in expression '" PRIstr "': %s", ARGstr(q->id),
	               err_text(&why, text, sizeof(text)));
}

int query_run(struct queries *all, struct query *q, struct err *e)
{
	int rc;

	if (q->progress == QUERY_DONE)
		return 0;
	if (q->progress == QUERY_RUNNING)
		return err_set(e, ERR_INVALID, "Error in expression '" PRIstr "': Circular reference", ARGstr(q->id));
	q->progress = QUERY_RUNNING;
	rc = q->stat ? run_stat(all, q, e) : run_expression(all, q, e);
	q->progress = rc < 0 ? QUERY_NEW : QUERY_DONE;
	return rc;
}
