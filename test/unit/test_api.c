/* SPDX-License-Identifier: Apache-2.0 */
#include "op/api.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include "aws/sigv4.h"
#include "base/hash.h"
#include "harness.h"
#include "http/server.h"

/* The API face as clients meet it: a real HTTP server, requests signed by sigv4_sign, replies compared as bytes. There
 * is no store and no jobs behind it, so only what is answered without them is asked for here. */

#define KEY_ID "AKIDEXAMPLE"
#define SECRET "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
#define JSON_TYPE "Content-Type: application/x-amz-json-1.1\r\n"
#define FORM_TYPE "Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n"
#define TARGET(op) "X-Amz-Target: " op "\r\n"

static const struct access_key keys[] = {
	{ KEY_ID, SECRET, NULL, NULL },
	{ "ASIATEMPORARY", "temporary secret", "to/k=en+",
	  "arn:aws:sts::123456789012:assumed-role/path/TrainingRole/session-7" },
};

struct fixture {
	struct api api;
	struct http_server *server;
	struct buf all; /* requests and replies, for the golden file */
};

static void open_fixture(struct fixture *f)
{
	*f = (struct fixture){
		.api = { .account = "123456789012", .region = "us-east-1", .keys = keys, .key_count = ARRAY_LEN(keys) }
	};
	f->api.signing_keys = sig_cache_new();
	CHECK_OK(http_server_start("127.0.0.1", 0, NULL, api_route, &f->api, &f->server, e));
}

static void close_fixture(struct fixture *f)
{
	http_server_stop(f->server);
	sig_cache_free(f->api.signing_keys);
	buf_fini(&f->all);
}

/* A request; unset members are the usual ones. */
struct ask {
	const char *name, *method, *target, *headers; /* headers end in \r\n each */
	struct str body;
	const char *service, *region, *key, *secret, *token;
	const char *extra;    /* headers added after signing */
	struct str sent_body; /* instead of the one that was signed */
	int late_s;           /* the signature is so old */
	bool unsigned_;
};

static void sign(const struct ask *a, struct buf *out)
{
	_cleanup_buf_ struct buf hash = { 0 }, lines = { 0 };
	struct sig_header headers[32];
	struct sig_request q = {
		str_of(a->method ? a->method : "POST"), { 0 }, str_of(a->target ? a->target : "/"), headers, 0
	};
	struct str rest = str_of(a->headers);
	unsigned char digest[SHA256_BYTES];

	q.path = str_cut(&q.query, '?');
	headers[q.header_count++] = (struct sig_header){ STR("Host"), STR("h") };
	while (rest.n) {
		struct str value = str_cut(&rest, '\n'), name = str_cut(&value, ':');

		headers[q.header_count++] = (struct sig_header){ name, str_trim(value) };
	}
	sha256(a->body, digest);
	buf_hex(&hash, digest, sizeof(digest));
	sigv4_sign(&q, str_of(a->key ? a->key : KEY_ID), str_of(a->secret ? a->secret : SECRET), str_of(a->token),
	           str_of(a->region ? a->region : "us-east-1"), str_of(a->service ? a->service : "sagemaker"),
	           buf_view(&hash), (struct wall){ wall_now().ms - a->late_s * 1000LL }, &lines);
	rest = buf_view(&lines);
	while (rest.n) {
		struct str line = str_cut(&rest, '\n');

		buf_str(out, line);
		buf_z(out, "\r\n");
	}
}

static void write_request(const struct ask *a, struct buf *out)
{
	struct str body = a->sent_body.p ? a->sent_body : a->body;

	buf_f(out, "%s %s HTTP/1.1\r\nHost: h\r\n%s", a->method ? a->method : "POST", a->target ? a->target : "/",
	      a->headers ? a->headers : "");
	if (!a->unsigned_)
		sign(a, out);
	buf_f(out, "%sContent-Length: %zu\r\n\r\n", a->extra ? a->extra : "", body.n);
	buf_str(out, body);
}

