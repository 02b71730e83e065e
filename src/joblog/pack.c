/* What becomes of old segments. SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "base/fd.h"
#include "joblog/series.h"

enum { PACK_LEVEL = 3, ENDED_MIN_BYTES = 1 << 20 };

/* One segment being packed. */
struct packer {
	int in, out;
	const char *name;
	struct segment_head head;
	struct segment_footer foot;
	uint64_t place; /* in out */
	struct block now;
	char *plain, *packed; /* BLOCK_MAX and what that may become */
	unsigned char *index; /* INDEX_ENTRY_BYTES a block */
	ZSTD_CCtx *zstd;
};

static void packer_fini(struct packer *k)
{
	cleanup_closep(&k->in);
	cleanup_closep(&k->out);
	free(k->plain);
	free(k->packed);
	free(k->index);
	ZSTD_freeCCtx(k->zstd);
}

static void put(unsigned char **at, uint64_t v, size_t n)
{
	v = htole64(v);
	memcpy(*at, &v, n);
	*at += n;
}

static int write_zstd(struct packer *k, const void *plain, size_t n, uint32_t *ret, struct err *e)
{
	size_t room = ZSTD_compressBound(n), got;
	_cleanup_free_ char *dst = xrealloc(NULL, room);

	got = ZSTD_compress2(k->zstd, dst, room, plain, n);
	if (ZSTD_isError(got))
		return err_set(e, ERR_IO, "packing %s: %s", k->name, ZSTD_getErrorName(got));
	if (fd_write_all(k->out, dst, got, e) < 0)
		return -1;
	k->place += got;
	*ret = (uint32_t)got;
	return 0;
}

static int end_block(struct packer *k, struct err *e)
{
	struct block *b = &k->now;
	unsigned char *at;

	if (!b->plain)
		return 0;
	if (k->foot.blocks == BLOCKS_MAX)
		return err_set(e, ERR_INVALID, "%s is too long to be packed", k->name);
	b->place = k->place;
	if (write_zstd(k, k->plain, b->plain, &b->packed, e) < 0)
		return -1;
	k->index = xrealloc(k->index, (size_t)(k->foot.blocks + 1) * INDEX_ENTRY_BYTES);
	at = k->index + (size_t)k->foot.blocks++ * INDEX_ENTRY_BYTES;
	put(&at, b->offset, 8);
	put(&at, b->place, 8);
	put(&at, (uint64_t)b->at.ms, 8);
	put(&at, b->first, 8);
	put(&at, b->packed, 4);
	put(&at, b->plain, 4);
	k->now = (struct block){ .offset = k->foot.end };
	return 0;
}

/* Takes the frame at this place of the plain segment: 1 and where the next is; 0 when there is none. */
static int take_frame(struct packer *k, uint64_t place, uint64_t *ret_next, struct err *e)
{
	struct joblog_frame f;
	size_t n;
	char *to;
	int rc = joblog_frame_at(k->in, k->head.mark, place, &f, ret_next, e);

	if (rc <= 0)
		return rc;
	n = (size_t)(*ret_next - place);
	if (!k->now.plain) {
		k->now.at = f.at;
		k->now.first = f.first;
	}
	to = k->plain + k->now.plain;
	if (joblog_pread(k->in, to, n, place, e) <= 0)
		return err_in(e, "reading %s", k->name);
	k->now.plain += (uint32_t)n;
	k->foot.end += n;
	k->foot.next = f.first + joblog_records(&f, to + JOBLOG_HEAD_BYTES);
	k->foot.last = f.at;
	return k->now.plain >= BLOCK_BYTES && end_block(k, e) < 0 ? -1 : 1;
}

static int write_footer(struct packer *k, struct err *e)
{
	unsigned char foot[FOOTER_BYTES], *at = foot;

	k->foot.index = k->place;
	if (write_zstd(k, k->index, (size_t)k->foot.blocks * INDEX_ENTRY_BYTES, &k->foot.index_bytes, e) < 0)
		return -1;
	put(&at, k->foot.index, 8);
	put(&at, k->foot.index_bytes, 4);
	put(&at, k->foot.blocks, 4);
	put(&at, k->foot.end, 8);
	put(&at, k->foot.next, 8);
	put(&at, (uint64_t)k->foot.last.ms, 8);
	memcpy(at, FOOTER_MAGIC, 8);
	if (fd_write_all(k->out, foot, sizeof(foot), e) < 0)
		return -1;
	return fsync(k->out) < 0 ? err_sys(e, "syncing %s", k->name) : 0;
}

static int write_packed(struct packer *k, struct err *e)
{
	unsigned char head[SEGMENT_HEAD_BYTES];
	uint64_t place = k->head.head, next;
	int rc;

	k->zstd = ZSTD_createCCtx();
	must(k->zstd);
	ZSTD_CCtx_setParameter(k->zstd, ZSTD_c_compressionLevel, PACK_LEVEL);
	ZSTD_CCtx_setParameter(k->zstd, ZSTD_c_checksumFlag, 1);
	k->plain = xrealloc(NULL, BLOCK_MAX);
	k->foot = (struct segment_footer){ .end = k->head.base, .next = k->head.first, .last = k->head.before };
	k->now = (struct block){ .offset = k->head.base };
	segment_head_write(head, PACKED_MAGIC, &k->head);
	if (fd_write_all(k->out, head, sizeof(head), e) < 0)
		return -1;
	k->place = sizeof(head);
	for (; (rc = take_frame(k, place, &next, e)) > 0; place = next)
		;
	return rc < 0 || end_block(k, e) < 0 ? -1 : write_footer(k, e);
}

