/* What the supervisor has written, sent to bloomeryd: first what facts tell of, then the facts.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alone/inside.h"
#include "base/fd.h"
#include "base/log.h"

enum { PIECE = 512 << 10, FEEDS_MAX = 64 << 10 };

static int post(struct alone *a, const char *what, uint64_t offset, struct str bytes, uint64_t *ret_size, struct err *e)
{
	_cleanup_free_ char *path = strf("%s?offset=%llu", what, (unsigned long long)offset);
	const struct wire_request q = {
		.method = "POST", .path = path, .body = bytes, .body_fd = -EBADF, .to_fd = -EBADF
	};
	json_t *reply;
	json_int_t size;

	if (wire_call(&a->wire, &q, &reply, e) < 0)
		return -1;
	size = json_integer_value(json_object_get(reply, "size"));
	json_decref(reply);
	if (size < 0 || (uint64_t)size > offset + bytes.n)
		return err_set(e, ERR_CONFLICT, "bloomeryd has more of the %s than there is here", what);
	*ret_size = (uint64_t)size;
	return 0;
}

/* Up to PIECE bytes from offset on. */
static int read_piece(int fd, uint64_t offset, struct buf *out, struct err *e)
{
	ssize_t n;

	buf_reset(out);
	buf_need(out, PIECE);
	do
		n = pread(fd, out->p, PIECE, (off_t)offset);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_sys(e, "reading");
	out->n = (size_t)n;
	return 0;
}

/* As far as it is now: a container that prints faster than we can send must not keep facts from being told. */
static int ship_log(struct alone *a, struct err *e)
{
	uint64_t end;
	_cleanup_free_ char *path = strf("%s/log/%s", a->dir, a->spec.host_name);
	_cleanup_buf_ struct buf piece = { 0 };
	struct err why = { 0 };

	if (!a->log && joblog_copy_open(path, &a->log, &why) < 0) {
		if (why.kind == ERR_NOT_FOUND)
			return 0;
		if (e)
			*e = why;
		return -1;
	}
	if (joblog_copy_end(a->log, &end, e) < 0)
		return err_in(e, "the log");
	while (a->log_sent < end) {
		if (joblog_copy_read(a->log, a->log_sent, &piece, e) < 0)
			return err_in(e, "the log");
		if (!piece.n)
			return 0;
		if (post(a, "log", a->log_sent, buf_view(&piece), &a->log_sent, e) < 0)
			return -1;
	}
	return 0;
}

/* They are told for people, and the next ones replace them: what is refused is left out. */
static int ship_feeds(struct alone *a, struct err *e)
{
	_cleanup_buf_ struct buf text = { 0 };
	const struct wire_request q = { .method = "PUT", .path = "feeds", .body_fd = -EBADF, .to_fd = -EBADF };
	struct wire_request put = q;

	if (file_read_at(a->dir_fd, "feeds.json", FEEDS_MAX, &text, NULL) < 0 ||
	    str_eq(buf_view(&text), buf_view(&a->feeds_sent)))
		return 0;
	put.body = buf_view(&text);
	if (wire_call(&a->wire, &put, NULL, e) < 0)
		return -1;
	buf_reset(&a->feeds_sent);
	buf_str(&a->feeds_sent, buf_view(&text));
	return 0;
}

/* ---- facts ---- */

static int ship_artifact(struct alone *a, const struct fact *f, struct err *e)
{
	const char *file = json_string_value(json_object_get(f->args, "file"));
	const char *md5 = json_string_value(json_object_get(f->args, "md5"));
	_cleanup_free_ char *from = NULL, *path = NULL;
	_cleanup_close_ int fd = -EBADF;
	struct wire_request q = { .method = "PUT", .to_fd = -EBADF, .idle_s = 300 };
	struct stat st;

	if (a->spec.output_place == PLACE_REMOTE && !json_is_true(json_object_get(f->args, "part")))
		return 0; /* it is there already */
	if (!file || !md5)
		return err_set(e, ERR_BUG, "a fact of an artifact that has no file");
	from = strf("staged/%s", file);
	path = strf("staged/%s?md5=%s", file, md5);
	fd = openat(a->dir_fd, from, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "opening %s", from);
	q.path = path;
	q.body_fd = fd;
	q.body_length = (uint64_t)st.st_size;
	return wire_call(&a->wire, &q, NULL, e) < 0 ? err_in(e, "sending %s", from) : 0;
}

