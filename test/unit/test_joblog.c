/* SPDX-License-Identifier: Apache-2.0 */
#include "joblog/joblog.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "harness.h"

static char *log_path(void)
{
	return strf("%s/log", test_tmpdir());
}

static void add(struct joblog *l, int64_t ms, const char *text, bool ends)
{
	CHECK_OK(joblog_add(l, (struct wall){ ms }, LOG_FROM_CONTAINER, ends, str_of(text), e));
}

/* Everything in the log as "n:time:source:text[$]" lines. */
static void dump(struct joblog_reader *r, struct buf *out)
{
	struct log_record rec;
	struct err e = { 0 };
	int rc;

	while ((rc = joblog_next(r, &rec, &e)) > 0)
		buf_f(out, "%" PRIu64 ":%" PRId64 ":%c:" PRIstr "%s\n", rec.n, rec.at.ms,
		      rec.source == LOG_FROM_CONTAINER ? 'c' : 'p', ARGstr(rec.bytes), rec.ends_line ? "$" : "");
	CHECK_INT(rc, 0);
}

static void check_log(const char *path, const char *want)
{
	_cleanup_(joblog_reader_closep) struct joblog_reader *r = NULL;
	_cleanup_buf_ struct buf got = { 0 };

	CHECK_OK(joblog_reader_open(path, &r, e));
	if (!r)
		return;
	dump(r, &got);
	CHECK_STR(got.p ? got.p : "", want);
}

TEST(joblog_records_come_back_as_they_went_in)
{
	_cleanup_free_ char *path = log_path();
	struct joblog *l = NULL;

	CHECK_OK(joblog_open(path, &l, e));
	add(l, 5, "one", true);
	add(l, 6, "half ", false);
	CHECK_OK(joblog_add(l, (struct wall){ 6 }, LOG_FROM_PLATFORM, true, STR("said"), e));
	add(l, 4, "of it", true); /* the clock was set back */
	add(l, 7, "", true);
	add(l, 7, "", false); /* nothing at all */
	CHECK_OK(joblog_close(l, e));
	check_log(path, "0:5:c:one$\n1:6:c:half \n2:6:p:said$\n3:6:c:of it$\n4:7:c:$\n");
}

TEST(joblog_lines_of_one_read_are_records)
{
	_cleanup_free_ char *path = log_path();
	struct joblog *l = NULL;

	CHECK_OK(joblog_open(path, &l, e));
	CHECK_OK(joblog_add_lines(l, (struct wall){ 1 }, LOG_FROM_CONTAINER, STR("a\n\nb\r\nrest"), e));
	CHECK_OK(joblog_add_lines(l, (struct wall){ 2 }, LOG_FROM_CONTAINER, STR(" of it\n"), e));
	CHECK_OK(joblog_add_lines(l, (struct wall){ 3 }, LOG_FROM_CONTAINER, (struct str){ NULL, 0 }, e));
	CHECK_OK(joblog_close(l, e));
	check_log(path, "0:1:c:a$\n1:1:c:$\n2:1:c:b\r$\n3:1:c:rest\n4:2:c: of it$\n");
}

TEST(joblog_goes_on_where_it_ended)
{
	_cleanup_free_ char *path = log_path();
	struct joblog *l = NULL;

	CHECK_OK(joblog_open(path, &l, e));
	CHECK_OK(joblog_add_lines(l, (struct wall){ 9 }, LOG_FROM_CONTAINER, STR("a\nb\n"), e));
	CHECK_OK(joblog_close(l, e));
	CHECK_OK(joblog_open(path, &l, e));
	add(l, 3, "c", true);
	CHECK_OK(joblog_close(l, e));
	check_log(path, "0:9:c:a$\n1:9:c:b$\n2:9:c:c$\n");
}

