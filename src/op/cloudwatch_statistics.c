/* GetMetricStatistics. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "op/cloudwatch.h"
#include "op/training_job.h"

enum { POINTS_MAX = 1440, STATISTICS_MAX = 15 };

/* What is asked of each point. */
struct asked {
	struct {
		struct str text;
		struct stat_name name;
		bool extended;
	} v[STATISTICS_MAX];
	size_t n;
};

/* 12345 as 12,345. */
static void add_grouped(struct buf *out, int64_t n)
{
	_cleanup_free_ char *digits = strf("%lld", (long long)n);

	for (size_t i = 0, length = strlen(digits); i < length; i++) {
		if (i && (length - i) % 3 == 0)
			buf_c(out, ',');
		buf_c(out, digits[i]);
	}
}

static int too_many(int64_t points, struct err *e)
{
	_cleanup_buf_ struct buf n = { 0 };

	add_grouped(&n, points);
	return err_set(e, ERR_COMBINATION,
	               "You have requested up to %s datapoints, which exceeds the limit of 1,440. You may reduce the "
	               "datapoints requested by increasing Period, or decreasing the time range.",
	               n.p);
}

static int add_asked(struct asked *a, const json_t *names, bool extended, struct err *e)
{
	const json_t *x;
	size_t i;

	json_array_foreach (names, i, x) {
		struct str text = { json_string_value(x), json_string_length(x) };
		struct stat_name name;

		if (!stat_parse(text, &name) || stat_is_extended(&name) != extended)
			return err_set(e, ERR_PARAMETER,
			               "The value " PRIstr " for parameter ExtendedStatistics.member.%zu is invalid.",
			               ARGstr(text), i + 1);
		if (a->n == STATISTICS_MAX)
			break; /* the model allows no more */
		a->v[a->n].text = text;
		a->v[a->n].name = name;
		a->v[a->n++].extended = extended;
	}
	return 0;
}

static json_t *datapoint(const struct asked *a, const struct series_point *p, const char *unit)
{
	json_t *point = json_pack("{s:I}", "Timestamp", (json_int_t)p->t), *extended = NULL;
	double value = 0;

	for (size_t i = 0; i < a->n; i++) {
		_cleanup_free_ char *name = str_dup(a->v[i].text);

		if (!stat_of(&a->v[i].name, p, &value))
			continue;
		if (a->v[i].extended && !extended)
			extended = json_object();
		json_object_set_new(a->v[i].extended ? extended : point, name, json_real(value));
	}
	json_object_set_new(point, "Unit", json_string(unit));
	if (extended)
		json_object_set_new(point, "ExtendedStatistics", extended);
	if (json_object_size(point) > 2)
		return point;
	json_decref(point); /* nothing that was asked for can be told */
	return NULL;
}

/* Each unit has points of its own. */
static int add_points(const struct api_call *call, const struct series_key *key, const struct series_window *w,
                      const struct asked *a, json_t *all, struct err *e)
{
	_cleanup_free_ char *unit = str_dup(key->unit);
	struct series_points points = { 0 };

	if (series_read_points(call->api->series, key, w, call->now, &points, e) < 0)
		return -1;
	for (size_t i = 0; i < points.n; i++) {
		json_t *point = datapoint(a, &points.v[i], unit);

		if (point)
			json_array_append_new(all, point);
	}
	series_points_fini(&points);
	return 0;
}

static int add_units(const struct api_call *call, struct series_key *key, const struct series_window *w,
                     const struct asked *a, json_t *all, struct err *e)
{
	char **units = NULL;
	size_t n = 0;
	int rc = 0;

	if (key->unit.p)
		return add_points(call, key, w, a, all, e);
	if (series_units(call->api->series, key, &units, &n, e) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		key->unit = str_of(units[i]);
		if (rc == 0)
			rc = add_points(call, key, w, a, all, e);
		free(units[i]);
	}
	free(units);
	return rc;
}

static int check(const json_t *in, struct series_window *w, struct asked *a, struct wall now, struct err *e)
{
	struct wall start = cw_time(json_object_get(in, "StartTime")), end = cw_time(json_object_get(in, "EndTime"));
	int64_t period = json_integer_value(json_object_get(in, "Period")), points;

	if (!json_object_get(in, "Statistics") && !json_object_get(in, "ExtendedStatistics"))
		return err_set(e, ERR_COMBINATION, "Must specify either Statistics or ExtendedStatistics");
	if (start.ms >= end.ms)
		return err_set(e, ERR_COMBINATION, "The parameter StartTime must be less than the parameter EndTime.");
	if (!cw_period_fits(period))
		return err_set(e, ERR_PARAMETER, "The parameter Period must be 1, 5, 10, 20, 30, or a multiple of 60.");
	if (add_asked(a, json_object_get(in, "Statistics"), false, e) < 0 ||
	    add_asked(a, json_object_get(in, "ExtendedStatistics"), true, e) < 0)
		return -1;
	*w = cw_window(start, end, period, now);
	points = (w->end - w->start + period - 1) / period;
	if (points > POINTS_MAX)
		return too_many(points, e);
	for (size_t i = 0; i < a->n; i++)
		w->sketch |= a->v[i].extended;
	return 0;
}

int op_get_metric_statistics(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	struct cw_metric m;
	struct series_window w;
	struct asked asked = { 0 };
	json_t *points;

	if (check(in, &w, &asked, call->now, e) < 0)
		return -1;
	cw_metric_read(in, in_str(in, "Namespace"), &m);
	points = json_array();
	if (add_units(call, &m.key, &w, &asked, points, e) < 0) {
		json_decref(points);
		return -1;
	}
	*ret_out = json_pack("{s:s%, s:o}", "Label", m.key.name.p, m.key.name.n, "Datapoints", points);
	must(*ret_out);
	return 0;
}
