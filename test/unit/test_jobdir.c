/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fd.h"
#include "harness.h"
#include "jobdir/hostlink.h"
#include "jobdir/jobdir.h"
#include "jobdir/list.h"
#include "jobdir/spec.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- journal ---- */

static int note_fact(const struct fact *f, void *arg, struct err *e)
{
	(void)e;
	buf_f(arg, "%llu:%s ", (unsigned long long)f->n, fact_name[f->kind]);
	return 0;
}

static void add(const char *dir, enum fact_kind kind)
{
	struct journal *j = NULL;

	CHECK_OK(journal_open(dir, &j, e));
	CHECK_OK(journal_add(j, kind, NULL, e));
	journal_close(j);
}

static void check_journal(const char *dir, uint64_t after, const char *want)
{
	_cleanup_buf_ struct buf got = { 0 };
	uint64_t offset = 0;

	CHECK_OK(journal_read(dir, after, &offset, note_fact, &got, e));
	CHECK_STR(got.n ? got.p : "", want);
}

static off_t append(const char *dir, struct str bytes)
{
	_cleanup_free_ char *path = strf("%s/journal", dir);
	int fd = open(path, O_WRONLY | O_APPEND);
	struct stat st = { 0 };

	CHECK(fd >= 0 && write(fd, bytes.p, bytes.n) == (ssize_t)bytes.n && fstat(fd, &st) == 0);
	close(fd);
	return st.st_size;
}

/* The directory is bloomeryd's user's: what it puts in the place of our files is neither read, nor written, nor waited
 * for. */
TEST(files_of_another_make_are_refused)
{
	_cleanup_free_ char *dir = strf("%s/job", test_tmpdir()), *secret = strf("%s/secret", test_tmpdir());
	static const char *const leaves[] = { "journal", "pid", "spec.json" };
	struct journal *j = NULL;
	struct job_spec spec;
	uint64_t offset = 0;
	struct stat st;
	pid_t pid;

	CHECK(mkdir(dir, 0755) == 0);
	CHECK_OK(file_put(AT_FDCWD, secret, STR("{\"secret\": 1}\n"), 0600, e));
	for (int kind = 0; kind < 3; kind++) {
		for (size_t i = 0; i < ARRAY_LEN(leaves); i++) {
			_cleanup_free_ char *path = strf("%s/%s", dir, leaves[i]);

			(void)!unlink(path);
			CHECK((kind == 0   ? link(secret, path)
			       : kind == 1 ? symlink(secret, path)
			                   : mkfifo(path, 0666)) == 0);
		}
		CHECK(journal_open(dir, &j, NULL) < 0);
		CHECK(journal_read(dir, 0, &offset, note_fact, NULL, NULL) < 0);
		CHECK(jobdir_alive(dir, &pid, NULL) < 0);
		CHECK(spec_load(dir, &spec, NULL) < 0);
		CHECK_OK(jobdir_write_pid(dir, getpid(), e)); /* replaces the name */
	}
	CHECK(stat(secret, &st) == 0 && st.st_size == 14 && (st.st_mode & 07777) == 0600);
}

TEST(what_was_left_of_an_atomic_write_is_not_written_to)
{
	_cleanup_free_ char *other = strf("%s/other", test_tmpdir()), *path = strf("%s/pid", test_tmpdir());
	_cleanup_free_ char *tmp = strf("%s.%d.tmp", path, (int)gettid());
	_cleanup_buf_ struct buf got = { 0 };

	CHECK_OK(file_put(AT_FDCWD, other, STR("kept"), 0600, e));
	CHECK(link(other, tmp) == 0);
	CHECK_OK(file_write_atomic(AT_FDCWD, path, STR("new"), 0644, true, e));
	CHECK_OK(file_read(other, 100, &got, e));
	CHECK_STR(got.p, "kept");
}

TEST(facts_are_numbered_and_read_back_from_anywhere)
{
	const char *dir = test_tmpdir();
	_cleanup_buf_ struct buf got = { 0 };
	uint64_t offset = 0;

	CHECK_OK(journal_read(dir, 0, &offset, note_fact, &got, e)); /* none yet */
	CHECK(offset == 0 && got.n == 0);
	add(dir, FACT_STARTED);
	add(dir, FACT_DOWNLOADING);
	check_journal(dir, 0, "1:STARTED 2:DOWNLOADING ");
	check_journal(dir, 1, "2:DOWNLOADING ");
	check_journal(dir, 7, "");
	CHECK_OK(journal_read(dir, 0, &offset, note_fact, &got, e));
	add(dir, FACT_TRAINING);
	buf_reset(&got);
	CHECK_OK(journal_read(dir, 0, &offset, note_fact, &got, e)); /* only what is new */
	CHECK_STR(got.p, "3:TRAINING ");
}

