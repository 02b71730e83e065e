/* The file of a host's metrics: each value once, wherever its writer was stopped; and what comes from a container's
 * files. SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "harness.h"
#include "joblog/joblog.h"
#include "metric/extract.h"
#include "metric/instance.h"
#include "metric/tracker.h"
#include "metric/try.h"

static const struct metric_definition two[] = { { STR("loss"), STR("loss=(\\S+)") },
	                                        { STR("step \"1\""), STR("step (\\d+)") } };

static char *path_of(const char *leaf)
{
	return strf("%s/%s", test_tmpdir(), leaf);
}

/* A log of many frames, with lines in pieces and platform lines in between. */
static void make_log(const char *path, unsigned lines)
{
	struct joblog *l = NULL;
	struct buf b = { 0 };

	CHECK_OK(joblog_open(path, &l, e));
	for (unsigned i = 0; i < lines; i++) {
		buf_f(&b, "step %u loss=%u.5e-1\n", i, i);
		if (i % 7 == 3)
			buf_f(&b, "loss=nan\n");
		if (i % 5 == 0) {
			CHECK_OK(joblog_add_lines(l, (struct wall){ 1000 + i }, LOG_FROM_CONTAINER, buf_view(&b), e));
			buf_reset(&b);
		}
		if (i % 40 == 0)
			CHECK_OK(joblog_add(l, (struct wall){ 1000 + i }, LOG_FROM_PLATFORM, true, STR("loss=99"), e));
		if (i % 33 == 0) {
			CHECK_OK(
			        joblog_add(l, (struct wall){ 1000 + i }, LOG_FROM_CONTAINER, false, STR("long lo"), e));
			CHECK_OK(joblog_add(l, (struct wall){ 1000 + i }, LOG_FROM_CONTAINER, false, STR("ss=1"), e));
			CHECK_OK(joblog_add_lines(l, (struct wall){ 1000 + i }, LOG_FROM_CONTAINER,
			                          STR("0.25\nloss=7\n"), e));
		}
	}
	CHECK_OK(joblog_add_lines(l, (struct wall){ 9000 }, LOG_FROM_CONTAINER, buf_view(&b), e));
	CHECK_OK(joblog_add(l, (struct wall){ 9000 }, LOG_FROM_CONTAINER, false, STR("last loss=3"), e));
	CHECK_OK(joblog_close(l, e));
	buf_fini(&b);
}

/* Goes on with `to`, writing every few lines, up to the end. */
static void extract_to(const char *log, const char *to, size_t part)
{
	_cleanup_(metric_set_freep) struct metric_set *s = NULL;
	_cleanup_(metric_out_closep) struct metric_out *out = NULL;
	_cleanup_(extract_closep) struct extract *x = NULL;
	struct metric_left left = { 0 };
	unsigned turn = 0;
	int rc = 1;

	CHECK_OK(metric_set_new(two, 2, &s, e));
	CHECK_OK(metric_out_open(to, &out, &left, e));
	CHECK_OK(extract_open(log, s, out, &left, &x, e));
	while (x && rc > 0) {
		CHECK_OK(rc = extract_more(x, part, e));
		CHECK_OK(extract_write(x, ++turn % 5 == 0, e));
	}
	if (x) {
		CHECK_OK(extract_end(x, e));
		CHECK_OK(extract_write(x, true, e));
	}
	metric_left_fini(&left);
}

/* All values of a file, and its last counts. */
static void dump(const char *path, struct buf *values, struct buf *counts)
{
	_cleanup_(joblog_reader_closep) struct joblog_reader *r = NULL;
	struct log_record rec;

	CHECK_OK(joblog_reader_open(path, &r, e));
	while (r && joblog_next(r, &rec, NULL) > 0) {
		json_error_t why;
		json_t *j = json_loadb(rec.bytes.p, rec.bytes.n, 0, &why);

		CHECK(j != NULL);
		if (json_object_get(j, "n")) {
			buf_str(values, rec.bytes);
			buf_c(values, '\n');
		}
		if (json_object_get(j, "counts")) {
			buf_reset(counts);
			buf_str(counts, rec.bytes);
		}
		json_decref(j);
	}
}

static void copy_cut(const char *from, const char *to, size_t n)
{
	_cleanup_buf_ struct buf b = { 0 };

	CHECK_OK(file_read(from, 64 << 20, &b, e));
	CHECK_OK(file_put(AT_FDCWD, to, (struct str){ b.p, n < b.n ? n : b.n }, 0644, e));
}

