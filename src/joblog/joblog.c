/* The writer. SPDX-License-Identifier: Apache-2.0 */
#include "joblog/joblog.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hash.h"
#include "joblog/series.h"

struct joblog {
	int fd, dirfd; /* of the last segment, of the directory */
	char *leaf;
	unsigned char mark[JOBLOG_MARK_BYTES];
	uint64_t base; /* offset of the segment's first frame */
	unsigned head; /* bytes of the segment before it */
	uint64_t segment_bytes;
	uint64_t end;       /* place in the segment behind the last whole frame */
	bool torn;          /* there may be part of a frame behind it */
	uint64_t next;      /* number of the next record */
	struct wall last;   /* time of the last record */
	unsigned char open; /* pipes whose lines are drafts only */
};

static void joblog_freep(struct joblog **l)
{
	if (!*l)
		return;
	cleanup_closep(&(*l)->fd);
	cleanup_closep(&(*l)->dirfd);
	free((*l)->leaf);
	free(*l);
}

/* A log is new until it has its head; two halves of a head are written again. */
static int start(struct joblog *l, const char *path, struct err *e)
{
	unsigned char head[JOBLOG_START] = JOBLOG_MAGIC;

	l->base = l->head = JOBLOG_START;

	random_bytes(l->mark, sizeof(l->mark));
	memcpy(head + 8, l->mark, sizeof(l->mark));
	if (ftruncate(l->fd, 0) < 0)
		return err_sys(e, "emptying %s", path);
	if (fd_write_all(l->fd, head, sizeof(head), e) < 0)
		return err_in(e, "starting %s", path);
	l->end = JOBLOG_START;
	return 0;
}

/* Takes the last frame, *next being behind it, as where to go on. */
static int go_on_after(struct joblog *l, uint64_t frame, const struct joblog_frame *f, uint64_t next, struct err *e)
{
	_cleanup_free_ char *body = xcalloc(1, f->length);

	if (joblog_pread(l->fd, body, f->length, frame + JOBLOG_HEAD_BYTES, e) <= 0)
		return err_in(e, "reading the last frame");
	l->end = next;
	l->next = f->first + joblog_records(f, body);
	l->last = f->at;
	return 0;
}

/* The usual case: the file ends with a whole frame, found from behind. 1: found; 0: look from the front. */
static int find_end_backwards(struct joblog *l, uint64_t size, struct err *e)
{
	struct joblog_frame f;
	uint32_t trailer;
	uint64_t at, next;

	if (size < l->head + JOBLOG_HEAD_BYTES + sizeof(trailer))
		return 0;
	if (joblog_pread(l->fd, &trailer, sizeof(trailer), size - sizeof(trailer), e) <= 0)
		return err_in(e, "reading the end of the log");
	at = (uint64_t)le32toh(trailer) + JOBLOG_HEAD_BYTES + sizeof(trailer);
	if (at > size - l->head)
		return 0;
	at = size - at;
	if (joblog_frame_at(l->fd, l->mark, at, &f, &next, NULL) <= 0 || next != size)
		return 0;
	return go_on_after(l, at, &f, next, e) < 0 ? -1 : 1;
}

/* Walks all frames up to the first that is not whole, and cuts the file there. */
static int find_end_forwards(struct joblog *l, struct err *e)
{
	uint64_t at = l->head, last = 0, next;
	struct joblog_frame f, last_frame;

	while (joblog_frame_at(l->fd, l->mark, at, &f, &next, NULL) > 0) {
		last = at;
		last_frame = f;
		at = next;
	}
	l->end = at;
	if (last && go_on_after(l, last, &last_frame, at, e) < 0)
		return -1;
	return ftruncate(l->fd, (off_t)at) < 0 ? err_sys(e, "cutting the torn end of the log") : 0;
}

/* ---- segments ---- */

/* Opens a segment for appending, when it is a plain file of one name: the directory may be another user's. */
static int open_segment(int dirfd, const char *name, int flags, struct err *e)
{
	_cleanup_close_ int fd = openat(dirfd, name, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | flags,
	                                0644);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "opening %s", name);
	if (!S_ISREG(st.st_mode) || st.st_nlink != 1)
		return err_set(e, ERR_INVALID, "%s is not a job log", name);
	return take_fd(fd);
}

/* Makes the next segment and goes on in it. The old one is closed for good by this one's being there. */
static int next_segment(struct joblog *l, uint64_t base, struct err *e)
{
	unsigned char head[SEGMENT_HEAD_BYTES];
	struct segment_head h = { .base = base, .first = l->next, .before = l->last };
	_cleanup_free_ char *name = segment_name(l->leaf, base);
	_cleanup_close_ int fd = -EBADF;

	memcpy(h.mark, l->mark, sizeof(h.mark));
	segment_head_write(head, SEGMENT_MAGIC, &h);
	fd = open_segment(l->dirfd, name, O_CREAT | O_EXCL, e);
	if (fd < 0)
		return -1;
	if (fd_write_all(fd, head, sizeof(head), e) < 0) {
		unlinkat(l->dirfd, name, 0);
		return err_in(e, "starting %s", name);
	}
	cleanup_closep(&l->fd);
	l->fd = take_fd(fd);
	l->base = base;
	l->head = SEGMENT_HEAD_BYTES;
	l->end = SEGMENT_HEAD_BYTES;
	return 0;
}

