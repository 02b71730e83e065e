/* SPDX-License-Identifier: Apache-2.0 */
#include "series/anew.h"

#include <stdlib.h>

#include "series/batch.h"

#define NAMESPACE STR("/aws/sagemaker/TrainingJobs") /* contract 6.3 */

enum { GONE_EACH_TIME = 2000 /* values that are removed with a commit */ };

static int run(struct series_conn *c, const char *sql, struct err *e)
{
	sqlite3_stmt *st;

	return series_prepare(c, sql, &st, e) < 0 ? -1 : series_done(st, e);
}

static int run_of(struct series_conn *c, const char *sql, struct str text, struct err *e)
{
	sqlite3_stmt *st;

	if (series_prepare(c, sql, &st, e) < 0)
		return -1;
	series_bind(st, 1, text);
	return series_done(st, e);
}

static char *staged_of(struct str job)
{
	return strf("refit:" PRIstr, ARGstr(job));
}

/* ---- a transaction ---- */

static int begin(struct series_store *s, struct err *e)
{
	struct series_conn *c = &s->writer.conn;

	pthread_mutex_lock(&s->writer.mu);
	if (sqlite3_exec(c->db, "PRAGMA synchronous = FULL", NULL, NULL, NULL) != SQLITE_OK)
		return err_set(e, ERR_IO, "metrics.db: %s", sqlite3_errmsg(c->db));
	return run(c, "BEGIN IMMEDIATE", e);
}

static int end(struct series_store *s, int rc, struct err *e)
{
	struct series_conn *c = &s->writer.conn;

	if (rc == 0)
		rc = run(c, "COMMIT", e);
	if (rc < 0 && !sqlite3_get_autocommit(c->db))
		sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
	pthread_mutex_unlock(&s->writer.mu);
	return rc;
}

/* ---- what goes ---- */

static int drop_staged(struct series_conn *c, struct str job, struct err *e)
{
	_cleanup_free_ char *staged = staged_of(job);

	return run_of(c, "UPDATE job_metric SET job = 'gone:' || id, host = '' WHERE job = ?1", str_of(staged), e);
}

int series_anew_begin(struct series_store *s, struct str job, char **ret_staged, struct err *e)
{
	struct series_conn *c = &s->writer.conn;
	int rc = begin(s, e);

	if (rc == 0)
		rc = drop_staged(c, job, e);
	if (rc == 0)
		rc = run_of(c, "INSERT OR IGNORE INTO refit(job) VALUES(?1)", job, e);
	if (end(s, rc, e) < 0)
		return -1;
	*ret_staged = staged_of(job);
	return 0;
}

int series_anew_drop(struct series_store *s, struct str job, struct err *e)
{
	int rc = begin(s, e);

	if (rc == 0)
		rc = drop_staged(&s->writer.conn, job, e);
	return end(s, rc, e);
}