TEST(values_are_there_once_wherever_the_writer_was_killed)
{
	_cleanup_free_ char *log = path_of("log"), *whole = path_of("whole"), *cut = path_of("cut");
	_cleanup_buf_ struct buf values = { 0 }, counts = { 0 };
	struct stat st = { 0 };

	make_log(log, 300);
	extract_to(log, whole, 300);
	dump(whole, &values, &counts);
	CHECK(str_find(buf_view(&values), STR("{\"t\":1005,\"n\":\"loss\",\"v\":5.5e-1}")) >= 0);
	CHECK(str_find(buf_view(&values), STR("\"n\":\"step \\\"1\\\"\",\"v\":299.0}")) >= 0);
	CHECK(str_find(buf_view(&values), STR("\"v\":10.25}")) >= 0);
	CHECK(str_find(buf_view(&values), STR("{\"t\":9000,\"n\":\"loss\",\"v\":3.0}")) >= 0);
	CHECK(str_find(buf_view(&values), STR("\"loss\",\"v\":99.0}")) < 0); /* the platform's */
	CHECK(stat(whole, &st) == 0);
	for (size_t n = 0; n <= (size_t)st.st_size; n += 1 + (size_t)st.st_size / 150) {
		_cleanup_buf_ struct buf again = { 0 }, recount = { 0 };

		copy_cut(whole, cut, n);
		extract_to(log, cut, 900);
		dump(cut, &again, &recount);
		CHECK(str_eq(buf_view(&again), buf_view(&values)));
		CHECK_STR(recount.p, counts.p);
	}
}

TEST(one_piece_of_log_may_give_more_than_a_frame_holds)
{
	_cleanup_free_ char *log = path_of("log"), *whole = path_of("whole"), *cut = path_of("cut");
	_cleanup_buf_ struct buf values = { 0 }, counts = { 0 }, lines = { 0 };
	struct joblog *l = NULL;
	struct stat st = { 0 };

	CHECK_OK(joblog_open(log, &l, e));
	for (unsigned i = 0; i < 12000; i++)
		buf_f(&lines, "step %u loss=%u\n", i, i);
	CHECK_OK(joblog_add_lines(l, (struct wall){ 5 }, LOG_FROM_CONTAINER, buf_view(&lines), e));
	CHECK_OK(joblog_close(l, e));
	extract_to(log, whole, 1 << 20);
	dump(whole, &values, &counts);
	CHECK(values.n > 24000 * 30);
	CHECK(stat(whole, &st) == 0);
	for (size_t n = 0; n <= (size_t)st.st_size; n += 1 + (size_t)st.st_size / 12) {
		_cleanup_buf_ struct buf again = { 0 }, recount = { 0 };

		copy_cut(whole, cut, n);
		extract_to(log, cut, 1 << 20);
		dump(cut, &again, &recount);
		CHECK(str_eq(buf_view(&again), buf_view(&values)));
		CHECK_STR(recount.p, counts.p);
	}
}

TEST(an_expression_is_tried_on_stored_logs)
{
	_cleanup_free_ char *log = path_of("log"), *none = path_of("none");
	const char *const logs[] = { log, none };
	struct metric_tried t = { 0 };

	make_log(log, 10);
	CHECK_OK(metric_try(logs, 2, STR("loss=(\\S+)"), &t, e));
	CHECK_INT(t.matched, t.value_count);
	CHECK_INT(t.refused, 1);
	CHECK_STR(t.refusals[0].text, "nan");
	CHECK_STR(t.values[0].line, "step 0 loss=0.5e-1");
	CHECK_INT(t.values[0].at.ms, 1000);
	CHECK(!t.says);
	metric_tried_fini(&t);
	CHECK_OK(metric_try(logs, 2, STR("Loss=(\\S+)"), &t, e));
	CHECK_STR(t.says, "0 of 14 lines matched `Loss=(\\S+)`; nearest line: step 0 loss=0.5e-1");
	metric_tried_fini(&t);
	CHECK(metric_try(logs, 2, STR("(loss"), &t, NULL) < 0);
}

/* ---- files of metrics ---- */

static const char *parsed(const char *line)
{
	static char text[400];
	struct tracker_value v;
	const char *why = NULL;
	json_t *j = NULL;

	if (tracker_parse(str_of(line), (struct wall){ INT64_C(1700000000000) }, &v, &j, &why))
		snprintf(text, sizeof(text), "%.*s %g %lld %lld", ARGstr(v.name), v.v, (long long)v.t.ms,
		         v.has_step ? (long long)v.step : -1);
	else
		snprintf(text, sizeof(text), "%s", why);
	json_decref(j);
	return text;
}

