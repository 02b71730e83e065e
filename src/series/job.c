/* What jobs reported, as they did. SPDX-License-Identifier: Apache-2.0 */
#include "series/db.h"

int series_cursor(struct series_store *s, struct str host_id, uint64_t *ret, struct err *e)
{
	struct series_conn *c = series_reader(s, e);
	uint64_t at = 0;
	sqlite3_stmt *st;
	int r;

	if (!c)
		return -1;
	r = series_prepare(c, "SELECT at FROM host WHERE id = ?1", &st, e);
	if (r == 0) {
		series_bind(st, 1, host_id);
		r = series_row(st, e);
		if (r > 0) {
			at = (uint64_t)sqlite3_column_int64(st, 0);
			r = series_done(st, e);
		}
	}
	series_reader_back(s, c);
	if (r == 0)
		*ret = at;
	return r;
}

int series_job_metrics(struct series_store *s, struct str job,
                       void (*each)(void *arg, const struct series_job_metric *m), void *arg, struct err *e)
{
	struct series_conn *c = series_reader(s, e);
	sqlite3_stmt *st;
	int r;

	if (!c)
		return -1;
	r = series_prepare(
	        c,
	        "SELECT host, name, count, last_ms, last, final_ms, final FROM job_metric WHERE job = ?1 AND "
	        "last_ms IS NOT NULL ORDER BY host, name",
	        &st, e);
	if (r == 0) {
		series_bind(st, 1, job);
		while ((r = series_row(st, e)) > 0) {
			const struct series_job_metric m = { .host = series_column(st, 0),
				                             .metric = series_column(st, 1),
				                             .count = (uint64_t)sqlite3_column_int64(st, 2),
				                             .at = { sqlite3_column_int64(st, 3) },
				                             .value = sqlite3_column_double(st, 4),
				                             .is_final = sqlite3_column_type(st, 5) != SQLITE_NULL,
				                             .final_at = { sqlite3_column_int64(st, 5) },
				                             .final_value = sqlite3_column_double(st, 6) };

			each(arg, &m);
		}
	}
	series_reader_back(s, c);
	return r;
}

struct all_values {
	void (*each)(void *arg, const struct series_value *v);
	void *arg;
};

static void without_number(void *arg, const struct series_value *v, uint64_t n)
{
	const struct all_values *a = arg;

	(void)n;
	a->each(a->arg, v);
}

int series_job_values(struct series_store *s, struct str job, struct str metric,
                      void (*each)(void *arg, const struct series_value *v), void *arg, struct err *e)
{
	struct all_values a = { each, arg };

	return series_job_values_page(s, job, metric, (struct wall){ INT64_MIN }, 0, INT64_MAX, without_number, &a, e);
}

int series_job_values_page(struct series_store *s, struct str job, struct str metric, struct wall after,
                           uint64_t after_n, size_t limit,
                           void (*each)(void *arg, const struct series_value *v, uint64_t n), void *arg, struct err *e)
{
	struct series_conn *c = series_reader(s, e);
	sqlite3_stmt *st;
	int r;

	if (!c)
		return -1;
	r = series_prepare(
	        c,
	        "SELECT t, source, step, v, n FROM value WHERE metric = (SELECT id FROM job_metric WHERE job = ?1 "
	        "AND host = '' AND name = ?2) AND (t, n) > (?3, ?4) ORDER BY t, n LIMIT ?5",
	        &st, e);
	if (r == 0) {
		series_bind(st, 1, job);
		series_bind(st, 2, metric);
		sqlite3_bind_int64(st, 3, after.ms);
		sqlite3_bind_int64(st, 4, (int64_t)after_n);
		sqlite3_bind_int64(st, 5, limit < INT64_MAX ? (int64_t)limit : INT64_MAX);
		while ((r = series_row(st, e)) > 0) {
			const int64_t origin = sqlite3_column_int64(st, 1);
			const struct series_value v = { .job = job,
				                        .metric = metric,
				                        .at = { sqlite3_column_int64(st, 0) },
				                        .source = series_origin_source(origin),
				                        .host = series_origin_host(origin),
				                        .has_step = sqlite3_column_type(st, 2) != SQLITE_NULL,
				                        .step = sqlite3_column_int64(st, 2),
				                        .value = sqlite3_column_double(st, 3) };

			each(arg, &v, (uint64_t)sqlite3_column_int64(st, 4));
		}
	}
	series_reader_back(s, c);
	return r;
}

int series_job_counts(struct series_store *s, struct str job,
                      void (*each)(void *arg, struct str host_id, struct str counts), void *arg, struct err *e)
{
	struct series_conn *c = series_reader(s, e);
	sqlite3_stmt *st;
	int r;

	if (!c)
		return -1;
	r = series_prepare(c, "SELECT id, counts FROM host WHERE job = ?1 AND counts IS NOT NULL ORDER BY id", &st, e);
	if (r == 0) {
		series_bind(st, 1, job);
		while ((r = series_row(st, e)) > 0)
			each(arg, series_column(st, 0), series_column(st, 1));
	}
	series_reader_back(s, c);
	return r;
}
