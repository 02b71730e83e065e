/* get.c - GetObject to a file, whole or in parallel ranges.  SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <unistd.h>

#include "s3/call.h"

enum { SILENT_S = 30 }; /* a GET without a byte for so long is given up, and resumed */

/* One range on its way; `got` bytes of it are where they belong. */
struct range {
	struct s3 *s;
	struct s3_uri at;
	struct str etag; /* empty: none */
	bool whole;      /* it is all of the object: no Range */
	uint64_t from, length, got;
	int fd;     /* to write at `from`; or ... */
	char *into; /* ... the memory for it */
	bool local; /* we, not the connection, failed: another try would end the same way */
};

static int keep(struct range *r, struct str piece, struct err *e)
{
	ssize_t n;

	if (r->into) {
		memcpy(r->into + r->got, piece.p, piece.n);
		return (int)piece.n;
	}
	do
		n = pwrite(r->fd, piece.p, piece.n, (off_t)(r->from + r->got));
	while (n < 0 && errno == EINTR);
	if (n < 0) {
		r->local = true;
		return err_sys(e, "writing the object's bytes");
	}
	return (int)n;
}

static int take_piece(void *arg, struct str piece, struct err *e)
{
	struct range *r = arg;

	if (s3_cancelled(r->s))
		return err_set(e, ERR_IO, "cancelled");
	if (piece.n > r->length - r->got) {
		r->local = true;
		return err_set(e, ERR_IO, "the server sent more than the %llu bytes asked for",
		               (unsigned long long)r->length);
	}
	while (piece.n) {
		int n = keep(r, piece, e);

		if (n < 0)
			return -1;
		piece.p += n;
		piece.n -= (size_t)n;
		r->got += (uint64_t)n;
		s3_progress(r->s, n);
	}
	return 0;
}

/* What has come is of the version and from the place that were asked for. There are servers that know nothing of
 * If-Match. */
static int check_answer(const struct range *r, const struct http_reply *reply, uint64_t first, struct err *e)
{
	_cleanup_free_ char *place = strf("bytes %llu-", (unsigned long long)first);
	struct str said;

	if (r->etag.n && !str_is(r->etag, "-") && http_reply_header(reply, "ETag", &said) &&
	    !str_eq(s3_unquote(said), r->etag)) {
		err_set(e, ERR_CONFLICT, "s3://" PRIstr "/" PRIstr " has another ETag now", ARGstr(r->at.bucket),
		        ARGstr(r->at.key));
		return err_in(e, "the object was replaced while it was read");
	}
	if (reply->status == 206 && http_reply_header(reply, "Content-Range", &said) &&
	    !str_starts(said, str_of(place)))
		return err_set(e, ERR_IO, "the server sent '" PRIstr "' where '%s' was asked for", ARGstr(said), place);
	return 0;
}

/* Asks once for what is missing of the range. */
static int get_rest(struct range *r, bool *ret_again, struct err *e)
{
	_cleanup_free_ char *match = strf("If-Match: \"" PRIstr "\"", ARGstr(r->etag));
	char range[80];
	struct s3_call c = S3_CALL(.method = "GET", .bucket = r->at.bucket, .key = r->at.key, .sink = take_piece,
	                           .sink_arg = r, .idle_s = SILENT_S);
	struct http_reply reply = { 0 };
	uint64_t first = r->from + r->got;
	size_t n = 0;
	int rc;

	snprintf(range, sizeof(range), "Range: bytes=%llu-%llu", (unsigned long long)first,
	         (unsigned long long)(r->from + r->length - 1));
	if (r->etag.n && !str_is(r->etag, "-"))
		c.header[n++] = match;
	if (r->got || !r->whole) {
		c.header[n++] = range;
		c.sink_status = 206; /* a 200 would bring other bytes */
	}
	if (s3_attempt(r->s, &c, &reply, ret_again, e) < 0) {
		*ret_again &= !r->local;
		if (e->kind == ERR_CONFLICT)
			err_in(e, "the object was replaced while it was read");
		return -1;
	}
	rc = check_answer(r, &reply, first, e);
	http_reply_fini(&reply);
	if (rc < 0) {
		*ret_again = false;
		return -1;
	}
	if (r->got < r->length) {
		*ret_again = true;
		return err_set(e, ERR_IO, "s3://" PRIstr "/" PRIstr " ended after %llu of %llu bytes",
		               ARGstr(r->at.bucket), ARGstr(r->at.key), (unsigned long long)(r->from + r->got),
		               (unsigned long long)(r->from + r->length));
	}
	return 0;
}

static int get_range(struct range *r, struct err *e)
{
	struct s3_retry retry = s3_retry_begin();
	uint64_t before;
	bool again;

	do {
		before = r->got;
		if (get_rest(r, &again, e) == 0)
			return 0;
		if (r->got > before) /* as long as every connection brings something, it goes on */
			retry = s3_retry_begin();
	} while (again && s3_again(r->s, &retry, e));
	s3_progress(r->s, -(int64_t)r->got);
	return -1;
}

struct get {
	struct s3 *s;
	struct s3_uri at;
	const struct s3_object *o;
	int fd;
	uint64_t piece;
};

int s3_get_piece(struct s3 *s, struct s3_uri at, const struct s3_object *o, uint64_t from, uint64_t length, int fd,
                 struct err *e)
{
	struct range r = {
		.s = s, .at = at, .etag = o->etag, .whole = length == o->size, .from = from, .length = length, .fd = fd
	};

	return length ? get_range(&r, e) : 0;
}

static int get_piece(void *arg, size_t i, struct err *e)
{
	const struct get *g = arg;
	uint64_t from = i * g->piece, left = g->o->size - from;

	return s3_get_piece(g->s, g->at, g->o, from, left < g->piece ? left : g->piece, g->fd, e);
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
	return s3_parallel(s3_threads(s), (size_t)((g.o->size + g.piece - 1) / g.piece), get_piece, &g, e);
}

int s3_get_range(struct s3 *s, struct s3_uri at, struct str etag, uint64_t offset, size_t length, char *into,
                 struct err *e)
{
	struct range r = {
		.s = s, .at = at, .etag = etag, .from = offset, .length = length, .fd = -EBADF, .into = into
	};
	struct err local = { 0 };

	return length ? get_range(&r, e ? e : &local) : 0;
}