static void talk(const struct fixture *f, struct str request, struct buf *reply)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(http_server_port(f->server)) };
	struct timeval wait = { .tv_sec = 20 };
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char piece[8192];
	ptrdiff_t head;
	size_t length = 0;

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	must(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0);
	must(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) == 0);
	for (size_t at = 0; at < request.n;) {
		ssize_t n = send(fd, request.p + at, request.n - at, MSG_NOSIGNAL);

		if (n <= 0)
			break;
		at += (size_t)n;
	}
	for (;;) {
		ssize_t n;

		head = str_find(buf_view(reply), STR("\r\n\r\n"));
		if (head >= 0) {
			const char *p = strstr(reply->p, "Content-Length: ");

			length = p ? strtoul(p + 16, NULL, 10) : 0;
			if (reply->n >= (size_t)head + 4 + length)
				return;
		}
		n = recv(fd, piece, sizeof(piece), 0);
		if (n <= 0)
			return;
		buf_add(reply, piece, (size_t)n);
	}
}

/* What is different each time becomes a word: dates, signatures, request ids. Bytes beyond ASCII become \\xNN. */
static void add_normal(struct buf *out, struct str text)
{
	static const struct {
		const char *after, *word;
		size_t n;
	} changing[] = {
		{ "Date: ", "DATE", 29 },
		{ "x-amzn-RequestId: ", "REQUEST-ID", 36 },
		{ "<RequestId>", "REQUEST-ID", 36 },
		{ "X-Amz-Date: ", "DATE", 16 },
		{ "Signature=", "SIGNATURE", 64 },
	};

	while (text.n) {
		size_t n = 0;

		if ((unsigned char)*text.p >= 0x80)
			buf_f(out, "\\x%02x", (unsigned char)*text.p);
		else if (*text.p != '\r')
			buf_c(out, *text.p);
		text.p++;
		text.n--;
		for (size_t i = 0; i < ARRAY_LEN(changing) && !n; i++)
			if (str_ends(buf_view(out), str_of(changing[i].after)) && text.n >= changing[i].n &&
			    !(i == 0 && str_ends(buf_view(out), STR("X-Amz-Date: ")))) {
				n = changing[i].n;
				buf_z(out, changing[i].word);
			}
		text.p += n;
		text.n -= n;
	}
}

static void hide(struct buf *text, const char *from, const char *to, const char *word)
{
	_cleanup_buf_ struct buf out = { 0 };
	char *a = strstr(text->p, from), *b = a ? strstr(a + strlen(from), to) : NULL;

	if (!b)
		return;
	buf_add(&out, text->p, (size_t)(a - text->p) + strlen(from));
	buf_z(&out, word);
	buf_z(&out, b);
	buf_reset(text);
	buf_str(text, buf_view(&out));
}

static void record(struct fixture *f, const struct ask *a)
{
	_cleanup_buf_ struct buf request = { 0 }, reply = { 0 }, text = { 0 };

	write_request(a, &request);
	talk(f, buf_view(&request), &reply);
	buf_f(&text, "==== %s\n", a->name);
	add_normal(&text, buf_view(&request));
	buf_z(&text, "\n----\n");
	add_normal(&text, buf_view(&reply));
	buf_z(&text, "\n\n");
	hide(&text, "Credential=" KEY_ID "/", "/", "DAY");
	hide(&text, "Credential=AKIDSTRANGER/", "/", "DAY");
	hide(&text, "Credential=ASIATEMPORARY/", "/", "DAY");
	hide(&text, "Signature expired: ", " (", "DATE is now earlier than DATE");
	hide(&text, "Signature not yet current: ", " (", "DATE is still later than DATE");
	hide(&text, " than DATE (", " ", "DATE");
	buf_str(&f->all, buf_view(&text));
}

