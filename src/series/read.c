/* Points and metrics, for who asks. SPDX-License-Identifier: Apache-2.0 */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "series/db.h"

/* ---- points ---- */

/* The series of a key, one for each unit unless the key names one. */
struct found {
	int64_t *ids;
	size_t n;
};

static int find_series(struct series_conn *c, const struct series_key *key, struct found *ret, struct err *e)
{
	_cleanup_buf_ struct buf dims = { 0 };
	sqlite3_stmt *st;
	int r;

	series_dims_text(key->dims, key->dim_count, &dims);
	if (series_prepare(c,
	                   "SELECT series.id FROM metric JOIN series ON series.metric = metric.id WHERE namespace = ?1 "
	                   "AND name = ?2 AND dims = ?3 AND (?4 IS NULL OR unit = ?4)",
	                   &st, e) < 0)
		return -1;
	series_bind(st, 1, key->ns);
	series_bind(st, 2, key->name);
	series_bind(st, 3, buf_view(&dims));
	series_bind(st, 4, key->unit);
	while ((r = series_row(st, e)) > 0) {
		ret->ids = xrealloc(ret->ids, (ret->n + 1) * sizeof(*ret->ids));
		ret->ids[ret->n++] = sqlite3_column_int64(st, 0);
	}
	return r;
}

/* The coarsest resolution whose intervals fill those of the window. */
static const struct series_tier *tier_of(const struct series_window *w)
{
	for (size_t i = ARRAY_LEN(series_tiers); i-- > 0;)
		if (w->period % series_tiers[i].seconds == 0 && w->start % series_tiers[i].seconds == 0)
			return &series_tiers[i];
	return &series_tiers[0];
}

static void add_point(struct series_points *all, size_t *room, int64_t t, const struct series_point *p, bool sketch)
{
	struct series_point *last = all->n ? &all->v[all->n - 1] : NULL;

	if (!last || last->t != t) {
		if (all->n == *room) {
			*room = *room ? 2 * *room : 64;
			all->v = xrealloc(all->v, *room * sizeof(*all->v));
		}
		last = &all->v[all->n++];
		*last = (struct series_point){ .t = t, .sketch = { .wide = true } };
	}
	if (sketch) {
		series_point_merge(last, p);
		return;
	}
	last->min = last->count ? fmin(last->min, p->min) : p->min;
	last->max = last->count ? fmax(last->max, p->max) : p->max;
	last->count += p->count;
	last->sum = fmin(fmax(last->sum + p->sum, -DBL_MAX), DBL_MAX);
}

static int read_series(struct series_conn *c, int64_t id, const struct series_window *w, int64_t now_s,
                       struct series_points *all, struct err *e)
{
	const struct series_tier *tier = tier_of(w);
	int64_t kept = now_s - tier->keep_s - tier->seconds;
	size_t room = 0;
	sqlite3_stmt *st;
	int r;

	if (series_prepare(c,
	                   w->sketch
	                           ? "SELECT t, count, sum, min, max, sketch FROM point WHERE series = ?1 AND seconds "
	                             "= ?2 AND t >= ?3 AND t < ?4 ORDER BY t"
	                           : "SELECT t, count, sum, min, max FROM point WHERE series = ?1 AND seconds = ?2 "
	                             "AND t >= ?3 AND t < ?4 ORDER BY t",
	                   &st, e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, id);
	sqlite3_bind_int64(st, 2, tier->seconds);
	sqlite3_bind_int64(st, 3, w->start > kept ? w->start : kept);
	sqlite3_bind_int64(st, 4, w->end);
	while ((r = series_row(st, e)) > 0) {
		int64_t t = sqlite3_column_int64(st, 0);
		struct series_point p = { .count = sqlite3_column_double(st, 1),
			                  .sum = sqlite3_column_double(st, 2),
			                  .min = sqlite3_column_double(st, 3),
			                  .max = sqlite3_column_double(st, 4) };

		if (w->sketch && !sketch_read(series_column(st, 5), &p.sketch))
			p.sketch.unknown = p.min != p.max;
		add_point(all, &room, t - (t - w->start) % w->period, &p, w->sketch);
		sketch_fini(&p.sketch);
	}
	return r;
}

/* Two lists by time become one. */
static void join(struct series_points *to, struct series_points *from)
{
	struct series_points all = { .v = xcalloc(to->n + from->n + 1, sizeof(*all.v)) };
	size_t i = 0, k = 0;

	while (i < to->n || k < from->n) {
		struct series_point *next = k == from->n || (i < to->n && to->v[i].t <= from->v[k].t) ? &to->v[i++]
		                                                                                      : &from->v[k++];
		if (all.n && all.v[all.n - 1].t == next->t) {
			series_point_merge(&all.v[all.n - 1], next);
			sketch_fini(&next->sketch);
		} else {
			all.v[all.n++] = *next;
		}
	}
	free(to->v);
	free(from->v);
	*to = all;
	*from = (struct series_points){ 0 };
}

int series_read_points(struct series_store *s, const struct series_key *key, const struct series_window *w,
                       struct wall now, struct series_points *ret, struct err *e)
{
	struct series_conn *c = series_reader(s, e);
	struct series_points all = { 0 };
	struct found found = { 0 };
	int rc;

