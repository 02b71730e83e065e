/* bytes.c - opening and reading files.  SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>

#include "fuse/passthrough.h"

void fs_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	const struct fs *fs = fuse_req_userdata(req);
	uint32_t node = node_of(fs, ino);

	fi->keep_cache = 1;
	fi->noflush = 1;
	if ((fi->flags & O_ACCMODE) != O_RDONLY) {
		fuse_reply_err(req, EROFS);
	} else if (node != TREE_NONE && passthrough_open(fs->passthrough, req, node, fs->files, fi)) {
		account_begin(fs->account, node); /* all that will be seen of it */
		account_end(fs->account, 0, false);
		fuse_reply_open(req, fi);
	} else if (fs->no_open && !passthrough_used(fs->passthrough)) {
		fuse_reply_err(req, ENOSYS); /* from now on the kernel does not ask, and keeps its pages */
	} else {
		fuse_reply_open(req, fi);
	}
}

void fs_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	const struct fs *fs = fuse_req_userdata(req);

	if (fi->fh)
		passthrough_release(fs->passthrough, req, node_of(fs, ino));
	fuse_reply_err(req, 0);
}

static void trouble(const struct fs *fs, const struct err *why)
{
	account_trouble(fs->account, fs->out_fd, why);
}

/* Out of the store's file into the kernel, without a copy on the way. */
static void give_file(fuse_req_t req, const struct fs *fs, uint32_t node, size_t size, off_t off)
{
	struct fuse_bufvec v = FUSE_BUFVEC_INIT(size);
	struct err e = { 0 };
	int fd;

	if (files_get(fs->files, node, &fd, &e) < 0) {
		trouble(fs, &e);
		fuse_reply_err(req, EIO);
		account_end(fs->account, 0, false);
		return;
	}
	v.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
	v.buf[0].fd = fd;
	v.buf[0].pos = off;
	crew_busy(fs->crew);
	fuse_reply_data(req, &v, 0);
	files_put(fs->files, node);
	account_end(fs->account, size, false);
}

void fs_answer(void *arg, void *asked, const struct iovec *bytes, int count, bool waited, const struct err *why)
{
	const struct fs *fs = arg;
	uint64_t size = 0;

	for (int i = 0; i < count; i++)
		size += bytes[i].iov_len;
	if (why && why->kind != ERR_BUSY)
		trouble(fs, why);
	if (why)
		fuse_reply_err(asked, EIO);
	else
		fuse_reply_iov(asked, bytes, count);
	account_end(fs->account, size, waited);
}

void fs_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	const struct fs *fs = fuse_req_userdata(req);
	uint32_t node = node_of(fs, ino);
	struct tree_stat t = { 0 };

	(void)fi;
	if (!tree_stat(fs->tree, node, &t) || t.dir || off < 0) {
		fuse_reply_err(req, t.dir ? EISDIR : EINVAL);
		return;
	}
	if ((uint64_t)off >= t.size || size == 0) {
		fuse_reply_buf(req, NULL, 0);
		return;
	}
	if (size > t.size - (uint64_t)off)
		size = (size_t)(t.size - (uint64_t)off);
	account_begin(fs->account, node);
	if (fs->remote)
		remote_read(fs->remote, node, (uint64_t)off, size, req);
	else
		give_file(req, fs, node, size, off);
}