TEST(errors_as_bytes)
{
	static const struct ask asks[] = {
		{ "unsigned", .headers = JSON_TYPE TARGET("SageMaker.ListTrainingJobs"), .body = STR("{}"),
		  .unsigned_ = true },
		{ "unsigned query", .headers = FORM_TYPE, .body = STR("Action=GetCallerIdentity&Version=2011-06-15"),
		  .unsigned_ = true },
		{ "malformed authorization", .headers = JSON_TYPE TARGET("SageMaker.ListTrainingJobs"),
		  .body = STR("{}"), .unsigned_ = true, .extra = "Authorization: AWS4-HMAC-SHA256 nonsense\r\n" },
		{ "unknown key", .headers = JSON_TYPE TARGET("SageMaker.ListTrainingJobs"), .body = STR("{}"),
		  .key = "AKIDSTRANGER" },
		{ "unknown key, query", .headers = FORM_TYPE, .body = STR("Action=GetCallerIdentity"), .service = "sts",
		  .key = "AKIDSTRANGER" },
		{ "wrong secret", .headers = JSON_TYPE TARGET("SageMaker.ListTrainingJobs"), .body = STR("{}"),
		  .secret = "x" },
		{ "wrong secret, query", .headers = FORM_TYPE, .body = STR("Action=GetCallerIdentity"),
		  .service = "sts", .secret = "x" },
		{ "another body", .headers = JSON_TYPE TARGET("SageMaker.ListTrainingJobs"), .body = STR("{}"),
		  .sent_body = STR("{ }") },
		{ "a token too many", .headers = JSON_TYPE TARGET("SageMaker.ListTrainingJobs"), .body = STR("{}"),
		  .token = "t" },
		{ "a token missing", .headers = JSON_TYPE TARGET("SageMaker.ListTrainingJobs"), .body = STR("{}"),
		  .key = "ASIATEMPORARY", .secret = "temporary secret" },
		{ "an unsigned x-amz- header", .headers = JSON_TYPE TARGET("SageMaker.ListTrainingJobs"),
		  .body = STR("{}"), .extra = "X-Amz-Extra: 1\r\n" },
		{ "signed too early", .headers = JSON_TYPE TARGET("SageMaker.ListTrainingJobs"), .body = STR("{}"),
		  .late_s = 15 * 60 + 5 },
		{ "signed in the future", .headers = JSON_TYPE TARGET("SageMaker.ListTrainingJobs"), .body = STR("{}"),
		  .late_s = -15 * 60 - 5 },
		{ "another region", .headers = JSON_TYPE TARGET("SageMaker.ListTrainingJobs"), .body = STR("{}"),
		  .region = "eu-west-1" },
		{ "a service that is not here", .headers = JSON_TYPE TARGET("DynamoDB_20120810.ListTables"),
		  .body = STR("{}"), .service = "dynamodb" },
		{ "another service's target", .headers = JSON_TYPE TARGET("SageMaker.ListTrainingJobs"),
		  .body = STR("{}"), .service = "logs" },
		{ "no target", .headers = JSON_TYPE, .body = STR("{}") },
		{ "no target, another API", .target = "/endpoints/x/invocations", .body = STR("{}") },
		{ "unknown operation", .headers = JSON_TYPE TARGET("SageMaker.CreateNothing"), .body = STR("{}") },
		{ "unknown action", .headers = FORM_TYPE, .body = STR("Action=GetNothing&Version=2011-06-15"),
		  .service = "sts" },
		{ "no handler", .headers = JSON_TYPE TARGET("SageMaker.ListModelMetadata"), .body = STR("{}") },
		{ "no handler, query", .headers = FORM_TYPE, .body = STR("Action=AssumeRole&RoleArn=x"),
		  .service = "sts" },
		{ "iam", .headers = FORM_TYPE, .body = STR("Action=GetRole&RoleName=x"), .service = "iam" },
		{ "bad escapes", .headers = FORM_TYPE, .body = STR("Action=%zz"), .service = "sts" },
		{ "not JSON", .headers = JSON_TYPE TARGET("SageMaker.DescribeTrainingJob"),
		  .body = STR("{\"TrainingJobName\": ") },
		{ "not an object", .headers = JSON_TYPE TARGET("SageMaker.DescribeTrainingJob"), .body = STR("[]") },
		{ "not UTF-8", .headers = JSON_TYPE TARGET("SageMaker.DescribeTrainingJob"),
		  .body = STR("{\"TrainingJobName\": \"\xff\"}") },
		{ "a wrong type", .headers = JSON_TYPE TARGET("SageMaker.DescribeTrainingJob"),
		  .body = STR("{\"TrainingJobName\": 7}") },
		{ "something missing", .headers = JSON_TYPE TARGET("SageMaker.DescribeTrainingJob"), .body = STR("") },
		{ "a pattern", .headers = JSON_TYPE TARGET("SageMaker.DescribeTrainingJob"),
		  .body = STR("{\"TrainingJobName\": \"a_\xc3\xa9\\u0001\\\"\"}") },
		{ "not gzip", .headers = JSON_TYPE TARGET("SageMaker.DescribeTrainingJob") "Content-Encoding: gzip\r\n",
		  .body = STR("{}") },
		{ "another encoding",
		  .headers = JSON_TYPE TARGET("SageMaker.DescribeTrainingJob") "Content-Encoding: br\r\n",
		  .body = STR("{}") },
	};
	struct fixture f;

	open_fixture(&f);
	for (size_t i = 0; i < ARRAY_LEN(asks); i++)
		record(&f, &asks[i]);
	CHECK_GOLDEN("api_errors.txt", buf_view(&f.all));
	close_fixture(&f);
}

