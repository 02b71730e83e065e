/* Logs of many segments: plain, packed, removed, and with a kill -9 in between. SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "harness.h"
#include "joblog/series.h"

enum { COUNT = 12000 };

static char *log_path(void)
{
	return strf("%s/algo-1", test_tmpdir());
}

/* Line i, of changing length. */
static char *line(unsigned i)
{
	return strf("%u %.*s\n", i, (int)(i * 7 % 90),
	            "..........................................................................................");
}

/* Adds lines [from, to), a few a frame, at time 10 * number of the frame's first. */
static void write_lines(const char *path, unsigned from, unsigned to, uint64_t segment_bytes)
{
	struct joblog *l = NULL;

	CHECK_OK(joblog_open(path, &l, e));
	joblog_segment_bytes(l, segment_bytes);
	while (from < to) {
		_cleanup_buf_ struct buf b = { 0 };
		unsigned first = from;

		for (unsigned n = 1 + from % 5; n-- && from < to; from++) {
			_cleanup_free_ char *text = line(from);

			buf_z(&b, text);
		}
		CHECK_OK(
		        joblog_add_lines(l, (struct wall){ 10 * (int64_t)first }, LOG_FROM_CONTAINER, buf_view(&b), e));
	}
	CHECK_OK(joblog_close(l, e));
}

static size_t count_segments(const char *path, size_t *ret_packed)
{
	_cleanup_close_ int dirfd = -EBADF;
	_cleanup_(segments_fini) struct segments all = { 0 };
	const char *leaf;

	*ret_packed = 0;
	dirfd = log_directory(path, &leaf, NULL);
	CHECK_OK(segments_list(dirfd, leaf, &all, e));
	for (size_t i = 0; i < all.count; i++) {
		_cleanup_free_ char *name = segment_name(leaf, all.bases[i]);
		_cleanup_close_ int fd = segment_open(dirfd, name, NULL);
		struct segment_head h = { 0 };

		CHECK_INT(segment_head_read(fd, name, all.bases[i], &h, NULL), 1);
		*ret_packed += h.packed;
	}
	return all.count;
}

/* Lines [from, to) are there, in both directions, at these offsets (when there are any yet, else they are kept). */
static void check_lines(const char *path, unsigned from, unsigned to, uint64_t *offsets)
{
	_cleanup_(joblog_reader_closep) struct joblog_reader *r = NULL;
	struct log_record rec;
	unsigned bad = 0;

	CHECK_OK(joblog_reader_open(path, &r, e));
	if (!r)
		return;
	for (unsigned i = from; i < to; i++) {
		_cleanup_free_ char *want = line(i);

		if (!offsets[i])
			offsets[i] = joblog_offset(r);
		bad += offsets[i] != joblog_offset(r) || joblog_next(r, &rec, NULL) != 1 || rec.n != i ||
		       !rec.ends_line || !str_eq(rec.bytes, (struct str){ want, strlen(want) - 1 });
	}
	CHECK_INT(bad, 0);
	CHECK_INT(joblog_next(r, &rec, NULL), 0);
	for (unsigned i = to; i-- > from;)
		bad += joblog_prev(r, &rec, NULL) != 1 || rec.n != i || joblog_offset(r) != offsets[i];
	CHECK_INT(joblog_prev(r, &rec, NULL), 0);
	CHECK_INT(bad, 0);
	for (unsigned i = from; i < to; i += (to - from) / 97 + 1) {
		bad += joblog_seek(r, offsets[i], NULL) != 0 || joblog_next(r, &rec, NULL) != 1 || rec.n != i;
		bad += joblog_seek_time(r, (struct wall){ rec.at.ms }, NULL) != 0 || joblog_next(r, &rec, NULL) != 1 ||
		       rec.n > i || (i > from && i - rec.n > 5);
		bad += joblog_seek(r, offsets[i] + 1, NULL) == 0;
	}
	CHECK_INT(bad, 0);
}

