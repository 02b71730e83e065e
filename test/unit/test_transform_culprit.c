/* bloomery-transform's main() when one record of a request of many is not liked: it is named all the same.
 * SPDX-License-Identifier: Apache-2.0 */
#include "serving_house.h"

#define MANY(type, more)                                                                                         \
	"{\"MaxPayloadInMB\": 1, \"MaxConcurrentTransforms\": 1, \"BatchStrategy\": \"MultiRecord\", "           \
	"\"TransformInput\": {\"SplitType\": \"" type "\", \"ContentType\": \"text/csv\"}, \"TransformOutput\":" \
	" {\"Accept\": \"text/csv\", \"AssembleWith\": \"Line\"}, \"ModelClientConfig\": "                       \
	"{\"InvocationsMaxRetries\": 0}" more "}"

static void picky(struct serving *s, const struct served *r, struct answer *a)
{
	(void)s;
	if (memmem(r->body.p, r->body.n, "bad", 3)) {
		a->status = 400;
		buf_z(&a->body, "could not convert string to float: 'bad'");
		return;
	}
	buf_str(&a->body, r->body);
}

/* Each in a process of its own: main() gives up the right to make other files. */
static void one_line_is_bad(const char *input, const char *where)
{
	struct serving *s = serving_start(picky);
	_cleanup_free_ char *want = strf(
	        "s3://b/in/a.csv: %s: the container answered 400 to POST /invocations: could not "
	        "convert string to float: 'bad'",
	        where);
	struct job_house h;

	job_open(&h);
	job_add(&h, "in/a.csv", str_of(input));
	job_add(&h, "in/b.csv", STR("7\n8\n"));
	job_run(&h, s, MANY("Line", ""));
	CHECK_STR(job_text(&h), want);
	CHECK_STR(job_kind(&h), "CLIENT");
	CHECK(!job_output(&h, 0));
	CHECK_STR(job_output(&h, 1), "7\n8\n");
	CHECK(!job_has_parts(&h));
}

TEST(the_first_line_of_many_is_found)
{
	one_line_is_bad("bad\n1\n2\n3\n", "record 1 at byte 0");
}

TEST(a_line_among_many_is_found)
{
	one_line_is_bad("1\nbad\n3\n", "record 2 at byte 2");
}

TEST(the_last_line_of_many_is_found)
{
	one_line_is_bad("1\n2\n3\n44\nbad", "record 5 at byte 9");
}

TEST(in_a_later_request_of_a_large_object)
{
	struct serving *s = serving_start(picky);
	_cleanup_buf_ struct buf all = { 0 };
	_cleanup_free_ char *want = NULL;
	size_t n = 0, at = 0, record = 0;
	struct job_house h;

	for (; all.n < 3 << 20; n++) {
		if (!at && all.n > 2 << 20) {
			at = all.n;
			record = n + 1;
		}
		buf_f(&all, "%zu,1,2,3,4,5,6,7,8,9%s\n", n, at && at == all.n ? "bad" : "");
	}
	job_open(&h);
	job_add(&h, "in/a.csv", buf_view(&all));
	job_run(&h, s, MANY("Line", ""));
	want = strf(
	        "s3://b/in/a.csv: record %zu at byte %zu: the container answered 400 to POST /invocations: could not "
	        "convert string to float: 'bad'",
	        record, at);
	CHECK_STR(job_text(&h), want);
	CHECK(s->shared.posts < 30);
}

TEST(behind_a_filter_it_is_the_record_of_the_object)
{
	struct serving *s = serving_start(picky);
	struct job_house h;

	job_open(&h);
	job_add(&h, "in/a.csv", STR("id-0001,1\nid-2,2\nid-03,bad\nid-4,4\n"));
	job_run(&h, s, MANY("Line", ", \"DataProcessing\": {\"InputFilter\": \"$[1]\"}"));
	CHECK(str_starts(str_of(job_text(&h)), STR("s3://b/in/a.csv: record 3 at byte 17: ")));
}

/* Whatever has three lines or more. */
static void overwhelmed(struct serving *s, const struct served *r, struct answer *a)
{
	struct str rest = r->body;
	unsigned n = 0;

	(void)s;
	for (; rest.n; n++)
		str_cut(&rest, '\n');
	a->status = n > 2 ? 500 : 200;
}

TEST(many_that_are_fine_alone_are_told_together)
{
	struct serving *s = serving_start(overwhelmed);
	struct job_house h;

	job_open(&h);
	job_add(&h, "in/a.csv", STR("1\n2\n3\n4\n5\n"));
	job_run(&h, s, MANY("Line", ""));
	CHECK(str_starts(str_of(job_text(&h)), STR("s3://b/in/a.csv: records 1 to 5 from byte 0 on: ")));
}

/* Only the first time. */
static void breaks_down(struct serving *s, const struct served *r, struct answer *a)
{
	(void)s;
	if (r->number == 0)
		a->status = 500;
	else
		a->reset = true;
}

TEST(a_container_that_is_gone_is_not_asked_for_long)
{
	struct serving *s = serving_start(breaks_down);
	struct job_house h;

	job_open(&h);
	job_add(&h, "in/a.csv", STR("1\n2\n3\n4\n5\n"));
	job_run(&h, s, MANY("Line", ""));
	CHECK(str_starts(str_of(job_text(&h)), STR("s3://b/in/a.csv: records 1 to 5 from byte 0 on: ")));
	CHECK(s->shared.posts <= 3); /* libcurl tries a connection that it had kept once more */
}

static void add_frame(struct buf *b, const char *text)
{
	uint32_t head[] = { 0xced7230a, (uint32_t)strlen(text) };

	buf_add(b, (const char *)head, sizeof(head));
	buf_z(b, text);
	while (b->n % 4)
		buf_c(b, '\0');
}

TEST(a_frame_of_recordio)
{
	struct serving *s = serving_start(picky);
	_cleanup_buf_ struct buf all = { 0 };
	struct job_house h;

	add_frame(&all, "one");
	add_frame(&all, "two two");
	add_frame(&all, "so bad");
	add_frame(&all, "four");
	job_open(&h);
	job_add(&h, "in/a.rec", buf_view(&all));
	job_run(&h, s, MANY("RecordIO", ""));
	CHECK(str_starts(str_of(job_text(&h)), STR("s3://b/in/a.rec: record 3 at byte 28: ")));
}