TEST(joblog_any_cut_leaves_whole_frames)
{
	_cleanup_free_ char *path = log_path(), *cut = strf("%s/cut", test_tmpdir());
	_cleanup_buf_ struct buf all = { 0 };
	struct joblog *l = NULL;

	CHECK_OK(joblog_open(path, &l, e));
	add(l, 1, "first", true);
	add(l, 2, "second", true);
	CHECK_OK(joblog_close(l, e));
	CHECK_OK(file_read(path, 1 << 20, &all, e));
	for (size_t n = 0; n < all.n; n++) {
		const char *want = n < 58 ? "0:5:c:new$\n" : "0:1:c:first$\n1:5:c:new$\n";

		CHECK_OK(file_put(AT_FDCWD, cut, (struct str){ all.p, n }, 0644, e));
		if (n >= 16)
			check_log(cut, n < 58 ? "" : "0:1:c:first$\n");
		CHECK_OK(joblog_open(cut, &l, e));
		add(l, 5, "new", true);
		CHECK_OK(joblog_close(l, e));
		check_log(cut, want);
	}
}

TEST(joblog_zeros_behind_a_power_cut_are_cut)
{
	_cleanup_free_ char *path = log_path();
	struct joblog *l = NULL;
	struct stat st;

	CHECK_OK(joblog_open(path, &l, e));
	add(l, 1, "first", true);
	CHECK_OK(joblog_close(l, e));
	CHECK(stat(path, &st) == 0 && truncate(path, st.st_size + 5000) == 0);
	CHECK_OK(joblog_open(path, &l, e));
	add(l, 2, "second", true);
	CHECK_OK(joblog_close(l, e));
	check_log(path, "0:1:c:first$\n1:2:c:second$\n");
}

TEST(joblog_full_disk_loses_only_what_did_not_fit)
{
	_cleanup_free_ char *path = log_path();
	_cleanup_buf_ struct buf big = { 0 };
	struct rlimit small = { 200, RLIM_INFINITY }, none = { RLIM_INFINITY, RLIM_INFINITY };
	struct joblog *l = NULL;
	struct err e1 = { 0 };

	signal(SIGXFSZ, SIG_IGN);
	CHECK_OK(joblog_open(path, &l, e));
	add(l, 1, "first", true);
	for (int i = 0; i < 1000; i++)
		buf_c(&big, 'x');
	CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
	CHECK_INT(joblog_add(l, (struct wall){ 2 }, LOG_FROM_CONTAINER, true, buf_view(&big), &e1), -1);
	CHECK_INT(e1.kind, ERR_IO);
	CHECK(setrlimit(RLIMIT_FSIZE, &none) == 0);
	add(l, 3, "third", true);
	CHECK_OK(joblog_close(l, e));
	check_log(path, "0:1:c:first$\n1:3:c:third$\n");
}

TEST(joblog_sees_what_comes_while_it_reads)
{
	_cleanup_free_ char *path = log_path();
	_cleanup_(joblog_reader_closep) struct joblog_reader *r = NULL;
	struct log_record rec;
	struct joblog *l = NULL;
	struct err e1 = { 0 };

	CHECK_INT(joblog_reader_open(path, &r, &e1), -1);
	CHECK_INT(e1.kind, ERR_NOT_FOUND);
	CHECK_OK(joblog_open(path, &l, e));
	CHECK_OK(joblog_reader_open(path, &r, e));
	CHECK_INT(joblog_next(r, &rec, NULL), 0);
	for (int i = 0; i < 10000; i++) {
		_cleanup_free_ char *text = strf("line %d", i);

		add(l, i, text, true);
		CHECK_INT(joblog_next(r, &rec, NULL), 1);
		if (rec.n != (uint64_t)i || !str_is(rec.bytes, text))
			CHECK_INT(rec.n, i);
		CHECK_INT(joblog_next(r, &rec, NULL), 0);
	}
	CHECK_OK(joblog_close(l, e));
}

/* Writes count lines "i", times 10*i, in frames of 1 to 50 lines, some of them long. */
static void write_many(const char *path, int count)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct joblog *l = NULL;

	CHECK_OK(joblog_open(path, &l, e));
	for (int i = 0, lines = 0; i < count; i++) {
		buf_f(&b, "%d %*s\n", i, i % 997 == 0 ? 30000 : i % 40, "");
		if (++lines > i % 50 || i + 1 == count) {
			CHECK_OK(joblog_add_lines(l, (struct wall){ 10 * i }, LOG_FROM_CONTAINER, buf_view(&b), e));
			buf_reset(&b);
			lines = 0;
		}
	}
	CHECK_OK(joblog_close(l, e));
}

