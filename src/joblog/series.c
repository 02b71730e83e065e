/* The segments as one run of bytes, for reading. One of them is open, with one unpacked block where it is packed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "joblog/series.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

struct series {
	int dirfd;
	char *leaf;
	struct segments list;
	unsigned char mark[JOBLOG_MARK_BYTES];
	/* the open one; fd < 0: none */
	int fd;
	char *name;
	struct segment_head head;
	uint64_t end; /* of a packed one */
	struct block *blocks;
	size_t block_count;
	char *plain; /* of block `unpacked`; BLOCK_MAX bytes */
	size_t unpacked;
	bool is_unpacked;
	ZSTD_DCtx *zstd;
};

const unsigned char *series_mark(const struct series *s)
{
	return s->mark;
}

uint64_t series_start(const struct series *s)
{
	return s->list.bases[0];
}

static void leave(struct series *s)
{
	cleanup_closep(&s->fd);
	s->fd = -EBADF;
	free(take_ptr(s->name));
	free(take_ptr(s->blocks));
	s->block_count = 0;
	s->is_unpacked = false;
}

void series_close(struct series *s)
{
	if (!s)
		return;
	leave(s);
	cleanup_closep(&s->dirfd);
	segments_fini(&s->list);
	free(s->leaf);
	free(s->plain);
	ZSTD_freeDCtx(s->zstd);
	free(s);
}

/* Looks at the directory again; what is listed stays when there is nothing any more. */
static int relist(struct series *s, struct err *e)
{
	struct segments now;

	if (segments_list(s->dirfd, s->leaf, &now, e) < 0)
		return -1;
	if (!now.count) {
		segments_fini(&now);
		return err_set(e, ERR_NOT_FOUND, "%s was removed", s->leaf);
	}
	segments_fini(&s->list);
	s->list = now;
	return 0;
}

/* ---- the open segment ---- */

static int unzstd(struct series *s, void *dst, size_t n, const void *src, size_t src_n, struct err *e)
{
	size_t got;

	if (!s->zstd)
		must(s->zstd = ZSTD_createDCtx());
	got = ZSTD_decompressDCtx(s->zstd, dst, n, src, src_n);
	if (ZSTD_isError(got) || got != n)
		return err_set(e, ERR_IO, "%s is damaged: %s", s->name,
		               ZSTD_isError(got) ? ZSTD_getErrorName(got) : "a block is too short");
	return 0;
}

static void read_entry(const unsigned char *p, struct block *ret)
{
	uint64_t v[4];
	uint32_t n[2];

	memcpy(v, p, sizeof(v));
	memcpy(n, p + sizeof(v), sizeof(n));
	*ret = (struct block){ .offset = le64toh(v[0]),
		               .place = le64toh(v[1]),
		               .at = { (int64_t)le64toh(v[2]) },
		               .first = le64toh(v[3]),
		               .packed = le32toh(n[0]),
		               .plain = le32toh(n[1]) };
}

/* The blocks follow each other without gaps, in the file and in the log, from the head to the index. */
static int read_index(struct series *s, struct err *e)
{
	struct segment_footer f;
	_cleanup_free_ char *packed = NULL;
	_cleanup_free_ unsigned char *plain = NULL;
	uint64_t offset = s->head.base, place = SEGMENT_HEAD_BYTES;

	if (segment_footer_read(s->fd, s->name, &f, e) < 0)
		return -1;
	packed = xcalloc(1, (size_t)f.index_bytes + 1);
	plain = xcalloc(f.blocks, INDEX_ENTRY_BYTES);
	if (joblog_pread(s->fd, packed, f.index_bytes, f.index, e) <= 0)
		return err_in(e, "reading the index of %s", s->name);
	if (unzstd(s, plain, (size_t)f.blocks * INDEX_ENTRY_BYTES, packed, f.index_bytes, e) < 0)
		return -1;
	s->blocks = xcalloc(f.blocks, sizeof(*s->blocks));
	for (size_t i = 0; i < f.blocks; i++) {
		struct block *b = &s->blocks[i];

		read_entry(plain + i * INDEX_ENTRY_BYTES, b);
		if (b->offset != offset || b->place != place || !b->plain || b->plain > BLOCK_MAX ||
		    b->packed > ZSTD_COMPRESSBOUND(BLOCK_MAX))
			return err_set(e, ERR_IO, "%s is damaged: block %zu of its index", s->name, i);
		offset += b->plain;
		place += b->packed;
	}
	if (offset != f.end || place != f.index)
		return err_set(e, ERR_IO, "%s is damaged: its index", s->name);
	s->block_count = f.blocks;
	s->end = f.end;
	return 0;
}

