/* Requests that wait, on a real server. SPDX-License-Identifier: Apache-2.0 */
#include "http/parked.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "harness.h"
#include "http/client.h"
#include "http/server.h"

static _Atomic bool there; /* what they wait for */
static _Atomic int asked, answered;
static int64_t hold_ms = 60000;

static bool ready(struct http_request *r)
{
	(void)r;
	asked++;
	return there;
}

static void respond(struct http_request *r, const struct err *e, struct http_response *out)
{
	(void)e;
	answered++;
	buf_str(&out->body, r->path);
}

/* /KEY waits for it; / does not wait. */
static void route(void *arg, struct http_request *r, struct http_route *ret)
{
	(void)arg;
	*ret = (struct http_route){ .respond = respond, .slow = true, .hold_ms = hold_ms, .ready = ready };
	snprintf(ret->wait_key, sizeof(ret->wait_key), PRIstr, (int)(r->path.n - 1), r->path.p + 1);
}

static struct http_server *start(void)
{
	struct http_server *s = NULL;

	CHECK_OK(http_server_start("127.0.0.1", 0, NULL, route, NULL, &s, e));
	return s;
}

struct visitor {
	pthread_t thread;
	char *url;
	int status;
};

static void *visit(void *arg)
{
	struct visitor *v = arg;
	struct http_client *c = http_client_new();
	struct http_call call = { .method = "GET", .url = v->url, .body_fd = -EBADF };
	struct http_reply reply = { 0 };

	if (http_client_call(c, &call, &reply, NULL) == 0)
		v->status = reply.status;
	http_reply_fini(&reply);
	http_client_free(c);
	return NULL;
}

static void begin(struct visitor *v, const struct http_server *s, const char *key)
{
	*v = (struct visitor){ .url = strf("http://127.0.0.1:%u/%s", http_server_port(s), key) };
	must(pthread_create(&v->thread, NULL, visit, v) == 0);
}

static void end(struct visitor *v)
{
	pthread_join(v->thread, NULL);
	CHECK_INT(v->status, 200);
	free(v->url);
}

static void until(_Atomic int *what, int value)
{
	struct mono since = mono_now();

	while (*what < value && mono_ms_since(since) < 30000)
		poll(NULL, 0, 5);
	CHECK_INT(*what, value);
}

TEST(one_waits_until_its_key_is_woken_and_takes_no_thread)
{
	enum { MANY = 40 }; /* more than there are threads */
	struct http_server *s = start();
	struct visitor v[MANY], other, quick;

	for (int i = 0; i < MANY; i++)
		begin(&v[i], s, "a");
	begin(&other, s, "b");
	until(&asked, MANY + 1);
	begin(&quick, s, "");
	end(&quick);
	CHECK_INT(answered, 1);
	http_server_wake(s, NULL); /* nobody has waited long enough */
	http_server_wake(s, "a");
	for (int i = 0; i < MANY; i++)
		end(&v[i]);
	CHECK_INT(answered, MANY + 1);
	http_server_wake(s, "b");
	end(&other);
	http_server_wake(s, "b"); /* nobody waits */
	http_server_stop(s);
}

TEST(what_is_there_already_is_not_waited_for)
{
	struct http_server *s = start();
	struct visitor v;

	there = true;
	begin(&v, s, "a");
	end(&v);
	there = false;
	http_server_stop(s);
}

TEST(who_has_waited_long_enough_is_answered)
{
	struct http_server *s = start();
	struct visitor v;

	hold_ms = 20;
	begin(&v, s, "a");
	until(&asked, 1);
	poll(NULL, 0, 40);
	http_server_wake(s, NULL);
	end(&v);
	http_server_stop(s);
}

TEST(those_that_wait_are_answered_when_the_server_stops)
{
	struct http_server *s = start();
	struct visitor v[3];

	for (int i = 0; i < 3; i++)
		begin(&v[i], s, "a");
	until(&asked, 3);
	http_server_stop(s);
	for (int i = 0; i < 3; i++)
		end(&v[i]);
}

/* Wakes race with arrivals: each is answered, once. */
static void *wake_all(void *arg)
{
	while (answered < 400)
		http_server_wake(arg, "a");
	return NULL;
}

TEST(nothing_falls_between_arriving_and_being_woken)
{
	struct http_server *s = start();
	pthread_t waker;

	must(pthread_create(&waker, NULL, wake_all, s) == 0);
	for (int round = 0; round < 50; round++) {
		struct visitor v[8];

		for (int i = 0; i < 8; i++)
			begin(&v[i], s, "a");
		for (int i = 0; i < 8; i++)
			end(&v[i]);
	}
	pthread_join(waker, NULL);
	CHECK_INT(answered, 400);
	http_server_stop(s);
}
