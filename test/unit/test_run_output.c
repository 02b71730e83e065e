/* What a container prints arrives in the job's log byte for byte. SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "harness.h"
#include "run/phase.h"

static struct run run;
static char *log_path;

static void on_tick(void *arg)
{
	(void)arg;
	if (output_ended(run.box[0].output))
		loop_stop(run.loop);
}

/* Lets `print` write to both pipes in a child, and reads until both have ended. */
static void print_and_read(void (*print)(int out, int err))
{
	struct err why = { 0 };
	struct loop_source *tick;
	int out, err;
	pid_t pid;

	log_path = strf("%s/log", test_tmpdir());
	run.loop = loop_new();
	run.box[0].run = &run;
	CHECK(joblog_open(log_path, &run.box[0].log, &why) == 0);
	CHECK_OK(output_open(&run.box[0], NULL, &out, &err, e));
	pid = fork();
	if (pid == 0) {
		print(out, err);
		_exit(0);
	}
	close(out);
	close(err);
	tick = loop_timer(run.loop, 1, 1, on_tick, NULL);
	CHECK_OK(loop_run(run.loop, e));
	loop_source_free(tick);
	CHECK(waitpid(pid, NULL, 0) == pid);
	output_close(run.box[0].output);
	CHECK_OK(joblog_close(run.box[0].log, e));
	loop_free(run.loop);
}

/* The whole log as the container printed it. */
static char *logged(size_t *ret_records, size_t *ret_bytes)
{
	struct joblog_reader *r = NULL;
	struct log_record rec;
	struct buf b = { 0 };

	*ret_records = 0;
	CHECK_OK(joblog_reader_open(log_path, &r, e));
	while (r && joblog_next(r, &rec, NULL) > 0) {
		CHECK_INT(rec.source, LOG_FROM_CONTAINER);
		buf_str(&b, rec.bytes);
		if (rec.ends_line)
			buf_c(&b, '\n');
		++*ret_records;
	}
	joblog_reader_close(r);
	*ret_bytes = b.n;
	return buf_take(&b);
}

static void put(int fd, const char *bytes, size_t n)
{
	if (fd_write_all(fd, bytes, n, NULL) < 0)
		_exit(1);
}

static void print_plain(int out, int err)
{
	put(out, "one\ntwo\n\nlast", 13);
	close(out);
	put(err, "", 0);
}

TEST(output_lines_and_a_last_one_without_its_end)
{
	size_t records, n;
	char *got;

	print_and_read(print_plain);
	got = logged(&records, &n);
	CHECK_STR(got, "one\ntwo\n\nlast");
	CHECK_INT(records, 4);
	free(got);
}

static void print_pieces(int out, int err)
{
	(void)err;
	for (const char *p = "a line in many writes\nand another\n"; *p; p++) {
		put(out, p, 1);
		if (*p == ' ')
			nanosleep(&(struct timespec){ .tv_nsec = 3000000 }, NULL);
	}
}

TEST(output_a_line_in_pieces_is_one_record)
{
	size_t records, n;
	char *got;

	print_and_read(print_pieces);
	got = logged(&records, &n);
	CHECK_STR(got, "a line in many writes\nand another\n");
	CHECK_INT(records, 2);
	free(got);
}

static void print_both(int out, int err)
{
	for (int i = 0; i < 200; i++) {
		put(out, "out out ", 8);
		put(err, "err err ", 8);
		put(out, "out\n", 4);
		put(err, "err\n", 4);
	}
}

TEST(output_lines_of_both_streams_are_not_mixed)
{
	size_t records, n;
	struct str rest;
	char *got;

	print_and_read(print_both);
	got = logged(&records, &n);
	CHECK_INT(records, 400);
	for (rest = str_of(got); rest.n;) {
		struct str line = str_cut(&rest, '\n');

		CHECK(str_is(line, "out out out") || str_is(line, "err err err"));
	}
	free(got);
}

enum { HUGE_BYTES = 3 << 20 };

static void print_huge(int out, int err)
{
	char *p = xcalloc(1, HUGE_BYTES);

	(void)err;
	memset(p, 'x', HUGE_BYTES);
	put(out, p, HUGE_BYTES);
	put(out, "\nnext\n", 6);
}

TEST(output_a_line_of_megabytes_comes_in_pieces_and_whole)
{
	size_t records, n;
	char *got;

	print_and_read(print_huge);
	got = logged(&records, &n);
	CHECK_INT(n, HUGE_BYTES + 6);
	CHECK(str_ends((struct str){ got, n }, STR("x\nnext\n")));
	CHECK(!str_has_byte((struct str){ got, HUGE_BYTES }, '\n'));
	CHECK(records > 4 && records < 200);
	free(got);
}

static void print_bytes(int out, int err)
{
	char all[256];

	for (size_t i = 0; i < sizeof(all); i++)
		all[i] = (char)i;
	put(err, all, sizeof(all));
	close(err);
	(void)out;
}

TEST(output_any_byte_is_kept)
{
	size_t records, n;
	char *got;

	print_and_read(print_bytes);
	got = logged(&records, &n);
	CHECK_INT(n, 256);
	for (size_t i = 0; i < n; i++)
		CHECK_INT((unsigned char)got[i], i);
	free(got);
}

/* ---- a line that takes its time ---- */

static bool log_has(const char *text)
{
	struct buf b = { 0 };
	bool has;

	CHECK_OK(file_read(log_path, 1 << 20, &b, e));
	has = str_find(buf_view(&b), str_of(text)) >= 0;
	buf_fini(&b);
	return has;
}

/* Waits for what a reader does not see. */
static void wait_until_in_file(const char *text)
{
	struct mono began = mono_now();

	while (!log_has(text)) {
		if (mono_ms_since(began) > 30000)
			_exit(1);
		nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
	}
}

static void print_slowly(int out, int err)
{
	put(out, "Epoch 1: 10%", 12);
	wait_until_in_file("Epoch 1: 10%");
	put(err, "a warning\n", 10);
	put(out, "\rEpoch 1: 20%", 13);
	wait_until_in_file("\rEpoch 1: 20%");
	put(out, "\rdone\nand", 9);
	wait_until_in_file("and");
}

TEST(output_of_an_unfinished_line_is_in_the_log)
{
	size_t records, n;
	char *got;

	print_and_read(print_slowly);
	got = logged(&records, &n);
	CHECK_STR(got, "a warning\nEpoch 1: 10%\rEpoch 1: 20%\rdone\nand");
	CHECK_INT(records, 3);
	free(got);
}
