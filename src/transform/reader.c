/* SPDX-License-Identifier: Apache-2.0 */
#include "transform/reader.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "feed/inflate.h"
#include "transform/split.h"

enum {
	RAW_LOCAL = 256 << 10, /* of what is packed, at a time */
	RANGE = 4 << 20,       /* of another S3, in one request */
	COUNT = 256 << 10,
};

struct reader {
	int fd;
	struct s3 *s3;
	char *bucket, *key, *etag;
	uint64_t size, at;
	struct inflater *inflater; /* NULL: as it is */
	char *raw;
	struct str unpacked; /* what is still to be handed out of it */
};

static int open_file(int objects_fd, const struct list_entry *entry, struct err *e)
{
	_cleanup_close_ int fd = -EBADF;
	char path[80];
	struct stat st;

	snprintf(path, sizeof(path), "%.2s/" PRIstr, entry->object_id.p, ARGstr(entry->object_id));
	fd = open_beneath(objects_fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, e);
	if (fd < 0)
		return -1;
	if (fstat(fd, &st) < 0)
		return err_sys(e, "looking at the object's file");
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != entry->size)
		return err_set(e, ERR_IO, "the object's file has %lld bytes instead of %llu", (long long)st.st_size,
		               (unsigned long long)entry->size);
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	return take_fd(fd);
}

int reader_open(const struct reader_place *from, const struct list_entry *entry, struct reader **ret, struct err *e)
{
	bool remote = str_is(entry->object_id, "-");
	_cleanup_(reader_closep) struct reader *r = xcalloc(1, sizeof(*r));

	r->fd = -EBADF;
	r->size = entry->size;
	if (remote ? !from->s3 : from->objects_fd < 0)
		return err_set(e, ERR_INVALID, "the work order does not say where objects %s are",
		               remote ? "of another S3" : "of the store");
	if (!remote && (r->fd = open_file(from->objects_fd, entry, e)) < 0)
		return -1;
	r->s3 = remote ? from->s3 : NULL;
	r->bucket = str_dup(entry->bucket.n ? entry->bucket : from->bucket);
	r->key = str_dup(entry->key);
	r->etag = str_dup(str_is(entry->etag, "-") ? STR("") : entry->etag);
	if (from->gzip) {
		r->inflater = inflater_new();
		r->raw = xrealloc(NULL, remote ? RANGE : RAW_LOCAL);
	}
	*ret = take_ptr(r);
	return 0;
}

void reader_close(struct reader *r)
{
	if (!r)
		return;
	cleanup_closep(&r->fd);
	inflater_free(r->inflater);
	free(r->bucket);
	free(r->key);
	free(r->etag);
	free(r->raw);
	free(r);
}

void reader_rewind(struct reader *r)
{
	r->at = 0;
	r->unpacked = (struct str){ 0 };
	if (r->inflater)
		inflater_reset(r->inflater);
}

/* 1 to n bytes. */
static int read_some(int fd, uint64_t at, char *dst, size_t n, size_t *ret_n, struct err *e)
{
	ssize_t got;

	do
		got = pread(fd, dst, n, (off_t)at);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return err_sys(e, "reading the object's file");
	if (got == 0)
		return err_set(e, ERR_IO, "the object's file ends after %llu bytes", (unsigned long long)at);
	*ret_n = (size_t)got;
	return 0;
}

int reader_part(int fd, uint64_t at, char *dst, size_t n, struct err *e)
{
	for (size_t got; n; dst += got, at += got, n -= got)
		if (read_some(fd, at, dst, n, &got, e) < 0)
			return -1;
	return 0;
}

int reader_count_lines(int fd, uint64_t at, uint64_t n, uint64_t *ret, struct err *e)
{
	_cleanup_free_ char *piece = xrealloc(NULL, COUNT);
	uint64_t lines = 0;

	for (size_t got; n; at += got, n -= got) {
		if (read_some(fd, at, piece, n < COUNT ? (size_t)n : COUNT, &got, e) < 0)
			return -1;
		lines += split_count_lines((struct str){ piece, got });
	}
	*ret = lines;
	return 0;
}

int reader_file(const struct reader *r)
{
	return r->inflater ? -EBADF : r->fd;
}

void reader_seek(struct reader *r, uint64_t at)
{
	must(reader_file(r) >= 0 && at <= r->size);
	r->at = at;
}

/* The object's own bytes. */
static int read_raw(struct reader *r, char *dst, size_t n, size_t *ret_n, struct err *e)
{
	struct s3_uri uri = { str_of(r->bucket), str_of(r->key) };

	if (n > r->size - r->at)
		n = (size_t)(r->size - r->at);
	if (r->s3 && n > RANGE)
		n = RANGE;
	*ret_n = n;
	if (!n)
		return 0;
	if (r->s3 ? s3_get_range(r->s3, uri, str_of(r->etag), r->at, n, dst, e) < 0
	          : read_some(r->fd, r->at, dst, n, ret_n, e) < 0)
		return -1;
	r->at += *ret_n;
	return 0;
}

/* 1: there is something in r->unpacked; 0: the end. */
static int unpack(struct reader *r, struct err *e)
{
	size_t n;
	int rc;

	for (;;) {
		rc = inflater_next(r->inflater, &r->unpacked, e);
		if (rc != 0)
			return rc;
		if (read_raw(r, r->raw, r->s3 ? RANGE : RAW_LOCAL, &n, e) < 0)
			return -1;
		if (!n)
			return inflater_end(r->inflater, e);
		inflater_feed(r->inflater, (struct str){ r->raw, n });
	}
}

int reader_read(struct reader *r, char *dst, size_t n, size_t *ret_n, struct err *e)
{
	int rc;

	if (!r->inflater)
		return read_raw(r, dst, n, ret_n, e);
	if (!r->unpacked.n) {
		rc = unpack(r, e);
		if (rc <= 0) {
			*ret_n = 0;
			return rc;
		}
	}
	if (n > r->unpacked.n)
		n = r->unpacked.n;
	memcpy(dst, r->unpacked.p, n);
	r->unpacked.p += n;
	r->unpacked.n -= n;
	*ret_n = n;
	return 0;
}
