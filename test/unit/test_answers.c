/* Descriptions that are kept: the same bytes while nothing has changed, never older than what a client knows of. Over
 * a real HTTP server and the real store. SPDX-License-Identifier: Apache-2.0 */
#include "op/answers.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "aws/sigv4.h"
#include "harness.h"
#include "http/server.h"
#include "op/api.h"
#include "store/db.h"

#define ARN "arn:aws:sagemaker:us-east-1:000000000000:training-job/j"

static const struct access_key key = { "AKIDEXAMPLE", "secret", NULL, NULL };

struct fixture {
	struct api api;
	struct http_server *server;
	int64_t n; /* of the job */
};

static int64_t add_job(struct store *s, const char *id, int64_t created_ms)
{
	struct store_new_job j = { .id = id,
		                   .name = "j",
		                   .arn = ARN,
		                   .request = "{}",
		                   .echo = "\n\n\n\"RoleArn\":\"0\",",
		                   .needs = "{}",
		                   .created.ms = created_ms };
	int64_t n = 0;

	CHECK_OK(store_job_insert(s, &j, &n, e));
	return n;
}

static void up(struct fixture *f)
{
	_cleanup_free_ char *path = strf("%s/t.db", test_tmpdir());

	*f = (struct fixture){
		.api = { .account = "000000000000", .region = "us-east-1", .keys = &key, .key_count = 1 }
	};
	CHECK_OK(store_open(path, &f->api.store, e));
	f->api.signing_keys = sig_cache_new();
	f->api.answers = answers_new();
	CHECK_OK(http_server_start("127.0.0.1", 0, NULL, api_route, &f->api, &f->server, e));
	f->n = add_job(f->api.store, "0000000000000001", 1000);
}

static void down(struct fixture *f)
{
	http_server_stop(f->server);
	answers_free(f->api.answers);
	sig_cache_free(f->api.signing_keys);
	store_close(f->api.store);
}

static void write_request(const char *secret, struct str body, struct buf *out)
{
	struct sig_header headers[] = { { STR("Host"), STR("h") },
		                        { STR("X-Amz-Target"), STR("SageMaker.DescribeTrainingJob") } };
	struct sig_request q = { STR("POST"), STR("/"), { 0 }, headers, ARRAY_LEN(headers) };
	_cleanup_buf_ struct buf hash = { 0 }, lines = { 0 };
	unsigned char digest[SHA256_BYTES];
	struct str rest;

	sha256(body, digest);
	buf_hex(&hash, digest, sizeof(digest));
	sigv4_sign(&q, str_of(key.id), str_of(secret), (struct str){ 0 }, STR("us-east-1"), STR("sagemaker"),
	           buf_view(&hash), wall_now(), &lines);
	buf_z(out, "POST / HTTP/1.1\r\nHost: h\r\nX-Amz-Target: SageMaker.DescribeTrainingJob\r\n");
	for (rest = buf_view(&lines); rest.n;) {
		struct str line = str_cut(&rest, '\n');

		buf_f(out, PRIstr "\r\n", ARGstr(line));
	}
	buf_f(out, "Connection: close\r\nContent-Length: %zu\r\n\r\n" PRIstr, body.n, ARGstr(body));
}

/* The body of the reply; the caller frees. */
static char *ask_as(const struct fixture *f, const char *secret)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(http_server_port(f->server)) };
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	_cleanup_buf_ struct buf request = { 0 }, reply = { 0 };
	char piece[4096];
	ptrdiff_t head;
	ssize_t n;

	write_request(secret, STR("{\"TrainingJobName\":\"j\"}"), &request);
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	must(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0);
	must(send(fd, request.p, request.n, MSG_NOSIGNAL) == (ssize_t)request.n);
	while ((n = recv(fd, piece, sizeof(piece), 0)) > 0)
		buf_add(&reply, piece, (size_t)n);
	head = str_find(buf_view(&reply), STR("\r\n\r\n"));
	must(head > 0);
	return xstrdup(reply.p + head + 4);
}

static char *ask(const struct fixture *f)
{
	return ask_as(f, key.secret);
}

static void check_has(const struct fixture *f, const char *text)
{
	_cleanup_free_ char *first = ask(f), *second = ask(f);

	if (!strstr(first, text))
		test_failed(__FILE__, __LINE__, "%s does not have %s", first, text);
	CHECK_STR(second, first);
}

/* Changes the row without the store's knowing. */
static void meddle(const struct fixture *f, const char *sql)
{
	must(sqlite3_exec(f->api.store->writer.db, sql, NULL, NULL, NULL) == SQLITE_OK);
}

