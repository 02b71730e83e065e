/* SPDX-License-Identifier: Apache-2.0 */
#include "op/api.h"

#include <stdio.h>
#include <stdlib.h>

#include "aws/sigv4.h"
#include "base/hash.h"
#include "blob/blob.h"
#include "harness.h"
#include "http/client.h"
#include "http/server.h"

/* Requests scoped to s3 go to the object store on the same port, and only with a good signature: in the header, or
 * presigned. The store is a real one. */

#define KEY_ID "AKIDEXAMPLE"
#define SECRET "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

static const struct access_key keys[] = { { KEY_ID, SECRET, NULL, NULL } };

struct fixture {
	struct api api;
	struct http_server *server;
	struct http_client *client;
	struct http_reply reply;
	char host[32];
};

static void open_fixture(struct fixture *f)
{
	*f = (struct fixture){
		.api = { .account = "123456789012", .region = "us-east-1", .keys = keys, .key_count = 1 }
	};
	CHECK_OK(blob_open(test_tmpdir(), &f->api.blobs, e));
	CHECK_OK(blob_bucket_create(f->api.blobs, STR("bucket"), e));
	f->client = http_client_new();
	CHECK_OK(http_server_start("127.0.0.1", 0, NULL, api_route, &f->api, &f->server, e));
	snprintf(f->host, sizeof(f->host), "127.0.0.1:%u", http_server_port(f->server));
}

static void close_fixture(struct fixture *f)
{
	http_reply_fini(&f->reply);
	http_client_free(f->client);
	http_server_stop(f->server);
	blob_close(f->api.blobs);
}

static void send_request(struct fixture *f, const char *method, const char *target, const char *const *headers,
                         struct str body)
{
	_cleanup_free_ char *url = strf("http://%s%s", f->host, target);
	struct http_call call = { .method = method, .url = url, .headers = headers, .body = body, .body_fd = -EBADF };

	http_reply_fini(&f->reply);
	CHECK_OK(http_client_call(f->client, &call, &f->reply, e));
}

struct sign_options {
	const char *region, *key, *secret;
	struct str signed_body;
	const char *payload; /* x-amz-content-sha256 instead of the body's hash */
};

static int ask(struct fixture *f, const char *method, const char *target, struct str body, struct sign_options o)
{
	_cleanup_buf_ struct buf lines = { 0 }, hash = { 0 };
	struct sig_header host = { STR("Host"), str_of(f->host) };
	struct sig_request q = { str_of(method), { 0 }, str_of(target), &host, 1 };
	const char *headers[8] = { 0 };
	unsigned char digest[SHA256_BYTES];
	size_t n = 0;

	q.path = str_cut(&q.query, '?');
	sha256(o.signed_body.p ? o.signed_body : body, digest);
	if (o.payload)
		buf_z(&hash, o.payload);
	else
		buf_hex(&hash, digest, sizeof(digest));
	sigv4_sign(&q, str_of(o.key ? o.key : KEY_ID), str_of(o.secret ? o.secret : SECRET), STR(""),
	           str_of(o.region ? o.region : "us-east-1"), STR("s3"), buf_view(&hash), wall_now(), &lines);
	for (char *p = lines.p; *p; p++) {
		headers[n++] = p;
		p = strchr(p, '\n');
		*p = 0;
	}
	send_request(f, method, target, headers, body);
	return f->reply.status;
}

/* The query of a presigned request, with the signature at its end. */
static char *presign(const struct fixture *f, const char *method, const char *path, const char *more, int expires_s,
                     struct wall at)
{
	struct sig_header host = { STR("Host"), str_of(f->host) };
	char date[CLOCK_TEXT_BYTES];
	_cleanup_free_ char *query = NULL, *text = NULL;
	_cleanup_buf_ struct buf canonical = { 0 }, hex = { 0 };
	unsigned char key[32], digest[SHA256_BYTES];
	struct sig_request q = { str_of(method), str_of(path), { 0 }, &host, 1 };

	wall_basic(at, date);
	query = strf("X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" KEY_ID
	             "%%2F%.8s%%2Fus-east-1%%2Fs3%%2Faws4_request"
	             "&X-Amz-Date=%s&X-Amz-Expires=%d&X-Amz-SignedHeaders=host%s",
	             date, date, expires_s, more);
	q.query = str_of(query);
	sigv4_canonical(&q, STR("host"), STR("UNSIGNED-PAYLOAD"), true, true, &canonical);
	sha256(buf_view(&canonical), digest);
	buf_hex(&hex, digest, sizeof(digest));
	text = strf("AWS4-HMAC-SHA256\n%s\n%.8s/us-east-1/s3/aws4_request\n%s", date, date, hex.p);
	sigv4_signing_key(STR(SECRET), (struct str){ date, 8 }, STR("us-east-1"), STR("s3"), key);
	hmac_sha256((struct str){ (char *)key, 32 }, str_of(text), digest);
	buf_reset(&hex);
	buf_hex(&hex, digest, sizeof(digest));
	return strf("%s?%s&X-Amz-Signature=%s", path, query, hex.p);
}

