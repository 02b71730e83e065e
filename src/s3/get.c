/* get.c - GetObject to a file, whole or in parallel ranges.  SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <unistd.h>

#include "s3/call.h"

struct get {
	struct s3 *s;
	struct s3_uri at;
	const struct s3_object *o;
	int fd;
	uint64_t piece;
};

/* One range on its way; `got` bytes of it are in the file. */
struct range {
	const struct get *g;
	uint64_t from, length, got;
	bool local; /* the file, not the connection, failed */
};

static int take_piece(void *arg, struct str piece, struct err *e)
{
	struct range *r = arg;

	if (s3_cancelled(r->g->s))
		return err_set(e, ERR_IO, "cancelled");
	if (piece.n > r->length - r->got) {
		r->local = true; /* another try would end the same way */
		return err_set(e, ERR_IO, "the server sent more than the %llu bytes asked for",
		               (unsigned long long)r->length);
	}
	while (piece.n) {
		ssize_t n = pwrite(r->g->fd, piece.p, piece.n, (off_t)(r->from + r->got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			r->local = true;
			return err_sys(e, "writing the object's bytes");
		}
		piece.p += n;
		piece.n -= (size_t)n;
		r->got += (uint64_t)n;
		s3_progress(r->g->s, n);
	}
	return 0;
}

/* Asks for what is missing of the range. 0 all there, 1 some came, -1. */
static int get_rest(struct range *r, bool *ret_again, struct err *e)
{
	const struct get *g = r->g;
	char range[80], match[320];
	struct s3_call c = S3_CALL(.method = "GET", .bucket = g->at.bucket, .key = g->at.key, .sink = take_piece,
	                           .sink_arg = r);
	struct http_reply reply = { 0 };
	size_t n = 0;

	snprintf(match, sizeof(match), "If-Match: \"" PRIstr "\"", ARGstr(g->o->etag));
	snprintf(range, sizeof(range), "Range: bytes=%llu-%llu", (unsigned long long)(r->from + r->got),
	         (unsigned long long)(r->from + r->length - 1));
	if (g->o->etag.n)
		c.header[n++] = match;
	if (r->got || r->length != g->o->size)
		c.header[n++] = range;
	if (s3_attempt(g->s, &c, &reply, ret_again, e) < 0) {
		*ret_again &= !r->local;
		if (e->kind == ERR_CONFLICT)
			err_in(e, "the object was replaced while it was read");
		return -1;
	}
	http_reply_fini(&reply);
	if (r->got < r->length) {
		*ret_again = true;
		return err_set(e, ERR_IO, "s3://" PRIstr "/" PRIstr " ended after %llu of %llu bytes",
		               ARGstr(g->at.bucket), ARGstr(g->at.key), (unsigned long long)(r->from + r->got),
		               (unsigned long long)(r->from + r->length));
	}
	return 0;
}

static int get_range(void *arg, size_t i, struct err *e)
{
	const struct get *g = arg;
	struct range r = { .g = g, .from = i * g->piece };
	unsigned attempts = g->s->options.attempts ? g->s->options.attempts : S3_ATTEMPTS_DEFAULT, tries = 0;
	uint64_t left = g->o->size - r.from;

	r.length = left < g->piece ? left : g->piece;
	for (;;) {
		uint64_t before = r.got;
		struct err wait = { 0 };
		bool again;

		if (get_rest(&r, &again, e) == 0)
			return 0;
		/* As long as every connection brings something, it goes on. */
		tries = r.got > before ? 1 : tries + 1;
		if (!again || tries >= attempts || s3_wait(g->s, tries, &wait) < 0)
			break;
	}
	s3_progress(g->s, -(int64_t)r.got);
	return -1;
}

int s3_get(struct s3 *s, struct s3_uri at, const struct s3_object *o, int fd, struct err *e)
{
	_cleanup_buf_ struct buf scratch = { 0 };
	struct s3_object found;
	struct get g = { .s = s, .at = at, .o = o, .fd = fd };
	struct err local = { 0 };

	e = e ? e : &local;
	if (!o) {
		if (s3_head(s, at, &scratch, &found, e) < 0)
			return -1;
		g.o = &found;
	}
	if (!g.o->size)
		return 0;
	g.piece = g.o->size <= S3_AT_ONCE_MAX ? g.o->size : S3_PIECE;
	return s3_parallel(s3_threads(s), (size_t)((g.o->size + g.piece - 1) / g.piece), get_range, &g, e);
}
