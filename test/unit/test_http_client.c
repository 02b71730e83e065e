/* SPDX-License-Identifier: Apache-2.0 */
#include "http/client.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"
#include "http/server.h"

/* The client against our own server, and against sockets that misbehave. */

static void answer(struct http_request *r, const struct err *e, struct http_response *out)
{
	(void)e;
	if (str_is(r->path, "/missing"))
		out->status = 404;
	http_add_header(out, "X-Custom", "  some value ");
	buf_f(&out->body,
	      PRIstr " " PRIstr " type='" PRIstr "' expect='" PRIstr "' extra='" PRIstr "' body=", ARGstr(r->method),
	      ARGstr(r->target), ARGstr(http_header_get(r, "Content-Type")), ARGstr(http_header_get(r, "Expect")),
	      ARGstr(http_header_get(r, "X-Extra")));
	buf_str(&out->body, buf_view(&r->body));
	if (str_is(r->path, "/big"))
		for (int i = 0; i < 100000; i++)
			buf_z(&out->body, "0123456789");
}

static void route(void *arg, struct http_request *r, struct http_route *ret)
{
	(void)arg;
	(void)r;
	ret->respond = answer;
	ret->collect_max = 8 << 20;
}

struct fixture {
	struct http_server *server;
	struct http_client *client;
	struct http_reply reply;
	struct err e;
};

static void open_fixture(struct fixture *f)
{
	*f = (struct fixture){ .client = http_client_new() };
	CHECK_OK(http_server_start("127.0.0.1", 0, NULL, route, NULL, &f->server, e));
}

static void close_fixture(struct fixture *f)
{
	http_reply_fini(&f->reply);
	http_client_free(f->client);
	http_server_stop(f->server);
}

static int call(struct fixture *f, const char *method, const char *target, struct http_call c)
{
	_cleanup_free_ char *url = strf("http://127.0.0.1:%u%s", http_server_port(f->server), target);

	c.method = method;
	c.url = url;
	http_reply_fini(&f->reply);
	f->e = (struct err){ 0 };
	return http_client_call(f->client, &c, &f->reply, &f->e);
}

TEST(nothing_is_added_or_changed)
{
	static const char *const headers[] = { "X-Extra: 1", "Content-Type: a/b", NULL };
	struct fixture f;
	struct str value;

	open_fixture(&f);
	CHECK_INT(call(&f, "GET", "/a/../b//%2F?x=%20+", (struct http_call){ .body_fd = -EBADF }), 0);
	CHECK_STR(f.reply.body.p, "GET /a/../b//%2F?x=%20+ type='' expect='' extra='' body=");
	CHECK_INT(f.reply.status, 200);
	CHECK(http_reply_header(&f.reply, "x-custom", &value) && str_is(value, "some value"));
	CHECK(!http_reply_header(&f.reply, "x-other", &value));
	CHECK_INT(call(&f, "PUT", "/", (struct http_call){ .body_fd = -EBADF, .body = STR("abc"), .headers = headers }),
	          0);
	CHECK_STR(f.reply.body.p, "PUT / type='a/b' expect='' extra='1' body=abc");
	CHECK_INT(call(&f, "PUT", "/empty", (struct http_call){ .body_fd = -EBADF }), 0);
	CHECK_STR(f.reply.body.p, "PUT /empty type='' expect='' extra='' body=");
	CHECK_INT(call(&f, "DELETE", "/missing", (struct http_call){ .body_fd = -EBADF }), 0);
	CHECK_INT(f.reply.status, 404);
	CHECK_INT(call(&f, "HEAD", "/", (struct http_call){ .body_fd = -EBADF }), 0);
	CHECK_INT(f.reply.body.n, 0);
	CHECK(http_reply_header(&f.reply, "Content-Length", &value) && !str_is(value, "0"));
	close_fixture(&f);
}

static int count(void *arg, struct str piece, struct err *e)
{
	size_t *n = arg;

	*n += piece.n;
	if (*n > 2000000)
		return err_set(e, ERR_CLIENT, "that is plenty");
	return 0;
}

TEST(answers_are_streamed_or_bounded)
{
	struct fixture f;
	size_t n = 0;

	open_fixture(&f);
	CHECK_INT(call(&f, "GET", "/big", (struct http_call){ .body_fd = -EBADF, .sink = count, .sink_arg = &n }), 0);
	CHECK(n > 1000000 && !f.reply.body.n);
	n = 1500000;
	CHECK_INT(call(&f, "GET", "/big", (struct http_call){ .body_fd = -EBADF, .sink = count, .sink_arg = &n }), -1);
	CHECK_INT(f.e.kind, ERR_CLIENT);
	CHECK_STR(f.e.frame[0], "that is plenty");
	CHECK_INT(call(&f, "GET", "/big", (struct http_call){ .body_fd = -EBADF }), -1);
	CHECK_INT(f.e.kind, ERR_LIMIT);
	CHECK_INT(call(&f, "GET", "/big", (struct http_call){ .body_fd = -EBADF, .max_reply = 2 << 20 }), 0);
	CHECK(f.reply.body.n > 1000000);
	/* What is not a success is not the sink's. */
	n = 0;
	CHECK_INT(call(&f, "GET", "/missing", (struct http_call){ .body_fd = -EBADF, .sink = count, .sink_arg = &n }),
	          0);
	CHECK(n == 0 && f.reply.body.n > 0);
	close_fixture(&f);
}