#define CHECK_HAS(text, part)                                                                                     \
	do {                                                                                                      \
		const char *text_ = (text);                                                                       \
		if (!text_ || !strstr(text_, part))                                                               \
			test_failed(__FILE__, __LINE__, "no '%s' in:\n%.2000s", part, text_ ? text_ : "nothing"); \
	} while (0)

TEST(signed_objects_go_in_and_out)
{
	struct fixture f;

	open_fixture(&f);
	CHECK_INT(ask(&f, "PUT", "/bucket/a%20b/%E1%88%B4//x", STR("hello"), (struct sign_options){ 0 }), 200);
	CHECK_INT(ask(&f, "GET", "/bucket/a%20b/%E1%88%B4//x", STR(""), (struct sign_options){ 0 }), 200);
	CHECK_STR(f.reply.body.p, "hello");
	CHECK_INT(ask(&f, "GET", "/bucket?list-type=2&prefix=a%20b%2F", STR(""), (struct sign_options){ 0 }), 200);
	CHECK_HAS(f.reply.body.p, "<KeyCount>1</KeyCount>");
	close_fixture(&f);
}

TEST(refused_signatures_change_nothing)
{
	struct fixture f;

	open_fixture(&f);
	send_request(&f, "PUT", "/bucket/x", NULL, STR("hello"));
	CHECK_INT(f.reply.status, 403);
	CHECK_HAS(f.reply.body.p, "<Code>AccessDenied</Code>");
	CHECK_INT(ask(&f, "PUT", "/bucket/x", STR("hello"), (struct sign_options){ .secret = "x" }), 403);
	CHECK_HAS(f.reply.body.p, "<Code>SignatureDoesNotMatch</Code>");
	CHECK_INT(ask(&f, "PUT", "/bucket/x", STR("hello"), (struct sign_options){ .key = "AKIDSTRANGER" }), 403);
	CHECK_HAS(f.reply.body.p, "<Code>InvalidAccessKeyId</Code>");
	CHECK_INT(ask(&f, "PUT", "/bucket/x", STR("hello"), (struct sign_options){ .region = "eu-west-1" }), 400);
	CHECK_HAS(f.reply.body.p, "<Code>AuthorizationHeaderMalformed</Code>");
	CHECK_HAS(f.reply.body.p, "<Region>us-east-1</Region>");
	/* The signature is good, the bytes are others. */
	CHECK_INT(ask(&f, "PUT", "/bucket/x", STR("hello"), (struct sign_options){ .signed_body = STR("jello") }), 400);
	CHECK_HAS(f.reply.body.p, "<Code>XAmzContentSHA256Mismatch</Code>");
	CHECK_INT(ask(&f, "GET", "/bucket/x", STR(""), (struct sign_options){ 0 }), 404);
	CHECK_INT(ask(&f, "PUT", "/bucket/x", STR("hello"), (struct sign_options){ .payload = "UNSIGNED-PAYLOAD" }),
	          200);
	CHECK_INT(ask(&f, "GET", "/bucket/x", STR(""), (struct sign_options){ 0 }), 200);
	close_fixture(&f);
}

TEST(presigned_requests)
{
	struct fixture f;
	struct wall now = wall_now();
	_cleanup_free_ char *put = NULL, *get = NULL, *old = NULL, *token = NULL, *other = NULL;

	open_fixture(&f);
	put = presign(&f, "PUT", "/bucket/p", "", 60, now);
	get = presign(&f, "GET", "/bucket/p", "&response-content-type=a%2Fb", 604800,
	              (struct wall){ now.ms - 3600000 });
	old = presign(&f, "GET", "/bucket/p", "", 60, (struct wall){ now.ms - 61000 });
	token = presign(&f, "GET", "/bucket/p", "&X-Amz-Security-Token=t", 60, now);
	other = strf("%.*sq%s", (int)strlen("/bucket/"), get, get + strlen("/bucket/p"));
	send_request(&f, "PUT", put, NULL, STR("presigned"));
	CHECK_INT(f.reply.status, 200);
	send_request(&f, "GET", get, NULL, STR(""));
	CHECK_INT(f.reply.status, 200);
	CHECK_STR(f.reply.body.p, "presigned");
	send_request(&f, "GET", put, NULL, STR(""));
	CHECK_INT(f.reply.status, 403);
	send_request(&f, "GET", other, NULL, STR(""));
	CHECK_HAS(f.reply.body.p, "<Code>SignatureDoesNotMatch</Code>");
	send_request(&f, "GET", old, NULL, STR(""));
	CHECK_INT(f.reply.status, 403);
	CHECK_HAS(f.reply.body.p, "Request has expired");
	send_request(&f, "GET", token, NULL, STR(""));
	CHECK_HAS(f.reply.body.p, "<Code>InvalidToken</Code>");
	send_request(&f, "GET", get, (const char *const[]){ "Authorization: AWS4-HMAC-SHA256 x", NULL }, STR(""));
	CHECK_HAS(f.reply.body.p, "<Code>InvalidArgument</Code>");
	send_request(&f, "GET", "/bucket/p?X-Amz-Signature=0", NULL, STR(""));
	CHECK_HAS(f.reply.body.p, "<Code>AuthorizationQueryParametersError</Code>");
	close_fixture(&f);
}
