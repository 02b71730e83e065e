/* bloomery-transform's main() against a serving container that answers as a test wants.  SPDX-License-Identifier:
 * Apache-2.0 */
#include <zlib.h>

#include "serving_house.h"

/* One line for each: "<" and the line. What comes without a line feed goes so. */
static void mirror(struct serving *s, const struct served *r, struct answer *a)
{
	struct str rest = r->body;

	(void)s;
	while (rest.n) {
		struct str line = str_cut(&rest, '\n');

		buf_f(&a->body, "<" PRIstr "\n", ARGstr(line));
	}
}

#define LINES                                                                                                 \
	"\"TransformInput\": {\"SplitType\": \"Line\", \"ContentType\": \"text/csv\"}, \"TransformOutput\": " \
	"{\"AssembleWith\": \"Line\"}"

TEST(lines_go_out_and_come_back_in_order)
{
	struct serving *s = serving_start(mirror);
	struct job_house h;

	job_open(&h);
	job_add(&h, "in/a.csv", STR("1,2\n3,4\r\n5,6"));
	job_add(&h, "in/deep/b.csv", STR(""));
	job_add(&h, "in/folder/", STR(""));
	job_add(&h, "in/c.csv", STR("7\n"));
	job_run(&h, s, "{" LINES "}");
	CHECK_INT(h.status, 0);
	CHECK_STR(job_output(&h, 0), "<1,2\n<3,4\r\n<5,6\n");
	CHECK_STR(job_output(&h, 1), "");
	CHECK(!job_output(&h, 2));
	CHECK_STR(job_output(&h, 3), "<7\n");
	CHECK_INT(s->shared.posts, 2);
	CHECK(strstr(
	        h.said,
	        "{\"object\":{\"number\":1,\"bucket\":\"b\",\"key\":\"deep/b.csv.out\",\"records\":0,\"bytes\":0}}\n"));
	CHECK(strstr(h.said, "{\"done\":{\"objects\":3,\"records\":4}}\n"));
	CHECK(strstr(h.log,
	             ":[sagemaker logs]: MaxConcurrentTransforms=1, MaxPayloadInMB=6, BatchStrategy=MULTI_RECORD\n"));
	CHECK(!job_has_parts(&h));
}

static void echo(struct serving *s, const struct served *r, struct answer *a)
{
	struct str type = { 0 }, accept = { 0 };

	pthread_mutex_lock(&s->shared.mu);
	serving_header(r->head, "Content-Type", &type);
	serving_header(r->head, "Accept", &accept);
	buf_f(&s->shared.log, "%u " PRIstr " " PRIstr " " PRIstr "%s\n", r->number, ARGstr(r->path), ARGstr(type),
	      ARGstr(accept), r->chunked ? " chunked" : "");
	pthread_mutex_unlock(&s->shared.mu);
	a->chunked = r->number % 2;
	buf_str(&a->body, r->body);
}

TEST(single_records_with_the_containers_parameters)
{
	struct serving *s = serving_start(echo);
	struct job_house h;

	s->sick = 2;
	s->parameters = "{\"MaxConcurrentTransforms\": 1, \"BatchStrategy\": \"SINGLE_RECORD\", \"MaxPayloadInMB\": 1}";
	job_open(&h);
	job_add(&h, "in/a.csv", STR("1\n2\n\n4"));
	job_run(&h, s,
	        "{\"TransformInput\": {\"SplitType\": \"Line\", \"ContentType\": \"text/csv\"}, "
	        "\"TransformOutput\": {\"Accept\": \"application/json\", \"AssembleWith\": \"Line\"}}");
	CHECK_INT(h.status, 0);
	CHECK_STR(job_output(&h, 0), "1\n2\n\n4\n");
	CHECK_STR(s->shared.log.p,
	          "0 /invocations text/csv application/json\n1 /invocations text/csv application/json\n"
	          "2 /invocations text/csv application/json\n3 /invocations text/csv application/json\n");
	CHECK(strstr(h.log, "MaxConcurrentTransforms=1, MaxPayloadInMB=1, BatchStrategy=SINGLE_RECORD\n"));
	CHECK_INT(s->shared.pings, 3);
}

TEST(a_payload_of_0_streams_the_object_in_chunks)
{
	struct serving *s = serving_start(echo);
	_cleanup_buf_ struct buf big = { 0 };
	struct job_house h;

	while (big.n < 9 << 20)
		buf_f(&big, "%zu,1,2,3,4,5,6,7,8,9\n", big.n);
	job_open(&h);
	job_add(&h, "in/a", buf_view(&big));
	job_run(&h, s, "{\"MaxPayloadInMB\": 0}");
	CHECK_INT(h.status, 0);
	CHECK_STR(job_output(&h, 0), big.p);
	CHECK_STR(s->shared.log.p, "0 /invocations   chunked\n");
}

