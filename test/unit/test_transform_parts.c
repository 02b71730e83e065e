/* bloomery-transform's main() with requests of many lines, which are sent from the object's file.
 * SPDX-License-Identifier: Apache-2.0 */
#include <sched.h>
#include <sys/mount.h>

#include "serving_house.h"
#include "transform/result.h"

#define REQUEST                                                                                              \
	"{\"MaxPayloadInMB\": 1, \"MaxConcurrentTransforms\": 3, \"BatchStrategy\": \"MultiRecord\", "       \
	"\"TransformInput\": {\"SplitType\": \"Line\"}, \"TransformOutput\": {\"AssembleWith\": \"None\"}, " \
	"\"ModelClientConfig\": {\"InvocationsMaxRetries\": 1}}"

/* Lines of 16 to 20 bytes; now and then one of 70,000, so that what ends a request is far from its limit.
 */
static char *lines(size_t bytes, size_t *ret_count)
{
	struct buf b = { 0 };
	size_t n = 0;

	for (; b.n < bytes; n++) {
		buf_f(&b, "%zu,some,columns%s", n, n % 3 ? "" : ",,,");
		for (size_t i = 0; n % 20000 == 19999 && i < 70000; i++)
			buf_c(&b, 'x');
		buf_c(&b, '\n');
	}
	*ret_count = n;
	return keep(buf_take(&b));
}

static void echo(struct serving *s, const struct served *r, struct answer *a)
{
	(void)s;
	CHECK(r->body.n <= 1 << 20 && !r->chunked);
	buf_str(&a->body, r->body);
}

TEST(every_line_goes_out_once_and_in_order)
{
	struct serving *s = serving_start(echo);
	struct job_house h;
	size_t count;
	char *all = lines(9 << 20, &count);
	_cleanup_free_ char *open = strf("%slast", all), *done = NULL;

	job_open(&h);
	job_add(&h, "in/a", str_of(all));
	job_add(&h, "in/b", str_of(open));
	job_add(&h, "in/c", STR("\n"));
	job_add(&h, "in/d", STR("x"));
	job_run(&h, s, REQUEST);
	CHECK_INT(h.status, 0);
	CHECK_STR(job_output(&h, 0), all);
	CHECK_STR(job_output(&h, 1), open);
	CHECK_STR(job_output(&h, 2), "\n");
	CHECK_STR(job_output(&h, 3), "x");
	done = strf("{\"done\":{\"objects\":4,\"records\":%zu}}\n", 2 * count + 3);
	CHECK(strstr(h.said, done));
	CHECK(s->shared.posts >= 20 && s->shared.posts <= 26);
	CHECK(s->shared.most_under_way <= 3);
}

static void flaky(struct serving *s, const struct served *r, struct answer *a)
{
	unsigned before;

	pthread_mutex_lock(&s->shared.mu);
	before = s->shared.log.n;
	if (memmem(r->body.p, r->body.n, "\n80000,", 7))
		buf_c(&s->shared.log, 'x');
	else
		before = 9;
	pthread_mutex_unlock(&s->shared.mu);
	if (before == 0)
		a->reset = true;
	buf_str(&a->body, r->body);
}

TEST(what_is_sent_again_is_the_same)
{
	struct serving *s = serving_start(flaky);
	struct job_house h;
	size_t count;
	char *all = lines(3 << 20, &count);
	_cleanup_free_ char *done = NULL;

	job_open(&h);
	job_add(&h, "in/a", str_of(all));
	job_run(&h, s, REQUEST);
	CHECK_INT(h.status, 0);
	CHECK_STR(job_output(&h, 0), all);
	CHECK_STR(s->shared.log.p, "xx");
	done = strf("{\"done\":{\"objects\":1,\"records\":%zu}}\n", count);
	CHECK(strstr(h.said, done));
}

static void picky(struct serving *s, const struct served *r, struct answer *a)
{
	(void)s;
	if (memmem(r->body.p, r->body.n, "\nbad", 4))
		a->status = 400;
	buf_str(&a->body, STR("x"));
}

TEST(records_of_a_refused_part_are_counted)
{
	struct serving *s = serving_start(picky);
	_cleanup_buf_ struct buf b = { 0 };
	struct job_house h;

	while (b.n < (1 << 20) + 5) /* 131,072 lines to the first request's end */
		buf_z(&b, "1234567\n");
	buf_z(&b, "1\nbad\nlast");
	job_open(&h);
	job_add(&h, "in/a", buf_view(&b));
	job_run(&h, s, REQUEST);
	CHECK_INT(h.status, 1);
	CHECK_STR(job_kind(&h), "CLIENT");
	CHECK_STR(job_text(&h),
	          "s3://b/in/a: records 131073 to 131076 from byte 1048576 on: the container answered 400 to "
	          "POST /invocations: x");
	CHECK(!job_output(&h, 0));
}

TEST(a_line_that_is_too_large_is_named)
{
	struct serving *s = serving_start(echo);
	_cleanup_buf_ struct buf b = { 0 }, alone = { 0 };
	struct job_house h;

	buf_z(&b, "1\n2\n");
	while (b.n < (3 << 20) + 7)
		buf_c(&b, 'x');
	buf_z(&b, "\n4\n");
	while (alone.n < (1 << 20) - 1)
		buf_c(&alone, 'y');
	buf_c(&alone, '\n');
	job_open(&h);
	job_add(&h, "in/a", buf_view(&b));
	job_add(&h, "in/b", buf_view(&alone)); /* just as large as may be */
	job_run(&h, s, REQUEST);
	CHECK_INT(h.status, 1);
	CHECK_STR(job_kind(&h), "CLIENT");
	CHECK_STR(job_text(&h),
	          "s3://b/in/a: record 3 at byte 4 is larger than the 1048576 bytes that a request may have");
	CHECK(!job_output(&h, 0));
	CHECK_STR(job_output(&h, 1), alone.p);
	CHECK(!job_has_parts(&h));
}

/* ---- answers without end ---- */

TEST(the_last_of_a_disk_is_left_to_others)
{
	_cleanup_free_ char *dir = strf("%s/small", test_tmpdir()), *piece = xcalloc(1, 256 << 10);
	struct result_house house = { .dirfd = -EBADF };
	struct result r;
	struct err why = { 0 };
	int rc = 0;

	CHECK(mkdir(dir, 0755) == 0);
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("small", dir, "tmpfs", 0, "size=100m") < 0) {
		test_skip("needs mounts");
		return;
	}
	house.dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	result_init(&r, &house);
	for (int i = 0; rc == 0 && i < 1000; i++)
		rc = result_add(&r, (struct str){ piece, 256 << 10 }, &why);
	CHECK(rc < 0 && why.kind == ERR_IO);
	CHECK(strstr(why.frame[0], "has no room for more"));
	CHECK(r.size > 90 << 20 && r.size <= 99 << 20);
	result_fini(&r);
	result_init(&r, &house);
	CHECK_OK(result_add(&r, STR("there is room again"), e));
	result_fini(&r);
	close(house.dirfd);
	CHECK(umount2(dir, MNT_DETACH) == 0);
}