/* For every way of cutting the last fact short: the reader waits for it, the writer drops it and numbers on. */
TEST(a_torn_last_line_is_dropped)
{
	static const char line[] = "{\"n\":2,\"t\":5,\"fact\":\"IMAGE\",\"args\":{}}\n";

	for (size_t cut = 0; cut < sizeof(line) - 1; cut++) {
		_cleanup_free_ char *dir = strf("%s/%zu", test_tmpdir(), cut);

		CHECK(mkdir(dir, 0700) == 0);
		add(dir, FACT_STARTED);
		append(dir, (struct str){ line, cut });
		check_journal(dir, 0, "1:STARTED ");
		add(dir, FACT_ENDED);
		check_journal(dir, 0, "1:STARTED 2:ENDED ");
	}
}

TEST(a_last_line_of_noise_is_torn_but_noise_before_facts_is_damage)
{
	const char *dir = test_tmpdir();
	struct journal *j = NULL;
	struct err err = { 0 };

	add(dir, FACT_STARTED);
	append(dir, STR("\0\0\0\0\0\n"));
	add(dir, FACT_IMAGE);
	check_journal(dir, 0, "1:STARTED 2:IMAGE ");
	append(dir, STR("{\"n\":9}\n{\"n\":3,\"t\":5,\"fact\":\"IMAGE\",\"args\":{}}\n"));
	CHECK(journal_open(dir, &j, &err) == -1 && err.kind == ERR_SYNTAX && !j);
}

TEST(numbers_have_no_gaps)
{
	const char *dir = test_tmpdir();
	_cleanup_buf_ struct buf got = { 0 };
	uint64_t offset = 0;

	add(dir, FACT_STARTED);
	append(dir, STR("{\"n\":3,\"t\":5,\"fact\":\"IMAGE\",\"args\":{}}\n"));
	CHECK(journal_read(dir, 0, &offset, note_fact, &got, NULL) == -1);
	CHECK_STR(got.p, "1:STARTED ");
}

TEST(one_writer_and_no_room_for_giants)
{
	const char *dir = test_tmpdir();
	struct journal *j = NULL, *second = NULL;
	struct err err = { 0 };
	_cleanup_buf_ struct buf big = { 0 };
	json_t *args;

	CHECK_OK(journal_open(dir, &j, e));
	CHECK(journal_open(dir, &second, &err) == -1 && err.kind == ERR_IN_USE);
	for (int i = 0; i < FACT_MAX_BYTES; i++)
		buf_c(&big, 'x');
	args = json_pack("{ss}", "reason", big.p);
	CHECK(journal_add(j, FACT_ENDED, args, NULL) == -1);
	CHECK_OK(journal_add(j, FACT_STARTED, NULL, e));
	journal_close(j);
	json_decref(args);
	check_journal(dir, 0, "1:STARTED ");
}

TEST(arguments_survive_whatever_they_hold)
{
	const char *dir = test_tmpdir();
	_cleanup_buf_ struct buf line = { 0 };
	struct fact f = { .n = 1, .at.ms = 1234, .kind = FACT_ENDED }, back;

	f.args = json_pack("{sssI}", "reason", "two\nlines \"quoted\" \xc3\xa9", "size", (json_int_t)INT64_MAX);
	fact_write(&f, &line);
	CHECK(memchr(line.p, '\n', line.n) == line.p + line.n - 1);
	CHECK_OK(fact_parse((struct str){ line.p, line.n - 1 }, &back, e));
	CHECK(back.n == 1 && back.at.ms == 1234 && back.kind == FACT_ENDED && json_equal(back.args, f.args));
	fact_fini(&f);
	fact_fini(&back);
	(void)dir;
}

TEST(what_is_not_a_fact_is_refused)
{
	static const char *const bad[] = {
		"",
		"{}",
		"[]",
		"null",
		"{\"n\":0,\"t\":1,\"fact\":\"IMAGE\",\"args\":{}}",
		"{\"n\":1,\"t\":-1,\"fact\":\"IMAGE\",\"args\":{}}",
		"{\"n\":1,\"t\":1,\"fact\":\"OTHER\",\"args\":{}}",
		"{\"n\":1,\"t\":1,\"fact\":7,\"args\":{}}",
		"{\"n\":1,\"t\":1,\"fact\":\"IMAGE\"}",
		"{\"n\":1,\"t\":1,\"fact\":\"IMAGE\",\"args\":[]}",
		"{\"n\":1.0,\"t\":1,\"fact\":\"IMAGE\",\"args\":{}}",
		"{\"n\":1,\"n\":1,\"t\":1,\"fact\":\"IMAGE\",\"args\":{}}",
		"{\"n\":1,\"t\":1,\"fact\":\"IMAGE\",\"args\":{}} x",
		"{\"n\":18446744073709551616,\"t\":1,\"fact\":\"IMAGE\",\"args\":{}}",
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err err = { 0 };
		struct fact f;

		if (fact_parse(str_of(bad[i]), &f, &err) == 0)
			test_failed(__FILE__, __LINE__, "taken: %s", bad[i]);
		CHECK(err.kind == ERR_SYNTAX);
	}
}

