/* Walks the tree and writes the archive. The container may have made any tree at all, so the walk keeps one directory
 * open however deep it is, and goes back up by ".." after checking that it leads where it came from.
 * SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "artifact/artifact.h"
#include "artifact/gzip.h"
#include "artifact/tar.h"
#include "base/fd.h"

enum { LINKS_MAX = 1 << 16, LINK_BYTES_MAX = 4 << 20 };

/* A directory being walked: its entries' names one behind the other, each with its NUL, and where each starts. */
struct level {
	struct buf names;
	size_t *at;
	size_t count, next;
	dev_t dev;
	ino_t ino;
	size_t path_n; /* of the path before this directory's entries */
};

/* A file with several names, and the first that was packed. */
struct first_name {
	dev_t dev;
	ino_t ino;
	char *name;
};

struct packing {
	const struct artifact_options *o;
	struct gzip *z;
	struct artifact_result result;
	int fd; /* the directory of the last level */
	struct level *level;
	size_t depth, depth_cap;
	struct buf path;          /* of that directory, "" or ending in '/' */
	struct buf head;          /* scratch */
	struct first_name *links; /* open addressing; NULL until needed */
	size_t link_count, link_bytes;
};

/* ---- directories ---- */

static int by_name(const void *a, const void *b, void *names)
{
	return strcmp((char *)names + *(const size_t *)a, (char *)names + *(const size_t *)b);
}

static void level_fini(struct level *l)
{
	buf_fini(&l->names);
	free(l->at);
}

/* Reads the names in fd, sorted. */
static int level_read(int fd, struct level *ret, struct err *e)
{
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	DIR *d = own < 0 ? NULL : fdopendir(own);
	struct level l = { 0 };
	size_t cap = 0;
	struct dirent *ent;
	struct stat st;

	if (!d || fstat(fd, &st) < 0) {
		err_sys(e, "reading a directory");
		if (d)
			closedir(d);
		else
			cleanup_closep(&own);
		return -1;
	}
	l.dev = st.st_dev;
	l.ino = st.st_ino;
	rewinddir(d);
	for (errno = 0; (ent = readdir(d)); errno = 0) {
		if (strcmp(ent->d_name, ".") == 0 || strcmp(ent->d_name, "..") == 0)
			continue;
		if (l.count == cap)
			l.at = xrealloc(l.at, (cap = cap ? 2 * cap : 64) * sizeof(*l.at));
		l.at[l.count++] = l.names.n;
		buf_add(&l.names, ent->d_name, strlen(ent->d_name) + 1);
	}
	if (errno) {
		err_sys(e, "reading a directory");
		closedir(d);
		level_fini(&l);
		return -1;
	}
	closedir(d);
	if (l.count)
		qsort_r(l.at, l.count, sizeof(*l.at), by_name, l.names.p);
	*ret = l;
	return 0;
}

/* Takes fd as the directory to walk next; its path is p->path. */
static int push(struct packing *p, int fd, struct err *e)
{
	struct level l;

	if (level_read(fd, &l, e) < 0)
		return -1;
	l.path_n = p->path.n;
	if (p->depth == p->depth_cap)
		p->level = xrealloc(p->level, (p->depth_cap = p->depth_cap ? 2 * p->depth_cap : 8) * sizeof(*p->level));
	p->level[p->depth++] = l;
	cleanup_closep(&p->fd);
	p->fd = fd;
	return 0;
}

static int pop(struct packing *p, struct err *e)
{
	const struct level *up;
	struct stat st;
	int fd;

	level_fini(&p->level[--p->depth]);
	if (p->depth == 0)
		return 0;
	up = &p->level[p->depth - 1];
	fd = openat(p->fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "going back up");
	cleanup_closep(&p->fd);
	p->fd = fd;
	if (fstat(fd, &st) < 0)
		return err_sys(e, "going back up");
	if (st.st_dev != up->dev || st.st_ino != up->ino)
		return err_set(e, ERR_IO, "a directory was moved while it was packed");
	p->path.n = up->path_n;
	p->path.p[p->path.n] = 0;
	return 0;
}

/* ---- entries ---- */

static int told_to_stop(const struct packing *p, struct err *e)
{
	return p->o->cancelled && p->o->cancelled(p->o->arg) ? err_set(e, ERR_BUSY, "stopped") : 0;
}

