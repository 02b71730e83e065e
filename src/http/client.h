/* client.h - HTTP requests, a thin skin over libcurl; plain GETs go without it (direct.h). Nothing here knows about
 * signing: callers add the headers.
 *
 * Runs in any process; blocks. A client may be used by one thread at a time and keeps its connections between calls.
 * Redirects are not followed, paths are sent as they are (a signature covers them), signals are left alone, and proxies
 * of the environment are used except for this machine.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

struct http_client;
struct http_client *http_client_new(void);
void http_client_free(struct http_client *c); /* NULL is fine */
DEFINE_CLEANUP(struct http_client, http_client_free)

struct http_call {
	const char *method, *url;
	const char *const *headers; /* NULL-terminated "Name: value"; may be NULL */
	struct str body;            /* sent when body_fd < 0 */
	int body_fd; /* -EBADF: none; else length bytes of it from its current offset are sent (the offset stays) */
	uint64_t body_length;
	/* Receiving: the body of a 2xx answer goes to sink when set (called per piece, -1 aborts); every other body,
	 * and without a sink all, into reply->body up to max_reply bytes (0: 64 KiB); a longer one is ERR_LIMIT. */
	int (*sink)(void *arg, struct str piece, struct err *e);
	void *sink_arg;
	int sink_status; /* not 0: only an answer of this status goes to the sink, another 2xx is ERR_INVALID */
	size_t max_reply;
	/* Asked now and then while nothing moves; true ends the call with ERR_IO "cancelled". May be NULL. */
	bool (*cancelled)(void *arg);
	void *cancelled_arg;
	unsigned connect_timeout_s, idle_timeout_s; /* 0: 10 and 60; idle: no byte in either direction */
};

struct http_reply {
	int status;
	struct buf body, headers; /* headers: raw lines of the final answer, its status line first */
};
void http_reply_fini(struct http_reply *r);
/* The first header of that name (case-insensitive), trimmed. */
bool http_reply_header(const struct http_reply *r, const char *name, struct str *ret);

/* 0 when any HTTP answer came (also 4xx and 5xx): fill *ret, which the caller http_reply_fini()s. ERR_IO when none came
 * or it was cut short; the sink's own error when that refused. */
int http_client_call(struct http_client *c, const struct http_call *call, struct http_reply *ret,
                     struct err *e) must_check;