TEST(an_answer_is_given_again_until_the_store_changes)
{
	struct fixture f;
	struct store_tag tag = { STR("k"), STR("v") };

	up(&f);
	check_has(&f, "\"RoleArn\":\"0\"");
	meddle(&f, "UPDATE job_text SET echo = char(10,10,10) || '\"RoleArn\":\"1\",'");
	check_has(&f, "\"RoleArn\":\"0\""); /* it was kept, or this test would show nothing */
	CHECK_OK(store_tags_put(f.api.store, STR(ARN), &tag, 1, e));
	check_has(&f, "\"RoleArn\":\"1\"");
	down(&f);
}

TEST(every_write_shows_at_once)
{
	struct fixture f;
	struct store_move move = { .from = JOB_STARTING, .to = JOB_FAILED, .at.ms = 5000, .failure_reason = "Why." };

	up(&f);
	check_has(&f, "\"TrainingJobStatus\":\"InProgress\"");
	CHECK_OK(store_job_rewrite(f.api.store, f.n, "{}", "\n\n\n\"RoleArn\":\"new\",", (struct wall){ 2000 }, e));
	check_has(&f, "\"RoleArn\":\"new\"");
	move.n = f.n;
	CHECK_OK(store_job_move(f.api.store, &move, e));
	check_has(&f, "\"FailureReason\":\"Why.\"");
	CHECK_OK(store_job_delete(f.api.store, f.n, e));
	check_has(&f, "Requested resource not found.");
	add_job(f.api.store, "0000000000000002", 77000);
	check_has(&f, "\"CreationTime\":77.000");
	down(&f);
}

TEST(what_is_kept_is_only_for_who_may_ask)
{
	struct fixture f;
	_cleanup_free_ char *reply = NULL;

	up(&f);
	check_has(&f, "\"RoleArn\":\"0\"");
	reply = ask_as(&f, "another secret");
	CHECK(strstr(reply, "InvalidSignatureException") != NULL);
	CHECK(strstr(reply, "RoleArn") == NULL);
	down(&f);
}

TEST(answers_are_of_their_operation_body_and_version_and_not_too_long)
{
	struct answers *a = answers_new();
	_cleanup_buf_ struct buf out = { 0 }, large = { 0 };
	struct answer_key k = { .op = &key, .body = { 1, 2 } }, other_op = k, other_body = k, same_slot = k;

	other_op.op = &out;
	other_body.body[31] = 9;
	same_slot.body[0] = 1 + ANSWERS_SLOTS;
	for (size_t i = 0; i <= ANSWER_MAX; i++)
		buf_c(&large, 'x');
	CHECK(!answers_get(a, &k, 4, &out));
	answers_put(a, &k, 4, STR("four"));
	CHECK(answers_get(a, &k, 4, &out));
	CHECK_STR(out.p, "four");
	CHECK(!answers_get(a, &k, 6, &out));
	CHECK(!answers_get(a, &other_op, 4, &out));
	CHECK(!answers_get(a, &other_body, 4, &out));
	CHECK(!answers_get(a, &same_slot, 4, &out));
	answers_put(a, &k, 6, buf_view(&large));
	CHECK(!answers_get(a, &k, 6, &out));
	answers_put(a, &same_slot, 6, STR("six"));
	CHECK(!answers_get(a, &k, 4, &out));
	CHECK_STR(out.p, "four");
	answers_free(a);
}

/* ---- while it is written ---- */

enum { WRITES = 300, READERS = 3 };

struct race {
	const struct fixture *f;
	_Atomic int written; /* what a client has been told is stored */
	_Atomic bool stop;
	_Atomic int asked;
};

static int role_of(const char *reply)
{
	const char *p = strstr(reply, "\"RoleArn\":\"");

	return p ? (int)strtol(p + 11, NULL, 10) : -1;
}

static void *read_on(void *arg)
{
	struct race *race = arg;
	int last = 0;

	while (!race->stop) {
		int least = race->written;
		_cleanup_free_ char *reply = ask(race->f);
		int got = role_of(reply);

		if (got < least || got < last)
			return "a description was older than what was known already";
		last = got;
		race->asked++;
	}
	return NULL;
}

TEST(readers_never_see_what_is_older_than_they_know)
{
	struct fixture f;
	struct race race = { .f = &f };
	pthread_t threads[READERS];

	up(&f);
	for (int i = 0; i < READERS; i++)
		must(pthread_create(&threads[i], NULL, read_on, &race) == 0);
	for (int i = 1; i <= WRITES || race.asked < WRITES; i++) {
		_cleanup_free_ char *echo = strf("\n\n\n\"RoleArn\":\"%d\",", i);

		CHECK_OK(store_job_rewrite(f.api.store, f.n, "{}", echo, (struct wall){ 2000 }, e));
		race.written = i;
	}
	race.stop = true;
	for (int i = 0; i < READERS; i++) {
		void *failure;

		must(pthread_join(threads[i], &failure) == 0);
		if (failure)
			test_failed(__FILE__, __LINE__, "%s", (const char *)failure);
	}
	down(&f);
}
