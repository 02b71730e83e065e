/* fuse_store.h - an S3 for the tests of src/fuse: one bucket of endless objects whose bytes follow from their place,
 * and whose server can be made slow, broken, or to have another version. In the process that starts it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "harness.h"
#include "http/server.h"

static struct {
	struct http_server *server;
	atomic_int requests, broken, replaced, slow_ms;
	atomic_ullong bytes; /* answered */
} store;

static inline char store_byte(uint64_t at)
{
	return (char)((at * 2654435761U + (at >> 16)) >> 11);
}

static inline bool store_right(const char *bytes, uint64_t from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (bytes[i] != store_byte(from + i))
			return false;
	return true;
}

static inline void store_refuse(struct http_response *out, int status, const char *code)
{
	out->status = status;
	buf_f(&out->body, "<Error><Code>%s</Code><Message>as the test wants it</Message></Error>", code);
}

static void store_answer(struct http_request *r, const struct err *body_error, struct http_response *out)
{
	struct str range = http_header_get(r, "Range"), match = http_header_get(r, "If-Match");
	struct timespec t = { .tv_nsec = atomic_load(&store.slow_ms) * 1000000L };
	uint64_t from, to;

	(void)body_error;
	nanosleep(&t, NULL);
	if (atomic_load(&store.broken)) {
		store_refuse(out, 503, "SlowDown");
	} else if (!str_is(match, "\"first\"") || atomic_load(&store.replaced)) {
		store_refuse(out, 412, "PreconditionFailed");
	} else if (!str_skip(&range, STR("bytes=")) || !str_to_u64(str_cut(&range, '-'), &from) ||
	           !str_to_u64(range, &to) || to < from || to - from >= 64 << 20) {
		store_refuse(out, 400, "InvalidArgument");
	} else {
		out->status = 206;
		http_add_header(out, "Content-Range", "bytes %llu-%llu/*", (unsigned long long)from,
		                (unsigned long long)to);
		http_add_header(out, "ETag", "\"first\"");
		buf_need(&out->body, to - from + 1);
		for (uint64_t i = from; i <= to; i++)
			out->body.p[out->body.n++] = store_byte(i);
		atomic_fetch_add(&store.bytes, to - from + 1);
	}
}

static void store_route(void *arg, struct http_request *r, struct http_route *ret)
{
	(void)arg;
	(void)r;
	atomic_fetch_add(&store.requests, 1);
	*ret = (struct http_route){ .respond = store_answer, .slow = true };
}

/* The caller frees the address. */
static char *store_start(void)
{
	CHECK_OK(http_server_start("127.0.0.1", 0, NULL, store_route, NULL, &store.server, e));
	return strf("http://127.0.0.1:%u", http_server_port(store.server));
}