static int number(const struct log_record *rec)
{
	struct str rest = rec->bytes;
	uint64_t n = 0;

	CHECK(str_to_u64(str_cut(&rest, ' '), &n));
	return (int)n;
}

TEST(joblog_walks_both_ways_and_seeks_everywhere)
{
	enum { COUNT = 60000 };
	_cleanup_free_ char *path = log_path();
	_cleanup_free_ uint64_t *offset = xcalloc(COUNT + 1, sizeof(*offset));
	_cleanup_(joblog_reader_closep) struct joblog_reader *r = NULL;
	struct log_record rec;
	int bad = 0;

	write_many(path, COUNT);
	CHECK_OK(joblog_reader_open(path, &r, e));
	for (int i = 0; i < COUNT; i++) {
		offset[i] = joblog_offset(r);
		bad += joblog_next(r, &rec, NULL) != 1 || rec.n != (uint64_t)i || number(&rec) != i;
	}
	offset[COUNT] = joblog_offset(r);
	CHECK_INT(joblog_next(r, &rec, NULL), 0);
	CHECK_INT(bad, 0);
	for (int i = COUNT - 1; i >= 0; i--)
		bad += joblog_prev(r, &rec, NULL) != 1 || rec.n != (uint64_t)i || number(&rec) != i ||
		       joblog_offset(r) != offset[i];
	CHECK_INT(joblog_prev(r, &rec, NULL), 0);
	CHECK_INT(bad, 0);
	for (int i = 0; i <= COUNT; i += 131) {
		bad += joblog_seek(r, offset[i], NULL) != 0;
		bad += joblog_next(r, &rec, NULL) != (i < COUNT) || (i < COUNT && rec.n != (uint64_t)i);
		bad += joblog_seek(r, offset[i], NULL) != 0;
		bad += joblog_prev(r, &rec, NULL) != (i > 0) || (i > 0 && rec.n != (uint64_t)i - 1);
	}
	CHECK_INT(bad, 0);
}

TEST(joblog_seek_takes_record_starts_only)
{
	_cleanup_free_ char *path = log_path();
	_cleanup_(joblog_reader_closep) struct joblog_reader *r = NULL;
	_cleanup_buf_ struct buf starts = { 0 };
	struct log_record rec;
	struct joblog *l = NULL;
	struct stat st;

	CHECK_OK(joblog_open(path, &l, e));
	CHECK_OK(joblog_add_lines(l, (struct wall){ 1 }, LOG_FROM_CONTAINER, STR("a\nbc\nd"), e));
	CHECK_OK(joblog_add_lines(l, (struct wall){ 2 }, LOG_FROM_CONTAINER, STR("e\n"), e));
	CHECK_OK(joblog_close(l, e));
	CHECK(stat(path, &st) == 0);
	CHECK_OK(joblog_reader_open(path, &r, e));
	CHECK_INT(joblog_next(r, &rec, NULL), 1);
	for (uint64_t at = 0; at < (uint64_t)st.st_size + 3; at++) {
		struct err e1 = { 0 };
		uint64_t was = joblog_offset(r);

		if (joblog_seek(r, at, &e1) == 0)
			buf_f(&starts, "%" PRIu64 " ", at);
		else {
			CHECK_INT(e1.kind, ERR_INVALID);
			CHECK_INT(joblog_offset(r), was);
		}
	}
	for (unsigned bit = 20; bit < 64; bit++) { /* tokens of clients: some are no offsets of a file at all */
		struct err e1 = { 0 }, e2 = { 0 };

		CHECK_INT(joblog_seek(r, UINT64_C(1) << bit, &e1), -1);
		CHECK_INT(e1.kind, ERR_INVALID);
		CHECK_INT(joblog_seek(r, UINT64_MAX << bit, &e2), -1);
		CHECK_INT(e2.kind, ERR_INVALID);
	}
	/* 0 is the start as well as 16; a frame is 36 bytes and its body; the end is where the next record will be. */
	CHECK_STR(starts.p, "0 16 50 53 58 96 ");
}

