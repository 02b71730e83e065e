/* Container output, and damaged logs. The bytes are (1) printed by a container: what the reader gives back must be
 * exactly them, forwards and backwards, and its escaped form must be printable UTF-8; (2) taken as the frames of a log
 * file, which the reader must survive and never go on reading for ever.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "joblog/frame.h"
#include "joblog/joblog.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_escaped(struct str bytes)
{
	_cleanup_buf_ struct buf out = { 0 };

	joblog_escape(bytes, &out);
	must(utf8_valid(buf_view(&out)));
	for (size_t i = 0; i < out.n; i++)
		must((unsigned char)out.p[i] >= 0x20 && out.p[i] != 0x7f);
}

static void check_output(const char *path, struct str bytes)
{
	_cleanup_(joblog_reader_closep) struct joblog_reader *r = NULL;
	_cleanup_buf_ struct buf got = { 0 }, tail = { 0 };
	struct log_record rec;
	struct joblog *l = NULL;
	uint64_t n = 0;

	must(truncate(path, 0) == 0 && joblog_open(path, &l, NULL) == 0);
	must(joblog_add_lines(l, (struct wall){ 1 }, LOG_FROM_CONTAINER, bytes, NULL) == 0);
	must(joblog_close(l, NULL) == 0);
	must(joblog_reader_open(path, &r, NULL) == 0);
	for (; joblog_next(r, &rec, NULL) > 0; n++) {
		must(rec.n == n);
		buf_str(&got, rec.bytes);
		buf_z(&got, rec.ends_line ? "\n" : "");
		check_escaped(rec.bytes);
	}
	must(str_eq(buf_view(&got), bytes));
	for (; joblog_prev(r, &rec, NULL) > 0; n--) {
		size_t m = rec.bytes.n + rec.ends_line;

		must(rec.n == n - 1 && got.n >= m);
		got.n -= m;
		must(memcmp(got.p + got.n, rec.bytes.p, rec.bytes.n) == 0);
	}
	must(n == 0 && got.n == 0);
	must(joblog_tail(path, 3, 40, &tail, NULL) == 0 && tail.n <= 40 && utf8_valid(buf_view(&tail)));
}

static void check_damaged(const char *path, struct str bytes)
{
	static const unsigned char mark[JOBLOG_MARK_BYTES] = "MARKMARK";
	_cleanup_(joblog_reader_closep) struct joblog_reader *r = NULL;
	_cleanup_buf_ struct buf file = { 0 }, tail = { 0 };
	struct log_record rec;
	struct joblog *l = NULL;
	struct stat st;
	size_t steps = 0;

	buf_z(&file, JOBLOG_MAGIC);
	buf_add(&file, mark, sizeof(mark));
	buf_str(&file, bytes);
	must(file_put(AT_FDCWD, path, buf_view(&file), 0600, NULL) == 0);
	must(joblog_reader_open(path, &r, NULL) == 0);
	for (uint64_t at = 0; at < file.n; at += 1 + file.n / 16)
		(void)!joblog_seek(r, at, NULL);
	(void)!joblog_seek_time(r, (struct wall){ 77 }, NULL);
	must(joblog_seek(r, 0, NULL) == 0);
	while (joblog_next(r, &rec, NULL) > 0)
		must(++steps <= bytes.n);
	while (joblog_prev(r, &rec, NULL) > 0)
		must(steps-- > 0);
	(void)!joblog_tail(path, 3, 40, &tail, NULL);
	/* Opening for writing repairs: what is whole stays, and the log can go on. */
	must(joblog_open(path, &l, NULL) == 0);
	must(joblog_add(l, (struct wall){ 5 }, LOG_FROM_CONTAINER, true, STR("after"), NULL) == 0);
	must(joblog_close(l, NULL) == 0);
	must(stat(path, &st) == 0 && joblog_seek(r, (uint64_t)st.st_size, NULL) == 0);
	must(joblog_prev(r, &rec, NULL) == 1 && str_is(rec.bytes, "after"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str bytes = { (const char *)data, size };
	char path[] = "/dev/shm/fuzz_logline.XXXXXX";
	int fd = mkstemp(path);

	must(fd >= 0);
	check_output(path, bytes);
	check_damaged(path, bytes);
	close(fd);
	unlink(path);
	return 0;
}