/* ---- pid, exit, ids ---- */

TEST(a_pid_is_alive_only_as_the_process_it_was)
{
	const char *dir = test_tmpdir();
	_cleanup_free_ char *path = strf("%s/pid", dir), *text = NULL;
	pid_t pid = 0, child = fork();
	siginfo_t info;

	if (child == 0) {
		pause();
		_exit(0);
	}
	CHECK_INT(jobdir_alive(dir, &pid, NULL), 0);
	CHECK_OK(jobdir_write_pid(dir, child, e));
	CHECK(jobdir_alive(dir, &pid, NULL) == 1 && pid == child);
	text = strf("%d %llu\n", (int)child, (unsigned long long)process_start_time(child) + 1);
	CHECK_OK(file_put(AT_FDCWD, path, str_of(text), 0644, e));
	CHECK_INT(jobdir_alive(dir, &pid, NULL), 0); /* the number was reused */
	CHECK_OK(jobdir_write_pid(dir, child, e));
	kill(child, SIGKILL);
	CHECK(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT) == 0);
	CHECK_INT(jobdir_alive(dir, &pid, NULL), 0); /* a zombie */
	waitpid(child, NULL, 0);
	CHECK_INT(jobdir_alive(dir, &pid, NULL), 0);
}

/* As a power cut leaves it: empty, zeros, half of it; or what was never ours. */
TEST(a_damaged_pid_file_is_nobody)
{
	const char *dir = test_tmpdir();
	_cleanup_free_ char *path = strf("%s/pid", dir), *start = NULL, *whole = NULL, *half = NULL;
	char zeros[12] = { 0 }, many[200];
	pid_t pid = 0;

	memset(many, '1', sizeof(many));
	start = strf("%llu", (unsigned long long)process_start_time(getpid()));
	whole = strf("%d %s\n", (int)getpid(), start);
	half = strf("%d %s", (int)getpid(), start);
	const struct str damaged[] = { STR(""),
		                       { zeros, sizeof(zeros) },
		                       { many, sizeof(many) },
		                       str_of(half),
		                       STR("1 2 3\n"),
		                       STR("-1 0\n"),
		                       STR("\n"),
		                       STR("7\n") };

	CHECK_OK(file_put(AT_FDCWD, path, str_of(whole), 0644, e));
	CHECK_INT(jobdir_alive(dir, &pid, NULL), 1);
	for (size_t i = 0; i < ARRAY_LEN(damaged); i++) {
		CHECK_OK(file_put(AT_FDCWD, path, damaged[i], 0644, e));
		CHECK_INT(jobdir_alive(dir, &pid, NULL), 0);
	}
	CHECK_OK(jobdir_write_pid(dir, getpid(), e));
	CHECK(jobdir_alive(dir, &pid, NULL) == 1 && pid == getpid());
}

TEST(exit_appears_whole)
{
	const char *dir = test_tmpdir();

	CHECK(!jobdir_has_exit(dir));
	CHECK_OK(jobdir_write_exit(dir, "ok\n", e));
	CHECK(jobdir_has_exit(dir));
}

TEST(job_ids_are_sixteen_hex_digits)
{
	CHECK(job_id_valid(STR("0123456789abcdef")));
	CHECK(!job_id_valid(STR("0123456789abcdeF")) && !job_id_valid(STR("0123456789abcde")));
	CHECK(!job_id_valid(STR("0123456789abcdef0")) && !job_id_valid(STR("../../etc/passwd")) &&
	      !job_id_valid(STR("")));
	CHECK(!job_id_valid((struct str){ "01234567\0 9abcdef", 16 }));
}

/* ---- lists ---- */