	if (!c)
		return -1;
	rc = find_series(c, key, &found, e);
	for (size_t i = 0; i < found.n && rc == 0; i++) {
		struct series_points one = { 0 };

		rc = read_series(c, found.ids[i], w, now.ms / 1000, &one, e);
		join(&all, &one);
	}
	free(found.ids);
	series_reader_back(s, c);
	if (rc < 0)
		series_points_fini(&all);
	else
		*ret = all;
	return rc;
}

int series_units(struct series_store *s, const struct series_key *key, char ***ret, size_t *ret_count, struct err *e)
{
	struct series_conn *c = series_reader(s, e);
	_cleanup_buf_ struct buf dims = { 0 };
	char **units = NULL;
	size_t n = 0;
	sqlite3_stmt *st;
	int r;

	if (!c)
		return -1;
	series_dims_text(key->dims, key->dim_count, &dims);
	r = series_prepare(c,
	                   "SELECT unit FROM metric JOIN series ON series.metric = metric.id WHERE namespace = ?1 AND "
	                   "name = ?2 AND dims = ?3 ORDER BY unit",
	                   &st, e);
	if (r == 0) {
		series_bind(st, 1, key->ns);
		series_bind(st, 2, key->name);
		series_bind(st, 3, buf_view(&dims));
		while ((r = series_row(st, e)) > 0) {
			units = xrealloc(units, (n + 1) * sizeof(*units));
			units[n++] = str_dup(series_column(st, 0));
		}
	}
	series_reader_back(s, c);
	if (r < 0) {
		while (n)
			free(units[--n]);
		free(units);
		return -1;
	}
	*ret = units;
	*ret_count = n;
	return 0;
}

/* ---- metrics ---- */

static void metric_fini(struct series_metric *m)
{
	free(m->ns);
	free(m->name);
	free(m->dims);
	free(m->text);
}

void series_metrics_fini(struct series_metrics *m)
{
	for (size_t i = 0; i < m->n; i++)
		metric_fini(&m->v[i]);
	free(m->v);
	*m = (struct series_metrics){ 0 };
}

static bool has_dimension(const struct series_metric *m, const struct series_dimension *d)
{
	for (size_t i = 0; i < m->dim_count; i++)
		if (str_eq(m->dims[i].name, d->name) && (!d->value.p || str_eq(m->dims[i].value, d->value)))
			return true;
	return false;
}

static bool matches(const struct series_metric *m, const struct series_filter *f)
{
	for (size_t i = 0; i < f->dim_count; i++)
		if (!has_dimension(m, &f->dims[i]))
			return false;
	return true;
}

static bool take_metric(sqlite3_stmt *st, struct series_metric *ret)
{
	struct series_metric m = { .id = sqlite3_column_int64(st, 0),
		                   .text = str_dup(series_column(st, 3)),
		                   .last = { sqlite3_column_int64(st, 4) } };

	if (!series_dims_split((struct str){ m.text, series_column(st, 3).n }, &m.dims, &m.dim_count)) {
		free(m.text);
		return false;
	}
	m.ns = str_dup(series_column(st, 1));
	m.name = str_dup(series_column(st, 2));
	*ret = m;
	return true;
}

static int list(struct series_conn *c, const struct series_filter *f, struct series_metrics *all, struct err *e)
{
	sqlite3_stmt *st;
	int r = 0;

	/* A namespace is looked up in its index, which has the ids in order; + keeps the planner from others. */
	if (series_prepare(
	            c,
	            f->ns.p ? "SELECT id, namespace, name, dims, last_ms FROM metric WHERE namespace = ?1 AND id > "
	                      "?3 AND (?2 IS NULL OR +name = ?2) AND last_ms >= ?4 ORDER BY id"
	                    : "SELECT id, namespace, name, dims, last_ms FROM metric WHERE ?1 IS NULL AND id > ?3 "
	                      "AND (?2 IS NULL OR +name = ?2) AND last_ms >= ?4 ORDER BY id",
	            &st, e) < 0)
		return -1;
	series_bind(st, 1, f->ns);
	series_bind(st, 2, f->name);
	sqlite3_bind_int64(st, 3, f->after);
	sqlite3_bind_int64(st, 4, f->since.ms ? f->since.ms : INT64_MIN);
	while (all->n < f->limit && (r = series_row(st, e)) > 0) {
		struct series_metric m;

		if (!take_metric(st, &m))
			continue;
		if (!matches(&m, f)) {
			metric_fini(&m);
			continue;
		}
		if (!(all->n & (all->n - 1)))
			all->v = xrealloc(all->v, (all->n ? 2 * all->n : 1) * sizeof(*all->v));
		all->v[all->n++] = m;
	}
	if (all->n == f->limit) {
		sqlite3_reset(st);
		return 0;
	}
	return r;
}

int series_list(struct series_store *s, const struct series_filter *f, struct series_metrics *ret, struct err *e)
{
	struct series_conn *c = series_reader(s, e);
	struct series_metrics all = { 0 };
	int rc;

	if (!c)
		return -1;
	rc = list(c, f, &all, e);
	series_reader_back(s, c);
	if (rc < 0)
		series_metrics_fini(&all);
	else
		*ret = all;
	return rc;
}