TEST(segments_are_one_log_plain_and_packed)
{
	_cleanup_free_ char *path = log_path();
	_cleanup_free_ uint64_t *offsets = xcalloc(COUNT, sizeof(*offsets));
	struct joblog_size plain = { 0 }, small = { 0 };
	size_t packed, n;

	CHECK(!joblog_measure(path, &plain));
	write_lines(path, 0, COUNT, 20000);
	n = count_segments(path, &packed);
	CHECK(n > 20 && packed == 0);
	check_lines(path, 0, COUNT, offsets);
	CHECK(joblog_measure(path, &plain));
	CHECK_OK(joblog_pack(path, false, e));
	CHECK_INT(count_segments(path, &packed), n);
	CHECK_INT(packed, n - 1);
	check_lines(path, 0, COUNT, offsets);
	CHECK(joblog_measure(path, &small));
	CHECK(small.bytes < plain.bytes / 2);
	CHECK_OK(joblog_pack(path, false, e)); /* a second time is nothing */
	check_lines(path, 0, COUNT, offsets);
	CHECK_OK(joblog_remove(path, e));
	CHECK_OK(joblog_remove(path, e));
	CHECK(!joblog_measure(path, &plain));
}

TEST(segments_large_blocks_are_found_by_time)
{
	_cleanup_free_ char *path = log_path(), *wide = xcalloc(1, 50001);
	_cleanup_(joblog_reader_closep) struct joblog_reader *r = NULL;
	struct log_record rec;
	struct joblog *l = NULL;

	memset(wide, 'w', 50000);
	CHECK_OK(joblog_open(path, &l, e));
	joblog_segment_bytes(l, 4 << 20);
	for (int i = 0; i < 400; i++)
		CHECK_OK(joblog_add(l, (struct wall){ i / 2 * 10 }, LOG_FROM_CONTAINER, true, str_of(wide), e));
	CHECK_OK(joblog_close(l, e));
	for (int turn = 0; turn < 3; turn++) {
		CHECK_OK(joblog_reader_open(path, &r, e));
		for (int t = -3; t < 2000; t += 7) {
			int want = t <= 0 ? 0 : (t + 9) / 10 * 2;

			CHECK_OK(joblog_seek_time(r, (struct wall){ t }, e));
			CHECK_INT(joblog_next(r, &rec, NULL), want < 400);
			if (want < 400)
				CHECK_INT(rec.n, want);
		}
		joblog_reader_close(take_ptr(r));
		CHECK_OK(joblog_pack(path, turn == 1, e)); /* at the end also the last one */
	}
}

TEST(segments_writer_goes_on_behind_packed_ones)
{
	_cleanup_free_ char *path = log_path();
	_cleanup_free_ uint64_t *offsets = xcalloc(COUNT, sizeof(*offsets));
	size_t packed, n;

	write_lines(path, 0, 100, 1 << 20);
	write_lines(path, 100, COUNT / 2, 3 << 20); /* one segment, large enough to be packed when all has ended */
	write_lines(path, COUNT / 2, COUNT / 2 + 10, 1);
	check_lines(path, 0, COUNT / 2 + 10, offsets);
	write_lines(path, COUNT / 2 + 10, COUNT, 10000);
	CHECK_OK(joblog_pack(path, true, e));
	n = count_segments(path, &packed);
	CHECK_INT(packed, n - 1); /* the last is too short to be worth it */
	check_lines(path, 0, COUNT, offsets);
}