/* Behind a packed segment. */
static int go_on_packed(struct joblog *l, int fd, const char *name, struct err *e)
{
	struct segment_footer f;

	if (segment_footer_read(fd, name, &f, e) < 0)
		return -1;
	l->next = f.next;
	l->last = f.last;
	return next_segment(l, f.end, e);
}

/* Goes on in the segment that starts at base: 1; 0 when it never got its head and is not the first, so that it is
 * gone now. */
static int go_on_in(struct joblog *l, uint64_t base, struct err *e)
{
	_cleanup_free_ char *name = segment_name(l->leaf, base);
	_cleanup_close_ int fd = open_segment(l->dirfd, name, O_CREAT, e);
	struct segment_head h;
	struct stat st;
	int rc;

	if (fd < 0 || fstat(fd, &st) < 0)
		return fd < 0 ? -1 : err_sys(e, "looking at %s", name);
	rc = segment_head_read(fd, name, base, &h, e);
	if (rc < 0)
		return -1;
	if (rc == 0 && base != JOBLOG_START)
		return unlinkat(l->dirfd, name, 0) < 0 ? err_sys(e, "removing %s", name) : 0;
	if (rc > 0)
		memcpy(l->mark, h.mark, sizeof(l->mark));
	if (rc > 0 && h.packed)
		return go_on_packed(l, fd, name, e) < 0 ? -1 : 1;
	l->fd = take_fd(fd);
	if (rc == 0)
		return start(l, name, e) < 0 ? -1 : 1;
	l->base = h.base;
	l->head = h.head;
	l->next = h.first;
	l->last = h.before;
	rc = find_end_backwards(l, (uint64_t)st.st_size, e);
	if (rc == 0)
		rc = find_end_forwards(l, e);
	return rc < 0 ? -1 : 1;
}

static int open_log(const char *path, struct joblog **ret, struct err *e)
{
	_cleanup_(joblog_freep) struct joblog *l = xcalloc(1, sizeof(*l));
	struct segments all;
	const char *leaf;
	int rc = 0;

	l->fd = -EBADF;
	l->segment_bytes = SEGMENT_BYTES;
	l->dirfd = log_directory(path, &leaf, e);
	if (l->dirfd < 0)
		return -1;
	l->leaf = xstrdup(leaf);
	if (segments_list(l->dirfd, leaf, &all, e) < 0)
		return -1;
	for (size_t i = all.count; i-- > 0 && rc == 0;)
		rc = go_on_in(l, all.bases[i], e);
	if (rc == 0)
		rc = go_on_in(l, JOBLOG_START, e);
	segments_fini(&all);
	if (rc < 0)
		return -1;
	*ret = take_ptr(l);
	return 0;
}

void joblog_segment_bytes(struct joblog *l, uint64_t bytes)
{
	l->segment_bytes = bytes;
}

uint64_t joblog_end(const struct joblog *l)
{
	return l->base + (l->end - l->head);
}

/* Writes one frame, or none: what a full disk let through of it is cut off again. Its number and length are filled in.
 */
static int write_frame(struct joblog *l, struct joblog_frame f, struct str bytes, bool newline, struct err *e)
{
	unsigned char head[JOBLOG_HEAD_BYTES];
	uint32_t trailer = htole32((uint32_t)(bytes.n + newline));
	struct iovec iov[] = { { head, sizeof(head) },
		               { (void *)bytes.p, bytes.n },
		               { (char[]){ '\n' }, newline },
		               { &trailer, sizeof(trailer) } };
	size_t want = sizeof(head) + bytes.n + newline + sizeof(trailer);
	ssize_t w;

	f.first = l->next;
	f.length = (uint32_t)(bytes.n + newline);
	if (l->torn && ftruncate(l->fd, (off_t)l->end) < 0)
		return err_sys(e, "cutting the torn end of the log");
	l->torn = false;
	/* What hinders a new segment, a full disk most of all, does not hinder going on in the old one. */
	if (l->end >= l->segment_bytes)
		(void)!next_segment(l, joblog_end(l), NULL);
	joblog_head_write(head, l->mark, &f);
	do
		w = writev(l->fd, iov, ARRAY_LEN(iov));
	while (w < 0 && errno == EINTR);
	if (w != (ssize_t)want) {
		/* A regular file takes less than everything only when it cannot take more. */
		errno = w < 0 ? errno : ENOSPC;
		err_sys(e, "writing %zu bytes to the log", want);
		l->torn = w > 0 && ftruncate(l->fd, (off_t)l->end) < 0;
		return -1;
	}
	l->end += want;
	if (!f.draft)
		l->next += joblog_count(bytes.p, bytes.n) + (newline && (!bytes.n || bytes.p[bytes.n - 1] == '\n'));
	l->last = f.at;
	l->open = f.open;
	return 0;
}

