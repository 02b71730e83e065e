/* Metrics of a job that others take the place of. SPDX-License-Identifier: Apache-2.0 */
#include "series/anew.h"

#include <sqlite3.h>
#include <stdlib.h>

#include "harness.h"

#define JOB STR("00000000000000aa")
#define NAME STR("demo")

enum { MANY = 5000, PERIOD = 3600 };

static const struct wall now = { INT64_C(1795250000000) };

static struct series_store *open_store(void)
{
	_cleanup_free_ char *path = strf("%s/metrics.db", test_tmpdir());
	struct series_store *s = NULL;

	CHECK_OK(series_store_open(path, &s, e));
	return s;
}

static void add(struct series_batch *b, struct str job, const char *metric, int64_t ms, double v,
                enum series_source source)
{
	const struct series_value value = {
		.job = job, .metric = str_of(metric), .at = { ms }, .value = v, .source = source, .host = 3
	};

	series_batch_value(b, &value);
}

/* Values and points, as ingestion adds them. */
static void report(struct series_store *s, const char *metric, double v, size_t n, enum series_source source)
{
	_cleanup_(series_batch_freep) struct series_batch *b = series_batch_new();

	for (size_t i = 0; i < n; i++) {
		add(b, JOB, metric, now.ms - 1000 * (int64_t)i, v, source);
		series_anew_point(b, NAME, str_of(metric), (struct wall){ now.ms - 1000 * (int64_t)i }, v, now);
	}
	series_batch_cursor(b, JOB, JOB, 77, STR("[{\"matched\":1}]"));
	CHECK_OK(series_commit(s, b, now, false, e));
}

/* n values in the place of what was from the log. */
static int replace(struct series_store *s, const char *metric, double v, size_t n, bool finish, struct err *why)
{
	_cleanup_(series_batch_freep) struct series_batch *b = series_batch_new(), *points = series_batch_new();
	_cleanup_free_ char *staged = NULL;
	const struct str name = str_of(metric);
	const struct series_anew_host host = { "00000000000000aa", "[{\"matched\":2}]" };
	const struct series_anew a = { .job = JOB,
		                       .job_name = NAME,
		                       .names = &name,
		                       .count = 1,
		                       .since = { now.ms - PERIOD * 1000 * 3 },
		                       .definitions = "[{}]",
		                       .hosts = &host,
		                       .host_count = 1 };

	CHECK_OK(series_anew_begin(s, JOB, &staged, e));
	for (size_t i = 0; i < n; i++) {
		add(b, str_of(staged), metric, now.ms - 1000 * (int64_t)i, v, SERIES_FROM_LOG);
		series_anew_point(points, NAME, name, (struct wall){ now.ms - 1000 * (int64_t)i }, v, now);
	}
	CHECK_OK(series_commit(s, b, now, false, e));
	return finish ? series_anew_commit(s, &a, points, now, why) : 0;
}

static void note_value(void *arg, const struct series_value *v)
{
	double *sum = arg;

	sum[0]++;
	sum[1] += v->value;
	CHECK_INT(v->host, 3);
}

static void note_metric(void *arg, const struct series_job_metric *m)
{
	buf_f(arg, PRIstr ":%llu:%g", ARGstr(m->metric), (unsigned long long)m->count, m->value);
	if (m->is_final)
		buf_f(arg, "(%g)", m->final_value);
	buf_c(arg, ' ');
}

static void check_values(struct series_store *s, const char *metric, double count, double sum)
{
	double got[2] = { 0 };

	CHECK_OK(series_job_values(s, JOB, str_of(metric), note_value, got, e));
	CHECK_INT(got[0], count);
	CHECK_INT(got[1], sum);
}

/* What CloudWatch would be told, in each resolution. */
static void check_series(struct series_store *s, const char *metric, double count, double sum)
{
	const struct series_dimension job = { STR("TrainingJobName"), NAME };
	const struct series_key key = {
		.ns = STR("/aws/sagemaker/TrainingJobs"), .name = str_of(metric), .dims = &job, .dim_count = 1
	};

	for (size_t i = 0; i < ARRAY_LEN(series_tiers); i++) {
		int64_t start = now.ms / 1000 - 2 * PERIOD;
		const struct series_window w = { start - start % PERIOD, now.ms / 1000 + PERIOD,
			                         series_tiers[i].seconds };
		struct series_points p = { 0 };
		double n = 0, all = 0;

		CHECK_OK(series_read_points(s, &key, &w, now, &p, e));
		for (size_t k = 0; k < p.n; k++) {
			n += p.v[k].count;
			all += p.v[k].sum;
		}
		series_points_fini(&p);
		CHECK_INT(n, count);
		CHECK_INT(all, sum);
	}
}

static void check_metrics(struct series_store *s, const char *want)
{
	_cleanup_buf_ struct buf said = { 0 };

	CHECK_OK(series_job_metrics(s, JOB, note_metric, &said, e));
	CHECK_STR(said.p ? said.p : "", want);
}

static int64_t ask(const char *sql)
{
	_cleanup_free_ char *path = strf("%s/metrics.db", test_tmpdir());
	sqlite3 *db = NULL;
	sqlite3_stmt *st = NULL;
	int64_t n = -1;

	CHECK(sqlite3_open(path, &db) == SQLITE_OK);
	CHECK(sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK);
	if (sqlite3_step(st) == SQLITE_ROW)
		n = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	sqlite3_close(db);
	return n;
}

