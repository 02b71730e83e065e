/* What segments are called, and how they begin and end. SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "joblog/series.h"

enum { BASE_DIGITS = 20 };

static uint64_t get64(const unsigned char *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static uint32_t get32(const unsigned char *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static void put64(unsigned char *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

/* ---- heads and footers ---- */

void segment_head_write(unsigned char dst[SEGMENT_HEAD_BYTES], const char *magic, const struct segment_head *h)
{
	memcpy(dst, magic, 8);
	memcpy(dst + 8, h->mark, JOBLOG_MARK_BYTES);
	put64(dst + 16, h->base);
	put64(dst + 24, h->first);
	put64(dst + 32, (uint64_t)h->before.ms);
}

int segment_head_read(int fd, const char *name, uint64_t base, struct segment_head *ret, struct err *e)
{
	unsigned char head[SEGMENT_HEAD_BYTES];
	struct segment_head h = { .head = JOBLOG_START, .base = JOBLOG_START };
	int rc = joblog_pread(fd, head, JOBLOG_START, 0, e);

	if (rc <= 0)
		return rc;
	h.packed = memcmp(head, PACKED_MAGIC, 8) == 0;
	memcpy(h.mark, head + 8, JOBLOG_MARK_BYTES);
	if (h.packed || memcmp(head, SEGMENT_MAGIC, 8) == 0) {
		rc = joblog_pread(fd, head, sizeof(head), 0, e);
		if (rc <= 0)
			return rc;
		h.head = SEGMENT_HEAD_BYTES;
		h.base = get64(head + 16);
		h.first = get64(head + 24);
		h.before.ms = (int64_t)get64(head + 32);
	} else if (memcmp(head, JOBLOG_MAGIC, 8) != 0) {
		return err_set(e, ERR_INVALID, "%s is not a job log", name);
	}
	if (h.base != base)
		return err_set(e, ERR_INVALID, "%s is another segment of a job log than its name says", name);
	*ret = h;
	return 1;
}

int segment_footer_read(int fd, const char *name, struct segment_footer *ret, struct err *e)
{
	unsigned char foot[FOOTER_BYTES];
	struct segment_footer f;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(e, "looking at %s", name);
	if (st.st_size < SEGMENT_HEAD_BYTES + FOOTER_BYTES)
		return err_set(e, ERR_IO, "%s is damaged: it is too short", name);
	if (joblog_pread(fd, foot, sizeof(foot), (uint64_t)st.st_size - FOOTER_BYTES, e) <= 0)
		return err_in(e, "reading the end of %s", name);
	f = (struct segment_footer){ get64(foot),     get64(foot + 16), get64(foot + 24),
		                     get32(foot + 8), get32(foot + 12), { (int64_t)get64(foot + 32) } };
	if (memcmp(foot + 40, FOOTER_MAGIC, 8) != 0 || !f.blocks || f.blocks > BLOCKS_MAX ||
	    f.index < SEGMENT_HEAD_BYTES || f.index > (uint64_t)st.st_size - FOOTER_BYTES ||
	    f.index_bytes != (uint64_t)st.st_size - FOOTER_BYTES - f.index)
		return err_set(e, ERR_IO, "%s is damaged at its end", name);
	*ret = f;
	return 0;
}

/* ---- names ---- */

char *segment_name(const char *leaf, uint64_t base)
{
	return base == JOBLOG_START ? xstrdup(leaf) : strf("%s.%0*" PRIu64, leaf, BASE_DIGITS, base);
}

/* Whether it is the name of a segment of the log. */
static bool name_read(const char *name, struct str leaf, uint64_t *ret)
{
	struct str s = str_of(name);

	if (!str_skip(&s, leaf))
		return false;
	*ret = JOBLOG_START;
	if (!s.n)
		return true;
	return str_skip(&s, STR(".")) && s.n == BASE_DIGITS && str_to_u64(s, ret) && *ret > JOBLOG_START;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x, y;

	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return x < y ? -1 : x > y;
}

int segments_list(int dirfd, const char *leaf, struct segments *ret, struct err *e)
{
	_cleanup_close_ int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct segments s = { 0 };
	struct dirent *d;
	uint64_t base;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir)
		return err_sys(e, "opening the directory of %s", leaf);
	take_fd(fd);
	while ((errno = 0, d = readdir(dir))) {
		if (!name_read(d->d_name, str_of(leaf), &base))
			continue;
		if (!(s.count & (s.count - 1)))
			s.bases = xrealloc(s.bases, (s.count ? 2 * s.count : 4) * sizeof(*s.bases));
		s.bases[s.count++] = base;
	}
	if (errno) {
		err_sys(e, "reading the directory of %s", leaf);
		segments_fini(&s);
		closedir(dir);
		return -1;
	}
	closedir(dir);
	if (s.count)
		qsort(s.bases, s.count, sizeof(s.bases[0]), by_number);
	*ret = s;
	return 0;
}

void segments_fini(struct segments *s)
{
	free(s->bases);
	*s = (struct segments){ 0 };
}

int segment_open(int dirfd, const char *name, struct err *e)
{
	_cleanup_close_ int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;

	if (fd < 0 && errno == ENOENT)
		return err_set(e, ERR_NOT_FOUND, "%s: nothing was printed yet", name);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "opening %s", name);
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_INVALID, "%s is not a job log", name);
	return take_fd(fd);
}

int log_directory(const char *path, const char **ret_leaf, struct err *e)
{
	const char *slash = strrchr(path, '/');
	_cleanup_free_ char *dir = slash ? str_dup((struct str){ path, (size_t)(slash - path) + 1 }) : xstrdup(".");
	int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return err_set(e, ERR_NOT_FOUND, "%s: nothing was printed yet", path);
	if (fd < 0)
		return err_sys(e, "opening the directory of %s", path);
	*ret_leaf = slash ? slash + 1 : path;
	return fd;
}
