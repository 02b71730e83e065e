/* SPDX-License-Identifier: Apache-2.0 */
#include "channel/feeder.h"
#include "harness.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"

static int read_order(const char *text, struct feeder_order *ret, struct err *why)
{
	int ends[2], rc;

	must(pipe(ends) == 0);
	CHECK_OK(fd_write_all(ends[1], text, strlen(text), e));
	close(ends[1]);
	rc = feeder_order_read(ends[0], ret, why);
	close(ends[0]);
	return rc;
}

static const struct feeder_order full = {
	.channel = (char *)"train",
	.input_mode = (char *)"Pipe",
	.place = PLACE_REMOTE,
	.bucket = (char *)"b",
	.prefix = (char *)"d/\"x\"",
	.lines = true,
	.record_io = true,
	.order = { .shuffled = true, .seed = INT64_MIN, .share_number = 1, .share_count = 2 },
	.s3 = { .endpoint = (char *)"http://s3", .access_key = (char *)"AK", .secret_key = (char *)"SECRET" },
	.list_fd = 5,
	.objects_fd = -1,
	.data_fd = 6,
	.spool_fd = 7,
	.fuse_fd = -1,
};

TEST(an_order_round_trips)
{
	_cleanup_free_ char *text = feeder_order_text(&full), *again = NULL;
	struct feeder_order o = { 0 };

	CHECK_OK(read_order(text, &o, e));
	again = feeder_order_text(&o);
	CHECK_STR(again, text);
	CHECK(o.order.seed == INT64_MIN && o.lines && o.record_io && !o.gzip && o.fuse_fd == -1 && o.data_fd == 6);
	CHECK(!o.s3.region && o.place == PLACE_REMOTE);
	CHECK_STR(o.prefix, "d/\"x\"");
	feeder_order_fini(&o);
}

TEST(wrong_orders_are_refused_by_name_and_tell_no_secret)
{
	static const struct {
		const char *member, *value, *want;
	} cases[] = {
		{ "channel", NULL, "channel is missing" },
		{ "list", "2", "list is wrong" },
		{ "list", "\"5\"", "list is wrong" },
		{ "share_number", "2", "share_number is wrong" },
		{ "share_count", "0", "share_number is wrong" },
		{ "place", "\"embedded\"", "objects is missing" },
		{ "secret_key", NULL, "the keys of the S3 are missing" },
		{ "shuffled", "1", "shuffled is wrong" },
		{ "seed", "1.5", "seed is wrong" },
		{ "more", "1", "a member that there is not" },
	};
	_cleanup_free_ char *text = feeder_order_text(&full);

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		json_t *j = json_loads(text, 0, NULL);
		_cleanup_free_ char *changed = NULL;
		struct feeder_order o = { 0 };
		struct err e1 = { 0 };
		char why[512];

		if (cases[i].value)
			json_object_set_new(j, cases[i].member, json_loads(cases[i].value, JSON_DECODE_ANY, NULL));
		else
			json_object_del(j, cases[i].member);
		changed = json_dumps(j, 0);
		json_decref(j);
		CHECK_INT(read_order(changed, &o, &e1), -1);
		CHECK_INT(e1.kind, ERR_INVALID);
		err_text(&e1, why, sizeof(why));
		if (!strstr(why, cases[i].want) || strstr(why, "SECRET"))
			test_failed(__FILE__, __LINE__, "%s, wanted: %s", why, cases[i].want);
	}
}

TEST(what_is_no_order_is_refused)
{
	struct feeder_order o;

	CHECK_INT(read_order("", &o, NULL), -1);
	CHECK_INT(read_order("[]", &o, NULL), -1);
	CHECK_INT(read_order("{\"channel\":", &o, NULL), -1);
}

/* What was said, parsed again, line by line. */
static struct str next_line(struct str *rest)
{
	return str_cut(rest, '\n');
}

TEST(answers_round_trip)
{
	const struct feed_stats s = {
		.epoch = 3, .epochs = 4, .objects = 5, .bytes = UINT64_C(1) << 50, .wait_store_ms = 7
	};
	struct feeder_answer a = { 0 };
	struct buf text = { 0 };
	struct err why = { 0 };
	struct str rest;
	int ends[2];

	must(pipe(ends) == 0);
	err_set(&why, ERR_CLIENT, "no \xff such\nthing");
	feeder_say_ready(ends[1]);
	feeder_say_feed(ends[1], &s);
	feeder_say_trouble(ends[1], "slow");
	feeder_say_error(ends[1], &why);
	close(ends[1]);
	buf_need(&text, 65536);
	CHECK_OK(fd_read_full(ends[0], text.p, 65536, &text.n, e));
	close(ends[0]);
	rest = buf_view(&text);
	CHECK_OK(feeder_answer_parse(next_line(&rest), &a, e));
	CHECK_INT(a.word, FEEDER_READY);
	CHECK_OK(feeder_answer_parse(next_line(&rest), &a, e));
	CHECK_INT(a.word, FEEDER_FEED);
	CHECK(memcmp(&a.feed, &s, sizeof(s)) == 0);
	CHECK_OK(feeder_answer_parse(next_line(&rest), &a, e));
	CHECK(a.word == FEEDER_TROUBLE && str_is(buf_view(&a.text), "slow"));
	CHECK_OK(feeder_answer_parse(next_line(&rest), &a, e));
	CHECK(a.word == FEEDER_ERROR && a.kind == ERR_CLIENT && str_is(buf_view(&a.text), "no ? such\nthing"));
	CHECK_INT(rest.n, 0);
	CHECK_INT(feeder_answer_parse(STR("{\"feed\":1}"), &a, NULL), -1);
	CHECK_INT(feeder_answer_parse(STR("{\"error\":{}}"), &a, NULL), -1);
	CHECK_INT(feeder_answer_parse(STR("hello"), &a, NULL), -1);
	CHECK_OK(feeder_answer_parse(STR("{\"feed\":{\"bytes\":-1,\"epoch\":\"x\"}}"), &a, e));
	CHECK(a.feed.bytes == 0 && a.feed.epoch == 0);
	buf_fini(&a.text);
	buf_fini(&text);
}
