/* SPDX-License-Identifier: Apache-2.0 */
#include "feed/spool.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"

enum { STEP = 1 << 20 };

void spool_init(struct spool *s, int dirfd, atomic_ullong *budget)
{
	*s = (struct spool){ .dirfd = dirfd, .budget = budget, .fd = -EBADF };
}

static void give_back(struct spool *s)
{
	atomic_fetch_sub_explicit(s->budget, s->cap, memory_order_relaxed);
	free(s->p);
	s->p = NULL;
	s->cap = 0;
}

void spool_reset(struct spool *s)
{
	if (s->cap > STEP) /* the usual small object need not be allocated each time */
		give_back(s);
	cleanup_closep(&s->fd);
	s->fd = -EBADF;
	s->n = 0;
	s->file_n = 0;
}

void spool_fini(struct spool *s)
{
	spool_reset(s);
	give_back(s);
}

uint64_t spool_size(const struct spool *s)
{
	return s->n + s->file_n;
}

/* Room for more in memory, while the channel has some left. */
static bool grow(struct spool *s, size_t more)
{
	size_t want = s->cap ? s->cap * 2 : STEP, extra;

	while (want - s->n < more)
		want *= 2;
	extra = want - s->cap;
	if (atomic_fetch_add_explicit(s->budget, extra, memory_order_relaxed) + extra > SPOOL_MEMORY) {
		atomic_fetch_sub_explicit(s->budget, extra, memory_order_relaxed);
		return false;
	}
	s->p = xrealloc(s->p, want);
	s->cap = want;
	return true;
}

/* The volume has the size that was asked for. */
static int no_room(const struct spool *s, const struct err *why, struct err *e)
{
	if (why->os == ENOSPC || why->os == EDQUOT)
		return err_set(
		        e, ERR_CLIENT,
		        "Insufficient disk space on the training host: it unpacks to more than %llu bytes, which "
		        "have to be kept until the length of its record is known. Ask for a larger VolumeSizeInGB",
		        (unsigned long long)spool_size(s));
	if (e)
		*e = *why;
	return err_in(e, "writing what it unpacks to, which is more than %llu bytes",
	              (unsigned long long)spool_size(s));
}

static int add_to_file(struct spool *s, struct str bytes, struct err *e)
{
	struct err why = { 0 };

	if (s->fd < 0 && (s->fd = openat(s->dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)) < 0)
		return err_sys(e, "making a temporary file for what it unpacks to");
	if (fd_write_all(s->fd, bytes.p, bytes.n, &why) < 0)
		return no_room(s, &why, e);
	s->file_n += bytes.n;
	return 0;
}

int spool_add(struct spool *s, struct str bytes, struct err *e)
{
	if (s->fd >= 0 || (s->cap - s->n < bytes.n && !grow(s, bytes.n)))
		return add_to_file(s, bytes, e);
	if (bytes.n)
		memcpy(s->p + s->n, bytes.p, bytes.n);
	s->n += bytes.n;
	return 0;
}

int spool_give(const struct spool *s, uint64_t at, uint64_t n, struct out *o, struct err *e)
{
	if (at < s->n) {
		uint64_t first = s->n - at < n ? s->n - at : n;
		int rc = out_add(o, (struct str){ s->p + at, (size_t)first }, e);

		if (rc != 0)
			return rc;
		at += first;
		n -= first;
	}
	return n ? out_splice(o, s->fd, at - s->n, n, e) : 0;
}