static int put_header(struct packing *p, const struct stat *st, enum tar_type type, struct str link, struct err *e)
{
	struct tar_entry entry = {
		.type = type,
		.name = buf_view(&p->path),
		.link = link,
		.size = type == TAR_FILE ? (uint64_t)st->st_size : 0,
		.mode = st->st_mode,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.mtime = st->st_mtim.tv_sec,
	};

	buf_reset(&p->head);
	tar_header(&p->head, &entry);
	p->result.files++;
	return gzip_add(p->z, buf_view(&p->head), e);
}

/* Copies [from, to) of the file. What is missing because it shrank becomes zeros. */
static int put_bytes(struct packing *p, int fd, uint64_t from, uint64_t to, struct err *e)
{
	while (from < to) {
		char *dst;
		size_t room;
		ssize_t r;

		if (told_to_stop(p, e) < 0 || gzip_room(p->z, &dst, &room, e) < 0)
			return -1;
		r = pread(fd, dst, room < to - from ? room : (size_t)(to - from), (off_t)from);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return err_sys(e, "reading");
		if (r == 0)
			return gzip_zeros(p->z, to - from, e);
		gzip_filled(p->z, (size_t)r);
		from += (uint64_t)r;
		p->result.bytes_in += (uint64_t)r;
		if (p->o->progress)
			p->o->progress(p->o->arg, p->result.bytes_in);
	}
	return 0;
}

static int put_hole(struct packing *p, uint64_t n, struct err *e)
{
	while (n) {
		uint64_t step = n < (64 << 20) ? n : 64 << 20;

		if (told_to_stop(p, e) < 0 || gzip_zeros(p->z, step, e) < 0)
			return -1;
		n -= step;
		p->result.bytes_in += step;
		if (p->o->progress)
			p->o->progress(p->o->arg, p->result.bytes_in);
	}
	return 0;
}

