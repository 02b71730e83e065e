/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fd.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { REMOVE_DEPTH_MAX = 64 }; /* a descriptor each */

int fd_write_all(int fd, const void *p, size_t n, struct err *e)
{
	const char *at = p;

	while (n) {
		ssize_t w = write(fd, at, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return err_sys(e, "writing %zu bytes", n);
		at += w;
		n -= (size_t)w;
	}
	return 0;
}

int fd_read_full(int fd, void *p, size_t n, size_t *ret_n, struct err *e)
{
	size_t got = 0;

	while (got < n) {
		ssize_t r = read(fd, (char *)p + got, n - got);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return err_sys(e, "reading %zu bytes", n - got);
		if (r == 0)
			break;
		got += (size_t)r;
	}
	*ret_n = got;
	return 0;
}

static int slurp(int fd, const char *path, size_t max_bytes, struct buf *out, struct err *e)
{
	size_t start = out->n, got;

	do {
		size_t room = 65536;

		if (out->n - start > max_bytes) {
			out->n = start;
			out->p[start] = 0;
			return err_set(e, ERR_LIMIT, "%s is larger than %zu bytes", path, max_bytes);
		}
		buf_need(out, room);
		if (fd_read_full(fd, out->p + out->n, room, &got, e) < 0)
			return err_in(e, "%s", path);
		out->n += got;
		out->p[out->n] = 0;
	} while (got);
	return 0;
}

int file_read_at(int dirfd, const char *path, size_t max_bytes, struct buf *out, struct err *e)
{
	_cleanup_close_ int fd = openat(dirfd, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* a FIFO is empty */

	if (fd < 0 && errno == ENOENT)
		return err_set(e, ERR_NOT_FOUND, "%s does not exist", path);
	if (fd < 0)
		return err_sys(e, "opening %s", path);
	return slurp(fd, path, max_bytes, out, e);
}

int file_read(const char *path, size_t max_bytes, struct buf *out, struct err *e)
{
	return file_read_at(AT_FDCWD, path, max_bytes, out, e);
}

int file_put(int dirfd, const char *path, struct str bytes, mode_t mode, struct err *e)
{
	_cleanup_close_ int fd = openat(dirfd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);

	if (fd < 0)
		return err_sys(e, "creating %s", path);
	if (fchmod(fd, mode) < 0)
		return err_sys(e, "setting the mode of %s", path);
	if (fd_write_all(fd, bytes.p, bytes.n, e) < 0)
		return err_in(e, "%s", path);
	return 0;
}

static int sync_dir_of(int dirfd, const char *path, struct err *e)
{
	struct str dir = str_of(path);
	_cleanup_free_ char *z = NULL;
	_cleanup_close_ int fd = -EBADF;

	str_cut_last(&dir, '/');
	z = dir.n ? str_dup(dir) : xstrdup(path[0] == '/' ? "/" : ".");
	fd = openat(dirfd, z, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		return err_sys(e, "syncing directory %s", z);
	return 0;
}

int file_write_atomic(int dirfd, const char *path, struct str bytes, mode_t mode, bool durable, struct err *e)
{
	_cleanup_free_ char *tmp = strf("%s.%d.tmp", path, (int)gettid());
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
	_cleanup_close_ int fd = openat(dirfd, tmp, flags, mode);

	/* Never into what is there: it may be another name of a file elsewhere. */
	if (fd < 0 && errno == EEXIST && unlinkat(dirfd, tmp, 0) == 0)
		fd = openat(dirfd, tmp, flags, mode);
	if (fd < 0)
		return err_sys(e, "creating %s", tmp);
	if (fchmod(fd, mode) < 0 || fd_write_all(fd, bytes.p, bytes.n, e) < 0 || (durable && fsync(fd) < 0) ||
	    renameat(dirfd, tmp, dirfd, path) < 0) {
		err_sys(e, "writing %s", path);
		unlinkat(dirfd, tmp, 0);
		return -1;
	}
	return durable ? sync_dir_of(dirfd, path, e) : 0;
}

int open_beneath(int dirfd, const char *path, int flags, mode_t mode, struct err *e)
{
	struct open_how how = {
		.flags = (uint64_t)flags | O_CLOEXEC,
		.mode = flags & (O_CREAT | O_TMPFILE) ? mode : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));

	return fd < 0 ? err_sys(e, "opening %s", path) : (int)fd;
}

static int open_regular(int dirfd, const char *leaf, int flags, mode_t mode, struct stat *ret, struct err *e)
{
	_cleanup_close_ int fd = openat(dirfd, leaf, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, mode);

	if (fd < 0 && errno == ENOENT)
		return err_set(e, ERR_NOT_FOUND, "%s does not exist", leaf);
	if (fd < 0 || fstat(fd, ret) < 0)
		return err_sys(e, "opening %s", leaf);
	if (!S_ISREG(ret->st_mode))
		return err_set(e, ERR_DENIED, "%s is not a plain file of one name", leaf);
	return take_fd(fd);
}

int open_plain(int dirfd, const char *leaf, int flags, mode_t mode, struct err *e)
{
	struct stat st;
	_cleanup_close_ int fd = open_regular(dirfd, leaf, flags, mode, &st, e);

	if (fd >= 0 && st.st_nlink > 1)
		return err_set(e, ERR_DENIED, "%s is not a plain file of one name", leaf);
	return take_fd(fd);
}

int open_plain_shared(int dirfd, const char *leaf, struct err *e)
{
	struct stat st, dir;
	_cleanup_close_ int fd = open_regular(dirfd, leaf, O_RDONLY, 0, &st, e);

	if (fd >= 0 && fstat(dirfd, &dir) < 0)
		return err_sys(e, "opening %s", leaf);
	if (fd >= 0 && st.st_nlink > 1 && st.st_uid != dir.st_uid)
		return err_set(e, ERR_DENIED, "%s has several names and is not its directory's owner's", leaf);
	return take_fd(fd);
}

int file_read_plain(int dirfd, const char *leaf, size_t max_bytes, struct buf *out, struct err *e)
{
	_cleanup_close_ int fd = open_plain(dirfd, leaf, O_RDONLY, 0, e);

	return fd < 0 ? -1 : slurp(fd, leaf, max_bytes, out, e);
}

int mkdir_all(int dirfd, const char *path, mode_t mode, struct err *e)
{
	_cleanup_free_ char *z = xstrdup(path);

	for (char *at = z + 1; *z; at++) {
		char keep = *at;

		if (keep != '/' && keep != 0)
			continue;
		*at = 0;
		if (mkdirat(dirfd, z, mode) < 0 && errno != EEXIST)
			return err_sys(e, "making directory %s", z);
		*at = keep;
		if (!keep)
			break;
	}
	return 0;
}

/* A tree being removed. What lies too deep for our descriptors and our stack is moved up to the top first. */
struct removal {
	dev_t dev;
	int top;
	unsigned long moved;
};

static int remove_below(struct removal *r, int dirfd, const char *name, unsigned depth, struct err *e);

/* Empties the directory fd (owned and closed here) and everything below it on the same device. */
static int empty_dir(struct removal *r, int fd, unsigned depth, struct err *e)
{
	DIR *d = fdopendir(fd);
	struct dirent *ent;
	unsigned long moved;
	int rc = 0;

	if (!d) {
		err_sys(e, "reading a directory");
		close(fd);
		return -1;
	}
	do {
		moved = r->moved;
		while (rc == 0 && (ent = readdir(d)))
			if (strcmp(ent->d_name, ".") && strcmp(ent->d_name, ".."))
				rc = remove_below(r, fd, ent->d_name, depth + 1, e);
		rewinddir(d);
	} while (rc == 0 && depth == 0 && r->moved != moved); /* to find what was moved up */
	closedir(d);
	return rc;
}

static int move_up(struct removal *r, int dirfd, const char *name, struct err *e)
{
	char fresh[64];
	int rc;

	do {
		snprintf(fresh, sizeof(fresh), ".deep-%lu", r->moved++);
		rc = renameat2(dirfd, name, r->top, fresh, RENAME_NOREPLACE);
	} while (rc < 0 && errno == EEXIST);
	return rc < 0 ? err_sys(e, "removing %s", name) : 0;
}

/* A directory to be emptied, unless something is mounted on it: EXDEV also when that is a directory of the same file
 * system, where the device would not tell. */
static int open_unmounted(int dirfd, const char *name)
{
	struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, .resolve = RESOLVE_NO_XDEV };

	return (int)syscall(SYS_openat2, dirfd, name, &how, sizeof(how));
}

/* Depth 0 is the tree itself. */
static int remove_below(struct removal *r, int dirfd, const char *name, unsigned depth, struct err *e)
{
	struct stat st;
	int fd;

	if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT || errno == ENOTDIR)
		return 0;
	if (depth > REMOVE_DEPTH_MAX)
		return unlinkat(dirfd, name, AT_REMOVEDIR) == 0 ? 0 : move_up(r, dirfd, name, e);
	fd = depth ? open_unmounted(dirfd, name) : openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd >= 0 && (fstat(fd, &st) < 0 || (depth && st.st_dev != r->dev))) {
		close(fd);
		fd = -1;
		errno = EXDEV;
	}
	if (fd < 0)
		return err_sys(e, errno == EXDEV ? "removing %s: something is mounted there" : "removing %s", name);
	if (depth == 0) {
		r->dev = st.st_dev;
		r->top = fd;
	}
	if (empty_dir(r, fd, depth, e) < 0)
		return err_in(e, "removing %s", name);
	if (unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return err_sys(e, "removing directory %s", name);
	return 0;
}

int remove_tree(int dirfd, const char *path, struct err *e)
{
	struct removal r = { .top = -EBADF };

	return remove_below(&r, dirfd, path, 0, e);
}

static const char data_mark[] = "trusted.bloomery.data";

int fd_mark_data(int fd)
{
	return fsetxattr(fd, data_mark, "", 0, 0);
}

bool fd_is_data(int fd)
{
	return fgetxattr(fd, data_mark, NULL, 0) >= 0;
}

int fd_set_nonblock(int fd, bool on)
{
	int fl = fcntl(fd, F_GETFL);

	return fl < 0 ? -1 : fcntl(fd, F_SETFL, on ? fl | O_NONBLOCK : fl & ~O_NONBLOCK);
}

char *program_dir(void)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	struct str s;

	must(n > 0);
	path[n] = 0;
	s = str_of(path);
	str_cut_last(&s, '/');
	return str_dup(s);
}