TEST(segments_ended_long_log_of_one_segment_is_packed)
{
	_cleanup_free_ char *path = log_path();
	uint64_t *offsets = xcalloc(100000, sizeof(*offsets));
	size_t packed;

	write_lines(path, 0, 60000, 64 << 20);
	CHECK_INT(count_segments(path, &packed), 1);
	CHECK_OK(joblog_pack(path, false, e));
	count_segments(path, &packed);
	CHECK_INT(packed, 0);
	CHECK_OK(joblog_pack(path, true, e));
	count_segments(path, &packed);
	CHECK_INT(packed, 1);
	check_lines(path, 0, 60000, offsets);
	write_lines(path, 60000, 60010, 64 << 20); /* whoever writes after all, writes into a new one */
	CHECK_INT(count_segments(path, &packed), 2);
	check_lines(path, 0, 60010, offsets);
	free(offsets);
}

TEST(segments_reader_does_not_notice_packing)
{
	_cleanup_free_ char *path = log_path();
	_cleanup_(joblog_reader_closep) struct joblog_reader *r = NULL;
	struct log_record rec;
	struct joblog *l = NULL;

	CHECK_OK(joblog_open(path, &l, e));
	joblog_segment_bytes(l, 500);
	for (unsigned i = 0; i < 3000; i++) {
		_cleanup_free_ char *text = line(i);

		CHECK_OK(joblog_add_lines(l, (struct wall){ i }, LOG_FROM_CONTAINER, str_of(text), e));
		if (i % 100 == 50)
			CHECK_OK(joblog_pack(path, false, e));
		if (!r)
			CHECK_OK(joblog_reader_open(path, &r, e));
		CHECK_INT(joblog_next(r, &rec, NULL), 1); /* what was just added, also when that made a segment */
		CHECK_INT(rec.n, i);
		CHECK_INT(joblog_next(r, &rec, NULL), 0);
		CHECK_INT(joblog_offset(r), joblog_end(l));
	}
	CHECK_OK(joblog_close(l, e));
}

TEST(segments_are_removed_from_the_front)
{
	_cleanup_free_ char *path = log_path();
	_cleanup_(joblog_reader_closep) struct joblog_reader *r = NULL, *old = NULL;
	struct log_record rec;
	size_t packed, n;
	uint64_t middle, first;

	write_lines(path, 0, COUNT, 20000);
	CHECK_OK(joblog_reader_open(path, &old, e));
	CHECK_INT(joblog_next(old, &rec, NULL), 1);
	CHECK_OK(joblog_seek_time(old, (struct wall){ 10 * (COUNT / 4) }, e));
	middle = joblog_offset(old);
	CHECK_OK(joblog_seek(old, 0, e));
	CHECK_OK(joblog_pack(path, false, e));
	n = count_segments(path, &packed);
	CHECK_OK(joblog_trim(path, (struct wall){ 0 }, false, e));
	CHECK_INT(count_segments(path, &packed), n);
	CHECK_OK(joblog_trim(path, (struct wall){ 10 * (COUNT / 2) }, false, e));
	CHECK(count_segments(path, &packed) < n / 2 + 2 && packed);
	CHECK_OK(joblog_reader_open(path, &r, e));
	CHECK_INT(joblog_next(r, &rec, NULL), 1);
	first = rec.n;
	CHECK(first > COUNT / 4 && first <= COUNT / 2);
	CHECK_OK(joblog_seek(r, middle, e)); /* what a client holds: on with what is left */
	CHECK_INT(joblog_next(r, &rec, NULL), 1);
	CHECK_INT(rec.n, first);
	CHECK_OK(joblog_seek(r, 16, e));
	CHECK_OK(joblog_seek_time(r, (struct wall){ 0 }, e));
	CHECK_INT(joblog_next(r, &rec, NULL), 1);
	CHECK_INT(rec.n, first);
	CHECK_INT(joblog_prev(r, &rec, NULL), 1);
	CHECK_INT(joblog_prev(r, &rec, NULL), 0);
	while (joblog_next(old, &rec, NULL) > 0) /* one that stands in the removed part comes out behind it */
		;
	CHECK_INT(rec.n, COUNT - 1);
	CHECK_OK(joblog_trim(path, (struct wall){ INT64_MAX }, false, e));
	CHECK_INT(count_segments(path, &packed), 1);
	CHECK_OK(joblog_trim(path, (struct wall){ INT64_MAX }, true, e));
	CHECK_INT(count_segments(path, &packed), 0);
}

