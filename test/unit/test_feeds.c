/* feeds.json as bloomeryd reads it, and what becomes of its numbers. SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "harness.h"
#include "op/feeds.h"
#include "op/metrics.h"

#define ID "0123456789abcdef"
#define FEED                                                                                                      \
	"{\"epoch\":3,\"epochs\":4,\"objects\":480,\"bytes\":4800000000,\"stalls_reader\":34,\"stalls_store\":2," \
	"\"wait_reader_ms\":12345,\"wait_store_ms\":7,\"active_ms\":14100}"
#define PIPE                                                                                               \
	"{\"channel\":\"train\",\"mode\":\"Pipe\",\"way\":\"piped\",\"objects\":120,\"bytes\":1200000000," \
	"\"feed\":" FEED ",\"bottleneck\":\"trainer\"}"
#define FILE_MODE \
	"{\"channel\":\"v.a_l-1\",\"mode\":\"File\",\"way\":\"placed\",\"objects\":1,\"bytes\":0,\"seconds\":0.25}"
#define WHOLE(channels) "{\"at\":1700000000123,\"host\":\"algo-1\",\"channels\":[" channels "]}"

TEST(every_member_is_taken)
{
	struct feeds f;

	CHECK_OK(feeds_parse(STR(WHOLE(PIPE "," FILE_MODE)), &f, e));
	CHECK_INT(f.at.ms, 1700000000123);
	CHECK_STR(f.host, "algo-1");
	CHECK_INT(f.count, 2);
	CHECK_STR(f.channels[0].name, "train");
	CHECK_STR(f.channels[0].mode, "Pipe");
	CHECK_STR(f.channels[0].way, "piped");
	CHECK_STR(f.channels[0].bottleneck, "trainer");
	CHECK_INT(f.channels[0].objects, 120);
	CHECK_INT(f.channels[0].bytes, 1200000000);
	CHECK(f.channels[0].seconds < 0 && f.channels[0].fed);
	CHECK_INT(f.channels[0].numbers.epoch, 3);
	CHECK_INT(f.channels[0].numbers.epochs, 4);
	CHECK_INT(f.channels[0].numbers.objects, 480);
	CHECK_INT(f.channels[0].numbers.bytes, 4800000000);
	CHECK_INT(f.channels[0].numbers.stalls_reader, 34);
	CHECK_INT(f.channels[0].numbers.stalls_store, 2);
	CHECK_INT(f.channels[0].numbers.wait_reader_ms, 12345);
	CHECK_INT(f.channels[0].numbers.wait_store_ms, 7);
	CHECK_INT(f.channels[0].numbers.active_ms, 14100);
	CHECK_STR(f.channels[1].name, "v.a_l-1");
	CHECK(f.channels[1].seconds > 0.24 && f.channels[1].seconds < 0.26);
	CHECK(!f.channels[1].fed && !f.channels[1].bottleneck);
}

TEST(what_is_written_is_read_again)
{
	struct feeds f, g;
	_cleanup_free_ char *text = NULL;
	json_t *j;

	CHECK_OK(feeds_parse(STR(WHOLE(PIPE "," FILE_MODE)), &f, e));
	j = feeds_to_json(&f);
	text = json_dumps(j, JSON_COMPACT);
	json_decref(j);
	CHECK_OK(feeds_parse(str_of(text), &g, e));
	CHECK(memcmp(&f, &g, sizeof(f)) == 0);
}

TEST(a_channel_that_is_not_prepared_has_no_counts)
{
	struct metrics_job job = { .name = (char *)"j" };
	struct metrics m = { .version = "1", .jobs = &job, .job_count = 1 };
	_cleanup_buf_ struct buf out = { 0 };
	_cleanup_free_ char *text = NULL;
	json_t *j;

	CHECK_OK(feeds_parse(STR(WHOLE("{\"channel\":\"a\",\"mode\":\"File\",\"way\":\"mounted\"}")), &job.feeds, e));
	CHECK(!job.feeds.channels[0].counted);
	metrics_write(&m, &out);
	CHECK(strstr(out.p, "bloomery_channel_info{") && !strstr(out.p, "bloomery_channel_share_objects{"));
	j = feeds_to_json(&job.feeds);
	text = json_dumps(j, JSON_COMPACT);
	json_decref(j);
	CHECK(!strstr(text, "objects"));
}

TEST(a_feed_that_nobody_has_read_has_given_nothing)
{
	struct feeds f;

	CHECK_OK(feeds_parse(STR(WHOLE("{\"channel\":\"a\",\"mode\":\"Pipe\",\"way\":\"piped\"},"
	                               "{\"channel\":\"b\",\"mode\":\"FastFile\",\"way\":\"fused\"},"
	                               "{\"channel\":\"c\",\"mode\":\"FastFile\",\"way\":\"linked\"}")),
	                     &f, e));
	CHECK(f.channels[0].fed && f.channels[1].fed && !f.channels[2].fed);
	CHECK(f.channels[0].numbers.epochs == 0 && f.channels[1].numbers.bytes == 0);
}

TEST(members_of_another_version_are_passed_over)
{
	struct feeds f;

	CHECK_OK(feeds_parse(STR("{\"new\":{},\"at\":1,\"host\":\"a\",\"channels\":[]}"), &f, e));
	CHECK_INT(f.count, 0);
}

/* The text with the first `from` replaced. */
static char *with(const char *text, const char *from, const char *to)
{
	const char *at = strstr(text, from);

	must(at);
	return strf("%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
}

TEST(what_is_not_right_is_refused_by_name)
{
	static const struct {
		const char *from, *to, *says;
	} rows[] = {
		{ "{\"at\"", "[\"at\"", "not a JSON object" },
		{ "\"at\":1700000000123", "\"at\":-1", "'at' is not a count" },
		{ "\"at\":1700000000123", "\"at\":1.5", "'at' is not a count" },
		{ "\"host\":\"algo-1\"", "\"host\":\"\"", "'host' is no name" },
		{ "\"host\":\"algo-1\"", "\"host\":\"al\\\"go\"", "'host' is no name" },
		{ "\"host\":\"algo-1\"", "\"host\":\"a\\nb\"", "'host' is no name" },
		{ "\"host\":\"algo-1\"", "\"host\":\"a\\u001b[2J\"", "'host' is no name" },
		{ "\"host\":\"algo-1\"", "\"host\":\"a\\u00e9\"", "'host' is no name" },
		{ "\"host\":\"algo-1\",", "", "'host' is no name" },
		{ "\"channel\":\"train\"", "\"channel\":\"../train\"", "channel 0: 'channel' is no name" },
		{ "\"channel\":\"train\"", "\"channel\":7", "channel 0: 'channel' is no name" },
		{ "\"channel\":\"train\"", "\"channel\":\"v.a_l-1\"", "channel 'v.a_l-1' is there twice" },
		{ "\"mode\":\"Pipe\"", "\"mode\":\"pipe\"", "channel 0: 'mode' is no word that is known" },
		{ "\"way\":\"piped\"", "\"way\":null", "channel 0: 'way' is no word that is known" },
		{ "\"bottleneck\":\"trainer\"", "\"bottleneck\":\"\"",
		  "channel 0: 'bottleneck' is no word that is known" },
		{ "\"objects\":120", "\"objects\":\"120\"", "channel 0: 'objects' is not a count" },
		{ "\"objects\":120,", "", "channel 0: 'objects' is not a count" },
		{ "\"seconds\":0.25", "\"seconds\":-0.25", "channel 1: 'seconds' is no length of time" },
		{ "\"seconds\":0.25", "\"seconds\":\"x\"", "channel 1: 'seconds' is no length of time" },
		{ FEED, "7", "channel 0: 'feed' is not an object" },
		{ "\"epochs\":4,", "", "channel 0: 'feed': 'epochs' is not a count" },
		{ "\"wait_store_ms\":7", "\"wait_store_ms\":-7", "channel 0: 'feed': 'wait_store_ms' is not a count" },
		{ "\"wait_store_ms\":7", "\"wait_store_ms\":99999999999999999999", "not a JSON object" },
		{ "\"host\"", "\"at\":1,\"host\"", "not a JSON object" }, /* twice */
		{ "\"channels\":[", "\"channels\":{\"a\":[", "not a JSON object" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		_cleanup_free_ char *text = with(WHOLE(PIPE "," FILE_MODE), rows[i].from, rows[i].to);
		struct feeds f = { .count = 77 };
		struct err why = { 0 };
		char got[500];

		CHECK_INT(feeds_parse(str_of(text), &f, &why), -1);
		CHECK_INT(why.kind, ERR_SYNTAX);
		CHECK_STR(err_text(&why, got, sizeof(got)), rows[i].says);
		CHECK_INT(f.count, 77);
	}
}

TEST(more_channels_than_a_job_can_have_are_refused)
{
	for (int n = 20; n <= 21; n++) {
		_cleanup_buf_ struct buf b = { 0 };
		struct feeds f;

		buf_z(&b, "{\"at\":1,\"host\":\"h\",\"channels\":[");
		for (int i = 0; i < n; i++)
			buf_f(&b,
			      "%s{\"channel\":\"c%d\",\"mode\":\"File\",\"way\":\"placed\",\"objects\":0,\"bytes\":0}",
			      i ? "," : "", i);
		buf_z(&b, "]}");
		CHECK_INT(feeds_parse(buf_view(&b), &f, NULL), n == 20 ? 0 : -1);
	}
}

/* ---- the file ---- */

static char *job_dir(void)
{
	char *dir = strf("%s/jobs/" ID, test_tmpdir());

	CHECK_OK(mkdir_all(AT_FDCWD, dir, 0755, e));
	return dir;
}

static enum err_kind read_kind(void)
{
	struct feeds f;
	struct err why = { 0 };

	return feeds_read(test_tmpdir(), ID, &f, &why) == 0 ? ERR_NONE : why.kind;
}

TEST(only_a_plain_small_file_of_one_name_is_read)
{
	_cleanup_free_ char *dir = NULL, *path = NULL, *other = NULL;
	_cleanup_buf_ struct buf big = { 0 };

	CHECK_INT(read_kind(), ERR_NOT_FOUND); /* not even a directory */
	dir = job_dir();
	path = strf("%s/feeds.json", dir);
	other = strf("%s/other", test_tmpdir());
	CHECK_INT(read_kind(), ERR_NOT_FOUND);
	CHECK_OK(file_put(AT_FDCWD, path, STR(WHOLE(PIPE)), 0644, e));
	CHECK_INT(read_kind(), ERR_NONE);

	CHECK(rename(path, other) == 0 && symlink(other, path) == 0);
	CHECK_INT(read_kind(), ERR_IO);
	CHECK(unlink(path) == 0 && link(other, path) == 0);
	CHECK_INT(read_kind(), ERR_DENIED);
	CHECK(unlink(path) == 0 && mkfifo(path, 0644) == 0);
	CHECK_INT(read_kind(), ERR_DENIED); /* and nobody waited for a writer */
	CHECK(unlink(path) == 0 && mkdir(path, 0755) == 0);
	CHECK_INT(read_kind(), ERR_DENIED);
	CHECK(rmdir(path) == 0);

	buf_z(&big, WHOLE(PIPE));
	while (big.n <= FEEDS_MAX_BYTES)
		buf_c(&big, ' ');
	CHECK_OK(file_put(AT_FDCWD, path, buf_view(&big), 0644, e));
	CHECK_INT(read_kind(), ERR_LIMIT);
	CHECK(truncate(path, FEEDS_MAX_BYTES) == 0);
	CHECK_INT(read_kind(), ERR_NONE);
	CHECK(truncate(path, 30) == 0); /* half of it */
	CHECK_INT(read_kind(), ERR_SYNTAX);
}

TEST(a_job_directory_that_is_a_link_is_not_followed)
{
	_cleanup_free_ char *dir = job_dir(), *away = strf("%s/away", test_tmpdir());
	_cleanup_free_ char *path = strf("%s/feeds.json", dir);

	CHECK_OK(file_put(AT_FDCWD, path, STR(WHOLE(PIPE)), 0644, e));
	CHECK(rename(dir, away) == 0 && symlink(away, dir) == 0);
	CHECK_INT(read_kind(), ERR_IO);
}

/* ---- the text for Prometheus ---- */

TEST(labels_are_escaped)
{
	static const struct {
		struct str value;
		const char *want;
	} rows[] = {
		{ STR("plain"), "l=\"plain\"" },
		{ STR(""), "l=\"\"" },
		{ STR("a\"b\\c\nd"), "l=\"a\\\"b\\\\c\\nd\"" },
		{ STR("{x=\"y\"} 1"), "l=\"{x=\\\"y\\\"} 1\"" },
		{ STR("caf\xc3\xa9"), "l=\"caf\xc3\xa9\"" },
		{ STR("caf\xe9"), "l=\"caf?\"" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		_cleanup_buf_ struct buf b = { 0 };

		metrics_label(&b, "l", rows[i].value);
		CHECK_STR(b.p, rows[i].want);
	}
}

TEST(metrics_as_text)
{
	struct metrics_job jobs[2] = { { .name = (char *)"first" }, { .name = (char *)"sec\"ond" } };
	struct metrics m = { .version = "1.2.3\"",
		             .jobs = jobs,
		             .job_count = 2,
		             .unreadable = 1,
		             .omitted = 2,
		             .disk_bytes = 1000,
		             .disk_free_bytes = 10,
		             .start_s = 1700000000.25,
		             .cpu_s = 1.5,
		             .resident_bytes = 4096,
		             .virtual_bytes = 8192,
		             .open_fds = 7,
		             .max_fds = 1024 };
	_cleanup_buf_ struct buf out = { 0 };

	for (int s = 0; s < JOB_STATE_COUNT; s++)
		m.counts[s] = (uint64_t)1 << s;
	CHECK_OK(feeds_parse(STR(WHOLE(PIPE "," FILE_MODE)), &jobs[0].feeds, e));
	CHECK_OK(feeds_parse(STR(WHOLE(FILE_MODE)), &jobs[1].feeds, e));
	metrics_write(&m, &out);
	CHECK_GOLDEN("metrics.txt", buf_view(&out));
}

/* Every line is a comment of its family or a sample of it, and no family or sample comes twice. */
TEST(metrics_text_is_well_formed)
{
	struct metrics_job job = { .name = (char *)"j" };
	struct metrics m = { .version = "1.2.3\"", .jobs = &job, .job_count = 1 };
	_cleanup_buf_ struct buf out = { 0 }, seen = { 0 };
	struct str rest, family = { 0 };

	CHECK_OK(feeds_parse(STR(WHOLE(PIPE "," FILE_MODE)), &job.feeds, e));
	metrics_write(&m, &out);
	CHECK(out.n && out.p[out.n - 1] == '\n');
	buf_c(&seen, '\n');
	for (rest = buf_view(&out); rest.n;) {
		struct str line = str_cut(&rest, '\n'), key = line;
		_cleanup_free_ char *needle = NULL;

		if (str_skip(&key, STR("# HELP "))) {
			family = str_cut(&key, ' ');
			key = line;
			CHECK(str_starts(rest, STR("# TYPE ")));
		} else if (str_skip(&key, STR("# TYPE "))) {
			CHECK(str_eq(str_cut(&key, ' '), family));
			CHECK(str_is(key, "gauge") || str_is(key, "counter"));
			CHECK(str_is(key, "gauge") != str_ends(family, STR("_total")));
			continue;
		} else {
			CHECK(str_starts(line, family) && (line.p[family.n] == '{' || line.p[family.n] == ' '));
			str_cut_last(&key, ' ');
		}
		needle = strf("\n" PRIstr "\n", ARGstr(key));
		CHECK(str_find(buf_view(&seen), str_of(needle)) < 0);
		buf_z(&seen, needle + 1);
	}
}