/* Only once the fact is there too: before that, what is left to tell after a kill -9 begins with the file. */
static void drop_artifact(struct alone *a, const struct fact *f)
{
	const char *file = json_string_value(json_object_get(f->args, "file"));
	_cleanup_free_ char *path = file && !strchr(file, '/') ? strf("staged/%s", file) : NULL;

	if (path && unlinkat(a->dir_fd, path, 0) < 0 && errno != ENOENT)
		log_warn("removing %s: %s", path, strerror(errno));
}

static void drop_what_was_told(struct alone *a, struct str facts)
{
	struct fact f;

	while (facts.n) {
		if (fact_parse(str_cut(&facts, '\n'), &f, NULL) < 0)
			return;
		if (f.kind == FACT_ARTIFACT)
			drop_artifact(a, &f);
		fact_fini(&f);
	}
}

/* The whole lines of `facts` only, with what they tell of. */
static int ship_what_is_told(struct alone *a, struct str facts, bool *ret_ended, struct err *e)
{
	while (facts.n) {
		struct fact f;
		int rc = 0;

		if (fact_parse(str_cut(&facts, '\n'), &f, e) < 0)
			return -1;
		*ret_ended |= f.kind == FACT_ENDED;
		if (f.kind == FACT_ARTIFACT)
			rc = ship_artifact(a, &f, e);
		fact_fini(&f);
		if (rc < 0)
			return -1;
	}
	return 0;
}

static int read_facts(struct alone *a, struct buf *out, struct err *e)
{
	_cleanup_close_ int fd = openat(a->dir_fd, "journal", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	const char *last;

	buf_reset(out);
	if (fd < 0)
		return errno == ENOENT ? 0 : err_sys(e, "opening the journal");
	if (read_piece(fd, a->journal_sent, out, e) < 0)
		return err_in(e, "the journal");
	last = out->n ? memrchr(out->p, '\n', out->n) : NULL;
	out->n = last ? (size_t)(last - out->p) + 1 : 0;
	return 0;
}

/* With the last one the job may be over, and our token with it. So when its answer was lost, and after that nothing is
 * wanted of us, it was taken. */
static int ship_facts(struct alone *a, struct str facts, bool ended, struct err *e)
{
	uint64_t end = a->journal_sent + facts.n;
	struct err why = { 0 };
	int rc;

	a->ending = ended;
	rc = post(a, "journal", a->journal_sent, facts, &a->journal_sent, &why);
	a->ending = false;
	a->ended_sent |= ended && (rc == 0 ? a->journal_sent == end : (why.kind == ERR_DENIED && a->wire.unsure));
	if (rc < 0 && e)
		*e = why;
	return rc;
}

int ship(struct alone *a, struct err *e)
{
	_cleanup_buf_ struct buf facts = { 0 };
	bool ended = false;
	uint64_t before;

	do {
		/* The facts are read first, so that what they tell of is there. */
		if (read_facts(a, &facts, e) < 0 || ship_log(a, e) < 0 || ship_feeds(a, e) < 0 ||
		    ship_what_is_told(a, buf_view(&facts), &ended, e) < 0)
			return -1;
		if (!facts.n)
			break;
		before = a->journal_sent;
		if (ship_facts(a, buf_view(&facts), ended, e) < 0)
			return -1;
		if (a->journal_sent == before + facts.n)
			drop_what_was_told(a, buf_view(&facts));
	} while (facts.n);
	return 0;
}