static void by_record(struct serving *s, const struct served *r, struct answer *a)
{
	unsigned before;

	pthread_mutex_lock(&s->shared.mu);
	before = s->shared.log.n; /* tries of what fails for a while */
	if (str_starts(r->body, STR("flaky")))
		buf_c(&s->shared.log, 'x');
	pthread_mutex_unlock(&s->shared.mu);
	buf_z(&a->body, "fine");
	if (str_starts(r->body, STR("500"))) {
		a->status = 500;
		buf_reset(&a->body);
		buf_z(&a->body, "Traceback\nboom \x01\n");
	} else if (str_starts(r->body, STR("400"))) {
		a->status = 400;
	} else if (str_starts(r->body, STR("reset")) || (str_starts(r->body, STR("flaky")) && before == 0)) {
		a->reset = true;
	} else if (str_starts(r->body, STR("cut"))) {
		a->cut = 2;
	} else if (str_starts(r->body, STR("flaky")) && before == 1) {
		a->status = 503;
	} else if (str_starts(r->body, STR("flaky")) && before == 2) {
		a->cut = 1;
	}
}

#define SINGLES "\"BatchStrategy\": \"SingleRecord\", \"MaxConcurrentTransforms\": 3, " LINES

TEST(what_fails_for_a_while_is_tried_again)
{
	struct serving *s = serving_start(by_record);
	struct job_house h;

	job_open(&h);
	job_add(&h, "in/a.csv", STR("1\nflaky\n3\n"));
	job_run(&h, s, "{" SINGLES "}");
	CHECK_INT(h.status, 0);
	CHECK_STR(job_output(&h, 0), "fine\nfine\nfine\n");
	CHECK_STR(s->shared.log.p, "xxxx");
	CHECK_INT(s->shared.posts, 6);
}

TEST(a_bad_record_is_named_and_other_objects_go_on)
{
	struct serving *s = serving_start(by_record);
	struct job_house h;

	job_open(&h);
	job_add(&h, "in/good.csv", STR("1\n2\n"));
	job_add(&h, "in/bad.csv", STR("1\n22\n500\n4\n"));
	job_add(&h, "in/good2.csv", STR("1\n2\n"));
	job_run(&h, s, "{\"ModelClientConfig\": {\"InvocationsMaxRetries\": 1}, " SINGLES "}");
	CHECK_INT(h.status, 1);
	CHECK_STR(job_kind(&h), "TRAINER");
	CHECK_STR(job_text(&h),
	          "s3://b/in/bad.csv: record 3 at byte 5: the container answered 500 to POST /invocations: Traceback");
	CHECK_STR(job_output(&h, 0), "fine\nfine\n");
	CHECK(!job_output(&h, 1));
	CHECK_STR(job_output(&h, 2), "fine\nfine\n");
	CHECK(!job_has_parts(&h));
	CHECK(strstr(h.log, ":[sagemaker logs]: b/in/bad.csv: Bad HTTP status received from algorithm: 500\n"));
	CHECK(strstr(h.log, ":[sagemaker logs]: b/in/bad.csv: \n"));
	CHECK(strstr(h.log, ":[sagemaker logs]: b/in/bad.csv: Message:\n"));
	CHECK(strstr(h.log, ":[sagemaker logs]: b/in/bad.csv: Traceback\n"));
	CHECK(strstr(h.log, ":[sagemaker logs]: b/in/bad.csv: boom ?\n"));
}

TEST(an_answer_of_4xx_is_not_tried_again)
{
	struct serving *s = serving_start(by_record);
	struct job_house h;

	job_open(&h);
	job_add(&h, "in/a.csv", STR("400\n"));
	job_run(&h, s, "{" SINGLES "}");
	CHECK_STR(job_kind(&h), "CLIENT");
	CHECK_INT(s->shared.posts, 1);
}

TEST(connections_that_break)
{
	struct serving *s = serving_start(by_record);
	struct job_house h;

	job_open(&h);
	job_add(&h, "in/a.csv", STR("reset\n"));
	job_add(&h, "in/b.csv", STR("cut\n"));
	job_run(&h, s, "{\"ModelClientConfig\": {\"InvocationsMaxRetries\": 1}, " SINGLES "}");
	CHECK_STR(job_kind(&h), "TRAINER");
	CHECK(strstr(job_text(&h), "2 objects could not be transformed; the first: s3://b/in/"));
	CHECK(strstr(job_text(&h), "record 1 at byte 0: the container did not answer POST /invocations: "));
	CHECK(strstr(h.log, "b/in/a.csv: Unable to get response from algorithm\n"));
	CHECK(strstr(h.log, "b/in/b.csv: Unable to get response from algorithm\n"));
}

