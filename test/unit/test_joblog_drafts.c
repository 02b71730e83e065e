/* Lines that have no end yet: in the log, in no record, and added when their writer has gone.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "harness.h"
#include "joblog/series.h"

static char *log_path(void)
{
	return strf("%s/algo-1", test_tmpdir());
}

static struct joblog *writer(const char *path)
{
	struct joblog *l = NULL;

	CHECK_OK(joblog_open(path, &l, e));
	return l;
}

static void draft(struct joblog *l, int64_t at, unsigned pipe, bool all, const char *text)
{
	CHECK_OK(joblog_draft(l, (struct wall){ at }, pipe, all, str_of(text), e));
}

static void lines(struct joblog *l, int64_t at, const char *text)
{
	CHECK_OK(joblog_add_lines(l, (struct wall){ at }, LOG_FROM_CONTAINER, str_of(text), e));
}

static void drafted(struct joblog *l, int64_t at, unsigned pipe, const char *text)
{
	CHECK_OK(joblog_add_drafted(l, (struct wall){ at }, pipe, str_of(text), e));
}

static void show(const struct log_record *rec, struct buf *out)
{
	buf_f(out, "%llu:%lld:" PRIstr "%s ", (unsigned long long)rec->n, (long long)rec->at.ms, ARGstr(rec->bytes),
	      rec->ends_line ? "$" : "");
}

/* "number:time:text$ ..." of all records; checks that backwards, by frames, by offset and by time they are the same. */
static char *all_of(const char *path)
{
	_cleanup_(joblog_reader_closep) struct joblog_reader *r = NULL;
	uint64_t offsets[64], n = 0;
	struct log_record rec;
	struct buf out = { 0 };
	size_t frames = 0;

	CHECK_OK(joblog_reader_open(path, &r, e));
	for (; r && joblog_next(r, &rec, NULL) > 0 && n < ARRAY_LEN(offsets); n++) {
		CHECK_INT(rec.n, n);
		offsets[n] = joblog_offset(r); /* behind it */
		show(&rec, &out);
	}
	for (uint64_t i = n; i-- > 0;) {
		CHECK_INT(joblog_prev(r, &rec, NULL), 1);
		CHECK_INT(rec.n, i);
	}
	CHECK_INT(joblog_prev(r, &rec, NULL), 0);
	for (uint64_t i = 0; i + 1 < n; i++) {
		CHECK_OK(joblog_seek(r, offsets[i], e));
		CHECK_INT(joblog_next(r, &rec, NULL), 1);
		CHECK_INT(rec.n, i + 1);
		CHECK_OK(joblog_seek_time(r, rec.at, e));
		CHECK_INT(joblog_next(r, &rec, NULL), 1);
		CHECK(rec.n <= i + 1);
	}
	CHECK_OK(joblog_seek(r, 0, e));
	while (joblog_next_lines(r, &rec, NULL) > 0)
		frames += joblog_count(rec.bytes.p, rec.bytes.n);
	CHECK_INT(frames, n);
	return buf_take(&out);
}

static void check_all(const char *path, const char *want)
{
	_cleanup_free_ char *got = all_of(path);

	CHECK_STR(got, want);
}

TEST(drafts_are_seen_by_nobody)
{
	_cleanup_free_ char *path = log_path();
	struct joblog *l = writer(path);
	struct joblog_reader *r = NULL;
	struct log_record rec;
	struct buf tail = { 0 };

	draft(l, 1, 0, true, "Epoch 1: ");
	CHECK_OK(joblog_reader_open(path, &r, e));
	CHECK_INT(joblog_next(r, &rec, NULL), 0);
	CHECK_INT(joblog_prev(r, &rec, NULL), 0);
	draft(l, 2, 0, false, "10%");
	lines(l, 3, "other\n");
	draft(l, 4, 1, true, "warn");
	draft(l, 5, 0, false, "\rEpoch 1: 20%");
	CHECK_INT(joblog_next(r, &rec, NULL), 1);
	CHECK(str_is(rec.bytes, "other"));
	CHECK_INT(joblog_next(r, &rec, NULL), 0);
	CHECK_OK(joblog_tail(path, 10, 1000, &tail, e));
	CHECK_STR(tail.p, "other");
	drafted(l, 6, 0, "Epoch 1: 10%\rEpoch 1: 20%\n");
	drafted(l, 7, 1, "warning\nnext\n");
	CHECK_INT(joblog_next(r, &rec, NULL), 1);
	CHECK(str_is(rec.bytes, "Epoch 1: 10%\rEpoch 1: 20%"));
	check_all(path, "0:3:other$ 1:6:Epoch 1: 10%\rEpoch 1: 20%$ 2:7:warning$ 3:7:next$ ");
	joblog_reader_close(r);
	CHECK_OK(joblog_close(l, e));
	CHECK_OK(joblog_recover(path, e)); /* nothing was left */
	check_all(path, "0:3:other$ 1:6:Epoch 1: 10%\rEpoch 1: 20%$ 2:7:warning$ 3:7:next$ ");
	buf_fini(&tail);
}