/* The file's size bytes, holes not read. */
static int put_contents(struct packing *p, int fd, uint64_t size, struct err *e)
{
	for (uint64_t at = 0; at < size;) {
		off_t data = lseek(fd, (off_t)at, SEEK_DATA), hole;
		uint64_t from, to;

		/* ENXIO: a hole up to the end. Other errors: a file system that knows no holes. */
		from = data >= 0 ? (uint64_t)data : errno == ENXIO ? size : at;
		hole = from < size ? lseek(fd, (off_t)from, SEEK_HOLE) : -1;
		to = hole > (off_t)from ? (uint64_t)hole : size;
		from = from < size ? from : size;
		to = to < size ? to : size;
		if (put_hole(p, from - at, e) < 0 || put_bytes(p, fd, from, to, e) < 0)
			return -1;
		at = to;
	}
	return gzip_zeros(p->z, (TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK, e);
}

/* The slot of a file with several names: its first one, or where to note it. NULL: no more can be noted. */
static struct first_name *find_link(struct packing *p, const struct stat *st)
{
	size_t i = ((size_t)st->st_ino * 0x9e3779b97f4a7c15u ^ (size_t)st->st_dev) % (2 * LINKS_MAX);

	if (!p->links)
		p->links = xcalloc((size_t)2 * LINKS_MAX, sizeof(*p->links));
	while (p->links[i].name && (p->links[i].dev != st->st_dev || p->links[i].ino != st->st_ino))
		i = (i + 1) % (2 * LINKS_MAX);
	return p->links[i].name || (p->link_count < LINKS_MAX && p->link_bytes < LINK_BYTES_MAX) ? &p->links[i] : NULL;
}

static int put_file(struct packing *p, const char *name, struct err *e)
{
	_cleanup_close_ int fd = openat(p->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct first_name *first = NULL;
	struct stat st;

	if (fd < 0 && (errno == ENOENT || errno == ELOOP))
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "opening");
	if (!S_ISREG(st.st_mode))
		return 0;
	if (st.st_nlink > 1)
		first = find_link(p, &st);
	if (first && first->name)
		return put_header(p, &st, TAR_HARDLINK, str_of(first->name), e);
	if (first) {
		*first = (struct first_name){ st.st_dev, st.st_ino, str_dup(buf_view(&p->path)) };
		p->link_count++;
		p->link_bytes += p->path.n;
	}
	if (put_header(p, &st, TAR_FILE, STR(""), e) < 0)
		return -1;
	return put_contents(p, fd, (uint64_t)st.st_size, e);
}

static int put_symlink(struct packing *p, const char *name, const struct stat *st, struct err *e)
{
	char to[PATH_MAX];
	ssize_t n = readlinkat(p->fd, name, to, sizeof(to));

	if (n < 0 && (errno == ENOENT || errno == EINVAL))
		return 0;
	if (n < 0)
		return err_sys(e, "reading the link");
	return put_header(p, st, TAR_SYMLINK, (struct str){ to, (size_t)n }, e);
}

static int put_directory(struct packing *p, const char *name, struct err *e)
{
	_cleanup_close_ int fd = openat(p->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "opening");
	buf_c(&p->path, '/');
	if (put_header(p, &st, TAR_DIRECTORY, STR(""), e) < 0)
		return -1;
	return push(p, fd, e) < 0 ? -1 : (take_fd(fd), 0);
}

static int put_entry(struct packing *p, const char *name, struct err *e)
{
	struct stat st;

	if (fstatat(p->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : err_sys(e, "looking at it");
	if (S_ISREG(st.st_mode))
		return put_file(p, name, e);
	if (S_ISLNK(st.st_mode))
		return put_symlink(p, name, &st, e);
	return S_ISDIR(st.st_mode) ? put_directory(p, name, e) : 0;
}

/* One step: the next entry of the innermost directory, or back out of it. */
static int step(struct packing *p, struct err *e)
{
	struct level *l = &p->level[p->depth - 1];
	size_t depth = p->depth;
	const char *name;

	if (l->next == l->count)
		return pop(p, e);
	name = l->names.p + l->at[l->next++];
	if (told_to_stop(p, e) < 0)
		return -1;
	p->path.n = l->path_n;
	buf_z(&p->path, name);
	if (p->path.n >= PATH_MAX)
		return err_set(e, ERR_CLIENT, "a path of %zu bytes is too long to be packed: %.200s...", p->path.n,
		               p->path.p);
	if (put_entry(p, name, e) < 0)
		return err_in(e, "packing %s", p->path.p);
	if (p->depth == depth) {
		p->path.n = l->path_n;
		p->path.p[p->path.n] = 0;
	}
	return 0;
}

static int pack(struct packing *p, int dirfd, struct err *e)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(e, "opening the directory to pack");
	buf_need(&p->path, 1);
	if (push(p, fd, e) < 0) {
		cleanup_closep(&fd);
		return -1;
	}
	while (p->depth)
		if (step(p, e) < 0)
			return -1;
	return p->o->part ? 0 : gzip_zeros(p->z, 2 * TAR_BLOCK, e);
}

static void packing_fini(struct packing *p)
{
	while (p->depth)
		level_fini(&p->level[--p->depth]);
	free(p->level);
	for (size_t i = 0; p->links && i < 2 * (size_t)LINKS_MAX; i++)
		free(p->links[i].name);
	free(p->links);
	buf_fini(&p->path);
	buf_fini(&p->head);
	cleanup_closep(&p->fd);
	gzip_free(p->z);
}

int artifact_pack(int dirfd, int out_fd, const struct artifact_options *o, struct artifact_result *ret, struct err *e)
{
	static const struct artifact_options none = { 0 };
	_cleanup_(packing_fini) struct packing p = { .o = o ? o : &none, .fd = -EBADF };

	p.z = gzip_new(out_fd, &(struct gzip_options){ .threads = p.o->threads, .level = p.o->level });
	if (pack(&p, dirfd, e) < 0)
		return -1;
	if (gzip_finish(p.z, &p.result.bytes_out, p.result.md5, e) < 0)
		return err_in(e, "writing the archive");
	if (fsync(out_fd) < 0)
		return err_sys(e, "syncing the archive");
	*ret = p.result;
	return 0;
}

int artifact_is_empty(int dirfd, bool *ret_empty, struct err *e)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *ent;
	bool empty = true;

	if (!d) {
		err_sys(e, "reading the directory");
		cleanup_closep(&fd);
		return -1;
	}
	for (errno = 0; empty && (ent = readdir(d)); errno = 0)
		empty = strcmp(ent->d_name, ".") == 0 || strcmp(ent->d_name, "..") == 0;
	if (empty && errno) {
		err_sys(e, "reading the directory");
		closedir(d);
		return -1;
	}
	closedir(d);
	*ret_empty = empty;
	return 0;
}
