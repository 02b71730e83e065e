/* Relays, on the loopback of whoever runs this. SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "harness.h"
#include "net/proxy.h"

static int bound(int type, uint16_t *ret_port)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(in);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	CHECK(bind(fd, (struct sockaddr *)&in, n) == 0 && getsockname(fd, (struct sockaddr *)&in, &n) == 0);
	if (type == SOCK_STREAM)
		CHECK(listen(fd, 600) == 0);
	*ret_port = ntohs(in.sin_port);
	return fd;
}

static int connected(int type, uint16_t port)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
		                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		                  .sin_port = htons(port) };
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	struct timeval limit = { .tv_sec = 5 };

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	CHECK(connect(fd, (struct sockaddr *)&in, sizeof(in)) == 0);
	return fd;
}

/* A proxy in a thread of its own, from a TCP and a UDP socket to others. */
struct house {
	struct loop *loop;
	struct proxy *proxy;
	pthread_t thread;
	int front[2], back[2];
	uint16_t front_port[2], back_port[2];
};

static void *serve(void *arg)
{
	struct err e = { 0 };

	must(loop_run(arg, &e) == 0);
	return NULL;
}

static void house_init(struct house *h)
{
	static const int types[] = { SOCK_STREAM, SOCK_DGRAM };
	struct proxy_relay relays[2];

	for (int i = 0; i < 2; i++) {
		_cleanup_free_ char *to = NULL;

		h->front[i] = bound(types[i], &h->front_port[i]);
		h->back[i] = bound(types[i], &h->back_port[i]);
		to = strf("127.0.0.1:%u", h->back_port[i]);
		relays[i] = (struct proxy_relay){ .fd = h->front[i], .datagrams = i == 1 };
		CHECK(proxy_address_parse(str_of(to), &relays[i].to));
	}
	h->loop = loop_new();
	h->proxy = proxy_new(h->loop, relays, 2);
	CHECK(pthread_create(&h->thread, NULL, serve, h->loop) == 0);
}

static void stop(void *arg)
{
	loop_stop(arg);
}

static void house_fini(struct house *h)
{
	loop_call(h->loop, stop, h->loop);
	pthread_join(h->thread, NULL);
	proxy_free(h->proxy);
	loop_free(h->loop);
	for (int i = 0; i < 2; i++) {
		close(h->front[i]);
		close(h->back[i]);
	}
}

TEST(addresses_are_numbers)
{
	struct proxy_address a;

	CHECK(proxy_address_parse(STR("127.0.0.1:8770"), &a) && a.to.ss_family == AF_INET);
	CHECK(proxy_address_parse(STR("[::1]:53"), &a) && a.to.ss_family == AF_INET6);
	CHECK(!proxy_address_parse(STR("localhost:53"), &a) && !proxy_address_parse(STR("127.0.0.1"), &a));
	CHECK(!proxy_address_parse(STR("127.0.0.1:http"), &a) && !proxy_address_parse(STR(":53"), &a));
	CHECK(!proxy_address_parse(STR("127.0.0.1:"), &a) && !proxy_address_parse(STR(""), &a));
}

TEST(a_connection_goes_both_ways_and_ends_one_way_at_a_time)
{
	struct house h;
	char got[64] = { 0 };
	int a, b;

	house_init(&h);
	a = connected(SOCK_STREAM, h.front_port[0]);
	b = accept(h.back[0], NULL, NULL);
	CHECK(send(a, "question", 8, 0) == 8);
	CHECK(shutdown(a, SHUT_WR) == 0);
	CHECK(recv(b, got, sizeof(got), MSG_WAITALL) == 8 && strcmp(got, "question") == 0);
	CHECK(send(b, "the answer", 10, 0) == 10);
	close(b);
	CHECK(recv(a, got, sizeof(got), MSG_WAITALL) == 10 && strcmp(got, "the answer") == 0);
	close(a);
	house_fini(&h);
}

struct flood {
	int fd;
	size_t bytes;
};

static void *flood(void *arg)
{
	struct flood *f = arg;
	static char block[65536];

	for (size_t done = 0; done < f->bytes; done += sizeof(block))
		if (send(f->fd, block, sizeof(block), MSG_NOSIGNAL) != (ssize_t)sizeof(block))
			break;
	shutdown(f->fd, SHUT_WR);
	return NULL;
}