/* Every state that the death of the writer or of the packer can leave, cut for cut. */
TEST(segments_any_cut_of_the_last_head_is_mended)
{
	_cleanup_free_ char *path = log_path(), *last = NULL;
	_cleanup_buf_ struct buf all = { 0 };
	_cleanup_free_ uint64_t *offsets = xcalloc(COUNT, sizeof(*offsets));
	size_t packed, n;

	write_lines(path, 0, 20, 1 << 20);
	write_lines(path, 20, 21, 100);
	n = count_segments(path, &packed);
	CHECK_INT(n, 2);
	check_lines(path, 0, 21, offsets);
	last = strf("%s.%020" PRIu64, path, offsets[20]);
	CHECK_OK(file_read(last, 1 << 20, &all, e));
	for (size_t cut = 0; cut < all.n; cut++) {
		CHECK_OK(file_put(AT_FDCWD, last, (struct str){ all.p, cut }, 0644, e));
		check_lines(path, 0, 20, offsets);
		CHECK_OK(joblog_pack(path, false, e));
		write_lines(path, 20, 22, 1 << 20);
		offsets[21] = 0;
		{
			_cleanup_(joblog_reader_closep) struct joblog_reader *r = NULL;
			struct log_record rec = { 0 };
			unsigned seen = 0;

			CHECK_OK(joblog_reader_open(path, &r, e));
			for (; joblog_next(r, &rec, NULL) > 0; seen++)
				CHECK_INT(rec.n, seen);
			CHECK_INT(seen, 22);
		}
		CHECK_OK(joblog_remove(path, e));
		write_lines(path, 0, 20, 1 << 20);
		write_lines(path, 20, 21, 100);
		buf_reset(&all);
		CHECK_OK(file_read(last, 1 << 20, &all, e));
	}
}

TEST(segments_damage_is_said)
{
	_cleanup_free_ char *path = log_path();
	_cleanup_buf_ struct buf all = { 0 };
	unsigned refused = 0, tried = 0;

	write_lines(path, 0, 30000, 64 << 20);
	CHECK_OK(joblog_pack(path, true, e));
	CHECK_OK(file_read(path, 16 << 20, &all, e));
	for (size_t at = 0; at < all.n; at += at < 64 || at + 300 > all.n ? 1 : 997) {
		_cleanup_(joblog_reader_closep) struct joblog_reader *r = NULL;
		struct log_record rec;
		struct err why = { 0 };
		uint64_t seen = 0;
		int rc;

		all.p[at] ^= 0x40;
		CHECK_OK(file_put(AT_FDCWD, path, buf_view(&all), 0644, e));
		rc = joblog_reader_open(path, &r, &why);
		while (rc == 0 && (rc = joblog_next(r, &rec, &why)) > 0) {
			_cleanup_free_ char *want = line((unsigned)rec.n);

			CHECK(str_eq(rec.bytes, (struct str){ want, strlen(want) - 1 }));
			seen++;
			rc = 0;
		}
		refused += rc < 0;
		tried++;
		CHECK(rc < 0 || seen == 30000); /* the head's first record and time are not for reading */
		all.p[at] ^= 0x40;
	}
	CHECK(tried > 64 && refused + 40 >= tried);
}

static void child_writes(const char *path, int acks)
{
	struct joblog *l = NULL;

	must(joblog_open(path, &l, NULL) == 0);
	joblog_segment_bytes(l, 3000);
	for (uint64_t i = 0;; i++) {
		_cleanup_free_ char *text = line((unsigned)i);

		must(joblog_add_lines(l, (struct wall){ (int64_t)i }, LOG_FROM_CONTAINER, str_of(text), NULL) == 0);
		must(write(acks, &i, sizeof(i)) == sizeof(i));
	}
}

