/* client.h - HTTP requests, a thin skin over libcurl. A client may be used by one thread at a time and keeps its
 * connections. Nothing here knows about signing: callers add the headers.
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
	const char *const *headers;     /* NULL-terminated "Name: value" */
	struct str body;                /* sent when body_fd < 0 */
	int body_fd;                    /* -EBADF: none; else length bytes of it from its current offset are sent */
	uint64_t body_length;
	/* Receiving: to sink when set (called per piece, -1 aborts), else into reply->body up to max_reply bytes. */
	int (*sink)(void *arg, struct str piece, struct err *e);
	void *sink_arg;
	size_t max_reply;
	unsigned connect_timeout_s, idle_timeout_s; /* 0: 10 and 60 */
};
struct http_reply {
	int status;
	struct buf body, headers;       /* headers: raw lines */
};
void http_reply_fini(struct http_reply *r);
bool http_reply_header(const struct http_reply *r, const char *name, struct str *ret);
/* 0 when any HTTP answer came (also 4xx and 5xx). ERR_IO otherwise. */
int http_client_call(struct http_client *c, const struct http_call *call, struct http_reply *ret, struct err *e) must_check;
