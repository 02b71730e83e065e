/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/tarstream.h"

#include <stdlib.h>
#include <unistd.h>

enum { READ_BYTES = 256 << 10, SLACK_BYTES = 64 << 20 }; /* slack: heads, and what fills up a last tape block */

struct tarstream {
	int fd;
	struct archive *plain, *entries; /* undoes the compression; reads entries */
	struct hash *stream_hash, *tar_hash;
	uint64_t bytes, tar_bytes, tar_bytes_max;
	bool plain_ended;
	char in[READ_BYTES];
};

static la_ssize_t read_stream(struct archive *a, void *arg, const void **ret)
{
	struct tarstream *t = arg;
	ssize_t n;

	do
		n = read(t->fd, t->in, sizeof(t->in));
	while (n < 0 && errno == EINTR);
	if (n < 0) {
		archive_set_error(a, errno, "%s", strerror(errno));
		return -1;
	}
	hash_add(t->stream_hash, t->in, (size_t)n);
	t->bytes += (uint64_t)n;
	*ret = t->in;
	return n;
}

static la_ssize_t read_plain(struct archive *a, void *arg, const void **ret)
{
	struct tarstream *t = arg;
	la_int64_t offset;
	size_t n = 0;
	int rc;

	if (t->plain_ended)
		return 0;
	do
		rc = archive_read_data_block(t->plain, ret, &n, &offset);
	while (rc == ARCHIVE_RETRY || (rc == ARCHIVE_OK && n == 0));
	if (rc == ARCHIVE_EOF) {
		t->plain_ended = true;
		return 0;
	}
	if (rc < ARCHIVE_WARN) {
		const char *why = archive_error_string(t->plain);

		archive_set_error(a, archive_errno(t->plain), "%s", why ? why : "damaged compression");
		return -1;
	}
	t->tar_bytes += n;
	if (t->tar_bytes > t->tar_bytes_max) {
		archive_set_error(a, EFBIG, "the archive without its compression is larger than there is room for");
		return -1;
	}
	hash_add(t->tar_hash, *ret, n);
	return (la_ssize_t)n;
}

/* Whether each of the compressions that we promise is built into the library; others would start a program. */
static bool add_filters(struct archive *a)
{
	return archive_read_support_filter_gzip(a) == ARCHIVE_OK && archive_read_support_filter_xz(a) == ARCHIVE_OK &&
	       archive_read_support_filter_zstd(a) == ARCHIVE_OK &&
	       archive_read_support_filter_bzip2(a) == ARCHIVE_OK && archive_read_support_format_raw(a) == ARCHIVE_OK &&
	       archive_read_support_format_empty(a) == ARCHIVE_OK;
}

static int fail(struct archive *a, struct err *e)
{
	const char *why = archive_error_string(a);

	if (why && !strcmp(why, "Unrecognized archive format"))
		why = "it is not a tar archive (plain, or compressed by gzip, xz, zstd or bzip2)";
	if (archive_errno(a) == EFBIG)
		return err_set(e, ERR_TOO_LARGE, "%s", why ? why : "the archive is too large");
	return err_set(e, archive_errno(a) == EIO || archive_errno(a) == ENOMEM ? ERR_IO : ERR_INVALID, "%s",
	               why ? why : "the archive cannot be read");
}

static int open_both(struct tarstream *t, struct err *e)
{
	struct archive_entry *entry;
	int rc;

	if (!add_filters(t->plain))
		return err_set(e, ERR_IO, "this libarchive was built without gzip, xz, zstd or bzip2");
	if (archive_read_open(t->plain, t, NULL, read_stream, NULL) != ARCHIVE_OK)
		return fail(t->plain, e);
	rc = archive_read_next_header(t->plain, &entry);
	if (rc == ARCHIVE_EOF)
		return err_set(e, ERR_INVALID, "it is empty");
	if (rc < ARCHIVE_WARN)
		return fail(t->plain, e);
	archive_read_support_filter_none(t->entries);
	archive_read_support_format_tar(t->entries);
	if (archive_read_open(t->entries, t, NULL, read_plain, NULL) != ARCHIVE_OK)
		return fail(t->entries, e);
	return 0;
}

struct tarstream *tarstream_open(int fd, uint64_t tar_bytes_max, struct err *e)
{
	struct tarstream *t = xcalloc(1, sizeof(*t));

	t->fd = fd;
	t->tar_bytes_max = tar_bytes_max < UINT64_MAX - SLACK_BYTES ? tar_bytes_max + SLACK_BYTES : UINT64_MAX;
	t->plain = archive_read_new();
	t->entries = archive_read_new();
	t->stream_hash = hash_new(HASH_SHA256);
	t->tar_hash = hash_new(HASH_SHA256);
	must(t->plain && t->entries);
	if (open_both(t, e) == 0)
		return t;
	tarstream_close(t);
	return NULL;
}

void tarstream_close(struct tarstream *t)
{
	if (!t)
		return;
	archive_read_free(t->entries);
	archive_read_free(t->plain);
	hash_free(t->stream_hash);
	hash_free(t->tar_hash);
	free(t);
}

struct archive *tarstream_entries(struct tarstream *t)
{
	return t->entries;
}

uint64_t tarstream_bytes(const struct tarstream *t)
{
	return t->bytes;
}

int tarstream_failed(struct tarstream *t, struct err *e)
{
	return fail(t->entries, e);
}

int tarstream_finish(struct tarstream *t, unsigned char stream_sha256[SHA256_BYTES],
                     unsigned char tar_sha256[SHA256_BYTES], struct err *e)
{
	const void *rest;
	la_ssize_t n;

	do
		n = read_plain(t->entries, t, &rest);
	while (n > 0);
	if (n < 0)
		return tarstream_failed(t, e);
	do
		n = read_stream(t->entries, t, &rest);
	while (n > 0);
	if (n < 0)
		return tarstream_failed(t, e);
	hash_end(take_ptr(t->stream_hash), stream_sha256);
	hash_end(take_ptr(t->tar_hash), tar_sha256);
	return 0;
}
