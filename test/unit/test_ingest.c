/* SPDX-License-Identifier: Apache-2.0 */
#include "ingest/ingest.h"

#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/log.h"
#include "harness.h"
#include "ingest/record.h"
#include "joblog/joblog.h"

#define ID "00000000000000000000000000000001"
static const struct ingest_host host = { .id = ID, .job_id = ID, .job_name = "demo", .number = 1 };
static const struct series_dimension of_job[] = { { STR("TrainingJobName"), STR("demo") } };
static const struct series_dimension of_host[] = { { STR("Host"), STR("demo/algo-1") } };

static struct series_store *store;

static void up(void)
{
	_cleanup_free_ char *path = strf("%s/metrics.db", test_tmpdir());

	log_init("test", LOG_ERROR + 1);
	CHECK_OK(series_store_open(path, &store, e));
}

static void make_dir(const char *leaf)
{
	_cleanup_free_ char *dir = strf("%s/jobs/" ID "%s", test_tmpdir(), leaf);

	CHECK_OK(mkdir_all(AT_FDCWD, dir, 0755, e));
}

static struct joblog *open_file(void)
{
	_cleanup_free_ char *path = strf("%s/jobs/" ID "/metrics/algo-1", test_tmpdir());
	struct joblog *l = NULL;

	CHECK_OK(joblog_open(path, &l, e));
	return l;
}

static void say(struct joblog *l, const char *line)
{
	_cleanup_free_ char *text = strf("%s\n", line);

	CHECK_OK(joblog_add_lines(l, wall_now(), LOG_FROM_PLATFORM, str_of(text), e));
}

/* Waits until the host is done, a minute at most. */
static void wait_done(struct ingest *in)
{
	struct pollfd p = { .fd = ingest_done_fd(in), .events = POLLIN };
	_cleanup_free_ char *id = NULL;

	CHECK_INT(poll(&p, 1, 60000), 1);
	id = ingest_done(in);
	CHECK_STR(id, ID);
}

static double count_of(const char *name, const struct series_dimension *d, const char *unit)
{
	struct series_key key = { STR("/aws/sagemaker/TrainingJobs"), str_of(name), d, 1, str_of(unit) };
	struct wall now = wall_now();
	struct series_points got = { 0 };
	double n = 0;

	CHECK_OK(series_read_points(
	        store, &key, &(struct series_window){ now.ms / 1000 / 60 * 60 - 3600, now.ms / 1000 + 60, 60, false },
	        now, &got, e));
	for (size_t i = 0; i < got.n; i++)
		n += got.v[i].count;
	series_points_fini(&got);
	return n;
}

static void note(void *arg, const struct series_job_metric *m)
{
	buf_f(arg, PRIstr ":" PRIstr "=%g#%llu%s ", ARGstr(m->host), ARGstr(m->metric), m->value,
	      (unsigned long long)m->count, m->is_final ? "" : "-");
}

static void check_metrics(const char *want)
{
	_cleanup_buf_ struct buf got = { 0 };

	CHECK_OK(series_job_metrics(store, STR(ID), note, &got, e));
	CHECK_STR(buf_view(&got).p, want);
}

/* Until the metrics of the job are so, half a minute at most. */
static void wait_metrics(const char *want)
{
	for (struct mono since = mono_now(); mono_ms_since(since) < 30000; poll(NULL, 0, 5)) {
		_cleanup_buf_ struct buf got = { 0 };

		CHECK_OK(series_job_metrics(store, STR(ID), note, &got, e));
		if (str_is(buf_view(&got), want))
			break;
	}
	check_metrics(want);
}