/* Opens the segment that starts at base. 1; 0 when it has not got its head yet. */
static int enter(struct series *s, uint64_t base, struct err *e)
{
	int rc;

	if (s->fd >= 0 && s->head.base == base)
		return 1;
	leave(s);
	s->name = segment_name(s->leaf, base);
	s->fd = segment_open(s->dirfd, s->name, e);
	rc = s->fd < 0 ? -1 : segment_head_read(s->fd, s->name, base, &s->head, e);
	if (rc > 0 && s->head.packed)
		rc = read_index(s, e) < 0 ? -1 : 1;
	if (rc <= 0) {
		leave(s);
		return rc;
	}
	return 1;
}

static int end_of_open(struct series *s, uint64_t *ret, struct err *e)
{
	struct stat st;

	*ret = s->end;
	if (s->head.packed)
		return 0;
	if (fstat(s->fd, &st) < 0)
		return err_sys(e, "looking at %s", s->name);
	*ret = s->head.base + ((uint64_t)st.st_size > s->head.head ? (uint64_t)st.st_size - s->head.head : 0);
	return 0;
}

static int unpack(struct series *s, size_t i, struct err *e)
{
	const struct block *b = &s->blocks[i];
	_cleanup_free_ char *packed = NULL;

	if (s->is_unpacked && s->unpacked == i)
		return 0;
	s->is_unpacked = false;
	packed = xrealloc(NULL, b->packed + 1);
	if (!s->plain)
		s->plain = xrealloc(NULL, BLOCK_MAX);
	if (joblog_pread(s->fd, packed, b->packed, b->place, e) <= 0)
		return err_in(e, "reading %s", s->name);
	if (unzstd(s, s->plain, b->plain, packed, b->packed, e) < 0)
		return -1;
	s->unpacked = i;
	s->is_unpacked = true;
	return 0;
}