/* Packs the segment, when it is a plain one. end: where the next begins; 0: it is the last, and has ended. */
static int pack_segment(int dirfd, const char *leaf, uint64_t base, uint64_t end, struct err *e)
{
	_cleanup_free_ char *name = segment_name(leaf, base), *temp = strf("%s.new", leaf);
	_cleanup_(packer_fini) struct packer k = { .in = -EBADF, .out = -EBADF, .name = name };
	struct stat st;

	k.in = segment_open(dirfd, name, e);
	if (k.in < 0 || segment_head_read(k.in, name, base, &k.head, e) < 0)
		return -1;
	if (fstat(k.in, &st) < 0)
		return err_sys(e, "looking at %s", name);
	if (k.head.packed || st.st_size <= (off_t)k.head.head || (!end && st.st_size < ENDED_MIN_BYTES))
		return 0;
	if (unlinkat(dirfd, temp, 0) < 0 && errno != ENOENT)
		return err_sys(e, "removing %s", temp);
	k.out = openat(dirfd, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (k.out < 0)
		return err_sys(e, "creating %s", temp);
	if (write_packed(&k, e) < 0 || futimens(k.out, (struct timespec[]){ st.st_atim, st.st_mtim }) < 0) {
		unlinkat(dirfd, temp, 0);
		return err_in(e, "packing %s", name);
	}
	if (end && k.foot.end != end) {
		unlinkat(dirfd, temp, 0);
		return err_set(e, ERR_IO, "%s ends at byte %" PRIu64 " and the next segment begins at %" PRIu64, name,
		               k.foot.end, end);
	}
	return renameat(dirfd, temp, dirfd, name) < 0 ? err_sys(e, "replacing %s", name) : 0;
}

/* ---- a whole log ---- */

/* The next segment counts only with its head. */
static bool has_head(int dirfd, const char *leaf, uint64_t base)
{
	_cleanup_free_ char *name = segment_name(leaf, base);
	_cleanup_close_ int fd = segment_open(dirfd, name, NULL);
	struct segment_head h;

	return fd >= 0 && segment_head_read(fd, name, base, &h, NULL) > 0;
}

/* The log's directory and segments. 0 and no segments where there is none. */
static int look_at(const char *path, int *ret_dirfd, const char **ret_leaf, struct segments *ret, struct err *e)
{
	struct err why = { 0 };

	*ret = (struct segments){ 0 };
	*ret_dirfd = log_directory(path, ret_leaf, &why);
	if (*ret_dirfd >= 0)
		return segments_list(*ret_dirfd, *ret_leaf, ret, e);
	if (why.kind == ERR_NOT_FOUND)
		return 0;
	if (e)
		*e = why;
	return -1;
}

int joblog_pack(const char *path, bool ended, struct err *e)
{
	_cleanup_close_ int dirfd = -EBADF;
	_cleanup_(segments_fini) struct segments all = { 0 };
	struct err first = { 0 };
	const char *leaf;

	if (look_at(path, &dirfd, &leaf, &all, e) < 0)
		return -1;
	for (size_t i = 0; i < all.count; i++) {
		bool last = i + 1 == all.count || !has_head(dirfd, leaf, all.bases[i + 1]);
		struct err why = { 0 };

		if (last && !ended)
			break;
		if (pack_segment(dirfd, leaf, all.bases[i], last ? 0 : all.bases[i + 1], &why) < 0 && !first.kind)
			first = why;
	}
	if (first.kind && e)
		*e = first;
	return first.kind ? -1 : 0;
}

int joblog_trim(const char *path, struct wall t, bool ended, struct err *e)
{
	_cleanup_close_ int dirfd = -EBADF;
	_cleanup_(segments_fini) struct segments all = { 0 };
	const char *leaf;

	if (look_at(path, &dirfd, &leaf, &all, e) < 0)
		return -1;
	for (size_t i = 0; i < all.count; i++) {
		_cleanup_free_ char *name = segment_name(leaf, all.bases[i]);
		struct joblog_size size;
		bool last = i + 1 == all.count;

		if (last && (!ended || !joblog_measure(path, &size) || size.written.ms >= t.ms))
			break;
		if (!last) {
			_cleanup_free_ char *next = segment_name(leaf, all.bases[i + 1]);
			_cleanup_close_ int fd = segment_open(dirfd, next, NULL);
			struct segment_head h;

			if (fd < 0 || segment_head_read(fd, next, all.bases[i + 1], &h, NULL) <= 0 ||
			    h.before.ms >= t.ms)
				break;
		}
		if (unlinkat(dirfd, name, 0) < 0)
			return err_sys(e, "removing %s", name);
	}
	return 0;
}

int joblog_remove(const char *path, struct err *e)
{
	_cleanup_close_ int dirfd = -EBADF;
	_cleanup_(segments_fini) struct segments all = { 0 };
	const char *leaf;

	if (look_at(path, &dirfd, &leaf, &all, e) < 0)
		return -1;
	for (size_t i = 0; i < all.count; i++) {
		_cleanup_free_ char *name = segment_name(leaf, all.bases[i]);

		if (unlinkat(dirfd, name, 0) < 0 && errno != ENOENT)
			return err_sys(e, "removing %s", name);
	}
	return 0;
}

bool joblog_measure(const char *path, struct joblog_size *ret)
{
	_cleanup_close_ int dirfd = -EBADF;
	_cleanup_(segments_fini) struct segments all = { 0 };
	struct joblog_size size = { 0 };
	const char *leaf;

	if (look_at(path, &dirfd, &leaf, &all, NULL) < 0)
		return false;
	for (size_t i = 0; i < all.count; i++) {
		_cleanup_free_ char *name = segment_name(leaf, all.bases[i]);
		struct stat st;

		if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
			continue;
		size.bytes += (uint64_t)st.st_size;
		size.written.ms = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
	}
	*ret = size;
	return size.bytes > 0;
}