TEST(values_and_series_are_replaced_together)
{
	_cleanup_(series_store_closep) struct series_store *s = open_store();
	char *definitions = NULL;

	report(s, "loss", 1, 100, SERIES_FROM_LOG);
	report(s, "other", 5, 10, SERIES_FROM_LOG);
	CHECK_OK(series_job_definitions(s, JOB, &definitions, e));
	CHECK(!definitions);
	CHECK_OK(replace(s, "loss", 2, 50, true, e));
	check_values(s, "loss", 50, 100);
	check_series(s, "loss", 50, 100);
	check_values(s, "other", 10, 50);
	check_series(s, "other", 10, 50);
	check_metrics(s, "loss:50:2(2) other:10:5(5) ");
	CHECK_OK(series_job_definitions(s, JOB, &definitions, e));
	CHECK_STR(definitions, "[{}]");
	free(definitions);
	/* once more, and to nothing */
	CHECK_OK(replace(s, "loss", 3, 7, true, e));
	check_series(s, "loss", 7, 21);
	CHECK_OK(replace(s, "loss", 3, 0, true, e));
	check_values(s, "loss", 0, 0);
	check_series(s, "loss", 0, 0);
	check_metrics(s, "other:10:5(5) ");
	/* and one that was not there */
	CHECK_OK(replace(s, "fresh", 4, 2, true, e));
	check_series(s, "fresh", 2, 8);
	check_metrics(s, "fresh:2:4(4) other:10:5(5) ");
}

TEST(what_is_not_from_the_log_stays)
{
	_cleanup_(series_store_closep) struct series_store *s = open_store();

	report(s, "loss", 1, 100, SERIES_FROM_LOG);
	report(s, "loss", 10, 20, SERIES_FROM_API);
	report(s, "loss", 100, 3, SERIES_FROM_FILE);
	CHECK_OK(replace(s, "loss", 2, 50, true, e));
	check_values(s, "loss", 73, 100 + 200 + 300);
	check_series(s, "loss", 73, 600);
	CHECK_OK(replace(s, "loss", 2, 0, true, e));
	check_values(s, "loss", 23, 500);
	check_series(s, "loss", 23, 500);
	check_metrics(s, "loss:23:100 "); /* no final one: that is the log's */
	report(s, "loss", 1000, 1, SERIES_FROM_API);
	check_values(s, "loss", 24, 1500);
}

TEST(what_was_not_finished_is_told_of_by_nobody_and_goes)
{
	struct series_store *s = open_store();

	report(s, "loss", 1, 10, SERIES_FROM_LOG);
	CHECK_OK(replace(s, "loss", 2, MANY, false, e)); /* and then it is killed */
	check_values(s, "loss", 10, 10);
	check_series(s, "loss", 10, 10);
	series_store_close(s);
	s = open_store();
	check_metrics(s, "loss:10:1(1) ");
	CHECK_INT(ask("SELECT count(*) FROM value"), MANY + 10);
	for (int i = 0; i < 10; i++)
		report(s, "other", 1, 0, SERIES_FROM_LOG); /* commits of whatever */
	CHECK_INT(ask("SELECT count(*) FROM value"), 10);
	CHECK_INT(ask("SELECT count(*) FROM job_metric"), 1);
	/* a second attempt has nothing of the first */
	CHECK_OK(replace(s, "loss", 7, 5, false, e));
	CHECK_OK(replace(s, "loss", 2, 20, true, e));
	check_values(s, "loss", 20, 40);
	check_series(s, "loss", 20, 40);
	for (int i = 0; i < 10; i++)
		report(s, "other", 1, 0, SERIES_FROM_LOG);
	CHECK_INT(ask("SELECT count(*) FROM value"), 20);
	series_store_close(s);
}

TEST(a_job_that_was_deleted_meanwhile_stays_so)
{
	_cleanup_(series_store_closep) struct series_store *s = open_store();
	_cleanup_(series_batch_freep) struct series_batch *points = series_batch_new();
	_cleanup_free_ char *staged = NULL;
	const struct series_anew a = { .job = JOB, .job_name = NAME, .definitions = "[]" };
	struct err why = { 0 };

	report(s, "loss", 1, 10, SERIES_FROM_LOG);
	CHECK_OK(series_anew_begin(s, JOB, &staged, e));
	CHECK_OK(series_forget_job(s, JOB, e));
	CHECK_INT(series_anew_commit(s, &a, points, now, &why), -1);
	CHECK_INT(why.kind, ERR_NOT_FOUND);
	check_metrics(s, "");
	CHECK_OK(series_anew_drop(s, JOB, e));
}

static void note_page(void *arg, const struct series_value *v, uint64_t n)
{
	double *page = arg;

	page[0]++;
	page[1] = (double)v->at.ms;
	page[2] = (double)n;
}

TEST(values_come_in_pages_without_a_gap)
{
	_cleanup_(series_store_closep) struct series_store *s = open_store();
	_cleanup_(series_batch_freep) struct series_batch *b = series_batch_new();
	double page[3] = { 0 };
	struct wall after = { INT64_MIN };
	uint64_t after_n = 0;
	int pages = 0;

	for (int i = 0; i < 100; i++) /* many of one time */
		add(b, JOB, "loss", 1000 + i / 30, i, SERIES_FROM_LOG);
	CHECK_OK(series_commit(s, b, now, false, e));
	do {
		page[0] = 0;
		CHECK_OK(series_job_values_page(s, JOB, STR("loss"), after, after_n, 7, note_page, page, e));
		after.ms = (int64_t)page[1];
		after_n = (uint64_t)page[2];
		pages++;
	} while (page[0] == 7 && pages < 100);
	CHECK_INT(pages, 15);
	CHECK_INT(page[0], 2);
	CHECK_INT(after_n, 100);
}
