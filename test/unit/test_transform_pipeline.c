/* bloomery-transform's main() with pipelines of containers, sockets of their networks, and a part of the list.
 * SPDX-License-Identifier: Apache-2.0 */
#include "serving_house.h"

#define REQUEST                                                                                 \
	"{\"BatchStrategy\": \"SingleRecord\", \"MaxConcurrentTransforms\": 3, "                \
	"\"TransformInput\": {\"SplitType\": \"Line\", \"ContentType\": \"text/csv\"}, "        \
	"\"TransformOutput\": {\"Accept\": \"application/json\", \"AssembleWith\": \"Line\"}, " \
	"\"ModelClientConfig\": {\"InvocationsMaxRetries\": 1}}"

/* Notes the type and what is accepted. */
static void note(struct serving *s, const struct served *r)
{
	struct str type = { 0 }, accept = { 0 };

	pthread_mutex_lock(&s->shared.mu);
	serving_header(r->head, "Content-Type", &type);
	serving_header(r->head, "Accept", &accept);
	buf_f(&s->shared.log, PRIstr "|" PRIstr "%s\n", ARGstr(type), ARGstr(accept), r->chunked ? "|chunked" : "");
	pthread_mutex_unlock(&s->shared.mu);
}

static void first(struct serving *s, const struct served *r, struct answer *a)
{
	note(s, r);
	a->type = "application/x-recordio-protobuf; v=1";
	buf_f(&a->body, "first(" PRIstr ")", ARGstr(str_trim(r->body)));
}

static void second(struct serving *s, const struct served *r, struct answer *a)
{
	note(s, r);
	if (str_starts(r->body, STR("first(bad")))
		a->status = 500;
	buf_f(&a->body, "second(" PRIstr ")", ARGstr(r->body));
}

static void third(struct serving *s, const struct served *r, struct answer *a)
{
	note(s, r);
	a->type = "application/json";
	buf_f(&a->body, "third(" PRIstr ")", ARGstr(r->body));
}

static char *places_of(struct serving *const *s, size_t n, const char *more)
{
	struct buf b = { 0 };

	buf_z(&b, "\"containers\": [");
	for (size_t i = 0; i < n; i++)
		buf_f(&b, "%s\"http://127.0.0.1:%u\"", i ? ", " : "", s[i]->port);
	buf_f(&b, "]%s", more);
	return keep(buf_take(&b));
}

TEST(each_answer_is_the_next_ones_request)
{
	struct serving *s[] = { serving_start(first), serving_start(second), serving_start(third) };
	struct job_house h;

	s[0]->parameters = "{\"MaxPayloadInMB\": 2}";
	s[1]->parameters = "{\"MaxPayloadInMB\": 3}";
	s[2]->sick = 2;
	job_open(&h);
	job_add(&h, "in/a.csv", STR("1\n2\n3\n4\n"));
	job_run_at(&h, places_of(s, 3, ""), REQUEST);
	CHECK_INT(h.status, 0);
	CHECK_STR(
	        job_output(&h, 0),
	        "third(second(first(1)))\nthird(second(first(2)))\nthird(second(first(3)))\nthird(second(first(4)))\n");
	CHECK(strstr(h.said, "\"MaxPayloadInMB\":2"));
	CHECK_INT(s[2]->shared.pings, 3);
	for (unsigned i = 0; i < 3; i++)
		CHECK_INT(s[i]->shared.posts, 4);
	CHECK_STR(s[0]->shared.log.p, "text/csv|\ntext/csv|\ntext/csv|\ntext/csv|\n");
	CHECK(str_starts(buf_view(&s[1]->shared.log), STR("application/x-recordio-protobuf; v=1|\n")));
	CHECK(str_starts(buf_view(&s[2]->shared.log), STR("|application/json\n")));
}

TEST(a_container_that_refuses_is_named)
{
	struct serving *s[] = { serving_start(first), serving_start(second), serving_start(third) };
	struct job_house h;

	job_open(&h);
	job_add(&h, "in/a.csv", STR("1\nbad\n"));
	job_add(&h, "in/b.csv", STR("2\n"));
	job_run_at(&h, places_of(s, 3, ", \"names\": [\"wash\", \"score\", \"write\"]"), REQUEST);
	CHECK_INT(h.status, 1);
	CHECK_STR(job_kind(&h), "TRAINER");
	CHECK_STR(job_text(&h), "s3://b/in/a.csv: record 2 at byte 2: score answered 500 to POST /invocations: "
	                        "second(first(bad))");
	CHECK(strstr(h.log, "b/in/a.csv: Bad HTTP status received from algorithm: 500\n"));
	CHECK_INT(s[0]->shared.posts, 3); /* what it has done is not done again */
	CHECK_INT(s[1]->shared.posts, 4); /* one retry */
	CHECK(!job_output(&h, 0));
	CHECK_STR(job_output(&h, 1), "third(second(first(2)))\n");
}