TEST(lists_hold_any_key)
{
	static const struct str keys[] = { STR("a"), STR("b c//../\n\xff\xfe"), STR("\0"), STR("zz") };
	_cleanup_free_ char *path = strf("%s/list", test_tmpdir());
	struct list_reader *r = NULL;
	struct list_entry entry;
	FILE *f = fopen(path, "we");

	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		struct list_entry in = { .size = UINT64_MAX - i,
			                 .modified.ms = -5,
			                 .object_id = STR("00ff"),
			                 .etag = STR("d41d8cd98f00b204e9800998ecf8427e-3"),
			                 .key = keys[i] };
		CHECK_OK(list_write(f, &in, e));
	}
	fclose(f);
	CHECK_OK(list_open(path, &r, e));
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		CHECK(list_next(r, &entry, NULL) == 1);
		CHECK(entry.size == UINT64_MAX - i && entry.modified.ms == -5 && str_is(entry.object_id, "00ff"));
		CHECK(str_is(entry.etag, "d41d8cd98f00b204e9800998ecf8427e-3") && str_eq(entry.key, keys[i]));
	}
	CHECK(list_next(r, &entry, NULL) == 0 && list_next(r, &entry, NULL) == 0);
	list_close(r);
}

static int read_list(struct str bytes)
{
	_cleanup_free_ char *path = strf("%s/list", test_tmpdir());
	struct list_reader *r = NULL;
	struct list_entry entry;
	int rc;

	CHECK_OK(file_put(AT_FDCWD, path, bytes, 0600, e));
	CHECK_OK(list_open(path, &r, e));
	while ((rc = list_next(r, &entry, NULL)) == 1)
		;
	list_close(r);
	return rc;
}