TEST(much_arrives_whole_when_the_reader_is_slow)
{
	struct flood f = { .bytes = 16 << 20 };
	static char block[65536];
	struct house h;
	pthread_t thread;
	size_t got = 0;
	ssize_t n;
	int b;

	house_init(&h);
	f.fd = connected(SOCK_STREAM, h.front_port[0]);
	b = accept(h.back[0], NULL, NULL);
	CHECK(pthread_create(&thread, NULL, flood, &f) == 0);
	poll(NULL, 0, 50); /* it fills up meanwhile */
	while ((n = recv(b, block, sizeof(block), 0)) > 0)
		got += (size_t)n;
	CHECK_INT(got, f.bytes);
	pthread_join(thread, NULL);
	close(f.fd);
	close(b);
	house_fini(&h);
}

TEST(nobody_there_is_a_connection_that_ends)
{
	struct house h;
	char c;
	int a;

	house_init(&h);
	shutdown(h.back[0], SHUT_RDWR); /* refuses from now on */
	a = connected(SOCK_STREAM, h.front_port[0]);
	CHECK(recv(a, &c, 1, 0) <= 0 && errno != EAGAIN);
	close(a);
	house_fini(&h);
}

TEST(connections_are_bounded_and_wait)
{
	int a[PROXY_CONNECTIONS + 8], b[PROXY_CONNECTIONS + 8];
	struct pollfd more;
	struct house h;

	house_init(&h);
	for (size_t i = 0; i < ARRAY_LEN(a); i++)
		a[i] = connected(SOCK_STREAM, h.front_port[0]);
	for (int i = 0; i < PROXY_CONNECTIONS; i++)
		b[i] = accept(h.back[0], NULL, NULL);
	more = (struct pollfd){ .fd = h.back[0], .events = POLLIN };
	CHECK_INT(poll(&more, 1, 200), 0);
	close(a[0]); /* makes room for one */
	close(b[0]);
	CHECK_INT(poll(&more, 1, 5000), 1);
	b[0] = accept(h.back[0], NULL, NULL);
	CHECK_INT(poll(&more, 1, 200), 0);
	for (size_t i = 1; i < ARRAY_LEN(a); i++)
		close(a[i]);
	for (int i = 0; i < PROXY_CONNECTIONS; i++)
		close(b[i]);
	house_fini(&h);
}

TEST(questions_are_answered_to_who_asked)
{
	struct sockaddr_in from[2];
	char got[64] = { 0 };
	struct house h;
	int a[2];

	house_init(&h);
	for (int i = 0; i < 2; i++) {
		socklen_t n = sizeof(from[i]);

		a[i] = connected(SOCK_DGRAM, h.front_port[1]);
		CHECK(send(a[i], i ? "second" : "first", 6, 0) == 6);
		CHECK(recvfrom(h.back[1], got, sizeof(got), 0, (struct sockaddr *)&from[i], &n) == 6);
		CHECK_STR(got, i ? "second" : "first");
	}
	CHECK(from[0].sin_port != from[1].sin_port);
	for (int i = 1; i >= 0; i--)
		CHECK(sendto(h.back[1], i ? "for 2" : "for 1", 6, 0, (struct sockaddr *)&from[i], sizeof(from[i])) ==
		      6);
	for (int i = 0; i < 2; i++) {
		CHECK(recv(a[i], got, sizeof(got), 0) == 6);
		CHECK_STR(got, i ? "for 2" : "for 1");
		close(a[i]);
	}
	house_fini(&h);
}

TEST(questions_without_answers_are_bounded)
{
	struct house h;
	char got[8];
	int a, seen = 0;

	house_init(&h);
	a = connected(SOCK_DGRAM, h.front_port[1]);
	for (int i = 0; i < 3 * PROXY_QUESTIONS; i++)
		CHECK(send(a, "x", 1, 0) == 1);
	while (poll(&(struct pollfd){ .fd = h.back[1], .events = POLLIN }, 1, 300) == 1)
		seen += recv(h.back[1], got, sizeof(got), 0) == 1;
	CHECK(seen > 0 && seen <= PROXY_QUESTIONS);
	close(a);
	house_fini(&h);
}

TEST(no_privileges_stay)
{
	_cleanup_buf_ struct buf status = { 0 };
	uid_t uid = geteuid();

	CHECK_OK(proxy_confine(e));
	CHECK_OK(file_read("/proc/self/status", 65536, &status, e));
	CHECK(str_find(buf_view(&status), STR("CapPrm:\t0000000000000000")) >= 0);
	CHECK(str_find(buf_view(&status), STR("NoNewPrivs:\t1")) >= 0);
	CHECK(uid != 0 || (geteuid() == 65534 && getegid() == 65534 && setuid(0) < 0));
}
