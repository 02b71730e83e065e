/* A batch into the database. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>

#include "series/batch.h"

/* ---- which series ---- */

static int metric_id(struct series_conn *c, const struct batch_key *k, int64_t *ret, struct err *e)
{
	sqlite3_stmt *st;
	int r;

	/* The second value of the same is the rule: found by the update. */
	if (series_prepare(c,
	                   "INSERT INTO metric(namespace, name, dims, last_ms) VALUES(?1, ?2, ?3, ?4) "
	                   "ON CONFLICT(namespace, name, dims) DO UPDATE SET last_ms = max(last_ms, excluded.last_ms) "
	                   "RETURNING id",
	                   &st, e) < 0)
		return -1;
	series_bind(st, 1, (struct str){ k->ns, k->ns_n });
	series_bind(st, 2, (struct str){ k->name, k->name_n });
	series_bind(st, 3, (struct str){ k->dims, k->dims_n });
	sqlite3_bind_int64(st, 4, k->last_ms);
	r = series_row(st, e);
	if (r > 0) {
		*ret = sqlite3_column_int64(st, 0);
		r = series_done(st, e);
	}
	return r;
}

static int series_id(struct series_conn *c, struct batch_key *k, struct err *e)
{
	sqlite3_stmt *st;
	int64_t metric = 0;
	int r;

	if (metric_id(c, k, &metric, e) < 0 ||
	    series_prepare(c, "SELECT id FROM series WHERE metric = ?1 AND unit = ?2", &st, e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, metric);
	series_bind(st, 2, (struct str){ k->unit, k->unit_n });
	r = series_row(st, e);
	if (r > 0) {
		k->series = sqlite3_column_int64(st, 0);
		return series_done(st, e);
	}
	if (r < 0 || series_prepare(c, "INSERT INTO series(metric, unit) VALUES(?1, ?2)", &st, e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, metric);
	series_bind(st, 2, (struct str){ k->unit, k->unit_n });
	if (series_done(st, e) < 0)
		return -1;
	k->series = sqlite3_last_insert_rowid(c->db);
	return 0;
}

/* ---- points ---- */

/* What is there already of the interval. *ret is the caller's, with count 0 when nothing is. */
static int read_old(struct series_conn *c, int64_t series, int64_t seconds, struct series_point *ret, struct err *e)
{
	sqlite3_stmt *st;
	int r;

	if (series_prepare(c,
	                   "SELECT count, sum, min, max, sketch FROM point WHERE series = ?1 AND seconds = ?2 AND t = "
	                   "?3",
	                   &st, e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, series);
	sqlite3_bind_int64(st, 2, seconds);
	sqlite3_bind_int64(st, 3, ret->t);
	r = series_row(st, e);
	if (r <= 0)
		return r;
	ret->count = sqlite3_column_double(st, 0);
	ret->sum = sqlite3_column_double(st, 1);
	ret->min = sqlite3_column_double(st, 2);
	ret->max = sqlite3_column_double(st, 3);
	if (!sketch_read(series_column(st, 4), &ret->sketch))
		ret->sketch.unknown = ret->min != ret->max;
	return series_done(st, e);
}

static int put_point(struct series_conn *c, int64_t series, int64_t seconds, const struct series_point *p,
                     struct err *e)
{
	_cleanup_buf_ struct buf sketch = { 0 };
	sqlite3_stmt *st;

	if (series_prepare(c,
	                   "INSERT OR REPLACE INTO point(series, seconds, t, count, sum, min, max, sketch) "
	                   "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
	                   &st, e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, series);
	sqlite3_bind_int64(st, 2, seconds);
	sqlite3_bind_int64(st, 3, p->t);
	sqlite3_bind_double(st, 4, p->count);
	sqlite3_bind_double(st, 5, p->sum);
	sqlite3_bind_double(st, 6, p->min);
	sqlite3_bind_double(st, 7, p->max);
	if (p->min != p->max) {
		sketch_write(&p->sketch, &sketch);
		sqlite3_bind_blob(st, 8, sketch.p, (int)sketch.n, SQLITE_STATIC);
	}
	return series_done(st, e);
}

/* The batch is left as it is: should the transaction fail, it is tried again. */
static int write_point(struct series_conn *c, int64_t series, int64_t seconds, const struct series_point *p,
                       struct err *e)
{
	struct series_point all = { .t = p->t };
	int rc = read_old(c, series, seconds, &all, e);

	if (rc == 0) {
		series_point_merge(&all, p);
		rc = put_point(c, series, seconds, &all, e);
	}
	sketch_fini(&all.sketch);
	return rc;
}

int batch_write_points(struct series_conn *c, struct series_batch *b, struct wall now, struct err *e)
{
	for (size_t i = 0; i < b->key_count; i++)
		if (b->keys[i].last_ms != INT64_MIN && series_id(c, &b->keys[i], e) < 0)
			return -1;
	for (size_t i = 0; i < b->point_count; i++) {
		struct batch_point *p = &b->points[i];
		const struct series_tier *tier = &series_tiers[p->tier];

		if (p->p.t + tier->seconds <= now.ms / 1000 - tier->keep_s)
			continue; /* nobody would be told */
		if (write_point(c, b->keys[p->key].series, tier->seconds, &p->p, e) < 0)
			return -1;
	}
	return 0;
}

/* ---- jobs ---- */

static int count_metrics(struct series_conn *c, const char *job, int64_t *ret, struct err *e)
{
	sqlite3_stmt *st;
	int r;

	if (series_prepare(c, "SELECT count(*) FROM job_metric WHERE job = ?1", &st, e) < 0)
		return -1;
	series_bind(st, 1, str_of(job));
	r = series_row(st, e);
	if (r > 0) {
		*ret = sqlite3_column_int64(st, 0);
		r = series_done(st, e);
	}
	return r;
}

static int new_metric(struct series_conn *c, struct batch_metric *m, bool strict, struct err *e)
{
	sqlite3_stmt *st;
	int64_t known = 0;

	if (count_metrics(c, m->job, &known, e) < 0)
		return -1;
	if (known >= SERIES_JOB_METRICS_MAX)
		return strict ? err_set(e, ERR_LIMIT, "the job has %d metrics, and there can be no more",
		                        SERIES_JOB_METRICS_MAX)
		              : 0;
	if (series_prepare(c, "INSERT INTO job_metric(job, host, name, count) VALUES(?1, ?2, ?3, 0)", &st, e) < 0)
		return -1;
	series_bind(st, 1, str_of(m->job));
	series_bind(st, 2, str_of(m->host));
	series_bind(st, 3, str_of(m->name));
	if (series_done(st, e) < 0)
		return -1;
	m->id = sqlite3_last_insert_rowid(c->db);
	return 0;
}

static int load_metric(struct series_conn *c, struct batch_metric *m, bool strict, struct err *e)
{
	sqlite3_stmt *st;
	int r;

	m->id = m->count = 0;
	m->has_last = m->has_final = false;
	if (series_prepare(c,
	                   "SELECT id, count, last_ms, last, final_ms, final FROM job_metric WHERE job = ?1 AND host = "
	                   "?2 AND name = ?3",
	                   &st, e) < 0)
		return -1;
	series_bind(st, 1, str_of(m->job));
	series_bind(st, 2, str_of(m->host));
	series_bind(st, 3, str_of(m->name));
	r = series_row(st, e);
	if (r <= 0)
		return r < 0 ? -1 : new_metric(c, m, strict, e);
	m->id = sqlite3_column_int64(st, 0);
	m->count = sqlite3_column_int64(st, 1);
	m->has_last = sqlite3_column_type(st, 2) != SQLITE_NULL;
	m->last_ms = sqlite3_column_int64(st, 2);
	m->last = sqlite3_column_double(st, 3);
	m->has_final = sqlite3_column_type(st, 4) != SQLITE_NULL;
	m->final_ms = sqlite3_column_int64(st, 4);
	m->final = sqlite3_column_double(st, 5);
	return series_done(st, e);
}

static void take_last(struct batch_metric *m, int64_t at_ms, double value, bool is_final)
{
	if (!m->has_last || at_ms >= m->last_ms) {
		m->has_last = true;
		m->last_ms = at_ms;
		m->last = value;
	}
	if (is_final && (!m->has_final || at_ms >= m->final_ms)) {
		m->has_final = true;
		m->final_ms = at_ms;
		m->final = value;
	}
}

static int write_value(struct series_conn *c, struct batch_metric *m, const struct batch_value *v, struct err *e)
{
	sqlite3_stmt *st;

	if (series_prepare(c, "INSERT INTO value(metric, t, n, source, step, v) VALUES(?1, ?2, ?3, ?4, ?5, ?6)", &st,
	                   e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, m->id);
	sqlite3_bind_int64(st, 2, v->at_ms);
	sqlite3_bind_int64(st, 3, ++m->count);
	sqlite3_bind_int64(st, 4, series_origin(v->source, v->host));
	if (v->has_step)
		sqlite3_bind_int64(st, 5, v->step);
	sqlite3_bind_double(st, 6, v->value);
	take_last(m, v->at_ms, v->value, v->source == SERIES_FROM_LOG);
	return series_done(st, e);
}

static int store_metric(struct series_conn *c, const struct batch_metric *m, struct err *e)
{
	sqlite3_stmt *st;

	if (series_prepare(c,
	                   "UPDATE job_metric SET count = ?2, last_ms = ?3, last = ?4, final_ms = ?5, final = ?6 WHERE "
	                   "id = ?1",
	                   &st, e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, m->id);
	sqlite3_bind_int64(st, 2, m->count);
	if (m->has_last) {
		sqlite3_bind_int64(st, 3, m->last_ms);
		sqlite3_bind_double(st, 4, m->last);
	}
	if (m->has_final) {
		sqlite3_bind_int64(st, 5, m->final_ms);
		sqlite3_bind_double(st, 6, m->final);
	}
	return series_done(st, e);
}

static int write_values(struct series_conn *c, struct series_batch *b, struct err *e)
{
	for (size_t i = 0; i < b->metric_count; i++)
		if (load_metric(c, &b->metrics[i], b->strict, e) < 0)
			return -1;
	for (size_t i = 0; i < b->value_count; i++) {
		struct batch_metric *m = &b->metrics[b->values[i].metric];

		if (m->id && write_value(c, m, &b->values[i], e) < 0)
			return -1;
	}
	for (size_t i = 0; i < b->metric_count; i++) {
		struct batch_metric *m = &b->metrics[i];

		if (m->sampled) {
			take_last(m, m->sampled_ms, m->sample, false);
			m->count++;
		}
		if (m->id && store_metric(c, m, e) < 0)
			return -1;
	}
	return 0;
}

static int write_cursors(struct series_conn *c, const struct series_batch *b, struct err *e)
{
	sqlite3_stmt *st;

	for (size_t i = 0; i < b->cursor_count; i++) {
		const struct batch_cursor *k = &b->cursors[i];

		if (series_prepare(c,
		                   "INSERT INTO host(id, job, at, counts) VALUES(?1, ?2, ?3, ?4) ON CONFLICT(id) DO "
		                   "UPDATE SET at = excluded.at, counts = coalesce(excluded.counts, counts)",
		                   &st, e) < 0)
			return -1;
		series_bind(st, 1, str_of(k->host_id));
		series_bind(st, 2, str_of(k->job));
		sqlite3_bind_int64(st, 3, (int64_t)k->offset);
		series_bind(st, 4, k->counts ? str_of(k->counts) : (struct str){ 0 });
		if (series_done(st, e) < 0)
			return -1;
	}
	return 0;
}

/* ---- the transaction ---- */

static int run(struct series_conn *c, const char *sql, struct err *e)
{
	sqlite3_stmt *st;

	return series_prepare(c, sql, &st, e) < 0 ? -1 : series_done(st, e);
}

static int commit(struct series_store *s, struct series_batch *b, struct wall now, bool durable, struct err *e)
{
	struct series_conn *c = &s->writer.conn;
	int rc;

	/* In WAL mode FULL syncs the log at each commit; NORMAL keeps what was committed from kill -9 as well. */
	if (sqlite3_exec(c->db, durable ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL", NULL, NULL,
	                 NULL) != SQLITE_OK)
		return err_set(e, ERR_IO, "metrics.db: %s", sqlite3_errmsg(c->db));
	if (run(c, "BEGIN IMMEDIATE", e) < 0)
		return -1;
	rc = batch_write_points(c, b, now, e);
	if (rc == 0)
		rc = write_values(c, b, e);
	if (rc == 0)
		rc = write_cursors(c, b, e);
	if (rc == 0)
		rc = series_prune(s, now, e);
	if (rc == 0)
		rc = run(c, "COMMIT", e);
	if (rc < 0 && !sqlite3_get_autocommit(c->db))
		sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
	return rc;
}

int series_commit(struct series_store *s, struct series_batch *b, struct wall now, bool durable, struct err *e)
{
	int rc;

	pthread_mutex_lock(&s->writer.mu);
	rc = commit(s, b, now, durable, e);
	pthread_mutex_unlock(&s->writer.mu);
	if (rc == 0)
		batch_reset(b);
	return rc;
}

int series_forget_job(struct series_store *s, struct str job, struct err *e)
{
	static const char *const statements[] = {
		"DELETE FROM value WHERE metric IN (SELECT id FROM job_metric WHERE job = ?1)",
		"DELETE FROM job_metric WHERE job = ?1",
		"DELETE FROM host WHERE job = ?1",
		"DELETE FROM refit WHERE job = ?1",
	};
	struct series_conn *c = &s->writer.conn;
	sqlite3_stmt *st;
	int rc;

	pthread_mutex_lock(&s->writer.mu);
	rc = run(c, "BEGIN IMMEDIATE", e);
	for (size_t i = 0; i < ARRAY_LEN(statements) && rc == 0; i++) {
		rc = series_prepare(c, statements[i], &st, e);
		if (rc == 0) {
			series_bind(st, 1, job);
			rc = series_done(st, e);
		}
	}
	if (rc == 0)
		rc = run(c, "COMMIT", e);
	if (rc < 0 && !sqlite3_get_autocommit(c->db))
		sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
	pthread_mutex_unlock(&s->writer.mu);
	return rc;
}