/* The last block that starts at or before offset. */
static size_t block_of(const struct series *s, uint64_t offset)
{
	size_t lo = 0, hi = s->block_count;

	while (lo + 1 < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->blocks[mid].offset <= offset)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

/* Bytes of the open segment; *ret_n may be less than n. */
static int read_open(struct series *s, void *p, size_t n, uint64_t offset, size_t *ret_n, struct err *e)
{
	ssize_t got;

	*ret_n = 0;
	if (s->head.packed) {
		const struct block *b;
		size_t i, into;

		if (offset >= s->end)
			return 0;
		i = block_of(s, offset);
		b = &s->blocks[i];
		if (unpack(s, i, e) < 0)
			return -1;
		into = (size_t)(offset - b->offset);
		*ret_n = n < b->plain - into ? n : b->plain - into;
		memcpy(p, s->plain + into, *ret_n);
		return 0;
	}
	do
		got = pread(s->fd, p, n, (off_t)(offset - s->head.base + s->head.head));
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return err_sys(e, "reading the log at byte %" PRIu64, offset);
	*ret_n = (size_t)got;
	return 0;
}

/* ---- all of them ---- */

int series_open(const char *path, struct series **ret, struct err *e)
{
	_cleanup_(series_closep) struct series *s = xcalloc(1, sizeof(*s));
	const char *leaf;
	int rc;

	s->fd = -EBADF;
	s->dirfd = log_directory(path, &leaf, e);
	if (s->dirfd < 0)
		return -1;
	s->leaf = xstrdup(leaf);
	if (segments_list(s->dirfd, leaf, &s->list, e) < 0)
		return -1;
	rc = s->list.count ? enter(s, s->list.bases[0], e) : 0;
	if (rc < 0)
		return -1;
	if (rc == 0)
		return err_set(e, ERR_NOT_FOUND, "%s: nothing was printed yet", path);
	memcpy(s->mark, s->head.mark, sizeof(s->mark));
	*ret = take_ptr(s);
	return 0;
}

/* The number of the last segment that starts at or before offset. There is always one. */
static size_t segment_of(const struct series *s, uint64_t offset)
{
	size_t lo = 0, hi = s->list.count;

	while (lo + 1 < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->list.bases[mid] <= offset)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

/* Whether a segment starts at the offset, where the last that is known may have been closed. */
static bool has_next(struct series *s, uint64_t offset)
{
	_cleanup_free_ char *name = segment_name(s->leaf, offset);

	return offset > JOBLOG_START && faccessat(s->dirfd, name, F_OK, 0) == 0;
}

/* Opens the segment that has the offset, or would have it. 1; 0: it has no head yet, which is only so at the end. */
static int enter_for(struct series *s, uint64_t offset, struct err *e)
{
	struct err why = { 0 };
	int rc;

	if (offset < s->list.bases[0])
		return err_set(e, ERR_NOT_FOUND, "the log before byte %" PRIu64 " was removed", s->list.bases[0]);
	rc = enter(s, s->list.bases[segment_of(s, offset)], &why);
	if (rc < 0 && why.kind == ERR_NOT_FOUND) {
		/* Removed since the directory was read. */
		if (relist(s, e) < 0)
			return -1;
		if (offset < s->list.bases[0])
			return err_set(e, ERR_NOT_FOUND, "the log before byte %" PRIu64 " was removed",
			               s->list.bases[0]);
		return enter(s, s->list.bases[segment_of(s, offset)], e);
	}
	if (rc < 0 && e)
		*e = why;
	return rc;
}

int series_read(struct series *s, void *p, size_t n, uint64_t offset, size_t *ret_n, struct err *e)
{
	size_t done = 0;

	while (done < n) {
		size_t i = segment_of(s, offset + done), got;
		uint64_t at = offset + done, end;
		size_t want = n - done;
		int rc = enter_for(s, at, e);

		if (rc < 0)
			return -1;
		if (rc == 0)
			break;
		/* A plain segment that is not the last has nothing behind the next one's start that counts. */
		if (i + 1 < s->list.count && s->list.bases[i + 1] - at < want)
			want = (size_t)(s->list.bases[i + 1] - at);
		if (read_open(s, (char *)p + done, want, at, &got, e) < 0)
			return -1;
		done += got;
		if (got)
			continue;
		if (end_of_open(s, &end, e) < 0)
			return -1;
		if (end != at || at == s->head.base || i + 1 < s->list.count || !has_next(s, at))
			break;
		if (relist(s, e) < 0)
			return -1;
	}
	*ret_n = done;
	return 0;
}

int series_end(struct series *s, uint64_t *ret, struct err *e)
{
	int rc;

	if (relist(s, e) < 0)
		return -1;
	rc = enter_for(s, s->list.bases[s->list.count - 1], e);
	if (rc < 0)
		return -1;
	if (rc == 0) { /* just made: it starts where the one before ends */
		*ret = s->list.bases[s->list.count - 1];
		return 0;
	}
	return end_of_open(s, ret, e);
}

int series_narrow(struct series *s, struct wall t, uint64_t *lo, uint64_t *hi, struct err *e)
{
	size_t from = segment_of(s, *lo), to = segment_of(s, *hi ? *hi - 1 : 0) + 1;
	int rc;

	/* The last segment with something earlier than t before it: what is at or after t begins in it or right behind.
	 */
	while (from + 1 < to) {
		size_t mid = from + (to - from) / 2;
		uint64_t base = s->list.bases[mid];

		rc = enter(s, base, e);
		if (rc < 0)
			return -1;
		if (rc > 0 && s->head.before.ms < t.ms) {
			from = mid;
			*lo = base;
		} else {
			to = mid;
			*hi = base;
		}
	}
	if (enter(s, s->list.bases[from], e) <= 0 || !s->head.packed)
		return 0;
	for (size_t a = 0, b = s->block_count; a < b;) {
		size_t mid = a + (b - a) / 2;
		const struct block *at = &s->blocks[mid];

		if (at->at.ms < t.ms) {
			*lo = at->offset > *lo ? at->offset : *lo;
			a = mid + 1;
		} else {
			*hi = at->offset < *hi ? at->offset : *hi;
			b = mid;
		}
	}
	return 0;
}
