/* How the end of a job waits for its metrics. SPDX-License-Identifier: Apache-2.0 */
#include "job_world.h"
#include "joblog/joblog.h"
#include "series/series.h"

enum { LINES = 30000 };

static void open_series(void)
{
	_cleanup_free_ char *path = strf("%s/metrics.db", test_tmpdir());

	CHECK_OK(series_store_open(path, &world_series, e));
}

static void close_series(void)
{
	series_store_close(world_series);
	world_series = NULL;
}

/* What the extractor would have written. */
static void write_metrics(const char *id)
{
	_cleanup_free_ char *dir = strf("%s/jobs/%s/metrics", test_tmpdir(), id), *path = strf("%s/algo-1", dir);
	_cleanup_buf_ struct buf text = { 0 };
	long long now = wall_now().ms;
	struct joblog *l = NULL;

	CHECK_OK(mkdir_all(AT_FDCWD, dir, 0755, e));
	CHECK_OK(joblog_open(path, &l, e));
	for (int i = 0; i < LINES; i++) {
		buf_f(&text, "{\"t\":%lld,\"n\":\"loss\",\"v\":%d}\n", now - LINES + i, i);
		if (i % 1000 < 999)
			continue;
		CHECK_OK(joblog_add_lines(l, wall_now(), LOG_FROM_PLATFORM, buf_view(&text), e));
		buf_reset(&text);
	}
	CHECK_OK(joblog_close(l, e));
}

static void check_last(void *arg, const struct series_job_metric *m)
{
	CHECK(m->is_final && m->final_value == LINES - 1 && m->count == LINES);
	++*(int *)arg;
}

static void asked_again(void *arg)
{
	wait_over = str_find(buf_view(&asked), str_of(arg)) >= 0;
}

static char *run_to_its_end(void)
{
	char *id;

	create("demo", 2);
	id = id_of("demo");
	settle();
	fact(id, 1, FACT_STARTED, NULL);
	fact(id, 2, FACT_DOWNLOADING, NULL);
	fact(id, 3, FACT_TRAINING, json_pack("{s:i}", "pid", 7));
	write_metrics(id);
	fact(id, 4, FACT_EXITED, json_pack("{s:i}", "code", 0));
	fact(id, 5, FACT_UPLOADING, NULL);
	return id;
}

TEST(a_job_that_has_ended_has_all_of_its_metrics)
{
	_cleanup_free_ char *id = NULL;
	int seen = 0;

	open_series();
	up();
	id = run_to_its_end();
	fact(id, 6, FACT_ENDED, ended("ok", ""));
	CHECK_INT(state_of("demo"), JOB_UPLOADING); /* not yet */
	wait_until(asked_again, (void *)"watch>5 demo; ");
	fact(id, 6, FACT_ENDED, ended("ok", ""));
	CHECK_INT(state_of("demo"), JOB_COMPLETED);
	CHECK_OK(series_job_metrics(world_series, str_of(id), check_last, &seen, e));
	CHECK_INT(seen, 1);
	down();
	close_series();
}

TEST(a_loss_waits_as_well_and_a_restart_in_between_does_not_matter)
{
	_cleanup_free_ char *id = NULL;
	int seen = 0;

	open_series();
	up();
	id = run_to_its_end();
	events->on_lost(events_arg, str_of(id), STR("gone"), wall_now());
	CHECK_INT(state_of("demo"), JOB_UPLOADING);
	restart();
	events->on_lost(events_arg, str_of(id), STR("gone"), wall_now());
	CHECK_INT(state_of("demo"), JOB_UPLOADING);
	buf_reset(&asked);
	wait_until(asked_again, (void *)"watch>5 demo; ");
	events->on_lost(events_arg, str_of(id), STR("gone"), wall_now());
	CHECK_INT(state_of("demo"), JOB_FAILED);
	CHECK_OK(series_job_metrics(world_series, str_of(id), check_last, &seen, e));
	CHECK_INT(seen, 1);
	down();
	close_series();
}

static void nothing_is_left(void *arg)
{
	int seen = 0;

	CHECK_OK(series_job_metrics(world_series, str_of(arg), check_last, &seen, e));
	wait_over = !seen;
}

TEST(a_deleted_job_leaves_no_values)
{
	_cleanup_free_ char *id = NULL;

	open_series();
	up();
	id = run_to_its_end();
	fact(id, 6, FACT_ENDED, ended("ok", ""));
	wait_until(asked_again, (void *)"watch>5 demo; ");
	fact(id, 6, FACT_ENDED, ended("ok", ""));
	CHECK_OK(jobs_delete(jobs, STR("demo"), e));
	wait_until(nothing_is_left, id);
	down();
	close_series();
}