TEST(a_413_before_the_body_is_read)
{
	struct serving *s = serving_start(echo);
	_cleanup_buf_ struct buf big = { 0 };
	struct job_house h;

	s->refuse_over = 1000;
	while (big.n < 3 << 20)
		buf_z(&big, "0,1,2,3,4,5,6,7,8,9\n");
	job_open(&h);
	job_add(&h, "in/a.csv", buf_view(&big));
	job_add(&h, "in/b.csv", STR("1\n"));
	job_run(&h, s, "{" LINES "}");
	CHECK_STR(job_kind(&h), "CLIENT");
	CHECK_STR(
	        job_text(&h),
	        "s3://b/in/a.csv: records 1 to 157287 from byte 0 on: the container answered 413 to POST /invocations: "
	        "too much for me");
	CHECK_STR(job_output(&h, 1), "1\n");
}

/* Answers when there have been three at once; the first request when 20 have come. */
static void first_last(struct serving *s, const struct served *r, struct answer *a)
{
	unsigned posts = str_is(r->body, "0\n") ? 20 : 0;

	buf_str(&a->body, r->body);
	pthread_mutex_lock(&s->shared.mu);
	while (s->shared.posts < posts || s->shared.most_under_way < 3)
		pthread_cond_wait(&s->shared.changed, &s->shared.mu);
	pthread_mutex_unlock(&s->shared.mu);
}

TEST(a_slow_answer_does_not_change_the_order)
{
	struct serving *s = serving_start(first_last);
	_cleanup_buf_ struct buf in = { 0 };
	struct job_house h;

	for (int i = 0; i < 200; i++)
		buf_f(&in, "%d\n", i);
	job_open(&h);
	job_add(&h, "in/a.csv", buf_view(&in));
	job_run(&h, s, "{" SINGLES "}");
	CHECK_INT(h.status, 0);
	CHECK_STR(job_output(&h, 0), in.p);
	CHECK_INT(s->shared.most_under_way, 3);
}

static void never(struct serving *s, const struct served *r, struct answer *a)
{
	(void)a;
	if (!str_starts(r->body, STR("slow")))
		return;
	pthread_mutex_lock(&s->shared.mu);
	for (;;)
		pthread_cond_wait(&s->shared.changed, &s->shared.mu);
}

TEST(an_answer_that_does_not_come)
{
	struct serving *s = serving_start(never);
	struct job_house h;

	job_open(&h);
	job_add(&h, "in/a.csv", STR("1\n2\nslow\n"));
	job_run(&h, s,
	        "{\"ModelClientConfig\": {\"InvocationsMaxRetries\": 0, \"InvocationsTimeoutInSeconds\": 1}, " SINGLES
	        "}");
	CHECK_STR(job_text(&h),
	          "s3://b/in/a.csv: record 3 at byte 4: the container did not answer POST /invocations within 1 s");
	CHECK(strstr(h.log, "b/in/a.csv: Unable to get response from algorithm\n"));
}

TEST(gzip_is_unpacked)
{
	struct serving *s = serving_start(echo);
	_cleanup_buf_ struct buf in = { 0 };
	struct job_house h;
	z_stream z = { 0 };
	char *packed = keep(xcalloc(1, 4 << 20));

	while (in.n < 3 << 20)
		buf_f(&in, "%zu\n", in.n);
	must(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY) == Z_OK);
	z.next_in = (Bytef *)in.p;
	z.avail_in = (uInt)in.n;
	z.next_out = (Bytef *)packed;
	z.avail_out = 4 << 20;
	must(deflate(&z, Z_FINISH) == Z_STREAM_END);
	deflateEnd(&z);
	job_open(&h);
	job_add(&h, "in/a.gz", (struct str){ packed, z.total_out });
	job_add(&h, "in/b.gz", STR("no gzip"));
	job_add(&h, "in/c.gz", (struct str){ packed, z.total_out - 9 });
	job_run(&h, s,
	        "{\"MaxPayloadInMB\": 1, \"TransformInput\": {\"SplitType\": \"Line\", \"CompressionType\": "
	        "\"Gzip\"}}");
	CHECK_STR(job_output(&h, 0), in.p);
	CHECK(!job_output(&h, 1) && !job_output(&h, 2));
	CHECK_STR(job_text(&h),
	          "2 objects could not be transformed; the first: s3://b/in/b.gz: it is not compressed with gzip");
	CHECK_STR(job_kind(&h), "CLIENT");
	CHECK(strstr(h.log, "b/in/c.gz: its gzip data is "));
}