TEST(drafts_of_a_writer_that_has_gone_are_the_last_records)
{
	_cleanup_free_ char *path = log_path();
	struct joblog *l = writer(path);

	draft(l, 1, 0, true, "gone before");
	drafted(l, 2, 0, "gone before\n");
	draft(l, 3, 0, true, "ab");
	draft(l, 4, 1, true, "er");
	draft(l, 5, 0, false, "c");
	lines(l, 6, "between\n");
	CHECK_OK(joblog_add(l, (struct wall){ 7 }, LOG_FROM_PLATFORM, true, STR("said"), e));
	draft(l, 8, 1, false, "ror");
	CHECK_OK(joblog_close(l, e));
	check_all(path, "0:2:gone before$ 1:6:between$ 2:7:said$ ");
	CHECK_OK(joblog_recover(path, e));
	check_all(path, "0:2:gone before$ 1:6:between$ 2:7:said$ 3:8:abc 4:8:error ");
	CHECK_OK(joblog_recover(path, e)); /* once */
	l = writer(path);
	lines(l, 9, "more\n");
	CHECK_OK(joblog_close(l, e));
	check_all(path, "0:2:gone before$ 1:6:between$ 2:7:said$ 3:8:abc 4:8:error 5:9:more$ ");
}

TEST(drafts_only_one_of_two_is_left)
{
	_cleanup_free_ char *path = log_path();
	struct joblog *l = writer(path);

	draft(l, 1, 1, true, "out of");
	draft(l, 1, 0, true, "done");
	draft(l, 2, 1, true, "out of order"); /* all of it anew */
	drafted(l, 3, 0, "done\n");
	CHECK_OK(joblog_close(l, e));
	CHECK_OK(joblog_recover(path, e));
	check_all(path, "0:3:done$ 1:3:out of order ");
}

TEST(drafts_reach_over_segments_plain_and_packed)
{
	for (int pack = 0; pack < 2; pack++) {
		_cleanup_free_ char *path = strf("%s/over-%d", test_tmpdir(), pack);
		struct joblog *l = writer(path);

		joblog_segment_bytes(l, 200);
		lines(l, 1, "first\n");
		draft(l, 2, 0, true, "a line ");
		for (int i = 0; i < 10; i++) {
			_cleanup_free_ char *text = strf("%0100d\n", i);

			lines(l, 3, text);
			draft(l, 3, 0, false, "=");
		}
		CHECK_OK(joblog_close(l, e));
		if (pack)
			CHECK_OK(joblog_pack(path, false, e));
		CHECK_OK(joblog_recover(path, e));
		{
			_cleanup_free_ char *got = all_of(path);

			CHECK(str_ends(str_of(got), STR("11:3:a line ========== ")));
			CHECK(str_starts(str_of(got), STR("0:1:first$ 1:3:0000")));
		}
		CHECK_OK(joblog_pack(path, true, e));
		CHECK_OK(joblog_remove(path, e));
	}
}

TEST(drafts_far_away_are_not_searched_for_ever)
{
	_cleanup_free_ char *path = log_path(), *much = xrealloc(NULL, 1 << 20);
	_cleanup_(joblog_reader_closep) struct joblog_reader *r = NULL;
	struct joblog *l = writer(path);
	struct buf got = { 0 };

	memset(much, '\n', 1 << 20);
	draft(l, 1, 0, true, "near");
	for (int i = 0; i < 6; i++)
		CHECK_OK(joblog_add_lines(l, (struct wall){ 2 }, LOG_FROM_CONTAINER, (struct str){ much, 1 << 20 }, e));
	CHECK_OK(joblog_reader_open(path, &r, e));
	CHECK_OK(joblog_unfinished(r, 0, &got, e));
	CHECK_STR(got.p, "near");
	for (int i = 0; i < 6; i++)
		CHECK_OK(joblog_add_lines(l, (struct wall){ 2 }, LOG_FROM_CONTAINER, (struct str){ much, 1 << 20 }, e));
	CHECK_OK(joblog_unfinished(r, 0, &got, e));
	CHECK_INT(got.n, 0);
	CHECK_OK(joblog_close(l, e));
	buf_fini(&got);
}

TEST(drafts_of_the_longest_line)
{
	_cleanup_free_ char *path = log_path(), *all = xrealloc(NULL, JOBLOG_DRAFT_MAX);
	_cleanup_(joblog_reader_closep) struct joblog_reader *r = NULL;
	struct joblog *l = writer(path);
	struct log_record rec;

	memset(all, 'x', JOBLOG_DRAFT_MAX);
	for (unsigned i = 0; i < JOBLOG_DRAFT_MAX; i += JOBLOG_DRAFT_MAX / 8)
		CHECK_OK(joblog_draft(l, (struct wall){ i }, 1, i == 0, (struct str){ all + i, JOBLOG_DRAFT_MAX / 8 },
		                      e));
	CHECK_OK(joblog_close(l, e));
	CHECK_OK(joblog_recover(path, e));
	CHECK_OK(joblog_reader_open(path, &r, e));
	CHECK_INT(joblog_next(r, &rec, NULL), 1);
	CHECK(str_eq(rec.bytes, (struct str){ all, JOBLOG_DRAFT_MAX }));
	CHECK_INT(joblog_next(r, &rec, NULL), 0);
}
