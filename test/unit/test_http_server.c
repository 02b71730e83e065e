/* SPDX-License-Identifier: Apache-2.0 */
#include "http/server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "harness.h"

/* A real server on a free port, spoken to byte by byte. What its handlers saw is counted here. */

static struct {
	_Atomic int routed, responded, done, streamed_bytes, running;
} seen;

static void answer_echo(struct http_request *r, const struct err *e, struct http_response *out)
{
	seen.responded++;
	if (e) {
		out->status = err_info[e->kind].http;
		buf_z(&out->body, e->frame[0]);
		return;
	}
	http_add_header(out, "X-Target", PRIstr, ARGstr(r->target));
	http_add_header(out, "X-Path", PRIstr, ARGstr(r->path));
	http_add_header(out, "X-Evil", "%s", "a\r\nSet-Cookie: b");
	buf_f(&out->body, PRIstr " %llu ", ARGstr(r->method), (unsigned long long)r->body_bytes);
	buf_str(&out->body, buf_view(&r->body));
}

static void answer_wait(struct http_request *r, const struct err *e, struct http_response *out)
{
	seen.running++;
	poll(NULL, 0, 700);
	seen.running--;
	answer_echo(r, e, out);
}

static void answer_file(struct http_request *r, const struct err *e, struct http_response *out)
{
	(void)r;
	(void)e;
	out->fd = open(test_tmpdir(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	must(out->fd >= 0 && write(out->fd, "0123456789", 10) == 10);
	out->offset = 3;
	out->length = 5;
	http_add_header(out, "ETag", "\"x\"");
}

static void answer_head(struct http_request *r, const struct err *e, struct http_response *out)
{
	(void)r;
	(void)e;
	out->head = true;
	out->head_length = 123456789012;
}

static void answer_forbidden(struct http_request *r, const struct err *e, struct http_response *out)
{
	(void)r;
	(void)e;
	seen.responded++;
	out->status = 403;
	buf_z(&out->body, "no");
}

static int take_stream(struct http_request *r, struct str piece, struct err *e)
{
	seen.streamed_bytes += (int)piece.n;
	if (str_is(r->path, "/picky") && r->body_bytes > 10)
		return err_set(e, ERR_CLIENT, "eleven is too much");
	return 0;
}

static void count_done(struct http_request *r)
{
	must(r->ctx == &seen);
	seen.done++;
}

static void route(void *arg, struct http_request *r, struct http_route *ret)
{
	(void)arg;
	seen.routed++;
	r->ctx = &seen;
	ret->respond = answer_echo;
	ret->done = count_done;
	ret->collect_max = 1000;
	if (str_starts(r->path, STR("/stream")) || str_is(r->path, "/picky"))
		ret->on_body = take_stream;
	else if (str_is(r->path, "/slow"))
		ret->respond = answer_wait;
	else if (str_is(r->path, "/file"))
		ret->respond = answer_file;
	else if (str_is(r->path, "/head"))
		ret->respond = answer_head;
	else if (str_is(r->path, "/refuse")) {
		ret->respond = answer_forbidden;
		ret->refuse = true;
	}
	ret->slow = str_is(r->path, "/slow");
}

static struct http_server *start(const struct http_limits *limits)
{
	struct http_server *s = NULL;

	CHECK_OK(http_server_start("127.0.0.1", 0, limits, route, NULL, &s, e));
	return s;
}

static int dial(const struct http_server *s)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(http_server_port(s)) };
	struct timeval wait = { .tv_sec = 15 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	must(fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
	must(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) == 0);
	return fd;
}

static void say(int fd, struct str bytes)
{
	while (bytes.n) {
		ssize_t n = send(fd, bytes.p, bytes.n, MSG_NOSIGNAL);

		if (n <= 0)
			return; /* the server has had enough; what it answered counts */
		bytes.p += n;
		bytes.n -= (size_t)n;
	}
}

/* Everything until the server closes, or until the text ends with `until`. */
static char *hear(int fd, const char *until, struct buf *out)
{
	char piece[4096];
	ssize_t n;

	buf_reset(out);
	while (!(until && str_ends(buf_view(out), str_of(until))) && (n = recv(fd, piece, sizeof(piece), 0)) > 0)
		buf_add(out, piece, (size_t)n);
	return out->p;
}

/* What the server answers to these bytes and nothing more, until it closes. When the end comes in one packet with the
 * bytes it takes the server up to a second to see it, hence the pause. */
static char *ask(const struct http_server *s, struct str bytes, struct buf *out)
{
	_cleanup_close_ int fd = dial(s);

	say(fd, bytes);
	poll(NULL, 0, 20);
	shutdown(fd, SHUT_WR);
	return hear(fd, NULL, out);
}

static char *ask_at_once(const struct http_server *s, struct str bytes, struct buf *out)
{
	_cleanup_close_ int fd = dial(s);

	say(fd, bytes);
	shutdown(fd, SHUT_WR);
	return hear(fd, NULL, out);
}

#define CHECK_HAS(text, part)                                                                 \
	do {                                                                                  \
		const char *text_ = (text);                                                   \
		if (!strstr(text_, part))                                                     \
			test_failed(__FILE__, __LINE__, "no '%s' in:\n%.2000s", part, text_); \
	} while (0)

static bool settles(_Atomic int *counter, int want)
{
	for (int i = 0; i < 500 && *counter != want; i++)
		poll(NULL, 0, 10);
	return *counter == want;
}

TEST(targets_are_not_touched)
{
	struct http_server *s = start(NULL);
	_cleanup_buf_ struct buf got = { 0 };

	ask(s, STR("GET /a%2Fb//../%E1%88%B4?x=%20+&&y&=1%zz HTTP/1.1\r\nHost: h\r\n\r\n"), &got);
	CHECK_HAS(got.p, "HTTP/1.1 200 OK\r\n");
	CHECK_HAS(got.p, "X-Target: /a%2Fb//../%E1%88%B4?x=%20+&&y&=1%zz\r\n");
	CHECK_HAS(got.p, "X-Path: /a%2Fb//../%E1%88%B4\r\n");
	CHECK_HAS(got.p, "X-Evil: a  Set-Cookie: b\r\n");
	CHECK_HAS(got.p, "\r\nDate: ");
	CHECK_HAS(got.p, "\r\nx-amzn-RequestId: ");
	ask(s, STR("GET http://h:1/x?y HTTP/1.1\r\nHost: h\r\n\r\n"), &got);
	CHECK_HAS(got.p, "X-Path: /x\r\n");
	ask(s, STR("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"), &got);
	CHECK_HAS(got.p, "HTTP/1.1 400 ");
	CHECK_HAS(got.p, "\r\nx-amzn-RequestId: ");
	http_server_stop(s);
}

TEST(date_is_now)
{
	struct http_server *s = start(NULL);
	_cleanup_buf_ struct buf got = { 0 };
	struct str rest;
	struct wall date = { 0 };

	ask(s, STR("GET / HTTP/1.1\r\nHost: h\r\n\r\n"), &got);
	rest = buf_view(&got);
	while (rest.n) {
		struct str line = str_cut(&rest, '\n');

		if (str_skip(&line, STR("Date: ")))
			CHECK(wall_from_http(str_trim(line), &date));
	}
	if (llabs(wall_now().ms - date.ms) >= 3000)
		test_failed(__FILE__, __LINE__, "it is %lld ms since 1970, and the server says\n%s",
		            (long long)wall_now().ms, got.p);
	http_server_stop(s);
}

TEST(keep_alive_pipelining_and_http_1_0)
{
	struct http_server *s = start(NULL);
	_cleanup_buf_ struct buf got = { 0 };
	_cleanup_buf_ struct buf once = { 0 };
	const char *p;
	int answers = 0;

	ask(s,
	    STR("POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET /2 HTTP/1.1\r\nHost: h\r\n\r\n"
	        "POST /3 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1;x=y\r\nf\r\n0\r\n\r\n"
	        "GET /4 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET /never HTTP/1.1\r\nHost: h\r\n\r\n"),
	    &got);
	for (p = got.p; (p = strstr(p, "HTTP/1.1 200 OK\r\n")); p++)
		answers++;
	CHECK_INT(answers, 4);
	CHECK_HAS(ask_at_once(s, STR("GET / HTTP/1.1\r\nHost: h\r\n\r\n"), &once), " 200 OK");
	CHECK_HAS(got.p, "POST 3 abc");
	CHECK_HAS(got.p, "POST 3 def");
	CHECK(!strstr(got.p, "never"));
	ask(s, STR("GET /old HTTP/1.0\r\n\r\n"), &got);
	CHECK_HAS(got.p, "200 OK\r\n");
	CHECK_HAS(got.p, "GET 0 ");
	CHECK(settles(&seen.done, 6));
	http_server_stop(s);
}

TEST(head_has_lengths_and_no_body)
{
	struct http_server *s = start(NULL);
	_cleanup_buf_ struct buf got = { 0 };

	ask(s, STR("HEAD /head HTTP/1.1\r\nHost: h\r\n\r\n"), &got);
	CHECK_HAS(got.p, "Content-Length: 123456789012\r\n");
	CHECK(str_ends(buf_view(&got), STR("\r\n\r\n")));
	ask(s, STR("HEAD /file HTTP/1.1\r\nHost: h\r\n\r\n"), &got);
	CHECK_HAS(got.p, "Content-Length: 5\r\n");
	CHECK(str_ends(buf_view(&got), STR("\r\n\r\n")));
	ask(s, STR("GET /file HTTP/1.1\r\nHost: h\r\n\r\n"), &got);
	CHECK_HAS(got.p, "ETag: \"x\"\r\n");
	CHECK(str_ends(buf_view(&got), STR("\r\n\r\n34567")));
	http_server_stop(s);
}

TEST(expect_100_continue)
{
	struct http_server *s = start(NULL);
	_cleanup_buf_ struct buf got = { 0 };
	_cleanup_close_ int fd = dial(s), refused = dial(s), large = dial(s);

	say(fd, STR("PUT /stream HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"));
	hear(fd, "HTTP/1.1 100 Continue\r\n\r\n", &got);
	CHECK_STR(got.p, "HTTP/1.1 100 Continue\r\n\r\n");
	CHECK_INT(seen.responded, 0);
	say(fd, STR("12345"));
	CHECK_HAS(hear(fd, "PUT 5 ", &got), "200 OK");

	say(refused, STR("PUT /refuse HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"));
	CHECK_HAS(hear(refused, NULL, &got), "HTTP/1.1 403 ");
	CHECK(!strstr(got.p, "100 Continue"));

	say(large, STR("PUT /collected HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\nExpect: 100-continue\r\n\r\n"));
	CHECK_HAS(hear(large, NULL, &got), "HTTP/1.1 413 ");
	http_server_stop(s);
}

TEST(bodies_over_the_limit_are_413_and_closed)
{
	struct http_server *s = start(NULL);
	_cleanup_buf_ struct buf request = { 0 }, got = { 0 };

	buf_z(&request, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n");
	for (int i = 0; i < 300000; i++)
		buf_z(&request, "0123456789");
	CHECK_HAS(ask(s, buf_view(&request), &got), "HTTP/1.1 413 ");
	CHECK_HAS(got.p, "larger than the 1000 bytes");
	CHECK_HAS(got.p, "Connection: close\r\n");
	CHECK_HAS(got.p, "\r\nx-amzn-RequestId: ");

	buf_reset(&request);
	buf_z(&request, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
	for (int i = 0; i < 3000; i++)
		buf_z(&request, "a\r\n0123456789\r\n");
	buf_z(&request, "0\r\n\r\n");
	CHECK_HAS(ask(s, buf_view(&request), &got), "HTTP/1.1 413 ");
	CHECK_HAS(ask(s, STR("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999\r\n\r\n"), &got),
	          "HTTP/1.1 413 ");
	CHECK_HAS(ask(s, STR("POST /refuse HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab"), &got),
	          "HTTP/1.1 403 ");
	CHECK_HAS(ask(s, STR("PUT /picky HTTP/1.1\r\nHost: h\r\nContent-Length: 12\r\n\r\n0123456789ab"), &got),
	          "eleven is too much");
	CHECK(settles(&seen.done, seen.routed));
	http_server_stop(s);
}

TEST(half_a_body_is_not_a_body)
{
	struct http_server *s = start(NULL);
	static const char *const cut[] = {
		"PUT /stream HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n12345",
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n12345",
		"PUT /stream HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
		"PUT /stream HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n123",
		"PUT /stream HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\nzz\r\n",
	};

	for (size_t i = 0; i < ARRAY_LEN(cut); i++) {
		_cleanup_buf_ struct buf got = { 0 };

		ask_at_once(s, str_of(cut[i]), &got);
		CHECK(!strstr(got.p, " 200 "));
	}
	CHECK(settles(&seen.done, (int)ARRAY_LEN(cut)));
	CHECK_INT(seen.routed, ARRAY_LEN(cut));
	CHECK_INT(seen.responded, 0);
	http_server_stop(s);
}

TEST(junk_is_refused)
{
	struct http_server *s = start(NULL);
	static const struct str junk[] = {
		STR("\r\n\r\n\r\n"),
		STR("\0\0\0\0\r\n\r\n"),
		STR("GET\r\n\r\n"),
		STR("GET / FTP/1.1\r\n\r\n"),
		STR("GET / HTTP/9.9\r\n\r\n"),
		STR("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello\r\n\r\n"),
		STR("GET / HTTP/1.1\r\n no colon\r\n\r\n"),
		STR("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n"),
		STR("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999999\r\n\r\n"),
		STR("GET / HTTP/1.1\r\nHost"),
	};

	for (size_t i = 0; i < ARRAY_LEN(junk); i++) {
		_cleanup_buf_ struct buf got = { 0 };

		ask(s, junk[i], &got);
		if (strstr(got.p, " 200 "))
			test_failed(__FILE__, __LINE__, "junk %zu was answered: %s", i, got.p);
	}
	CHECK_INT(seen.responded, 0);
	http_server_stop(s);
}

/* A name with a tab would be kept with an object as x-amz-meta-..., and no answer could carry it. */
TEST(header_names_are_tokens)
{
	struct http_server *s = start(NULL);
	static const char *const names[] = { "x-amz-meta-a\tb", "x-amz-meta-a b", "X-Blank ", "x\x01", "x(y)",
		                             "\xc3\xbc",        "x\xff",          "a\"b" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		_cleanup_buf_ struct buf got = { 0 };
		_cleanup_free_ char *text = strf("GET / HTTP/1.1\r\nHost: h\r\n%s: v\r\nConnection: close\r\n\r\n",
		                                 names[i]);

		ask(s, str_of(text), &got);
		if (!strstr(got.p, "HTTP/1.1 400 "))
			test_failed(__FILE__, __LINE__, "'%s' was answered: %s", names[i], got.p);
	}
	CHECK_INT(seen.routed, 0);
	http_server_stop(s);
}

TEST(large_headers_are_431)
{
	struct http_server *s = start(NULL);

	for (int kib = 17; kib <= 200; kib *= 2) {
		_cleanup_buf_ struct buf request = { 0 }, got = { 0 };

		buf_z(&request, "GET / HTTP/1.1\r\nHost: h\r\nX: ");
		for (int i = 0; i < kib << 10; i++)
			buf_c(&request, 'a');
		buf_z(&request, "\r\n\r\n");
		ask(s, buf_view(&request), &got);
		CHECK(!strstr(got.p, " 200 "));
		if (got.n) /* a reset may outrun the answer */
			CHECK_HAS(got.p, "HTTP/1.1 431 ");
	}
	CHECK_INT(seen.responded, 0);
	http_server_stop(s);
}

TEST(slow_clients_are_cut_off)
{
	struct http_limits limits = http_default_limits;
	struct http_server *s;
	_cleanup_buf_ struct buf got = { 0 };
	_cleanup_close_ int dribble = -EBADF, silent = -EBADF, body = -EBADF;
	struct mono start_at = mono_now();
	static const char text[] =
	        "GET / HTTP/1.1\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

	limits.idle_seconds = 3;
	limits.request_seconds = 1;
	s = start(&limits);
	dribble = dial(s);
	silent = dial(s);
	body = dial(s);
	say(body, STR("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n"));
	for (size_t i = 0; i < sizeof(text) && mono_ms_since(start_at) < 8000; i++) {
		struct pollfd p = { .fd = dribble, .events = POLLIN };

		say(dribble, (struct str){ text + i, 1 });
		say(body, STR("x"));
		if (poll(&p, 1, 100) > 0)
			break;
	}
	CHECK(mono_ms_since(start_at) < 4000);
	hear(dribble, NULL, &got);
	CHECK(!strstr(got.p, " 200 "));
	hear(silent, NULL, &got);
	CHECK_INT(got.n, 0);
	hear(body, NULL, &got);
	CHECK(!strstr(got.p, " 200 "));
	CHECK(mono_ms_since(start_at) < 8000);
	CHECK_INT(seen.responded, 0);
	http_server_stop(s);
}

/* With one thread in the pool, what blocks in a worker must not hold up the rest; and stopping waits for it. */
TEST(slow_handlers_hold_up_nobody)
{
	struct http_limits limits = http_default_limits;
	struct http_server *s;
	_cleanup_buf_ struct buf got = { 0 };
	_cleanup_close_ int slow = -EBADF, gone = -EBADF, last = -EBADF;
	struct mono start_at;

	limits.threads = 1;
	s = start(&limits);
	slow = dial(s);
	gone = dial(s);
	say(slow, STR("POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab"));
	CHECK(settles(&seen.running, 1));
	start_at = mono_now();
	for (int i = 0; i < 20; i++)
		CHECK_HAS(ask(s, STR("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"), &got), " 200 OK");
	CHECK(mono_ms_since(start_at) < 500);
	CHECK_INT(seen.running, 1);
	CHECK_HAS(hear(slow, "POST 2 ab", &got), " 200 OK");

	/* A client that leaves while its handler runs. */
	say(gone, STR("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n"));
	CHECK(settles(&seen.running, 1));
	close(take_fd(gone));
	CHECK(settles(&seen.done, 22));

	last = dial(s);
	say(last, STR("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n"));
	CHECK(settles(&seen.running, 1));
	http_server_stop(s);
	CHECK_INT(seen.running, 0);
	CHECK_INT(seen.done, 23);
	CHECK_INT(seen.responded, 23);
}

TEST(connections_are_limited)
{
	struct http_limits limits = http_default_limits;
	struct http_server *s;
	_cleanup_buf_ struct buf got = { 0 };
	int fds[40];

	limits.connections_per_ip = 10;
	s = start(&limits);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		fds[i] = dial(s);
		say(fds[i], STR("GET / HTTP/1.1\r\nHost: h\r\n\r\n"));
	}
	CHECK(settles(&seen.responded, 10));
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		close(fds[i]);
	CHECK(settles(&seen.done, 10));
	CHECK_INT(seen.responded, 10);
	poll(NULL, 0, 200);
	CHECK_HAS(ask(s, STR("GET / HTTP/1.1\r\nHost: h\r\n\r\n"), &got), " 200 OK");
	http_server_stop(s);
}

TEST(many_connections_at_once)
{
	struct http_server *s = start(NULL);
	_cleanup_buf_ struct buf got = { 0 };
	int fds[300];

	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		fds[i] = dial(s);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		say(fds[i], STR("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab"));
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		say(fds[i], STR("cd"));
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		hear(fds[i], "POST 4 abcd", &got);
		CHECK(str_ends(buf_view(&got), STR("POST 4 abcd")));
		close(fds[i]);
	}
	CHECK(settles(&seen.done, (int)ARRAY_LEN(fds)));
	http_server_stop(s);
}

TEST(bad_addresses_are_errors)
{
	struct http_server *s = NULL, *t = NULL;
	struct err e = { 0 };

	CHECK(http_server_start("localhost.invalid", 0, NULL, route, NULL, &s, &e) < 0);
	CHECK_INT(e.kind, ERR_INVALID);
	s = start(NULL);
	CHECK(http_server_start("127.0.0.1", http_server_port(s), NULL, route, NULL, &t, &e) < 0);
	CHECK_INT(e.os, EADDRINUSE);
	CHECK(!t);
	http_server_stop(s);
	http_server_stop(NULL);
}