TEST(joblog_finds_times)
{
	enum { COUNT = 60000 };
	_cleanup_free_ char *path = log_path();
	_cleanup_free_ int64_t *at = xcalloc(COUNT, sizeof(*at));
	_cleanup_(joblog_reader_closep) struct joblog_reader *r = NULL;
	struct log_record rec;
	int bad = 0, want = 0;

	write_many(path, COUNT);
	CHECK_OK(joblog_reader_open(path, &r, e));
	while (joblog_next(r, &rec, NULL) > 0)
		at[rec.n] = rec.at.ms;
	for (int64_t t = -5; t < 10 * COUNT + 100; t += 997) {
		while (want < COUNT && at[want] < t)
			want++;
		bad += joblog_seek_time(r, (struct wall){ t }, NULL) != 0;
		bad += joblog_next(r, &rec, NULL) != (want < COUNT) || (want < COUNT && rec.n != (uint64_t)want);
	}
	CHECK_INT(bad, 0);
}

TEST(joblog_over_long_lines_are_pieces)
{
	_cleanup_free_ char *path = log_path();
	_cleanup_free_ char *big = xcalloc(1, 700000);
	_cleanup_(joblog_reader_closep) struct joblog_reader *r = NULL;
	struct log_record rec;
	struct joblog *l = NULL;
	size_t got = 0;

	memset(big, 'x', 700000);
	CHECK_OK(joblog_open(path, &l, e));
	CHECK_OK(joblog_add(l, (struct wall){ 1 }, LOG_FROM_CONTAINER, true, (struct str){ big, 700000 }, e));
	CHECK_OK(joblog_add_lines(l, (struct wall){ 1 }, LOG_FROM_CONTAINER, (struct str){ big, 300000 }, e));
	CHECK_OK(joblog_close(l, e));
	CHECK_OK(joblog_reader_open(path, &r, e));
	do {
		CHECK_INT(joblog_next(r, &rec, NULL), 1);
		got += rec.bytes.n;
	} while (!rec.ends_line && got < 700000);
	CHECK_INT(got, 700000);
	CHECK(rec.ends_line);
	while (joblog_next(r, &rec, NULL) > 0)
		got += rec.bytes.n;
	CHECK_INT(got, 1000000);
}

TEST(joblog_container_cannot_forge_frames)
{
	_cleanup_free_ char *path = log_path(), *victim = strf("%s/victim", test_tmpdir());
	_cleanup_buf_ struct buf other = { 0 };
	struct joblog *l = NULL;

	/* A whole log of its own making, printed: it has another mark. */
	CHECK_OK(joblog_open(path, &l, e));
	add(l, 1, "x", true);
	CHECK_OK(joblog_close(l, e));
	CHECK_OK(file_read(path, 1 << 20, &other, e));
	CHECK_OK(joblog_open(victim, &l, e));
	CHECK_OK(joblog_add(l, (struct wall){ 1 }, LOG_FROM_CONTAINER, false, buf_view(&other), e));
	CHECK_OK(joblog_close(l, e));
	CHECK_OK(joblog_open(victim, &l, e)); /* the end is found from behind */
	add(l, 2, "after", true);
	CHECK_OK(joblog_close(l, e));
	{
		_cleanup_(joblog_reader_closep) struct joblog_reader *r = NULL;
		struct log_record rec;

		CHECK_OK(joblog_reader_open(victim, &r, e));
		/* Where the printed frame begins no record does, unless the random mark before it ends in a '\n'. */
		CHECK_INT(joblog_seek(r, 16 + 32 + 16, NULL), other.p[15] == '\n' ? 0 : -1);
		CHECK_OK(joblog_seek_time(r, (struct wall){ 2 }, e));
		CHECK_INT(joblog_next(r, &rec, NULL), 1);
		CHECK(str_is(rec.bytes, "after"));
	}
}

