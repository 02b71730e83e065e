/* The container's files as seen from outside. Whatever it has made of them, nothing is followed out of its root.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "run/phase.h"
#include "run/reason.h"

static int open_in_root(int rootfs_fd, const char *path, int flags)
{
	struct open_how how = { .flags = (uint64_t)(flags | O_CLOEXEC),
		                .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };

	return (int)syscall(SYS_openat2, rootfs_fd, path, &how, sizeof(how));
}

int inside_open(int rootfs_fd, const char *path, int flags, struct err *e)
{
	/* The directories and files of the contract are the platform's: a link in their place is not followed at all.
	 */
	struct open_how how = { .flags = (uint64_t)(flags | O_CLOEXEC | O_NOCTTY),
		                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV };
	int fd;

	while (*path == '/')
		path++;
	fd = (int)syscall(SYS_openat2, rootfs_fd, path, &how, sizeof(how));
	if (fd >= 0)
		return fd;
	if (errno == ENOENT || errno == ELOOP || errno == ENOTDIR || errno == EXDEV)
		return err_set(e, ERR_NOT_FOUND, "/%s is not there", path);
	return err_sys(e, "opening /%s", path);
}

int inside_mkdir(int rootfs_fd, const char *path, struct err *e)
{
	struct str rest = str_of(path);
	_cleanup_close_ int at = open_in_root(rootfs_fd, "/", O_RDONLY | O_DIRECTORY);

	if (at < 0)
		return err_sys(e, "opening the container's root");
	while (rest.n) {
		struct str piece = str_cut(&rest, '/');
		struct str so_far = { path, (size_t)(piece.p + piece.n - path) };
		_cleanup_free_ char *leaf = str_dup(piece), *whole = str_dup(so_far);
		int next;

		if (piece.n == 0 || str_is(piece, "."))
			continue;
		next = open_in_root(rootfs_fd, whole, O_RDONLY | O_DIRECTORY);
		if (next < 0 && errno == ENOENT && mkdirat(at, leaf, 0755) == 0)
			next = open_in_root(rootfs_fd, whole, O_RDONLY | O_DIRECTORY);
		if (next < 0)
			return err_sys(e, "making the directory %s in the container", path);
		close(at);
		at = next;
	}
	return 0;
}

void inside_read(int rootfs_fd, const char *path, size_t max_bytes, struct buf *out)
{
	_cleanup_close_ int fd = inside_open(rootfs_fd, path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW, NULL);
	size_t got = 0;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return;
	buf_need(out, max_bytes);
	if (fd_read_full(fd, out->p + out->n, max_bytes, &got, NULL) < 0)
		return;
	out->n += got;
	out->p[out->n] = 0;
}

/* ---- the largest directories ---- */

enum { USAGE_DEPTH = 3, USAGE_ENTRIES = 256, WALK_DEPTH = 128 };

struct usage {
	size_t n;
	struct {
		char *path;
		uint64_t bytes;
	} entry[USAGE_ENTRIES];
};

static uint64_t walk(int dirfd, const char *path, size_t depth, struct usage *u);

static uint64_t walk_entry(int dirfd, const char *path, const char *name, size_t depth, struct usage *u)
{
	struct stat st;
	int fd;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	if (!S_ISDIR(st.st_mode) || depth >= WALK_DEPTH)
		return (uint64_t)st.st_blocks * 512;
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (depth < USAGE_DEPTH) {
		_cleanup_free_ char *below = strf("%s/%s", path, name);

		return walk(fd, below, depth + 1, u);
	}
	return walk(fd, NULL, depth + 1, u);
}

/* What is below dirfd, which is closed. A directory with a path gets an entry for what its own sub-entries have not. */
static uint64_t walk(int dirfd, const char *path, size_t depth, struct usage *u)
{
	DIR *d = fdopendir(dirfd);
	size_t before = u->n;
	uint64_t bytes = 0, told = 0;

	if (!d) {
		close(dirfd);
		return 0;
	}
	for (struct dirent *entry; (entry = readdir(d));)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			bytes += walk_entry(dirfd, path, entry->d_name, depth, u);
	closedir(d);
	for (size_t i = before; i < u->n; i++)
		told += u->entry[i].bytes;
	if (path && bytes > told && u->n < USAGE_ENTRIES) {
		u->entry[u->n].path = xstrdup(*path ? path : "/");
		u->entry[u->n++].bytes = bytes - told;
	}
	return bytes;
}

void inside_largest(int dirfd, size_t max_items, struct buf *out)
{
	struct usage *u = xcalloc(1, sizeof(*u));
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0)
		walk(fd, "", 0, u);
	for (size_t k = 0; k < max_items; k++) {
		size_t best = 0;

		for (size_t i = 1; i < u->n; i++)
			if (u->entry[i].bytes > u->entry[best].bytes)
				best = i;
		if (u->n == 0 || u->entry[best].bytes == 0)
			break;
		buf_f(out, "%s%s ", k ? ", " : "", u->entry[best].path);
		reason_bytes(u->entry[best].bytes, out);
		u->entry[best].bytes = 0;
	}
	for (size_t i = 0; i < u->n; i++)
		free(u->entry[i].path);
	free(u);
}