TEST(a_container_that_does_not_become_healthy)
{
	struct serving *s = serving_start(echo);
	struct job_house h;
	_cleanup_free_ char *list_path = NULL, *work = NULL;
	int in = memfd_create("in", 0), said = memfd_create("said", 0);
	_cleanup_buf_ struct buf b = { 0 };

	buf_init(&b);
	s->sick = 1000000;
	job_open(&h);
	fclose(h.list);
	list_path = strf("%s/list", h.dir);
	work = strf("{\"containers\": [\"http://127.0.0.1:%u\"], \"list\": %d, \"out\": %d, \"ping_timeout_s\": 1}",
	            s->port, open(list_path, O_RDONLY), h.out);
	CHECK_OK(fd_write_all(in, work, strlen(work), e));
	lseek(in, 0, SEEK_SET);
	CHECK_INT(transform_main(in, said), 1);
	CHECK_OK(file_read(keep(strf("/proc/self/fd/%d", said)), 1 << 20, &b, e));
	CHECK(strstr(
	        b.p,
	        "{\"error\":{\"kind\":\"TRAINER\",\"text\":\"the container did not become healthy within 1 s; at last: "
	        "GET /ping was answered with 503\"}}\n"));
}

/* "id,x" → the prediction of x is x + 1; the container never sees the id. */
static void plus_one(struct serving *s, const struct served *r, struct answer *a)
{
	struct str rest = r->body;

	(void)s;
	a->chunked = true;
	while (rest.n) {
		struct str line = str_trim(str_cut(&rest, '\n'));
		uint64_t v = 0;

		if (!str_to_u64(line, &v))
			a->status = 400;
		buf_f(&a->body, "%llu\n", (unsigned long long)v + 1);
	}
}

#define CSV                                                                                                   \
	"\"TransformInput\": {\"SplitType\": \"Line\", \"ContentType\": \"text/csv\"}, \"TransformOutput\": " \
	"{\"AssembleWith\": \"Line\", \"Accept\": \"text/csv\"}"

TEST(filters_and_join_of_csv)
{
	struct serving *s = serving_start(plus_one);
	struct job_house h;

	job_open(&h);
	job_add(&h, "in/a.csv", STR("\"a,b\",1,x\r\nb,41,y\r\nc,7,z"));
	job_run(&h, s,
	        "{" CSV
	        ", \"DataProcessing\": {\"InputFilter\": \"$[1]\", \"JoinSource\": \"Input\", \"OutputFilter\": "
	        "\"$[0,-1]\"}}");
	CHECK_INT(h.status, 0);
	CHECK_STR(job_output(&h, 0), "\"a,b\",2\nb,42\nc,8\n");
}

TEST(a_row_that_a_filter_cannot_use_is_named)
{
	struct serving *s = serving_start(plus_one);
	struct job_house h;

	job_open(&h);
	job_add(&h, "in/a.csv", STR("a,1\nb,2\nc\nd,4\n"));
	job_run(&h, s, "{" CSV ", \"DataProcessing\": {\"InputFilter\": \"$[1]\"}}");
	CHECK_STR(job_text(&h), "s3://b/in/a.csv: record 3 at byte 8: DataProcessing.InputFilter: '$[1]' looks for "
	                        "column 1 of a row of 1");
	CHECK_STR(job_kind(&h), "CLIENT");
	CHECK(!job_output(&h, 0));
}

/* Forgets every third line. */
static void forgetful(struct serving *s, const struct served *r, struct answer *a)
{
	(void)s, (void)r;
	buf_z(&a->body, "1\n2\n");
}

TEST(a_join_of_unequal_numbers_is_an_error)
{
	struct serving *s = serving_start(forgetful);
	struct job_house h;

	job_open(&h);
	job_add(&h, "in/a.csv", STR("a\nb\nc\n"));
	job_run(&h, s, "{" CSV ", \"DataProcessing\": {\"JoinSource\": \"Input\"}}");
	CHECK_STR(job_text(&h),
	          "s3://b/in/a.csv: records 1 to 3 from byte 0 on: JoinSource: the container answered 2 records for 3");
	CHECK_STR(job_kind(&h), "TRAINER");
}