TEST(values_are_stored_as_the_file_grows)
{
	_cleanup_free_ char *line = NULL, *sample = NULL, *torn = NULL;
	long long now = wall_now().ms;
	struct ingest *in;
	struct joblog *l;
	uint64_t at = 0;

	up();
	make_dir("");
	in = ingest_new(store, test_tmpdir());
	ingest_follow(in, &host);
	ingest_follow(in, &host); /* again is fine */
	make_dir("/metrics");     /* later than the watch */
	l = open_file();
	line = strf("{\"t\":%lld,\"n\":\"loss\",\"v\":0.5,\"s\":3}", now);
	sample = strf("{\"t\":%lld,\"i\":\"CPUUtilization\",\"v\":50,\"u\":\"Percent\"}\n{\"at\":77}\n{\"counts\":[{"
	              "\"lines\":9}]}",
	              now);
	say(l, line);
	wait_metrics(":loss=0.5#1 ");
	say(l, sample);
	wait_metrics(":loss=0.5#1 algo-1:CPUUtilization=50#1- ");
	torn = strf("{\"t\":%lld,\"n\":\"acc\",\"v\":1,\"src\":\"file\"}\nnot "
	            "json\n{\"t\":1}\n[]\n{\"t\":%lld,\"n\":\"\",\"v\":1}",
	            now, now);
	say(l, torn);
	ingest_finish(in, ID);
	wait_done(in);
	check_metrics(":acc=1#1- :loss=0.5#1 algo-1:CPUUtilization=50#1- ");
	CHECK(count_of("loss", of_job, "None") == 1);
	CHECK(count_of("CPUUtilization", of_host, "Percent") == 1);
	CHECK_OK(series_cursor(store, STR(ID), &at, e));
	CHECK_INT(at, joblog_end(l));
	CHECK_OK(joblog_close(l, e));
	ingest_finish(in, ID); /* of one that is not followed any more */
	wait_done(in);
	ingest_forget(in, ID);
	wait_metrics("");
	ingest_free(in);
	series_store_close(store);
}

TEST(a_host_without_metrics_is_done_at_once)
{
	struct ingest *in;

	up();
	in = ingest_new(store, test_tmpdir());
	ingest_follow(in, &host); /* not even its directory is there */
	ingest_finish(in, ID);
	wait_done(in);
	ingest_free(in);
	series_store_close(store);
}

/* ---- kill -9 ---- */

enum { LINES = 60000, KILLS = 12 };

static void child_main(void)
{
	struct ingest *in;

	up();
	in = ingest_new(store, test_tmpdir());
	ingest_follow(in, &host);
	ingest_finish(in, ID);
	wait_done(in);
	ingest_free(in);
	series_store_close(store);
	_exit(0);
}

static void write_values(void)
{
	long long now = wall_now().ms;
	struct joblog *l;

	make_dir("/metrics");
	l = open_file();
	for (int i = 0; i < LINES; i += 100) {
		_cleanup_buf_ struct buf text = { 0 };

		for (int k = i; k < i + 100; k++)
			buf_f(&text, "{\"t\":%lld,\"n\":\"m%d\",\"v\":%d,\"s\":%d}\n", now - LINES + k, k % 7, k, k);
		CHECK_OK(joblog_add_lines(l, wall_now(), LOG_FROM_PLATFORM, buf_view(&text), e));
	}
	CHECK_OK(joblog_close(l, e));
}

static void sum_values(void *arg, const struct series_value *v)
{
	double *sum = arg;

	sum[0]++;
	sum[1] += v->value;
	CHECK((int64_t)v->value == v->step);
}

TEST(every_value_counts_once_whatever_is_killed)
{
	double sum[2] = { 0 }, points = 0;
	int killed = 0;

	write_values();
	for (;;) {
		unsigned char delay;
		int status;
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (!pid)
			child_main();
		random_bytes(&delay, 1);
		if (killed < KILLS) {
			poll(NULL, 0, delay / 4);
			kill(pid, SIGKILL);
			killed++;
		}
		CHECK(waitpid(pid, &status, 0) == pid);
		if (WIFEXITED(status)) {
			CHECK_INT(WEXITSTATUS(status), 0);
			if (killed == KILLS)
				break;
		}
	}
	up();
	for (int i = 0; i < 7; i++) {
		_cleanup_free_ char *name = strf("m%d", i);

		CHECK_OK(series_job_values(store, STR(ID), str_of(name), sum_values, sum, e));
		points += count_of(name, of_job, "None");
	}
	CHECK(sum[0] == LINES && sum[1] == (double)LINES * (LINES - 1) / 2);
	CHECK(points == LINES);
	series_store_close(store);
}