TEST(lines_of_trackers)
{
	CHECK_STR(parsed("{\"MetricName\":\"a\",\"Value\":0.5,\"Timestamp\":1700000001.25,\"IterationNumber\":3}"),
	          "a 0.5 1700000001250 3");
	CHECK_STR(parsed("{\"MetricName\":\"a\",\"Value\":7,\"Timestamp\":null,\"Step\":-2}"), "a 7 1700000000000 -2");
	CHECK_STR(parsed("{\"MetricName\":\"a\",\"Value\":NaN}"), "it is no JSON (NaN and Infinity are not)");
	CHECK_STR(parsed("{\"MetricName\":\"a\",\"Value\":\"1\"}"), "Value is not a number");
	CHECK_STR(parsed("{\"MetricName\":\"\",\"Value\":1}"), "MetricName is not a text of 1 to 255 bytes");
	CHECK_STR(parsed("{\"MetricName\":\"a\",\"Value\":1,\"Step\":1.5}"),
	          "IterationNumber or Step is not an integer");
	CHECK_STR(parsed("{\"MetricName\":\"a\",\"Value\":1,\"Timestamp\":17}"),
	          "Timestamp is not a time in seconds, from two weeks ago to two hours ahead");
	CHECK_STR(parsed("[1]"), "it is no JSON object");
	CHECK_STR(parsed("{\"MetricName\":\"a\",\"Value\":1e999}"), "it is no JSON (NaN and Infinity are not)");
}

static void hear(void *arg, const char *text)
{
	struct buf *b = arg;

	buf_f(b, "%s\n", text);
}

/* What a tracker takes now: "name value" a line. */
static void take(struct tracker *t, struct metric_out *out, bool last)
{
	while (tracker_read(t, 1 << 20, last, out) > 0)
		CHECK_OK(metric_out_write(out, (struct metric_place){ 0, 0 }, e));
	CHECK_OK(metric_out_write(out, (struct metric_place){ 0, 0 }, e));
}

TEST(a_large_file_leaves_room_for_others)
{
	_cleanup_free_ char *file = path_of("metrics"), *root = path_of("root");
	_cleanup_free_ char *dir = strf("%s/" TRACKER_DIRECTORY, root), *odd = strf("%s/x.json", dir);
	_cleanup_buf_ struct buf said = { 0 }, values = { 0 }, counts = { 0 };
	_cleanup_close_ int fd = -EBADF;
	struct metric_left left = { 0 };
	struct metric_out *out = NULL;
	struct tracker *t;

	CHECK_OK(mkdir_all(AT_FDCWD, dir, 0755, e));
	for (unsigned i = 0; i < 60; i++) { /* wherever readdir(3) has the small one */
		_cleanup_free_ char *hole = strf("%s/%u.json", dir, i);

		CHECK_OK(file_put(AT_FDCWD, hole, i == 30 ? STR("{\"MetricName\":\"a\",\"Value\":1}\n") : STR(""), 0644,
		                  e));
		CHECK(i == 30 || truncate(hole, (off_t)1 << 30) == 0);
	}
	CHECK(mkfifo(odd, 0644) == 0);
	fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	CHECK_OK(metric_out_open(file, &out, &left, e));
	t = tracker_new(fd, NULL, hear, &said);
	for (int i = 0; i < 5; i++) { /* so many of them in each that this is enough */
		CHECK_INT(tracker_read(t, 4 << 20, false, out), 1);
		CHECK_OK(metric_out_write(out, (struct metric_place){ 0, 0 }, e));
	}
	tracker_free(t);
	metric_out_close(out);
	dump(file, &values, &counts);
	CHECK(strstr(values.p, "\"n\":\"a\",\"v\":1.0"));
	CHECK(strstr(said.p, "x.json is not read: it is no regular file"));
}

