/* post.h - the requests to the serving container (contract 7.1): GET /ping and /execution-parameters, and
 * POST /invocations, over libcurl. A poster keeps its connection; one thread uses it at a time. Blocks.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "transform/dial.h"
#include "transform/reader.h"
#include "transform/result.h"

struct poster;
struct poster_to {
	const char *address; /* "http://host:port" */
	const char *name;    /* in errors: "the container" */
	struct dialer *dialer;
	unsigned index; /* of the container, for the dialer */
};
struct poster *poster_new(const struct poster_to *to); /* the strings and the dialer are borrowed */
void poster_free(struct poster *p);                    /* NULL is fine */
DEFINE_CLEANUP(struct poster, poster_free)

enum { REFUSAL_MAX = 64 << 10 };

struct post {
	const char *content_type, *accept; /* NULL or empty: no such header */
	struct str body;
	struct reader *stream; /* not NULL: sent in chunks to its end, instead of body */
	bool is_part;          /* bytes of a file instead, which are read as they are sent: */
	int file;
	uint64_t at, size;
	bool chunked;       /* send body so as well */
	uint64_t *lines;    /* not NULL: the line feeds that went out of stream or file are added */
	unsigned timeout_s; /* for all of it */
};

struct post_reply {
	int status;         /* 0: there was no answer */
	bool local;         /* what failed is on our side: reading the object, keeping the answer */
	struct buf refusal; /* the body of an answer that is not 2xx, its beginning */
	struct buf type;    /* the Content-Type of one that is; may be empty */
};

/* 0: an answer of 2xx, its body is in result. -1: ret says what happened; of an answer of another status e says so too
 * (ERR_CLIENT for 4xx, else ERR_TRAINER). The caller post_reply_fini()s *ret, and
 * result_fini()s result. */
int poster_invoke(struct poster *p, const struct post *post, struct result *result, struct post_reply *ret,
                  struct err *e) must_check;

void post_reply_fini(struct post_reply *r);

/* 0: any answer; its status, and the first 64 KiB of the body. */
int poster_get(struct poster *p, const char *path, unsigned timeout_ms, int *ret_status, struct buf *ret_body,
               struct err *e) must_check;