static struct wall not_before(const struct joblog *l, struct wall at)
{
	return at.ms < l->last.ms ? l->last : at;
}

int joblog_add(struct joblog *l, struct wall at, enum joblog_source source, bool ends_line, struct str bytes,
               struct err *e)
{
	struct joblog_frame f = { .at = not_before(l, at), .source = source, .open = l->open };

	for (; bytes.n + ends_line > JOBLOG_BODY_MAX; bytes.p += JOBLOG_BODY_MAX, bytes.n -= JOBLOG_BODY_MAX)
		if (write_frame(l, f, (struct str){ bytes.p, JOBLOG_BODY_MAX }, false, e) < 0)
			return -1;
	return bytes.n || ends_line ? write_frame(l, f, bytes, ends_line, e) : 0;
}

static int add_lines(struct joblog *l, const struct joblog_frame *f, struct str bytes, struct err *e)
{
	while (bytes.n) {
		struct str part = bytes;

		if (part.n > JOBLOG_BODY_MAX) {
			const char *nl = memrchr(part.p, '\n', JOBLOG_BODY_MAX);

			part.n = nl ? (size_t)(nl + 1 - part.p) : JOBLOG_BODY_MAX;
		}
		if (write_frame(l, *f, part, false, e) < 0)
			return -1;
		bytes.p += part.n;
		bytes.n -= part.n;
	}
	return 0;
}

int joblog_add_lines(struct joblog *l, struct wall at, enum joblog_source source, struct str bytes, struct err *e)
{
	return add_lines(l, &(struct joblog_frame){ .at = not_before(l, at), .source = source, .open = l->open }, bytes,
	                 e);
}

/* ---- drafts ---- */

int joblog_draft(struct joblog *l, struct wall at, unsigned pipe, bool all, struct str more, struct err *e)
{
	struct joblog_frame f = { .at = not_before(l, at), .draft = true, .pipe = (unsigned char)pipe };

	must(pipe < JOBLOG_PIPES && more.n <= JOBLOG_DRAFT_MAX);
	f.begins = all;
	f.open = l->open | (unsigned char)(1U << pipe);
	return more.n ? write_frame(l, f, more, false, e) : 0;
}

/* The first frame has all that was drafted, as that is not longer than a frame. */
int joblog_add_drafted(struct joblog *l, struct wall at, unsigned pipe, struct str bytes, struct err *e)
{
	struct joblog_frame f = { .at = not_before(l, at), .source = LOG_FROM_CONTAINER };

	f.open = l->open & (unsigned char)~(1U << pipe);
	return add_lines(l, &f, bytes, e);
}

/* What cannot be read any more does not hinder going on. */
static int add_unfinished(struct joblog *l, const char *path, struct err *e)
{
	_cleanup_(joblog_reader_closep) struct joblog_reader *r = NULL;
	struct buf lines[JOBLOG_PIPES] = { 0 };
	int rc = 0;

	if (joblog_reader_open(path, &r, NULL) < 0)
		return 0;
	for (unsigned pipe = 0; pipe < JOBLOG_PIPES; pipe++)
		if (joblog_unfinished(r, pipe, &lines[pipe], NULL) < 0)
			buf_reset(&lines[pipe]);
		else if (lines[pipe].n)
			l->open |= (unsigned char)(1U << pipe);
	for (unsigned pipe = 0; pipe < JOBLOG_PIPES; pipe++) {
		if (rc == 0 && lines[pipe].n)
			rc = joblog_add_drafted(l, l->last, pipe, buf_view(&lines[pipe]), e);
		buf_fini(&lines[pipe]);
	}
	return rc;
}

int joblog_open(const char *path, struct joblog **ret, struct err *e)
{
	_cleanup_(joblog_freep) struct joblog *l = NULL;

	if (open_log(path, &l, e) < 0 || add_unfinished(l, path, e) < 0)
		return err_in(e, "%s", path);
	*ret = take_ptr(l);
	return 0;
}

int joblog_recover(const char *path, struct err *e)
{
	struct joblog *l;

	return joblog_open(path, &l, e) < 0 ? -1 : joblog_close(l, e);
}

int joblog_close(struct joblog *l, struct err *e)
{
	_cleanup_(joblog_freep) struct joblog *mine = l;

	return fdatasync(mine->fd) < 0 ? err_sys(e, "syncing the log") : 0;
}
