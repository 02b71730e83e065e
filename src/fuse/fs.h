/* fs.h - what the files of src/fuse that speak libfuse share. Nobody outside the folder includes it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#define FUSE_USE_VERSION 35
#include <fuse3/fuse_lowlevel.h>

#include "fuse/account.h"
#include "fuse/crew.h"
#include "fuse/files.h"
#include "fuse/remote.h"
#include "fuse/tree.h"

/* One channel being served; every libfuse request has it as its user data. */
struct fs {
	struct tree *tree;
	struct account *account;
	struct crew *crew;
	struct files *files;             /* of the embedded store; else NULL */
	struct remote *remote;           /* of another S3; else NULL */
	struct passthrough *passthrough; /* NULL: not to be had */
	int out_fd;                      /* for sentences */
	bool no_open, no_opendir;        /* the kernel need not ask */
};

/* The numbers of inodes are those of the tree's nodes, from FUSE_ROOT_ID on. TREE_NONE for what is none. */
uint32_t node_of(const struct fs *fs, fuse_ino_t ino);

/* names.c: what is answered out of the tree. */
void fs_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void fs_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup);
void fs_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void fs_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void fs_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void fs_statfs(fuse_req_t req, fuse_ino_t ino);

/* bytes.c: what is answered out of a store. */
void fs_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
/* What struct remote_options wants: `asked` is the request, `arg` the struct fs. */
void fs_answer(void *arg, void *asked, const struct iovec *bytes, int count, bool waited, const struct err *why);

/* refuse.c: fills in all that would change something. */
void refuse_writing(struct fuse_lowlevel_ops *ops);
