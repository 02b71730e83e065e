/* A log's bytes for a copy elsewhere. SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "harness.h"
#include "joblog/joblog.h"

static void add(struct joblog *l, unsigned from, unsigned to)
{
	for (; from < to; from++) {
		_cleanup_free_ char *text = strf("line %u\nand %u\n", from, from);

		CHECK_OK(joblog_add_lines(l, (struct wall){ from }, LOG_FROM_CONTAINER, str_of(text), e));
		if (from % 7 == 0)
			CHECK_OK(joblog_add(l, (struct wall){ from }, LOG_FROM_PLATFORM, true, STR("platform"), e));
	}
}

/* Everything that is there beyond *at, appended. */
static void copy_on(const char *from, const char *to, uint64_t *at)
{
	_cleanup_(joblog_copy_closep) struct joblog_copy *c = NULL;
	_cleanup_buf_ struct buf piece = { 0 };
	_cleanup_close_ int fd = open(to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

	CHECK_OK(joblog_copy_open(from, &c, e));
	do {
		CHECK_OK(joblog_copy_read(c, *at, &piece, e));
		CHECK_OK(fd_write_all(fd, piece.p, piece.n, e));
		*at += piece.n;
	} while (piece.n);
}

static void same(const char *a, const char *b)
{
	_cleanup_(joblog_reader_closep) struct joblog_reader *ra = NULL, *rb = NULL;
	struct log_record x, y;
	int more;

	CHECK_OK(joblog_reader_open(a, &ra, e));
	CHECK_OK(joblog_reader_open(b, &rb, e));
	do {
		more = joblog_next(ra, &x, NULL);
		CHECK_INT(joblog_next(rb, &y, NULL), more);
		if (more > 0)
			CHECK(str_eq(x.bytes, y.bytes) && x.at.ms == y.at.ms && x.n == y.n && x.source == y.source);
		CHECK(joblog_offset(ra) == joblog_offset(rb));
	} while (more > 0);
}

TEST(a_copy_of_many_segments_is_the_same_log)
{
	_cleanup_free_ char *from = strf("%s/from", test_tmpdir()), *to = strf("%s/to", test_tmpdir());
	struct joblog *l = NULL;
	uint64_t at = 0;

	CHECK_OK(joblog_open(from, &l, e));
	joblog_segment_bytes(l, 2000);
	add(l, 0, 100);
	copy_on(from, to, &at);
	same(from, to);
	add(l, 100, 5000); /* on from where it ended */
	CHECK_OK(joblog_close(l, e));
	copy_on(from, to, &at);
	same(from, to);
}

TEST(half_a_frame_is_not_copied)
{
	_cleanup_free_ char *from = strf("%s/from", test_tmpdir()), *to = strf("%s/to", test_tmpdir());
	_cleanup_buf_ struct buf whole = { 0 };
	struct joblog *l = NULL;
	uint64_t at = 0;

	CHECK_OK(joblog_open(from, &l, e));
	add(l, 1, 3);
	CHECK_OK(joblog_close(l, e));
	CHECK_OK(file_read(from, 1 << 20, &whole, e));
	CHECK(truncate(from, (off_t)whole.n - 3) == 0);
	copy_on(from, to, &at);
	CHECK(at < whole.n - 3);
	CHECK_OK(joblog_open(from, &l, e)); /* which cuts it off */
	add(l, 3, 5);
	CHECK_OK(joblog_close(l, e));
	copy_on(from, to, &at);
	same(from, to);
}

TEST(what_is_no_frame_is_an_error)
{
	_cleanup_free_ char *from = strf("%s/from", test_tmpdir());
	_cleanup_(joblog_copy_closep) struct joblog_copy *c = NULL;
	_cleanup_buf_ struct buf piece = { 0 };
	_cleanup_close_ int fd = -EBADF;
	struct joblog *l = NULL;

	CHECK(joblog_copy_open(from, &c, NULL) < 0);
	CHECK_OK(joblog_open(from, &l, e));
	add(l, 1, 3);
	CHECK_OK(joblog_close(l, e));
	fd = open(from, O_WRONLY | O_CLOEXEC);
	CHECK(pwrite(fd, "x", 1, 17) == 1);
	CHECK_OK(joblog_copy_open(from, &c, e));
	CHECK(joblog_copy_read(c, 0, &piece, NULL) < 0);
}