TEST(files_are_sent_from_where_they_stand)
{
	struct fixture f;
	_cleanup_close_ int fd = open(test_tmpdir(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	open_fixture(&f);
	must(write(fd, "0123456789", 10) == 10 && lseek(fd, 4, SEEK_SET) == 4);
	CHECK_INT(call(&f, "PUT", "/f", (struct http_call){ .body_fd = fd, .body_length = 3 }), 0);
	CHECK_STR(f.reply.body.p, "PUT /f type='' expect='' extra='' body=456");
	CHECK_INT(lseek(fd, 0, SEEK_CUR), 4);
	CHECK_INT(call(&f, "PUT", "/f", (struct http_call){ .body_fd = fd, .body_length = 7 }), -1);
	CHECK(strstr(f.e.frame[0], "became shorter"));
	close_fixture(&f);
}

/* A server that answers every connection with the same bytes and closes it; NULL: that never answers. */
struct fake {
	int fd, held;
	const char *say;
	pthread_t thread;
	uint16_t port;
};

static void *fake_loop(void *arg)
{
	struct fake *k = arg;
	char piece[4096];

	for (int c; (c = accept4(k->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0;) {
		if (!k->say) {
			k->held = c;
			continue;
		}
		if (recv(c, piece, sizeof(piece), 0) > 0)
			(void)!send(c, k->say, strlen(k->say), MSG_NOSIGNAL);
		close(c);
	}
	return NULL;
}

static void fake_start(struct fake *k, const char *say)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t n = sizeof(a);

	*k = (struct fake){ .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .held = -EBADF, .say = say };
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	must(k->fd >= 0 && bind(k->fd, (struct sockaddr *)&a, n) == 0 && listen(k->fd, 8) == 0);
	must(getsockname(k->fd, (struct sockaddr *)&a, &n) == 0);
	k->port = ntohs(a.sin_port);
	must(pthread_create(&k->thread, NULL, fake_loop, k) == 0);
}

static void fake_stop(struct fake *k)
{
	shutdown(k->fd, SHUT_RDWR);
	pthread_join(k->thread, NULL);
	close(k->fd);
	cleanup_closep(&k->held);
}

static int fetch(const struct fake *k, struct http_reply *reply, struct err *e)
{
	_cleanup_(http_client_freep) struct http_client *c = http_client_new();
	_cleanup_free_ char *url = strf("http://127.0.0.1:%u/x", k->port);

	return http_client_call(
	        c, &(struct http_call){ .method = "GET", .url = url, .body_fd = -EBADF, .idle_timeout_s = 1 }, reply,
	        e);
}

TEST(cut_and_broken_answers_are_errors)
{
	static const char *const broken[] = { "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345",
		                              "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n123",
		                              "HTTP/1.1 200", "SSH-2.0-x\r\n", "" };

	for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
		struct http_reply reply = { 0 };
		struct err e = { 0 };
		struct fake k;

		fake_start(&k, broken[i]);
		if (fetch(&k, &reply, &e) == 0)
			test_failed(__FILE__, __LINE__, "'%s' was taken for an answer", broken[i]);
		CHECK_INT(e.kind, ERR_IO);
		CHECK(strstr(e.frame[1], "GET http://127.0.0.1"));
		fake_stop(&k);
	}
}

TEST(silence_ends_and_continue_is_skipped)
{
	struct http_reply reply = { 0 };
	struct err failure = { 0 };
	struct str value;
	struct fake k;

	fake_start(&k, NULL);
	CHECK_INT(fetch(&k, &reply, &failure), -1);
	CHECK_INT(failure.kind, ERR_IO);
	fake_stop(&k);
	fake_start(&k, "HTTP/1.1 100 Continue\r\nX-Early: 1\r\n\r\nHTTP/1.1 302 Found\r\nLocation: "
	               "/y\r\nContent-Length: 2\r\n\r\nhi");
	CHECK_OK(fetch(&k, &reply, e));
	CHECK_INT(reply.status, 302);
	CHECK_STR(reply.body.p, "hi");
	CHECK(!http_reply_header(&reply, "x-early", &value));
	http_reply_fini(&reply);
	fake_stop(&k);
}

/* ---- GETs with a sink, which go without libcurl where they can ---- */

struct sunk {
	struct http_client *client;
	struct buf got;
	struct http_reply reply;
	struct err e;
};

static int sink(void *arg, struct str piece, struct err *e)
{
	struct sunk *s = arg;

	(void)e;
	buf_str(&s->got, piece);
	return 0;
}

static bool at_once(void *arg)
{
	(void)arg;
	return true;
}

static int fetch_sunk(const struct fake *k, struct sunk *s, struct http_call c)
{
	_cleanup_free_ char *url = strf("http://127.0.0.1:%u/x", k->port);

	c.method = "GET";
	c.url = url;
	c.body_fd = -EBADF;
	c.sink = sink;
	c.sink_arg = s;
	c.idle_timeout_s = 1;
	http_reply_fini(&s->reply);
	buf_reset(&s->got);
	s->e = (struct err){ 0 };
	return http_client_call(s->client, &c, &s->reply, &s->e);
}

static void sunk_end(struct sunk *s)
{
	http_client_free(s->client);
	http_reply_fini(&s->reply);
	buf_fini(&s->got);
}

TEST(sinks_get_the_body_whatever_its_form)
{
	static const struct {
		const char *say, *want; /* NULL: an error */
	} rows[] = {
		{ "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12345", "12345" },
		{ "HTTP/1.1 200 OK\r\nconnection: Close\r\ncontent-length: 5\r\n\r\n12345 and more", "12345" },
		{ "HTTP/1.1 206 Partial Content\r\nContent-Length: 0\r\n\r\n", "" },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n1\r\n6\r\n0\r\n\r\n", "123456" },
		{ "HTTP/1.0 200 OK\r\n\r\nuntil the end", "until the end" },
		{ "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "hi" },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345", NULL },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 3\r\n\r\n12345", NULL },
		{ "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n12345", NULL },
		{ "HTTP/1.1 200 OK\r\nContent-Le", NULL },
		{ "SSH-2.0-x\r\n\r\n", NULL },
		{ "", NULL },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct sunk s = { .client = http_client_new() };
		struct fake k;
		int rc;

		fake_start(&k, rows[i].say);
		rc = fetch_sunk(&k, &s, (struct http_call){ 0 });
		if ((rc == 0) != (rows[i].want != NULL))
			test_failed(__FILE__, __LINE__, "'%s' was %s", rows[i].say, rc ? "refused" : "taken");
		if (rows[i].want)
			CHECK_STR(s.got.p ? s.got.p : "", rows[i].want);
		sunk_end(&s);
		fake_stop(&k);
	}
}

TEST(sinks_and_connections_that_are_kept)
{
	struct sunk s = { .client = http_client_new() };
	struct str value;
	struct fake k;

	/* The server ends every connection, and says so to nobody. */
	fake_start(&k, "HTTP/1.1 200 OK\r\nX-Custom: a\r\nContent-Length: 2\r\n\r\nhi");
	for (int i = 0; i < 20; i++) {
		CHECK_INT(fetch_sunk(&k, &s, (struct http_call){ 0 }), 0);
		CHECK_STR(s.got.p, "hi");
		CHECK_INT(s.reply.status, 200);
		CHECK(http_reply_header(&s.reply, "x-custom", &value) && str_is(value, "a"));
	}
	/* Of another status than what would do. */
	CHECK_INT(fetch_sunk(&k, &s, (struct http_call){ .sink_status = 206 }), -1);
	CHECK_INT(s.e.kind, ERR_INVALID);
	CHECK_INT(s.got.n, 0);
	fake_stop(&k);
	CHECK_INT(fetch_sunk(&k, &s, (struct http_call){ 0 }), -1);
	CHECK_INT(s.e.kind, ERR_IO);
	/* Silence, and a cancellation in it. */
	fake_start(&k, NULL);
	CHECK_INT(fetch_sunk(&k, &s, (struct http_call){ 0 }), -1);
	CHECK_STR(s.e.frame[0], "nothing came for 1 seconds");
	CHECK_INT(fetch_sunk(&k, &s, (struct http_call){ .cancelled = at_once }), -1);
	CHECK_STR(s.e.frame[0], "cancelled");
	fake_stop(&k);
	sunk_end(&s);
}

TEST(nobody_there)
{
	_cleanup_(http_client_freep) struct http_client *c = http_client_new();
	struct http_reply reply = { 0 };
	struct err e = { 0 };

	CHECK_INT(http_client_call(
	                  c, &(struct http_call){ .method = "GET", .url = "http://127.0.0.1:1/", .body_fd = -EBADF },
	                  &reply, &e),
	          -1);
	CHECK_INT(e.kind, ERR_IO);
	CHECK_INT(http_client_call(
	                  c, &(struct http_call){ .method = "GET", .url = "file:///etc/passwd", .body_fd = -EBADF },
	                  &reply, &e),
	          -1);
	http_client_free(NULL);
}
