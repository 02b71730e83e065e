/* server.h - the HTTP server, a thin skin over libmicrohttpd: epoll and a small thread pool, bodies streamed.
 *
 * A request is offered to the router when its header is complete; the router says which handler takes it and, for the
 * body, whether it is to be collected (up to a limit) or streamed to a sink. The handler answers exactly once by
 * filling the response, after the last body byte. Many run at once, but the calls for one request never overlap.
 *
 * Where handlers run: each of `threads` pool threads serves its share of the connections, so a handler that blocks
 * there holds up the others of its share. What may take long (fsync, a database commit) says http_route.slow and gets a
 * worker thread to block in instead (doc/adr/0007-http-threads.md).
 *
 * Limits (struct http_limits) protect against large headers, slow clients and too many connections; what exceeds them
 * is answered 4xx and closed, or just closed, and never reaches a handler. Every answer to a request carries Date and
 * x-amzn-RequestId; what is too broken to be a request gets libmicrohttpd's own 4xx and is closed.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/clock.h"
#include "base/str.h"

struct http_header {
	struct str name, value;
};

struct http_request {
	struct str method, target;         /* target as sent: path?query, not decoded */
	struct str path, query;            /* the two halves of target, not decoded; query without '?' */
	const struct http_header *headers; /* as sent, in order */
	size_t header_count;
	struct str remote; /* "127.0.0.1" */
	char request_id[37];
	struct wall arrived;
	struct buf body;      /* collected bodies; empty when streamed */
	uint64_t body_bytes;  /* seen so far */
	bool has_body_length; /* there is a Content-Length ... */
	uint64_t body_length; /* ... and this is it */
	void *ctx;            /* the router's, freed by route.done */
};
/* First header of that name (case-insensitive); {NULL,0} when there is none. */
struct str http_header_get(const struct http_request *r, const char *name);

struct http_response {
	int status;      /* 200 unless set */
	struct buf body; /* either this ... */
	int fd;          /* ... or length bytes of this file from offset (sendfile; owned; -EBADF: no) */
	uint64_t offset, length;
	struct buf headers;   /* "Name: value\r\n" lines, from http_add_header */
	bool head;            /* Content-Length of the body, but no body (HEAD) */
	bool close;           /* close the connection afterwards */
	uint64_t head_length; /* Content-Length to announce when head and there is neither body nor fd */
};
/* Control bytes in the value, which could end the line, become blanks. */
void http_add_header(struct http_response *r, const char *name, const char *fmt, ...) printf_like(3, 4);

struct http_route {
	size_t collect_max; /* collect the body up to this; more is ERR_TOO_LARGE, and the connection closes */
	/* Streaming instead: called per piece on one thread at a time; -1 refuses the request (respond() is then called
	 * with e set and may answer from it; the rest of the body is thrown away). */
	int (*on_body)(struct http_request *r, struct str piece, struct err *e);
	/* The answer. body_error is NULL, or why the body was refused. Not called when the client went away before the
	 * end of the body: half a body is never taken for a whole one. */
	void (*respond)(struct http_request *r, const struct err *body_error, struct http_response *out);
	void (*done)(struct http_request *r); /* always called, also when the client went away; may be NULL */
	/* The answer does not depend on the body: throw that away. A client that waits for 100 Continue gets the answer
	 * at once, and need not send it. */
	bool refuse;
	bool slow; /* respond() may block for long: run it on a worker thread */
	/* Not "": the request waits, without a thread, until http_server_wake() is called with this key, but for no
	 * longer than about hold_ms; then respond() is called on a worker thread. ready(): whether what it waits for is
	 * there already; called once a wake would be heard, so that nothing falls between. */
	char wait_key[40];
	int64_t hold_ms;
	bool (*ready)(struct http_request *r);
};

struct http_limits {
	unsigned connections, connections_per_ip;
	unsigned threads;         /* of the pool; as many workers run slow handlers */
	size_t header_bytes;      /* request line and headers; more is 431 */
	unsigned idle_seconds;    /* no byte for so long: closed */
	unsigned request_seconds; /* header, or a body that is collected, not complete by then: closed (slow clients) */
};
extern const struct http_limits http_default_limits;

struct http_server;
/* route(): fills *ret for the request whose header is there. Runs on a pool thread; must not block long. It cannot
 * fail: to refuse, give a respond() that refuses. listen_addr: a numeric address. limits may be NULL. */
int http_server_start(const char *listen_addr, uint16_t port, const struct http_limits *limits,
                      void (*route)(void *arg, struct http_request *r, struct http_route *ret), void *arg,
                      struct http_server **ret, struct err *e) must_check;
/* Answers the requests that wait with this key; key NULL: those that have waited long enough, to be called about once a
 * second. Thread-safe. */
void http_server_wake(struct http_server *s, const char *key);
uint16_t http_server_port(const struct http_server *s);
void http_server_stop(struct http_server *s); /* waits for running handlers; NULL is fine */
