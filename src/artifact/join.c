/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <unistd.h>

#include "artifact/artifact.h"
#include "base/fd.h"
#include "base/hash.h"

enum { JOIN_BYTES = 1 << 20 };

/* The end of an archive, two blocks of zeros, as a gzip member. */
static const unsigned char the_end[] = { 0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03,
	                                 0x63, 0x60, 0x18, 0x05, 0xa3, 0x60, 0x14, 0x8c, 0x54, 0x00,
	                                 0x00, 0x2e, 0xaf, 0xb5, 0xef, 0x00, 0x04, 0x00, 0x00 };

struct joined {
	int fd;
	struct hash *md5;
	uint64_t bytes;
};

static int put(struct joined *out, const void *p, size_t n, struct err *e)
{
	if (fd_write_all(out->fd, p, n, e) < 0)
		return -1;
	hash_add(out->md5, p, n);
	out->bytes += n;
	return 0;
}

static int put_file(struct joined *out, int fd, const struct artifact_options *o, char *bytes, struct err *e)
{
	for (size_t n = JOIN_BYTES; n == JOIN_BYTES;) {
		if (o->cancelled && o->cancelled(o->arg))
			return err_set(e, ERR_BUSY, "stopped");
		if (fd_read_full(fd, bytes, JOIN_BYTES, &n, e) < 0 || put(out, bytes, n, e) < 0)
			return -1;
	}
	return 0;
}

int artifact_join(const int *part_fds, size_t count, int out_fd, const struct artifact_options *o,
                  struct artifact_result *ret, struct err *e)
{
	_cleanup_free_ char *bytes = xrealloc(NULL, JOIN_BYTES);
	struct joined out = { .fd = out_fd, .md5 = hash_new(HASH_MD5) };
	unsigned char digest[MD5_BYTES];
	_cleanup_buf_ struct buf hex = { 0 };
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < count; i++)
		rc = put_file(&out, part_fds[i], o, bytes, e);
	if (rc == 0)
		rc = put(&out, the_end, sizeof(the_end), e);
	hash_end(out.md5, digest);
	if (rc < 0)
		return err_in(e, "putting an archive together");
	if (fsync(out_fd) < 0)
		return err_sys(e, "syncing the archive");
	buf_hex(&hex, digest, sizeof(digest));
	*ret = (struct artifact_result){ .bytes_out = out.bytes };
	memcpy(ret->md5, hex.p, sizeof(ret->md5));
	return 0;
}
