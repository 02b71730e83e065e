/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "jobdir/jobdir.h"

struct journal {
	int fd;
	uint64_t last; /* number of the last fact */
	off_t size;    /* behind it */
};

/* ---- reading ---- */

/* What a walk over whole lines has found so far. */
struct walk {
	uint64_t offset; /* behind the last whole fact */
	uint64_t last;   /* its number; 0: none in this walk */
};

typedef int fact_fn(const struct fact *f, void *arg, struct err *e);

static int walk_line(struct walk *w, struct str line, uint64_t after, fact_fn *fn, void *arg, struct err *e)
{
	struct fact f;
	int rc = 0;

	if (fact_parse(line, &f, e) < 0)
		return -1;
	if (w->last ? f.n != w->last + 1 : (w->offset == 0 && f.n != 1))
		rc = err_set(e, ERR_SYNTAX, "fact %llu follows fact %llu", (unsigned long long)f.n,
		             (unsigned long long)w->last);
	else if (fn && f.n > after)
		rc = fn(&f, arg, e);
	if (rc == 0) {
		w->last = f.n;
		w->offset += line.n + 1;
	}
	fact_fini(&f);
	return rc;
}

/* Every line that ends in '\n', from w->offset on. A start of a line at the end is left alone; *ret_tail (may be NULL)
 * gets its length. */
static int walk_file(int fd, struct walk *w, uint64_t after, fact_fn *fn, void *arg, size_t *ret_tail, struct err *e)
{
	_cleanup_buf_ struct buf text = { 0 };
	size_t used = 0; /* bytes of text that w->offset is past */

	for (;;) {
		const char *end = text.n > used ? memchr(text.p + used, '\n', text.n - used) : NULL;
		ssize_t n;

		if (end) {
			size_t len = (size_t)(end - text.p) - used;

			if (walk_line(w, (struct str){ text.p + used, len }, after, fn, arg, e) < 0)
				return -1;
			used += len + 1;
			continue;
		}
		if (text.n - used > FACT_MAX_BYTES)
			return err_set(e, ERR_SYNTAX, "a line of more than %d bytes", FACT_MAX_BYTES);
		memmove(text.p ? text.p : "", text.p ? text.p + used : "", text.p ? text.n - used : 0);
		text.n -= used;
		used = 0;
		buf_need(&text, 65536);
		n = pread(fd, text.p + text.n, 65536, (off_t)(w->offset + text.n));
		if (n < 0 && errno != EINTR)
			return err_sys(e, "reading");
		if (n == 0)
			break;
		text.n += n > 0 ? (size_t)n : 0;
	}
	if (ret_tail)
		*ret_tail = text.n;
	return 0;
}

int journal_read(const char *job_dir, uint64_t after, uint64_t *offset, fact_fn *fn, void *arg, struct err *e)
{
	_cleanup_free_ char *path = strf("%s/journal", job_dir);
	struct err why = { 0 };
	_cleanup_close_ int fd = open_plain(AT_FDCWD, path, O_RDONLY, 0, &why);
	struct walk w = { .offset = *offset };
	int rc;

	if (fd < 0 && why.kind == ERR_NOT_FOUND)
		return 0;
	if (fd < 0) {
		if (e)
			*e = why;
		return -1;
	}
	rc = walk_file(fd, &w, after, fn, arg, NULL, e);
	*offset = w.offset;
	return rc < 0 ? err_in(e, "%s", path) : 0;
}

/* ---- writing ---- */

/* A crash can leave the start of a line, or, after a power cut, a last line of noise. Anything else is damage. */
static int drop_torn_tail(struct journal *j, struct err *e)
{
	struct walk w = { 0 };
	struct err why = { 0 };
	struct stat st;
	size_t tail;

	if (fstat(j->fd, &st) < 0)
		return err_sys(e, "looking at it");
	if (walk_file(j->fd, &w, UINT64_MAX, NULL, NULL, &tail, &why) < 0) {
		char last;

		if (why.kind != ERR_SYNTAX)
			return err_set(e, why.kind, "%s", why.frame[0]);
		for (off_t at = (off_t)w.offset; at < st.st_size - 1; at++) {
			if (pread(j->fd, &last, 1, at) != 1)
				return err_sys(e, "reading");
			if (last == '\n')
				return err_set(e, ERR_SYNTAX, "damaged after fact %llu: %s", (unsigned long long)w.last,
				               why.frame[0]);
		}
	}
	if ((uint64_t)st.st_size != w.offset && (ftruncate(j->fd, (off_t)w.offset) < 0 || fsync(j->fd) < 0))
		return err_sys(e, "dropping a torn last line");
	j->last = w.last;
	j->size = (off_t)w.offset;
	return 0;
}

int journal_open(const char *job_dir, struct journal **ret, struct err *e)
{
	_cleanup_(journal_closep) struct journal *j = xcalloc(1, sizeof(*j));
	_cleanup_close_ int dir = open(job_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	j->fd = -EBADF;
	if (dir < 0)
		return err_sys(e, "opening %s", job_dir);
	j->fd = open_plain(dir, "journal", O_RDWR | O_CREAT | O_APPEND, 0644, e);
	if (j->fd < 0)
		return err_in(e, "opening the journal of %s", job_dir);
	if (fchmod(j->fd, 0644) < 0)
		return err_sys(e, "setting the mode of %s/journal", job_dir);
	if (flock(j->fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? err_set(e, ERR_IN_USE, "another supervisor writes %s/journal", job_dir)
		                            : err_sys(e, "locking %s/journal", job_dir);
	if (drop_torn_tail(j, e) < 0)
		return err_in(e, "%s/journal", job_dir);
	if (fsync(dir) < 0)
		return err_sys(e, "syncing %s", job_dir);
	*ret = take_ptr(j);
	return 0;
}

void journal_close(struct journal *j)
{
	if (!j)
		return;
	cleanup_closep(&j->fd);
	free(j);
}

int journal_add(struct journal *j, enum fact_kind kind, const json_t *args, struct err *e)
{
	_cleanup_buf_ struct buf line = { 0 };
	struct fact f = { .n = j->last + 1, .at = wall_now(), .kind = kind };

	f.args = args ? json_incref((json_t *)args) : json_object();
	fact_write(&f, &line);
	fact_fini(&f);
	if (line.n > FACT_MAX_BYTES)
		return err_set(e, ERR_LIMIT, "fact %s has %zu bytes; the limit is %d", fact_name[kind], line.n,
		               FACT_MAX_BYTES);
	if (fd_write_all(j->fd, line.p, line.n, e) < 0 || fdatasync(j->fd) < 0) {
		if (!e || e->kind == ERR_NONE)
			err_sys(e, "syncing");
		if (ftruncate(j->fd, j->size) < 0) /* else the next fact would follow half a line */
			err_in(e, "and taking half a line back failed");
		return err_in(e, "writing fact %s to the journal", fact_name[kind]);
	}
	j->last++;
	j->size += (off_t)line.n;
	return 0;
}
