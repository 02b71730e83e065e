/* source_store.c - the embedded store's files, opened a few ahead so that the disk can be.  SPDX-License-Identifier:
 * Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "feed/source.h"

enum {
	AHEAD = 16,              /* items opened before they are needed */
	AHEAD_LITERAL = 4 << 20, /* and not more than so many bytes of the list kept for them */
	READ_AHEAD = 2 << 20,    /* of each file, asked of the kernel in advance */
	SMALL = 8 << 10,         /* read, not spliced: several go into one write */
	PIECE = 256 << 10,
};

struct store {
	struct source source;
	int objects_fd;
	struct walk *walk;
	struct feed_item *ring[AHEAD]; /* the current one, and those after it */
	unsigned first, count;
	bool started, ended;
	uint64_t literal_bytes; /* of those in the ring */
	uint64_t at;            /* how much of the current one has been taken */
	char *piece;
};

/* The object's words for people. */
static int in_object(const struct feed_item *i, struct err *e)
{
	return err_in(e, "s3://" PRIstr "/" PRIstr, ARGstr(i->bucket), ARGstr(i->key));
}

static int open_item(const struct store *s, struct feed_item *i, struct err *e)
{
	_cleanup_close_ int fd = -EBADF;
	char path[80];
	struct stat st;

	snprintf(path, sizeof(path), "%.2s/%s", i->id.p, i->id.p);
	fd = open_beneath(s->objects_fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, e);
	if (fd < 0)
		return -1;
	if (fstat(fd, &st) < 0)
		return err_sys(e, "looking at the object's file");
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != i->size)
		return err_set(e, ERR_IO, "the object's file has %lld bytes instead of %llu", (long long)st.st_size,
		               (unsigned long long)i->size);
	if (i->size)
		(void)posix_fadvise(fd, 0, i->size < READ_AHEAD ? (off_t)i->size : READ_AHEAD, POSIX_FADV_WILLNEED);
	i->fd = take_fd(fd);
	return 0;
}

/* Fills the ring. An item that cannot be opened ends it: the error is told when it is that item's turn. */
static int work_ahead(struct store *s, struct err *e)
{
	while (!s->ended && s->count < AHEAD && (s->count == 0 || s->literal_bytes < AHEAD_LITERAL)) {
		struct feed_item *i;
		int rc = walk_next(s->walk, &i, e);

		if (rc < 0)
			return -1;
		if (rc == 0) {
			s->ended = true;
			break;
		}
		s->ring[(s->first + s->count++) % AHEAD] = i;
		if (i->literal)
			s->literal_bytes += i->size;
		else if (open_item(s, i, s->count == 1 ? e : NULL) < 0)
			return s->count == 1 ? in_object(i, e) : 0;
	}
	return 0;
}

static int store_next(struct source *source, struct out *o, const struct feed_item **ret, struct err *e)
{
	struct store *s = (struct store *)source;
	struct feed_item *i;

	(void)o;
	if (s->started && s->count) {
		i = s->ring[s->first];
		s->literal_bytes -= i->literal ? i->size : 0;
		feed_item_unref(i);
		s->first = (s->first + 1) % AHEAD;
		s->count--;
	}
	s->started = true;
	s->at = 0;
	if (work_ahead(s, e) < 0)
		return -1;
	if (!s->count)
		return 0;
	i = s->ring[s->first];
	if (!i->literal && i->fd < 0 && open_item(s, i, e) < 0)
		return in_object(i, e);
	*ret = i;
	return 1;
}

/* Up to n bytes at s->at into s->piece. */
static int read_piece(struct store *s, const struct feed_item *i, size_t n, struct str *ret, struct err *e)
{
	ssize_t got;

	s->piece = s->piece ? s->piece : xrealloc(NULL, PIECE);
	do
		got = pread(i->fd, s->piece, n, (off_t)s->at);
	while (got < 0 && errno == EINTR);
	if (got <= 0) {
		if (got < 0)
			err_sys(e, "reading the object's file");
		else
			err_set(e, ERR_IO, "the object's file ends after %llu bytes", (unsigned long long)s->at);
		return -1;
	}
	s->at += (uint64_t)got;
	*ret = (struct str){ s->piece, (size_t)got };
	return 0;
}

static int store_give(struct source *source, uint64_t n, struct out *o, struct err *e)
{
	struct store *s = (struct store *)source;
	const struct feed_item *i = s->ring[s->first];
	struct str piece;
	int rc = 0;

	must(n <= i->size - s->at);
	if (n > SMALL) {
		rc = out_splice(o, i->fd, s->at, n, e);
		s->at += n;
		return rc;
	}
	while (n && rc == 0) {
		if (read_piece(s, i, (size_t)n, &piece, e) < 0)
			return -1;
		n -= piece.n;
		rc = out_add(o, piece, e);
	}
	return rc;
}

static int store_read(struct source *source, struct out *o, struct str *ret, struct err *e)
{
	struct store *s = (struct store *)source;
	const struct feed_item *i = s->ring[s->first];

	(void)o;
	if (s->at == i->size)
		return 0;
	return read_piece(s, i, i->size - s->at < PIECE ? (size_t)(i->size - s->at) : PIECE, ret, e) < 0 ? -1 : 1;
}

static void store_free(struct source *source)
{
	struct store *s = (struct store *)source;

	for (unsigned i = 0; i < s->count; i++)
		feed_item_unref(s->ring[(s->first + i) % AHEAD]);
	walk_free(s->walk);
	free(s->piece);
	free(s);
}

struct source *source_store_new(int objects_fd, struct walk *w)
{
	static const struct source_ops ops = { store_next, store_give, store_read, store_free };
	struct store *s = xcalloc(1, sizeof(*s));

	s->source.ops = &ops;
	s->objects_fd = objects_fd;
	s->walk = w;
	return &s->source;
}