TEST(caller_identity_as_bytes)
{
	static const struct ask asks[] = {
		{ "a lasting key", .headers = FORM_TYPE, .body = STR("Action=GetCallerIdentity&Version=2011-06-15"),
		  .service = "sts" },
		{ "a temporary key", .headers = FORM_TYPE, .body = STR("Action=GetCallerIdentity&Version=2011-06-15"),
		  .service = "sts", .key = "ASIATEMPORARY", .secret = "temporary secret", .token = "to/k=en+" },
		{ "GET", .method = "GET", .target = "/?Action=GetCallerIdentity&Version=2011-06-15", .service = "sts" },
	};
	struct fixture f;

	open_fixture(&f);
	for (size_t i = 0; i < ARRAY_LEN(asks); i++)
		record(&f, &asks[i]);
	CHECK_GOLDEN("caller_identity.txt", buf_view(&f.all));
	close_fixture(&f);
}

static char *post(struct fixture *f, const struct ask *a, struct buf *reply)
{
	_cleanup_buf_ struct buf request = { 0 };

	buf_reset(reply);
	write_request(a, &request);
	talk(f, buf_view(&request), reply);
	return reply->p;
}

static void gzip(struct str in, struct buf *out)
{
	z_stream z = { .next_in = (Bytef *)in.p, .avail_in = (uInt)in.n };

	must(deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 9, Z_DEFAULT_STRATEGY) == Z_OK);
	buf_need(out, in.n + 100);
	z.next_out = (Bytef *)out->p;
	z.avail_out = (uInt)in.n + 100;
	must(deflate(&z, Z_FINISH) == Z_STREAM_END);
	out->n = z.total_out;
	deflateEnd(&z);
}

#define CHECK_HAS(text, part)                                                                 \
	do {                                                                                  \
		const char *text_ = (text);                                                   \
		if (!strstr(text_, part))                                                     \
			test_failed(__FILE__, __LINE__, "no '%s' in:\n%.2000s", part, text_); \
	} while (0)

TEST(gzip_is_unpacked_within_bounds)
{
	_cleanup_buf_ struct buf packed = { 0 }, reply = { 0 }, bomb = { 0 };
	struct ask a = { .headers = JSON_TYPE TARGET("SageMaker.DescribeTrainingJob") "Content-Encoding: gzip\r\n" };
	struct fixture f;

	open_fixture(&f);
	gzip(STR("{\"TrainingJobName\": \"a_b\"}"), &packed);
	a.body = buf_view(&packed);
	CHECK_HAS(post(&f, &a, &reply), "Value 'a_b' at 'trainingJobName'");
	a.body.n -= 3;
	CHECK_HAS(post(&f, &a, &reply), "SerializationException");

	for (int i = 0; i < 5 << 20; i++)
		buf_c(&bomb, ' ');
	buf_reset(&packed);
	gzip(buf_view(&bomb), &packed);
	a.body = buf_view(&packed);
	CHECK(a.body.n < 10000);
	CHECK_HAS(post(&f, &a, &reply), "HTTP/1.1 413 ");
	CHECK_HAS(reply.p, "RequestEntityTooLargeException");
	close_fixture(&f);
}