TEST(joblog_damage_is_said)
{
	_cleanup_free_ char *path = log_path();
	_cleanup_(joblog_reader_closep) struct joblog_reader *r = NULL;
	struct log_record rec;
	struct joblog *l = NULL;
	struct err e1 = { 0 };
	char mark;
	int fd;

	CHECK_OK(joblog_open(path, &l, e));
	add(l, 1, "first", true);
	add(l, 2, "second", true);
	CHECK_OK(joblog_close(l, e));
	fd = open(path, O_RDWR);
	CHECK(pread(fd, &mark, 1, 16 + 42) ==
	      1); /* the second frame's mark, which is random: any byte but what it is */
	mark ^= 1;
	CHECK(pwrite(fd, &mark, 1, 16 + 42) == 1);
	close(fd);
	CHECK_OK(joblog_reader_open(path, &r, e));
	CHECK_INT(joblog_next(r, &rec, &e1), 1);
	CHECK_INT(joblog_next(r, &rec, &e1), -1);
	CHECK_INT(e1.kind, ERR_IO);
	CHECK_OK(file_put(AT_FDCWD, path, STR("plain text that is long enough"), 0644, e));
	e1 = (struct err){ 0 };
	CHECK_INT(joblog_open(path, &l, &e1), -1);
	CHECK_INT(e1.kind, ERR_INVALID);
}

TEST(joblog_kill_loses_nothing_acknowledged)
{
	_cleanup_free_ char *path = log_path();
	int acks[2], status;
	uint64_t acked = 0, next = 0;
	pid_t pid;

	CHECK(pipe(acks) == 0);
	pid = fork();
	if (pid == 0) {
		struct joblog *l = NULL;

		must(joblog_open(path, &l, NULL) == 0);
		for (uint64_t i = 0;; i++) {
			_cleanup_free_ char *text = strf("%" PRIu64 " \n", i);

			must(joblog_add_lines(l, wall_now(), LOG_FROM_CONTAINER, str_of(text), NULL) == 0);
			must(write(acks[1], &i, sizeof(i)) == sizeof(i));
		}
	}
	close(acks[1]);
	while (next < 3000 && read(acks[0], &acked, sizeof(acked)) == sizeof(acked))
		next++;
	kill(pid, SIGKILL);
	while (read(acks[0], &acked, sizeof(acked)) == sizeof(acked))
		;
	close(acks[0]);
	CHECK(waitpid(pid, &status, 0) == pid);
	{
		_cleanup_(joblog_reader_closep) struct joblog_reader *r = NULL;
		struct log_record rec;
		uint64_t seen = 0;

		CHECK_OK(joblog_reader_open(path, &r, e));
		while (joblog_next(r, &rec, NULL) > 0)
			CHECK_INT(number(&rec), (long long)seen++);
		CHECK(seen > acked);
	}
}

static void check_tail(const char *path, size_t lines, size_t bytes, const char *want)
{
	_cleanup_buf_ struct buf out = { 0 };

	CHECK_OK(joblog_tail(path, lines, bytes, &out, e));
	CHECK_STR(out.p ? out.p : "", want);
}

TEST(joblog_tail_shows_the_last_lines)
{
	_cleanup_free_ char *path = log_path();
	struct joblog *l = NULL;

	check_tail(path, 5, 100, "");
	CHECK_OK(joblog_open(path, &l, e));
	check_tail(path, 5, 100, "");
	CHECK_OK(joblog_add_lines(l, (struct wall){ 1 }, LOG_FROM_CONTAINER, STR("one\ntwo\nthr"), e));
	CHECK_OK(joblog_add(l, (struct wall){ 2 }, LOG_FROM_PLATFORM, true, STR("not me"), e));
	CHECK_OK(joblog_add(l, (struct wall){ 2 }, LOG_FROM_CONTAINER, true, STR("ee\t3"), e));
	CHECK_OK(joblog_add(l, (struct wall){ 2 }, LOG_FROM_CONTAINER, false, STR("open"), e));
	CHECK_OK(joblog_close(l, e));
	check_tail(path, 9, 100, "one\ntwo\nthree#0113\nopen");
	check_tail(path, 2, 100, "three#0113\nopen");
	check_tail(path, 9, 19, "two\nthree#0113\nopen");
	check_tail(path, 9, 18, "three#0113\nopen");
	check_tail(path, 9, 4, "open");
	check_tail(path, 9, 3, "pen");
	check_tail(path, 0, 100, "");
	check_tail(path, 9, 0, "");
}