static void count(struct serving *s, const struct served *r, struct answer *a)
{
	note(s, r);
	buf_f(&a->body, "%zu", r->body.n);
}

static void repeat(struct serving *s, const struct served *r, struct answer *a)
{
	note(s, r);
	buf_str(&a->body, r->body);
}

TEST(a_stream_goes_through_all_of_them)
{
	struct serving *s[] = { serving_start(repeat), serving_start(count) };
	_cleanup_buf_ struct buf big = { 0 };
	struct job_house h;

	while (big.n < 80 << 20) /* more than waits in memory */
		buf_f(&big, "%zu,1,2,3,4,5,6,7,8,9\n", big.n);
	job_open(&h);
	job_add(&h, "in/a", buf_view(&big));
	job_run_at(&h, places_of(s, 2, ""), "{\"MaxPayloadInMB\": 0}");
	CHECK_INT(h.status, 0);
	CHECK_STR(job_output(&h, 0), keep(strf("%zu", big.n)));
	CHECK_STR(s[1]->shared.log.p, "||chunked\n");
}

TEST(one_that_does_not_become_healthy_is_named)
{
	struct serving *s[] = { serving_start(first), serving_start(second) };
	struct job_house h;

	s[1]->sick = 1000000;
	job_open(&h);
	h.ping_timeout_s = 1;
	job_add(&h, "in/a", STR("1"));
	job_run_at(&h, places_of(s, 2, ""), REQUEST);
	CHECK_INT(h.status, 1);
	CHECK(str_starts(str_of(job_text(&h)),
	                 STR("container-2 did not become healthy within 1 s; at last: GET /ping")));
}

/* ---- parts of the list ---- */

TEST(objects_are_dealt_by_their_place_in_the_list)
{
	struct serving *s = serving_start(third);
	struct job_house h;

	job_open(&h);
	for (unsigned i = 0; i < 8; i++)
		job_add(&h, keep(strf("in/%u", i)), str_of(keep(strf("%u", i))));
	job_run_at(&h, places_of(&s, 1, ", \"share_number\": 1, \"share_count\": 3"), REQUEST);
	CHECK_INT(h.status, 0);
	for (unsigned i = 0; i < 8; i++)
		if (i % 3 == 1)
			CHECK_STR(job_output(&h, i), keep(strf("third(%u)\n", i)));
		else
			CHECK(!job_output(&h, i));
	CHECK(strstr(h.said,
	             "{\"object\":{\"number\":7,\"bucket\":\"b\",\"key\":\"7.out\",\"records\":1,\"bytes\":9}}\n"));
	CHECK(strstr(h.said, "{\"done\":{\"objects\":3,\"records\":3}}\n"));
}

TEST(a_host_without_objects_has_nothing_to_do)
{
	struct serving *s = serving_start(third);
	struct job_house h;

	job_open(&h);
	job_add(&h, "in/0", STR("0"));
	job_run_at(&h, places_of(&s, 1, ", \"share_number\": 1, \"share_count\": 2"), REQUEST);
	CHECK_INT(h.status, 0);
	CHECK(strstr(h.said, "{\"done\":{\"objects\":0,\"records\":0}}\n"));
}

/* ---- sockets ---- */

struct giver {
	int fd;
	unsigned most; /* so many sockets; afterwards there are none */
	unsigned given[2];
	bool leave; /* instead: it goes away */
};