TEST(bodies_have_a_limit)
{
	_cleanup_buf_ struct buf body = { 0 }, reply = { 0 };
	struct ask a = { .headers = JSON_TYPE TARGET("SageMaker.DescribeTrainingJob") };
	struct fixture f;

	open_fixture(&f);
	for (int i = 0; i < 4 << 20; i++)
		buf_c(&body, ' ');
	a.body = buf_view(&body);
	CHECK_HAS(post(&f, &a, &reply), "HTTP/1.1 400 "); /* blanks alone are not JSON */
	buf_c(&body, ' ');
	a.body = buf_view(&body);
	CHECK_HAS(post(&f, &a, &reply), "HTTP/1.1 413 ");
	CHECK_HAS(reply.p,
	          "{\"__type\":\"RequestEntityTooLargeException\",\"message\":\"The request body is larger than");
	CHECK_HAS(reply.p, "Connection: close");
	close_fixture(&f);
}

TEST(deep_json_is_refused)
{
	_cleanup_buf_ struct buf body = { 0 }, reply = { 0 };
	struct ask a = { .headers = JSON_TYPE TARGET("SageMaker.DescribeTrainingJob") };
	struct fixture f;

	open_fixture(&f);
	for (int depth = 200; depth <= 200000; depth *= 1000) {
		buf_reset(&body);
		for (int i = 0; i < depth; i++)
			buf_z(&body, "{\"TrainingJobName\":");
		buf_z(&body, "1");
		for (int i = 0; i < depth; i++)
			buf_c(&body, '}');
		a.body = buf_view(&body);
		CHECK_HAS(post(&f, &a, &reply), "SerializationException");
	}
	close_fixture(&f);
}

/* A client that asks first must not have to send the body of what is refused. */
TEST(refusals_do_not_wait_for_bodies)
{
	static const char head[] = "POST / HTTP/1.1\r\nHost: h\r\n" JSON_TYPE TARGET("SageMaker.CreateTrainingJob");
	_cleanup_buf_ struct buf request = { 0 }, reply = { 0 };
	struct fixture f;

	open_fixture(&f);
	buf_f(&request, "%sContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n", head);
	talk(&f, buf_view(&request), &reply);
	CHECK(str_starts(buf_view(&reply), STR("HTTP/1.1 403 ")));
	CHECK_HAS(reply.p, "MissingAuthenticationTokenException");
	close_fixture(&f);
}

struct many {
	struct fixture *f;
	int number;
};

static void *ask_often(void *arg)
{
	struct many *m = arg;
	struct ask good = { .headers = FORM_TYPE, .body = STR("Action=GetCallerIdentity"), .service = "sts" },
	           bad = good;

	bad.secret = "wrong";
	for (int i = 0; i < 100; i++) {
		_cleanup_buf_ struct buf reply = { 0 };

		if ((i + m->number) % 3 == 0) {
			if (!strstr(post(m->f, &bad, &reply), "SignatureDoesNotMatch"))
				return "accepted a bad signature";
		} else if (!strstr(post(m->f, &good, &reply), "assumed-role/bloomery/" KEY_ID)) {
			return "refused a good signature";
		}
	}
	return NULL;
}

TEST(many_callers_at_once)
{
	struct fixture f;
	pthread_t threads[8];
	struct many many[ARRAY_LEN(threads)];

	open_fixture(&f);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
		many[i] = (struct many){ &f, (int)i };
		must(pthread_create(&threads[i], NULL, ask_often, &many[i]) == 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
		void *failure;

		must(pthread_join(threads[i], &failure) == 0);
		if (failure)
			test_failed(__FILE__, __LINE__, "%s", (const char *)failure);
	}
	close_fixture(&f);
}

/* Rows name operations of the model, each once. */
TEST(rows_are_of_the_model)
{
	for (size_t i = 0; i < api_op_count; i++) {
		const struct service *s = model_service(api_ops[i].service);

		CHECK(s && model_operation(s, str_of(api_ops[i].name)) && api_ops[i].run);
		for (size_t k = 0; k < i; k++)
			CHECK(strcmp(api_ops[i].name, api_ops[k].name) != 0 ||
			      strcmp(api_ops[i].service, api_ops[k].service) != 0);
	}
}