TEST(joblog_tail_cuts_between_characters)
{
	_cleanup_free_ char *path = log_path();
	struct joblog *l = NULL;

	CHECK_OK(joblog_open(path, &l, e));
	add(l, 1, "\xc3\xa4\xc3\xb6\xc3\xbc", true);
	CHECK_OK(joblog_close(l, e));
	check_tail(path, 1, 6, "\xc3\xa4\xc3\xb6\xc3\xbc");
	check_tail(path, 1, 5, "\xc3\xb6\xc3\xbc");
	check_tail(path, 1, 1, "");
}

TEST(joblog_escape_as_the_service_does)
{
	static const struct {
		const char *in;
		size_t n;
		const char *want;
	} rows[] = {
		{ "plain", 5, "plain" },
		{ "[3]\tvalidation-rmse:0.5", 23, "[3]#011validation-rmse:0.5" },
		{ "\0", 1, "#000" },
		{ "10%\r20%\r", 8, "10%#01520%#015" },
		{ "\x1b[31mred", 8, "#033[31mred" },
		{ "\x7f", 1, "#177" },
		{ "gr\xc3\xbc\xc3\x9f", 6, "gr\xc3\xbc\xc3\x9f" },
		{ "\xf0\x9f\x94\xa5", 4, "\xf0\x9f\x94\xa5" },
		{ "a\xff"
		  "b\xc3",
		  4,
		  "a\xef\xbf\xbd"
		  "b\xef\xbf\xbd" },
		{ "\xed\xa0\x80", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
		{ "\xc2\x9b"
		  "2J",
		  4, "#302#2332J" },
		{ "\xc2\xa0", 2, "\xc2\xa0" },
		{ "", 0, "" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		_cleanup_buf_ struct buf out = { 0 };

		joblog_escape((struct str){ rows[i].in, rows[i].n }, &out);
		CHECK_STR(out.p ? out.p : "", rows[i].want);
	}
}

TEST(joblog_gives_the_rest_of_a_frame_in_one_piece)
{
	_cleanup_free_ char *path = log_path();
	_cleanup_(joblog_reader_closep) struct joblog_reader *r = NULL;
	struct joblog *l = NULL;
	struct log_record rec;

	CHECK_OK(joblog_open(path, &l, e));
	CHECK_OK(joblog_add_lines(l, (struct wall){ 5 }, LOG_FROM_CONTAINER, STR("a\nb\nc\nd"), e));
	CHECK_OK(joblog_add_lines(l, (struct wall){ 6 }, LOG_FROM_PLATFORM, STR("e\n"), e));
	CHECK_OK(joblog_close(l, e));
	CHECK_OK(joblog_reader_open(path, &r, e));
	if (!r)
		return;
	CHECK_INT(joblog_next(r, &rec, NULL), 1);
	CHECK_INT(joblog_next_lines(r, &rec, NULL), 1);
	CHECK(str_is(rec.bytes, "b\nc\nd"));
	CHECK(!rec.ends_line);
	CHECK_INT(rec.n, 1);
	CHECK_INT(rec.at.ms, 5);
	CHECK_OK(joblog_seek(r, joblog_offset(r), e));
	CHECK_INT(joblog_next_lines(r, &rec, NULL), 1);
	CHECK(str_is(rec.bytes, "e\n"));
	CHECK(rec.ends_line);
	CHECK(rec.source == LOG_FROM_PLATFORM);
	CHECK_INT(rec.n, 4);
	CHECK_INT(joblog_next_lines(r, &rec, NULL), 0);
}