static void *give(void *arg)
{
	struct giver *g = arg;
	unsigned char which;

	while (recv(g->fd, &which, 1, 0) == 1) {
		char room[CMSG_SPACE(sizeof(int))] = { 0 };
		struct msghdr m = { .msg_iov = &(struct iovec){ &which, 1 }, .msg_iovlen = 1 };
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		struct cmsghdr *c;

		must(which < 2);
		if (g->given[0] + g->given[1] < g->most) {
			m.msg_control = room;
			m.msg_controllen = sizeof(room);
			c = CMSG_FIRSTHDR(&m);
			c->cmsg_level = SOL_SOCKET;
			c->cmsg_type = SCM_RIGHTS;
			c->cmsg_len = CMSG_LEN(sizeof(int));
			memcpy(CMSG_DATA(c), &fd, sizeof(fd));
			g->given[which]++;
		} else if (g->leave) {
			close(fd);
			break;
		}
		must(sendmsg(g->fd, &m, 0) == 1);
		close(fd);
	}
	close(g->fd);
	return NULL;
}

static struct giver *giver_start(int *ret_fd)
{
	struct giver *g = keep(xcalloc(1, sizeof(*g)));
	pthread_t t;
	int pair[2];

	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	g->fd = pair[0];
	g->most = 1000;
	*ret_fd = pair[1];
	must(pthread_create(&t, NULL, give, g) == 0);
	pthread_detach(t);
	return g;
}

TEST(sockets_are_those_of_each_container)
{
	struct serving *s[] = { serving_start(first), serving_start(second) };
	struct job_house h;
	struct giver *g;
	int fd;

	g = giver_start(&fd);
	job_open(&h);
	job_add(&h, "in/a.csv", STR("1\n2\n3\n4\n5\n6\n"));
	job_run_at(&h, places_of(s, 2, keep(strf(", \"sockets\": %d", fd))), REQUEST);
	CHECK_INT(h.status, 0);
	CHECK_STR(job_output(&h, 0), "second(first(1))\nsecond(first(2))\nsecond(first(3))\nsecond(first(4))\n"
	                             "second(first(5))\nsecond(first(6))\n");
	/* One for what comes before the records, and connections are kept: one for each that may be under way. */
	CHECK(g->given[0] >= 2 && g->given[0] <= 4 && g->given[1] >= 2 && g->given[1] <= 4);
}

TEST(a_container_without_a_network_does_not_answer)
{
	struct serving *s = serving_start(first);
	struct job_house h;
	int fd;

	giver_start(&fd)->most = 1;
	job_open(&h);
	job_add(&h, "in/a.csv", STR("1\n"));
	job_run_at(&h, places_of(&s, 1, keep(strf(", \"sockets\": %d", fd))), REQUEST);
	CHECK_INT(h.status, 1);
	CHECK_STR(job_kind(&h), "TRAINER");
	CHECK(str_starts(str_of(job_text(&h)),
	                 STR("s3://b/in/a.csv: record 1 at byte 0: the container did not answer POST /invocations: ")));
}

TEST(nobody_gives_sockets_any_more)
{
	struct serving *s = serving_start(first);
	struct giver *g;
	struct job_house h;
	int fd;

	g = giver_start(&fd);
	g->most = 1;
	g->leave = true;
	job_open(&h);
	job_add(&h, "in/a.csv", STR("1\n"));
	job_run_at(&h, places_of(&s, 1, keep(strf(", \"sockets\": %d", fd))), REQUEST);
	CHECK_INT(h.status, 1);
	CHECK_STR(job_kind(&h), "IO");
	CHECK_STR(job_text(&h),
	          "s3://b/in/a.csv: record 1 at byte 0: who makes sockets in the container's network is gone");
}

/* ---- work orders ---- */

static void refused(const char *places, const char *text)
{
	struct job_house h;

	job_open(&h);
	job_add(&h, "in/a", STR("1"));
	job_run_at(&h, places, "{}");
	CHECK_INT(h.status, 1);
	CHECK_STR(job_kind(&h), "INVALID");
	CHECK_STR(job_text(&h), text);
}

TEST(work_orders_that_make_no_sense)
{
	refused("\"x\": 1", "the work order's 'containers' is no list of 1 to 15 addresses");
	refused("\"containers\": []", "the work order's 'containers' is no list of 1 to 15 addresses");
	refused("\"containers\": [1]", "the work order's 'containers' is not a string");
	refused("\"containers\": [\"ftp://a\"]", "the work order's 'containers' has what is no http:// address");
	refused("\"containers\": [\"http://a\"], \"names\": []",
	        "the work order's 'names' are not as many as its 'containers'");
	refused("\"containers\": [\"http://a\"], \"share_number\": 2, \"share_count\": 2",
	        "the work order's 'share_number' is no number from 0 to 1");
}