/* ---- lines ---- */

TEST(lines_that_are_not_believed)
{
	static const char *const lines[] = {
		"",
		"{}",
		"{\"t\":1,\"v\":1}",
		"{\"t\":1,\"n\":7,\"v\":1}",
		"{\"t\":1,\"n\":\"a\\u0000b\",\"v\":1}",
		"{\"t\":\"1\",\"n\":\"a\",\"v\":1}",
		"{\"t\":1,\"n\":\"a\",\"v\":\"1\"}",
		"{\"t\":1,\"n\":\"a\",\"v\":1e999}",
		"{\"t\":-1,\"n\":\"a\",\"v\":1}",
		"{\"t\":1,\"n\":\"a\",\"v\":NaN}",
		"{\"t\":1,\"i\":\"\",\"v\":1}",
		"{\"t\":1,\"n\":\"a\",\"v\":1",
	};
	const struct record_host h = {
		.id = STR(ID), .job_id = STR(ID), .job_name = STR("demo"), .host_name = STR("algo-1")
	};
	_cleanup_(series_batch_freep) struct series_batch *b = series_batch_new();
	_cleanup_buf_ struct buf deep = { 0 };
	uint64_t at = 0;

	up();
	for (size_t i = 0; i < ARRAY_LEN(lines); i++)
		if (record_take(b, &h, str_of(lines[i]), 100 + i, wall_now()))
			test_failed(__FILE__, __LINE__, "believed: %s", lines[i]);
	for (int i = 0; i < RECORD_LINE_MAX; i++)
		buf_c(&deep, '[');
	CHECK(!record_take(b, &h, buf_view(&deep), 500, wall_now()));
	CHECK_OK(series_commit(store, b, wall_now(), false, e));
	check_metrics("");
	CHECK_OK(series_cursor(store, STR(ID), &at, e));
	CHECK_INT(at, 500);
	/* far away in time: a value of the job, of no series */
	CHECK(record_take(b, &h, STR("{\"t\":5,\"n\":\"old\",\"v\":1}"), 600, wall_now()));
	CHECK_OK(series_commit(store, b, wall_now(), false, e));
	check_metrics(":old=1#1 ");
	series_store_close(store);
}

/* Its instance is in the name, and the service has no DiskUtilization of it. */
TEST(samples_of_a_transform_jobs_host)
{
	const struct series_dimension d[] = { { STR("Host"), STR("demo/i-0aa") } };
	const struct series_key key = { STR("/aws/sagemaker/TransformJobs"), STR("CPUUtilization"), d, 1,
		                        STR("Percent") };
	const struct record_host h = { .id = STR(ID),
		                       .job_id = STR(ID),
		                       .job_name = STR("demo"),
		                       .host_name = STR("algo-1"),
		                       .instance = STR("i-0aa") };
	_cleanup_(series_batch_freep) struct series_batch *b = series_batch_new();
	_cleanup_free_ char *cpu = NULL, *disk = NULL;
	struct wall now = wall_now();
	struct series_points got = { 0 };

	up();
	cpu = strf("{\"t\":%lld,\"i\":\"CPUUtilization\",\"v\":50,\"u\":\"Percent\"}", (long long)now.ms);
	disk = strf("{\"t\":%lld,\"i\":\"DiskUtilization\",\"v\":50,\"u\":\"Percent\"}", (long long)now.ms);
	CHECK(record_take(b, &h, str_of(cpu), 1, now) && record_take(b, &h, str_of(disk), 2, now));
	CHECK_OK(series_commit(store, b, now, false, e));
	check_metrics("algo-1:CPUUtilization=50#1- ");
	CHECK_OK(series_read_points(
	        store, &key, &(struct series_window){ now.ms / 1000 / 60 * 60 - 3600, now.ms / 1000 + 60, 60, false },
	        now, &got, e));
	CHECK_INT(got.n, 1);
	series_points_fini(&got);
	series_store_close(store);
}