static void child_packs(const char *path)
{
	for (;;)
		must(joblog_pack(path, false, NULL) == 0);
}

/* Writer and packer at once; both killed; every line that was acknowledged is there, once, and all can go on. */
TEST(segments_kill_of_writer_and_packer_loses_nothing)
{
	_cleanup_free_ char *path = log_path();

	for (unsigned turn = 0; turn < 30; turn++) {
		_cleanup_(joblog_reader_closep) struct joblog_reader *r = NULL;
		struct log_record rec;
		struct joblog *l = NULL;
		uint64_t acked = 0, seen = 0;
		int acks[2], status;
		pid_t writer, packer;

		CHECK(pipe2(acks, O_CLOEXEC) == 0);
		writer = fork();
		if (writer == 0)
			child_writes(path, acks[1]);
		close(acks[1]);
		for (unsigned i = 0; i < 20; i++)
			CHECK(read(acks[0], &acked, sizeof(acked)) == sizeof(acked));
		packer = fork();
		if (packer == 0)
			child_packs(path);
		for (unsigned i = 0; i < 100 + turn * 61; i++)
			CHECK(read(acks[0], &acked, sizeof(acked)) == sizeof(acked));
		kill(turn % 2 ? packer : writer, SIGKILL);
		kill(turn % 2 ? writer : packer, SIGKILL);
		while (read(acks[0], &acked, sizeof(acked)) == sizeof(acked))
			;
		close(acks[0]);
		CHECK(waitpid(writer, &status, 0) == writer && WTERMSIG(status) == SIGKILL);
		CHECK(waitpid(packer, &status, 0) == packer && WTERMSIG(status) == SIGKILL);
		CHECK_OK(joblog_open(path, &l, e)); /* the next writer, and the next packer */
		CHECK_OK(joblog_add(l, (struct wall){ 1 }, LOG_FROM_PLATFORM, true, STR("after"), e));
		CHECK_OK(joblog_close(l, e));
		CHECK_OK(joblog_pack(path, true, e));
		CHECK_OK(joblog_reader_open(path, &r, e));
		while (joblog_next(r, &rec, NULL) > 0 && rec.source == LOG_FROM_CONTAINER) {
			_cleanup_free_ char *want = line((unsigned)seen);

			CHECK(rec.n == seen && str_eq(rec.bytes, (struct str){ want, strlen(want) - 1 }));
			seen++;
		}
		CHECK(seen > acked && seen <= acked + 2);
		CHECK(rec.source == LOG_FROM_PLATFORM && str_is(rec.bytes, "after"));
		CHECK_OK(joblog_remove(path, e));
	}
}

TEST(segments_foreign_names_are_not_segments)
{
	_cleanup_free_ char *path = log_path(), *link = strf("%s.00000000000000009999", path),
	                    *other = strf("%s.1", path), *ten = strf("%s0", path);
	_cleanup_free_ uint64_t *offsets = xcalloc(COUNT, sizeof(*offsets));
	struct joblog *l = NULL;
	struct err why = { 0 };

	write_lines(path, 0, 10, 1 << 20);
	CHECK_OK(file_put(AT_FDCWD, other, STR("x"), 0644, e));
	CHECK_OK(file_put(AT_FDCWD, ten, STR("x"), 0644, e)); /* algo-10 is another log */
	check_lines(path, 0, 10, offsets);
	CHECK(symlink("/etc/passwd", link) == 0);
	CHECK_INT(joblog_open(path, &l, &why), -1);
	CHECK(unlink(link) == 0 && mkfifo(link, 0600) == 0); /* nobody waits for a writer of it */
	CHECK_INT(joblog_open(path, &l, &why), -1);
	CHECK(unlink(link) == 0 && rename(path, link) == 0);
	CHECK_INT(joblog_open(path, &l, &why), -1);
	CHECK_INT(why.kind, ERR_INVALID);
}