int series_prune_values(struct series_store *s, struct err *e)
{
	struct series_conn *c = &s->writer.conn;
	sqlite3_stmt *st;
	int64_t metric;
	int r;

	if (series_prepare(c, "SELECT id FROM job_metric WHERE job >= 'gone:' AND job < 'gone;' LIMIT 1", &st, e) < 0)
		return -1;
	r = series_row(st, e);
	if (r <= 0)
		return r;
	metric = sqlite3_column_int64(st, 0);
	sqlite3_reset(st);
	if (series_prepare(c,
	                   "DELETE FROM value WHERE metric = ?1 AND (t, n) IN (SELECT t, n FROM value WHERE metric = "
	                   "?1 ORDER BY t, n LIMIT ?2)",
	                   &st, e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, metric);
	sqlite3_bind_int64(st, 2, GONE_EACH_TIME);
	if (series_done(st, e) < 0)
		return -1;
	if (sqlite3_changes(c->db) == GONE_EACH_TIME)
		return 0;
	if (series_prepare(c, "DELETE FROM job_metric WHERE id = ?1", &st, e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, metric);
	return series_done(st, e);
}

/* ---- one metric ---- */

/* 0: there is none. */
static int find_metric(struct series_conn *c, struct str job, struct str name, int64_t *ret, struct err *e)
{
	sqlite3_stmt *st;
	int r;

	*ret = 0;
	if (series_prepare(c, "SELECT id FROM job_metric WHERE job = ?1 AND host = '' AND name = ?2", &st, e) < 0)
		return -1;
	series_bind(st, 1, job);
	series_bind(st, 2, name);
	r = series_row(st, e);
	if (r <= 0)
		return r;
	*ret = sqlite3_column_int64(st, 0);
	return series_done(st, e);
}

static int make_metric(struct series_conn *c, struct str job, struct str name, int64_t *ret, struct err *e)
{
	sqlite3_stmt *st;

	if (series_prepare(c, "INSERT INTO job_metric(job, host, name, count) VALUES(?1, '', ?2, 0)", &st, e) < 0)
		return -1;
	series_bind(st, 1, job);
	series_bind(st, 2, name);
	if (series_done(st, e) < 0)
		return -1;
	*ret = sqlite3_last_insert_rowid(c->db);
	return 0;
}

/* The values of `from` that are not from the log, behind those of `to`. */
static int copy_others(struct series_conn *c, int64_t from, int64_t to, struct err *e)
{
	sqlite3_stmt *st;

	if (series_prepare(c,
	                   "INSERT INTO value SELECT ?2, t, (SELECT count FROM job_metric WHERE id = ?2) + "
	                   "row_number() OVER (ORDER BY t, n), source, step, v FROM value WHERE metric = ?1 AND "
	                   "source & 3 <> 0",
	                   &st, e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, from);
	sqlite3_bind_int64(st, 2, to);
	return series_done(st, e);
}

/* Count and last value of what is there now. */
static int settle(struct series_conn *c, int64_t metric, struct err *e)
{
	static const char *const statements[] = {
		"UPDATE job_metric SET count = (SELECT count(*) FROM value WHERE metric = ?1) WHERE id = ?1",
		"UPDATE job_metric SET (last_ms, last) = (SELECT t, v FROM value WHERE metric = ?1 ORDER BY t DESC, n "
		"DESC LIMIT 1) WHERE id = ?1",
	};
	sqlite3_stmt *st;

	for (size_t i = 0; i < ARRAY_LEN(statements); i++) {
		if (series_prepare(c, statements[i], &st, e) < 0)
			return -1;
		sqlite3_bind_int64(st, 1, metric);
		if (series_done(st, e) < 0)
			return -1;
	}
	return 0;
}

static int rename_metric(struct series_conn *c, int64_t metric, struct str job, struct err *e)
{
	sqlite3_stmt *st;

	if (series_prepare(c, "UPDATE job_metric SET job = coalesce(?2, 'gone:' || id) WHERE id = ?1", &st, e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, metric);
	series_bind(st, 2, job);
	return series_done(st, e);
}

static int replace_values(struct series_conn *c, const struct series_anew *a, struct str staged, struct str name,
                          int64_t *ret, struct err *e)
{
	int64_t old, fresh;

	if (find_metric(c, a->job, name, &old, e) < 0 || find_metric(c, staged, name, &fresh, e) < 0)
		return -1;
	if (!fresh && old && make_metric(c, staged, name, &fresh, e) < 0)
		return -1;
	if (old && (copy_others(c, old, fresh, e) < 0 || settle(c, fresh, e) < 0 ||
	            rename_metric(c, old, (struct str){ 0 }, e) < 0))
		return -1;
	if (fresh && rename_metric(c, fresh, a->job, e) < 0)
		return -1;
	*ret = fresh;
	return 0;
}

/* ---- its series ---- */

void series_anew_point(struct series_batch *points, struct str job_name, struct str metric, struct wall at,
                       double value, struct wall now)
{
	const struct series_dimension job = { STR("TrainingJobName"), job_name };
	const struct series_key key = {
		.ns = NAMESPACE, .name = metric, .dims = &job, .dim_count = 1, .unit = STR("None")
	};

	series_batch_add(points, series_batch_key(points, &key), at, value, 1,
	                 at.ms > now.ms - series_tiers[0].keep_s * 1000);
}

static int add_others(struct series_conn *c, const struct series_anew *a, int64_t metric, struct str name,
                      struct series_batch *points, struct wall now, struct err *e)
{
	sqlite3_stmt *st;
	int r;

	if (series_prepare(c, "SELECT t, v FROM value WHERE metric = ?1 AND source & 3 <> 0", &st, e) < 0)
		return -1;
	sqlite3_bind_int64(st, 1, metric);
	while ((r = series_row(st, e)) > 0)
		series_anew_point(points, a->job_name, name, (struct wall){ sqlite3_column_int64(st, 0) },
		                  sqlite3_column_double(st, 1), now);
	return r;
}

/* Whole hours, as the coarsest points are of one. */
static int remove_points(struct series_conn *c, const struct series_anew *a, struct str name, struct err *e)
{
	const struct series_dimension job = { STR("TrainingJobName"), a->job_name };
	const int64_t since = a->since.ms / 1000;
	_cleanup_buf_ struct buf dims = { 0 };
	sqlite3_stmt *st;

	series_dims_text(&job, 1, &dims);
	if (series_prepare(c,
	                   "DELETE FROM point WHERE series IN (SELECT series.id FROM series JOIN metric ON metric.id = "
	                   "series.metric WHERE namespace = ?1 AND metric.name = ?2 AND dims = ?3 AND unit = 'None') "
	                   "AND t >= ?4",
	                   &st, e) < 0)
		return -1;
	series_bind(st, 1, NAMESPACE);
	series_bind(st, 2, name);
	series_bind(st, 3, buf_view(&dims));
	sqlite3_bind_int64(st, 4, since - since % 3600);
	return series_done(st, e);
}

/* ---- all of it ---- */

static int note_definitions(struct series_conn *c, const struct series_anew *a, struct err *e)
{
	sqlite3_stmt *st;

	if (series_prepare(c, "UPDATE refit SET definitions = ?2 WHERE job = ?1", &st, e) < 0)
		return -1;
	series_bind(st, 1, a->job);
	series_bind(st, 2, str_of(a->definitions));
	if (series_done(st, e) < 0)
		return -1;
	if (sqlite3_changes(c->db) != 1)
		return err_set(e, ERR_NOT_FOUND, "The job has been deleted meanwhile.");
	for (size_t i = 0; i < a->host_count; i++) {
		if (series_prepare(c,
		                   "INSERT INTO host(id, job, at, counts) VALUES(?1, ?2, 0, ?3) ON CONFLICT(id) DO "
		                   "UPDATE SET counts = excluded.counts",
		                   &st, e) < 0)
			return -1;
		series_bind(st, 1, str_of(a->hosts[i].id));
		series_bind(st, 2, a->job);
		series_bind(st, 3, str_of(a->hosts[i].counts));
		if (series_done(st, e) < 0)
			return -1;
	}
	return 0;
}

static int replace(struct series_conn *c, const struct series_anew *a, struct series_batch *points, struct wall now,
                   struct err *e)
{
	_cleanup_free_ char *staged = staged_of(a->job);

	if (note_definitions(c, a, e) < 0)
		return -1;
	for (size_t i = 0; i < a->count; i++) {
		int64_t metric = 0;

		if (replace_values(c, a, str_of(staged), a->names[i], &metric, e) < 0 ||
		    remove_points(c, a, a->names[i], e) < 0 ||
		    add_others(c, a, metric, a->names[i], points, now, e) < 0)
			return -1;
	}
	return batch_write_points(c, points, now, e);
}

int series_anew_commit(struct series_store *s, const struct series_anew *a, struct series_batch *points,
                       struct wall now, struct err *e)
{
	int rc = begin(s, e);

	if (rc == 0)
		rc = replace(&s->writer.conn, a, points, now, e);
	rc = end(s, rc, e);
	if (rc == 0)
		batch_reset(points);
	return rc;
}

int series_job_definitions(struct series_store *s, struct str job, char **ret, struct err *e)
{
	struct series_conn *c = series_reader(s, e);
	sqlite3_stmt *st;
	int r;

	if (!c)
		return -1;
	*ret = NULL;
	r = series_prepare(c, "SELECT definitions FROM refit WHERE job = ?1 AND definitions IS NOT NULL", &st, e);
	if (r == 0) {
		series_bind(st, 1, job);
		r = series_row(st, e);
		if (r > 0) {
			*ret = str_dup(series_column(st, 0));
			r = series_done(st, e);
		}
	}
	series_reader_back(s, c);
	return r;
}