TEST(hostile_and_torn_lists_are_refused)
{
	static const char good[] = "3 5 abc123 etag 2 xy\n";
	static const struct str bad[] = {
		STR("3 5 ../../etc/shadow etag 2 xy\n"),
		STR("3 5 ABC etag 2 xy\n"),
		STR("3 5 a etag 2 xy\n"),
		STR("-3 5 abc etag 2 xy\n"),
		STR("3 5 abc etag 0 \n"),
		STR("3 5 abc etag 1025 xy\n"),
		STR("3 5 abc etag 99999999999999999999 xy\n"),
		STR("3 5 abc etag 3 xy\n"),
		STR("3 5 abc etag 1 xy\n"),
		STR("3 5 abc  2 xy\n"),
		STR("\n"),
		STR("3 5 abc etag -2 xy\n"),
	};

	CHECK_INT(read_list(str_of(good)), 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (read_list(bad[i]) != -1)
			test_failed(__FILE__, __LINE__, "taken: " PRIstr, ARGstr(bad[i]));
	for (size_t cut = 1; cut < sizeof(good) - 1; cut++)
		CHECK_INT(read_list((struct str){ good, cut }), -1);
}

/* Every unit by position, as one text. */
static int read_units(struct str bytes, struct buf *out, struct err *why)
{
	_cleanup_free_ char *path = strf("%s/list", test_tmpdir());
	_cleanup_(list_closep) struct list_reader *r = NULL;
	uint64_t *at = NULL, count = 0;
	struct list_part part;
	size_t parts;

	CHECK_OK(file_put(AT_FDCWD, path, bytes, 0600, e));
	CHECK_OK(list_open(path, &r, e));
	if (list_index(r, &at, &count, why) < 0)
		return -1;
	for (uint64_t i = count; i > 0; i--) { /* from the last to the first */
		CHECK_OK(list_unit(r, at[i - 1], &parts, e));
		buf_f(out, "%zu:", parts);
		for (size_t k = 0; k < parts; k++) {
			CHECK_OK(list_part(r, &part, e));
			if (part.literal)
				buf_f(out, "<" PRIstr ">", ARGstr(part.bytes));
			else
				buf_f(out, "[" PRIstr "|" PRIstr "|%llu]", ARGstr(part.object.bucket),
				      ARGstr(part.object.key), (unsigned long long)part.object.size);
		}
		CHECK_INT(list_part(r, &part, NULL), -1); /* no more of this unit */
	}
	free(at);
	return 0;
}

TEST(lines_have_parts_and_are_found_by_position)
{
	const struct list_part line[] = {
		{ .object = { .size = 9,
		              .object_id = STR("00ff"),
		              .etag = STR("e"),
		              .key = STR("a\nb"),
		              .bucket = STR("bk1") } },
		{ .literal = true, .bytes = STR("{\"a\":\n 1}") },
		{ .literal = true, .bytes = STR("") },
	};
	const struct list_entry object = { .size = 1, .object_id = STR("-"), .etag = STR("x-2"), .key = STR("+ 3") };
	_cleanup_free_ char *path = strf("%s/made", test_tmpdir());
	struct buf text = { 0 }, got = { 0 };
	FILE *f = fopen(path, "we");

	CHECK_OK(list_write_line(f, line, 3, e));
	CHECK_OK(list_write(f, &object, e));
	CHECK_OK(list_write_line(f, line + 1, 1, e));
	CHECK_INT(list_write_line(f, line, 0, NULL), -1);
	CHECK_INT(list_write_line(f, line, LIST_PARTS_MAX + 1, NULL), -1);
	fclose(f);
	CHECK_OK(file_read(path, 4096, &text, e));
	CHECK_OK(read_units(buf_view(&text), &got, e));
	CHECK_STR(got.p, "1:<{\"a\":\n 1}>1:[|+ 3|1]3:[bk1|a\nb|9]<{\"a\":\n 1}><>");
	CHECK_INT(read_list(buf_view(&text)), -1); /* lines are no objects */
	for (size_t cut = 1; cut < text.n; cut++) {
		struct str torn = { text.p, cut };

		buf_reset(&got);
		if (read_units(torn, &got, NULL) == 0) /* then it was cut between two units */
			CHECK(text.p[cut - 1] == '\n');
	}
	buf_fini(&text);
	buf_fini(&got);
}

TEST(hostile_lines_are_refused)
{
	static const struct str bad[] = {
		STR("+ 0\n"),
		STR("+ 17\n= 1 a\n"),
		STR("+ 1\n= 2 a\n"),
		STR("+ 1\n= 99999999999 a\n"),
		STR("+ 1\n? 1 a\n"),
		STR("+ 2\n= 1 a\n"),
		STR("+ 1\n@  3 5 abc e 1 x\n"),
		STR("+ 1\n@ b 3 5 ../x e 1 x\n"),
		STR("+1\n= 1 a\n"),
		STR("+ 1\n=1 a\n"),
	};
	struct buf got = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (read_units(bad[i], &got, NULL) != -1)
			test_failed(__FILE__, __LINE__, "taken: " PRIstr, ARGstr(bad[i]));
	buf_fini(&got);
}

/* ---- the host link ---- */

TEST(messages_cross_the_link)
{
	json_t *msg = json_pack("{sssi}", "t", "hello", "v", HOSTLINK_VERSION), *got = NULL;
	struct err err = { 0 };
	int fds[2];

	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
	CHECK(hostlink_recv(fds[1], &got, &err) == -1 && err.kind == ERR_BUSY);
	CHECK_OK(hostlink_send(fds[0], msg, e));
	CHECK(hostlink_recv(fds[1], &got, NULL) == 1 && json_equal(got, msg));
	json_decref(got);
	json_decref(msg);
	for (err = (struct err){ 0 }; err.kind == ERR_NONE;) {
		json_t *m = json_pack("{ss}", "t", "fact");

		(void)!hostlink_send(fds[0], m, &err); /* until the queue is full */
		json_decref(m);
	}
	CHECK(err.kind == ERR_BUSY);
	close(fds[0]);
	while (hostlink_recv(fds[1], &got, NULL) == 1)
		json_decref(got);
	CHECK_INT(hostlink_recv(fds[1], &got, NULL), 0);
	close(fds[1]);
}

TEST(strange_messages_are_refused)
{
	static const char *const bad[] = { "",
		                           "x",
		                           "{}",
		                           "{\"t\":1}",
		                           "[]",
		                           "{\"t\":\"hello\",\"v\":2}",
		                           "{\"t\":\"hello\",\"v\":\"1\"}",
		                           "{\"t\":\"a\",\"t\":\"b\"}" };
	_cleanup_free_ char *big = xcalloc(1, HOSTLINK_MAX + 10);
	json_t *got = NULL;
	int fds[2];

	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) == 0);
	for (size_t i = 1; i < ARRAY_LEN(bad); i++) {
		CHECK(send(fds[0], bad[i], strlen(bad[i]), 0) >= 0);
		CHECK_INT(hostlink_recv(fds[1], &got, NULL), -1);
	}
	memset(big, ' ', HOSTLINK_MAX + 9);
	memcpy(big, "{\"t\":\"a\"}", 9);
	CHECK(send(fds[0], big, HOSTLINK_MAX + 5, 0) > 0);
	CHECK_INT(hostlink_recv(fds[1], &got, NULL), -1);
	CHECK(send(fds[0], big, HOSTLINK_MAX, 0) > 0);
	CHECK_INT(hostlink_recv(fds[1], &got, NULL), 1);
	json_decref(got);
	close(fds[0]);
	CHECK_INT(hostlink_recv(fds[1], &got, NULL), 0);
	close(fds[1]);
}
