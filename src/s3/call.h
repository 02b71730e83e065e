/* call.h - one S3 request: signed, sent, understood, and sent again where that may help. Only files of s3/ include
 * this.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pthread.h>

#include "http/client.h"
#include "s3/s3.h"

enum {
	S3_THREADS_DEFAULT = 8,
	S3_ATTEMPTS_DEFAULT = 6,
	S3_PIECE = 16 << 20,       /* a range or a part, where nothing forces another size */
	S3_AT_ONCE_MAX = 64 << 20, /* what is larger moves in several pieces */
};

struct idle_client;

struct s3 {
	char *scheme_host, *host, *region, *access_key, *secret_key, *session_token; /* set once by s3_new() */
	struct s3_options options;

	struct { /* hold mu to touch anything in here */
		pthread_mutex_t mu;
		pthread_cond_t wake; /* for waits between attempts; CLOCK_MONOTONIC */
		struct idle_client *idle;
		char *upload_id; /* of the multipart upload that is under way; NULL */
		struct buf upload_bucket, upload_key;
	} shared;
};

struct s3_call {
	const char *method;
	struct str bucket, key, query; /* query: encoded, without '?' */
	const char *header[6];         /* "Name: value", NULL-terminated; "x-amz-" ones are signed too */
	struct str body;
	int body_fd; /* -EBADF: none */
	uint64_t body_offset, body_length;
	const char *payload_hash; /* hex SHA-256 of the body; NULL: computed, of `body` */
	int (*sink)(void *arg, struct str piece, struct err *e); /* for 2xx answers */
	void *sink_arg;
	int sink_status; /* not 0: only an answer of this status goes to the sink, another 2xx is an error */
	unsigned idle_s; /* without a byte it is given up; 0: 60 */
	size_t max_reply;
	bool regardless; /* send it even when cancelled */
};
#define S3_CALL(...)                           \
	(struct s3_call)                       \
	{                                      \
		.body_fd = -EBADF, __VA_ARGS__ \
	}

/* One attempt. 0 with *ret for a 2xx answer; else -1, and *ret_again whether another attempt may help. */
int s3_attempt(struct s3 *s, const struct s3_call *c, struct http_reply *ret, bool *ret_again,
               struct err *e) must_check;
/* Attempts until it is done, hopeless, or the options' attempts or patience are used up. For calls that may be
 * repeated. */
int s3_call(struct s3 *s, const struct s3_call *c, struct http_reply *ret, struct err *e) must_check;

/* What one call has gone through. Begin with s3_retry_begin(); after a failure that may be helped s3_again() waits and
 * tells whether to try once more: not when attempts or patience are used up, or when cancelled. */
struct s3_retry {
	unsigned failures;
	struct mono since; /* begin of the first attempt of those that brought nothing */
};
struct s3_retry s3_retry_begin(void);
bool s3_again(struct s3 *s, struct s3_retry *r, const struct err *why);
bool s3_cancelled(const struct s3 *s);
void s3_progress(const struct s3 *s, int64_t bytes);

/* Writes `length` bytes of o, from `from` on, at their place in the file. What went wrong is tried again. */
int s3_get_piece(struct s3 *s, struct s3_uri at, const struct s3_object *o, uint64_t from, uint64_t length, int fd,
                 struct err *e) must_check;

/* Runs one(arg, i) for i < count on up to `threads` threads (the caller's is one of them); the first error ends it. */
int s3_parallel(unsigned threads, size_t count, int (*one)(void *arg, size_t i, struct err *e), void *arg,
                struct err *e) must_check;
unsigned s3_threads(const struct s3 *s);

/* Strips the quotes of an ETag. */
struct str s3_unquote(struct str etag);
