/* names.c - names, attributes and directories, out of the tree.  SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "fuse/fs.h"

/* The view never changes: the kernel need not ask again. In seconds. */
static const double for_ever = 1e9;

/* Listing a directory also tells the kernel all about its files, so that opening them asks for nothing more; but each
 * takes about a kilobyte of the kernel's memory then, so very many are told about when they are asked for. */
enum { TOLD_AT_ONCE_MAX = 1 << 17 };

enum { FIRST_ENTRY = 2 }; /* offsets of a directory: 0 is ".", 1 is "..", then its entries */

uint32_t node_of(const struct fs *fs, fuse_ino_t ino)
{
	return ino >= FUSE_ROOT_ID && ino - FUSE_ROOT_ID < tree_nodes(fs->tree) ? (uint32_t)(ino - FUSE_ROOT_ID)
	                                                                        : TREE_NONE;
}

static bool attributes(const struct fs *fs, uint32_t node, struct stat *ret)
{
	struct tree_stat t;
	struct timespec modified;

	if (!tree_stat(fs->tree, node, &t))
		return false;
	modified = (struct timespec){ .tv_sec = t.modified.ms / 1000, .tv_nsec = t.modified.ms % 1000 * 1000000 };
	if (modified.tv_nsec < 0) {
		modified.tv_sec--;
		modified.tv_nsec += 1000000000;
	}
	*ret = (struct stat){
		.st_ino = node + FUSE_ROOT_ID,
		.st_mode = t.dir ? S_IFDIR | 0555 : S_IFREG | 0444,
		.st_nlink = t.dir ? 2 + t.subdirs : 1,
		.st_size = (off_t)t.size,
		.st_blocks = (blkcnt_t)(t.size / 512 + (t.size % 512 != 0)),
		.st_atim = modified,
		.st_mtim = modified,
		.st_ctim = modified,
	};
	return true;
}

static bool entry_of(const struct fs *fs, uint32_t node, struct fuse_entry_param *ret)
{
	struct fuse_entry_param p = { .ino = (fuse_ino_t)node + FUSE_ROOT_ID,
		                      .attr_timeout = for_ever,
		                      .entry_timeout = for_ever };

	if (!attributes(fs, node, &p.attr))
		return false;
	*ret = p;
	return true;
}

void fs_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	const struct fs *fs = fuse_req_userdata(req);
	struct fuse_entry_param p = {
		.entry_timeout = for_ever
	}; /* no inode: the kernel remembers that there is none */
	uint32_t node = tree_lookup(fs->tree, node_of(fs, parent), str_of(name));

	if (strlen(name) > 255) {
		fuse_reply_err(req, ENAMETOOLONG);
		return;
	}
	if (node != TREE_NONE)
		entry_of(fs, node, &p);
	fuse_reply_entry(req, &p);
}

/* Nodes are there as long as the process. */
void fs_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	(void)ino;
	(void)nlookup;
	fuse_reply_none(req);
}

void fs_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	(void)count;
	(void)forgets;
	fuse_reply_none(req);
}

void fs_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	const struct fs *fs = fuse_req_userdata(req);
	struct stat st;

	(void)fi;
	if (attributes(fs, node_of(fs, ino), &st))
		fuse_reply_attr(req, &st, for_ever);
	else
		fuse_reply_err(req, ENOENT);
}

void fs_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	const struct fs *fs = fuse_req_userdata(req);

	(void)ino;
	fi->keep_cache = 1;
	fi->cache_readdir = 1;
	if (fs->no_opendir)
		fuse_reply_err(req, ENOSYS); /* from now on the kernel does not ask, and takes it as above */
	else
		fuse_reply_open(req, fi);
}

/* ---- directories ---- */

static size_t add_entry(fuse_req_t req, const struct fs *fs, bool plus, char *at, size_t room, const char *name,
                        uint32_t node, off_t next)
{
	struct fuse_entry_param p;

	if (!entry_of(fs, node, &p))
		return 0;
	if (!plus)
		return fuse_add_direntry(req, at, room, name, &p.attr, next);
	if (next <= FIRST_ENTRY || tree_nodes(fs->tree) > TOLD_AT_ONCE_MAX)
		p.ino = 0; /* only the name; "." and ".." the kernel knows by itself */
	return fuse_add_direntry_plus(req, at, room, name, &p, next);
}

static uint32_t entry_node(const struct fs *fs, uint32_t dir, const struct tree_stat *t, uint64_t at)
{
	return at == 0 ? dir : at == 1 ? t->parent : tree_entry(fs->tree, dir, (uint32_t)(at - FIRST_ENTRY));
}

static void list_directory(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, bool plus)
{
	const struct fs *fs = fuse_req_userdata(req);
	uint32_t dir = node_of(fs, ino);
	_cleanup_free_ char *bytes = NULL;
	struct tree_stat t;
	size_t n = 0;

	if (!tree_stat(fs->tree, dir, &t) || !t.dir || off < 0) {
		fuse_reply_err(req, ENOTDIR);
		return;
	}
	bytes = xcalloc(size ? size : 1, 1);
	for (uint64_t at = (uint64_t)off; at < (uint64_t)FIRST_ENTRY + t.entries; at++) {
		uint32_t node = entry_node(fs, dir, &t, at);
		char name[256];
		size_t added;

		snprintf(name, sizeof(name), PRIstr,
		         ARGstr(at == 0   ? STR(".")
		                : at == 1 ? STR("..")
		                          : tree_name(fs->tree, node)));
		added = add_entry(req, fs, plus, bytes + n, size - n, name, node, (off_t)at + 1);
		if (!added || added > size - n)
			break;
		n += added;
	}
	fuse_reply_buf(req, bytes, n);
}

void fs_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)fi;
	list_directory(req, ino, size, off, false);
}

void fs_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)fi;
	list_directory(req, ino, size, off, true);
}

void fs_statfs(fuse_req_t req, fuse_ino_t ino)
{
	const struct fs *fs = fuse_req_userdata(req);
	struct statvfs v = { .f_bsize = 4096, .f_frsize = 4096, .f_namemax = 255 };

	(void)ino;
	v.f_blocks = tree_bytes(fs->tree) / 4096 + (tree_bytes(fs->tree) % 4096 != 0);
	v.f_files = tree_nodes(fs->tree);
	v.f_flag = ST_RDONLY;
	fuse_reply_statfs(req, &v);
}