TEST(files_of_trackers_are_read_once_each_line)
{
	_cleanup_free_ char *file = path_of("metrics"), *root = path_of("root");
	_cleanup_free_ char *dir = strf("%s/" TRACKER_DIRECTORY, root), *one = strf("%s/1.json", dir);
	_cleanup_buf_ struct buf said = { 0 }, values = { 0 }, counts = { 0 };
	_cleanup_close_ int fd = -EBADF;
	struct metric_left left = { 0 };
	struct metric_out *out = NULL;
	struct tracker *t;

	CHECK_OK(mkdir_all(AT_FDCWD, dir, 0755, e));
	fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	CHECK_OK(metric_out_open(file, &out, &left, e));
	t = tracker_new(fd, NULL, hear, &said);
	CHECK_OK(file_put(AT_FDCWD, one, STR("{\"MetricName\":\"a\",\"Value\":1}\n{\"MetricName\":\"a\",\"Va"), 0644,
	                  e));
	take(t, out, false);
	tracker_free(t);
	metric_out_close(out);
	/* Another one goes on; the half line is whole now. */
	CHECK_OK(metric_out_open(file, &out, &left, e));
	t = tracker_new(fd, left.files, hear, &said);
	CHECK_OK(file_put(AT_FDCWD, one,
	                  STR("{\"MetricName\":\"a\",\"Value\":1}\n{\"MetricName\":\"a\",\"Value\":2}\n{\"MetricName\":"
	                      "\"a\",\"Value\":3}"),
	                  0644, e));
	take(t, out, false);
	take(t, out, true);
	take(t, out, true);
	/* Emptied and written anew, shorter. */
	CHECK_OK(file_put(AT_FDCWD, one, STR("{\"MetricName\":\"b\",\"Value\":4}\n"), 0644, e));
	take(t, out, false);
	tracker_free(t);
	metric_out_close(out);
	dump(file, &values, &counts);
	for (unsigned i = 0, at = 0; i < 4; i++) {
		_cleanup_free_ char *want = strf("\"n\":\"%s\",\"v\":%u.0,\"src\":\"file\"}\n", i < 3 ? "a" : "b",
		                                 i + 1);
		ptrdiff_t found = str_find((struct str){ values.p + at, values.n - at }, str_of(want));

		CHECK(found >= 0);
		at += (unsigned)found + (unsigned)strlen(want);
		if (i == 3)
			CHECK_INT(at, values.n);
	}
	CHECK_INT(said.n, 0);
	metric_left_fini(&left);
}

/* ---- the instance ---- */

static void put(const char *dir, const char *leaf, const char *text)
{
	_cleanup_free_ char *path = strf("%s/%s", dir, leaf);

	CHECK_OK(file_put(AT_FDCWD, path, str_of(text), 0644, e));
}

TEST(samples_of_the_unified_hierarchy)
{
	_cleanup_free_ char *file = path_of("metrics"), *dir = path_of("cgroup");
	_cleanup_(joblog_reader_closep) struct joblog_reader *r = NULL;
	_cleanup_buf_ struct buf got = { 0 };
	struct metric_left left = { 0 };
	struct metric_out *out = NULL;
	struct instance_sources s = {
		.unified = true, .net = -1, .volume = -1, .gpu = -1, .cpus = 2, .memory_bytes = 1000
	};
	struct instance *i;
	struct log_record rec;
	int fd;

	CHECK(mkdir(dir, 0755) == 0);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	s.cpu = s.memory = s.io = fd;
	s.started_ns = mono_now().ns - INT64_C(10000000000); /* ten seconds ago */
	put(dir, "cpu.stat", "usage_usec 5000000\nuser_usec 1\n");
	put(dir, "memory.current", "600\n");
	put(dir, "memory.stat", "anon 300\ninactive_file 100\n");
	put(dir, "io.stat", "8:0 rbytes=10 wbytes=20 rios=1\n8:16 rbytes=5 wbytes=0\n");
	CHECK_OK(metric_out_open(file, &out, &left, e));
	i = instance_new(&s);
	instance_sample(i, false, out);
	instance_sample(i, true, out); /* at once: it has nothing new to tell */
	CHECK_OK(metric_out_write(out, (struct metric_place){ 0, 0 }, e));
	CHECK_OK(joblog_reader_open(file, &r, e));
	while (r && joblog_next(r, &rec, NULL) > 0) {
		json_t *j = json_loadb(rec.bytes.p, rec.bytes.n, 0, NULL);

		if (json_object_get(j, "i"))
			buf_f(&got, "%s %.0f %s\n", json_string_value(json_object_get(j, "i")),
			      json_number_value(json_object_get(j, "v")), json_string_value(json_object_get(j, "u")));
		json_decref(j);
	}
	CHECK_STR(got.p, "CPUUtilization 50 Percent\nDiskReadBytes 15 Bytes\nDiskWriteBytes 20 Bytes\n"
	                 "MemoryUtilization 50 Percent\n");
	instance_free(i);
	metric_out_close(out);
	close(fd);
}

TEST(figures_of_gpus)
{
	double busy, memory;

	CHECK(instance_gpu_line(STR(" 37, 12"), &busy, &memory) && busy == 37 && memory == 12);
	CHECK(!instance_gpu_line(STR(" [N/A], 12"), &busy, &memory));
	CHECK(!instance_gpu_line(STR(""), &busy, &memory));
}
