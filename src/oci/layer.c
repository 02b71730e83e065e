/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/layer.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <elf.h>
#include <fcntl.h>
#include <locale.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "oci/pathset.h"
#include "oci/rootfs.h"
#include "oci/tarstream.h"

enum { PROGRESS_EVERY_BYTES = 4 << 20, PROGRESS_EVERY_ENTRIES = 256, LINK_MAX_BYTES = 4095, BLOCK_BYTES = 4096 };

/* A directory whose times are set at the end, after everything was put into it. */
struct dir_time {
	char *path;
	struct timespec mtime;
};

struct applier {
	int root;
	const struct layer_options *o;
	struct layer_result *r;
	struct tarstream *t;
	struct pathset own; /* what this layer has put here; only with whiteouts */
	char *parent_path;  /* the directory that parent_fd is, NULL: none */
	int parent_fd;
	struct dir_time *dirs;
	size_t dir_count;
	uint64_t next_progress;
};

/* One entry: where it goes. */
struct target {
	struct str path; /* clean; empty: the root itself */
	int parent;      /* borrowed from the applier */
	const char *leaf;
};

int layer_path(const char *name, char **ret, struct err *e)
{
	struct str rest = str_of(name);
	struct buf b = { 0 };
	unsigned depth = 0;

	buf_init(&b);
	while (rest.n) {
		struct str step = str_cut(&rest, '/');

		if (step.n == 0 || str_is(step, "."))
			continue;
		if (str_is(step, "..") || step.n > LAYER_NAME_MAX_BYTES || ++depth > LAYER_DEPTH_MAX ||
		    b.n + step.n >= LAYER_PATH_MAX_BYTES) {
			buf_fini(&b);
			return err_set(e, ERR_INVALID, "the archive holds the name '%.300s', which %s", name,
			               str_is(step, "..") ? "could lead out of the image" : "is too long");
		}
		buf_f(&b, "%s" PRIstr, b.n ? "/" : "", ARGstr(step));
	}
	*ret = buf_take(&b);
	return 0;
}

static int archive_text(const char *text, const char *utf8, const char *what, const char **ret, struct err *e)
{
	*ret = text ? text : utf8;
	return *ret ? 0 : err_set(e, ERR_INVALID, "the archive holds a %s that cannot be read", what);
}

static void forget_parent(struct applier *a)
{
	free(a->parent_path);
	a->parent_path = NULL;
	cleanup_closep(&a->parent_fd);
	a->parent_fd = -EBADF;
}

/* mkdir -p, each step resolved within the root. Returns a descriptor of the last. */
static int make_parents(struct applier *a, struct str path, struct err *e)
{
	_cleanup_close_ int at = rootfs_open(a->root, ".", O_PATH | O_DIRECTORY, 0);
	_cleanup_buf_ struct buf so_far = { 0 };

	buf_init(&so_far);
	while (at >= 0 && path.n) {
		_cleanup_free_ char *leaf = str_dup(str_cut(&path, '/'));

		buf_f(&so_far, "%s%s", so_far.n ? "/" : "", leaf);
		if (mkdirat(at, leaf, 0755) < 0 && errno != EEXIST)
			return err_sys(e, "making the directory '%s'", so_far.p);
		close(at);
		at = rootfs_open(a->root, so_far.p, O_PATH | O_DIRECTORY, 0);
	}
	if (at < 0 && (errno == ENOTDIR || errno == ENOENT || errno == ELOOP))
		return err_set(e, ERR_INVALID, "the archive puts files below '%s', which is not a directory", so_far.p);
	return at < 0 ? err_sys(e, "opening the directory '%s'", so_far.p) : take_fd(at);
}

/* Where path's last step goes: its directory, made if need be and kept for the next entry. */
static int find_target(struct applier *a, const char *path, struct target *ret, struct err *e)
{
	struct str upper = str_of(path), leaf = str_cut_last(&upper, '/');
	_cleanup_free_ char *dir = NULL;
	int fd;

	*ret = (struct target){ .path = str_of(path), .leaf = leaf.p };
	dir = upper.n ? str_dup(upper) : xstrdup(".");
	if (!a->parent_path || strcmp(a->parent_path, dir) != 0) {
		fd = rootfs_open(a->root, dir, O_PATH | O_DIRECTORY, 0);
		if (fd < 0)
			fd = make_parents(a, upper, e);
		if (fd < 0)
			return -1;
		forget_parent(a);
		a->parent_path = take_ptr(dir);
		a->parent_fd = fd;
	}
	ret->parent = a->parent_fd;
	return 0;
}

/* Makes room for an entry. A directory stays when a directory comes. */
static int clear_way(struct applier *a, const struct target *t, mode_t type, struct err *e)
{
	struct stat st;

	if (fstatat(t->parent, t->leaf, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : err_sys(e, "looking at '%s'", t->path.p);
	if (S_ISDIR(st.st_mode) && type == S_IFDIR)
		return 0;
	if (remove_tree(t->parent, t->leaf, e) < 0)
		return -1;
	if (!S_ISREG(st.st_mode)) { /* the directory we remember may have been reached through it */
		int fd = fcntl(t->parent, F_DUPFD_CLOEXEC, 0);

		forget_parent(a);
		if (fd < 0)
			return err_sys(e, "'%s'", t->path.p);
		a->parent_fd = fd; /* without a path it serves this entry only */
	}
	return 0;
}

static int count(struct applier *a, uint64_t bytes, struct err *e)
{
	a->r->bytes += bytes;
	a->r->disk_bytes += bytes;
	if (a->r->disk_bytes > a->o->max_bytes)
		return err_set(e, ERR_TOO_LARGE, "unpacked it is larger than %llu bytes, the most there is room for",
		               (unsigned long long)a->o->max_bytes);
	a->r->stream_bytes = tarstream_bytes(a->t);
	if (a->o->progress && (a->r->bytes >= a->next_progress || a->r->entries % PROGRESS_EVERY_ENTRIES == 0)) {
		a->next_progress = a->r->bytes + PROGRESS_EVERY_BYTES;
		a->o->progress(a->o->progress_arg, a->r);
	}
	return 0;
}

static void look_at_program(struct applier *a, const void *p, size_t n)
{
	Elf64_Ehdr h; /* e_machine lies alike in both classes */

	if (a->r->elf_machine || n < sizeof(Elf32_Ehdr))
		return;
	memcpy(&h, p, sizeof(Elf32_Ehdr));
	if (memcmp(h.e_ident, ELFMAG, SELFMAG) == 0 && (h.e_type == ET_EXEC || h.e_type == ET_DYN))
		a->r->elf_machine = h.e_machine;
}

static int write_data(struct applier *a, int fd, struct archive_entry *entry, const char *path, struct err *e)
{
	struct archive *in = tarstream_entries(a->t);
	la_int64_t offset = 0, size = archive_entry_size(entry), end = 0;
	const void *p;
	size_t n;
	int rc;

	if (size < 0 || (uint64_t)size > a->o->max_bytes)
		return err_set(e, ERR_TOO_LARGE, "'%s' is too large", path);
	while ((rc = archive_read_data_block(in, &p, &n, &offset)) == ARCHIVE_OK || rc == ARCHIVE_RETRY) {
		if (rc == ARCHIVE_RETRY || n == 0)
			continue;
		if (offset == 0)
			look_at_program(a, p, n);
		if (offset < 0 || offset > size || (la_int64_t)n > size - offset)
			return err_set(e, ERR_INVALID, "the archive is damaged at '%s'", path);
		for (size_t done = 0; done < n;) {
			ssize_t w = pwrite(fd, (const char *)p + done, n - done, offset + (off_t)done);

			if (w < 0 && errno != EINTR)
				return err_sys(e, "writing '%s'", path);
			done += w > 0 ? (size_t)w : 0;
		}
		end = offset + (la_int64_t)n;
		if (count(a, n, e) < 0)
			return -1;
	}
	if (rc != ARCHIVE_EOF)
		return tarstream_failed(a->t, e);
	return end < size && ftruncate(fd, size) < 0 ? err_sys(e, "sizing '%s'", path) : 0; /* ends in a hole */
}

/* What a container may see and the machine does not act upon. */
static bool wanted_xattr(const char *name)
{
	if (!strcmp(name, "security.capability"))
		return true;
	return !strncmp(name, "user.", 5) && strncmp(name, "user.overlay.", 13) != 0;
}

static void set_xattrs(int fd, struct archive_entry *entry)
{
	const char *name;
	const void *value;
	size_t n;

	archive_entry_xattr_reset(entry);
	while (archive_entry_xattr_next(entry, &name, &value, &n) == ARCHIVE_OK)
		if (name && wanted_xattr(name) && fsetxattr(fd, name, value, n, 0) < 0)
			continue; /* the file system may not know them; the image still runs */
}

static struct timespec mtime_of(struct archive_entry *entry)
{
	return (struct timespec){ archive_entry_mtime(entry), archive_entry_mtime_nsec(entry) };
}

/* Owner before mode: chown clears set-user-id, and capabilities. */
static int set_owner_and_mode(struct applier *a, int fd, struct archive_entry *entry, const char *path, struct err *e)
{
	mode_t mode = archive_entry_perm(entry) & 07777;

	if (a->o->keep_owner && fchown(fd, (uid_t)archive_entry_uid(entry), (gid_t)archive_entry_gid(entry)) < 0)
		return err_sys(e, "setting the owner of '%s'", path);
	if (fchmod(fd, a->o->keep_owner ? mode : (mode & 0777) | 0700) < 0)
		return err_sys(e, "setting the mode of '%s'", path);
	set_xattrs(fd, entry);
	return 0;
}

static int put_file(struct applier *a, const struct target *t, struct archive_entry *entry, struct err *e)
{
	_cleanup_close_ int fd = openat(t->parent, t->leaf, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, mtime_of(entry) };

	if (fd < 0)
		return err_sys(e, "creating '%s'", t->path.p);
	if (write_data(a, fd, entry, t->path.p, e) < 0 || set_owner_and_mode(a, fd, entry, t->path.p, e) < 0)
		return -1;
	if (futimens(fd, times) < 0)
		return err_sys(e, "setting the time of '%s'", t->path.p);
	return 0;
}

static int set_dir(struct applier *a, const struct target *t, int fd, struct archive_entry *entry, struct err *e)
{
	if (set_owner_and_mode(a, fd, entry, t->path.p, e) < 0)
		return -1;
	a->dirs = xrealloc(a->dirs, (a->dir_count + 1) * sizeof(*a->dirs));
	a->dirs[a->dir_count++] = (struct dir_time){ str_dup(t->path), mtime_of(entry) };
	return 0;
}

static int put_dir(struct applier *a, const struct target *t, struct archive_entry *entry, struct err *e)
{
	_cleanup_close_ int fd = -EBADF;

	if (mkdirat(t->parent, t->leaf, 0700) < 0 && errno != EEXIST)
		return err_sys(e, "making the directory '%s'", t->path.p);
	fd = openat(t->parent, t->leaf, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "opening the directory '%s'", t->path.p);
	return set_dir(a, t, fd, entry, e);
}

/* Symbolic links and FIFOs: nothing to open. */
static int put_other(struct applier *a, const struct target *t, struct archive_entry *entry, struct err *e)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, mtime_of(entry) };
	bool link = archive_entry_filetype(entry) == AE_IFLNK;
	const char *to = NULL;

	if (link && archive_text(archive_entry_symlink(entry), archive_entry_symlink_utf8(entry), "link", &to, e) < 0)
		return -1;
	if (link && (!*to || strlen(to) > LINK_MAX_BYTES))
		return err_set(e, ERR_INVALID, "the symbolic link '%s' has no or too long a target", t->path.p);
	if (link ? symlinkat(to, t->parent, t->leaf) < 0
	         : mknodat(t->parent, t->leaf, S_IFIFO | 0600, 0) < 0 ||
	                    fchmodat(t->parent, t->leaf, archive_entry_perm(entry) & 0777, 0) < 0)
		return err_sys(e, "creating '%s'", t->path.p);
	if (a->o->keep_owner && fchownat(t->parent, t->leaf, (uid_t)archive_entry_uid(entry),
	                                 (gid_t)archive_entry_gid(entry), AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "setting the owner of '%s'", t->path.p);
	if (utimensat(t->parent, t->leaf, times, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "setting the time of '%s'", t->path.p);
	return 0;
}

/* A further name of a file that is there already. The target's last step is not followed, so the new name is for what
 * lies in this tree and nothing else. */
static int put_hardlink(struct applier *a, const struct target *t, const char *name, struct err *e)
{
	_cleanup_free_ char *path = NULL, *dir = NULL;
	_cleanup_close_ int from = -EBADF;
	struct str upper, leaf;

	if (layer_path(name, &path, e) < 0)
		return -1;
	upper = str_of(path);
	leaf = str_cut_last(&upper, '/');
	dir = upper.n ? str_dup(upper) : xstrdup(".");
	from = rootfs_open(a->root, dir, O_PATH | O_DIRECTORY, 0);
	if (from < 0 || !leaf.n || linkat(from, leaf.p, t->parent, t->leaf, 0) < 0)
		return err_set(e, ERR_INVALID, "the archive links '%s' to '%s', which is no file that came before it",
		               t->path.p, path);
	return 0;
}

static int remove_others(struct applier *a, int dirfd, const char *name, struct str path, unsigned depth, struct err *e)
{
	_cleanup_close_ int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int copy = fd < 0 ? -1 : openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *ent;
	int rc = 0;

	if (!d) {
		if (copy >= 0)
			close(copy);
		return errno == ENOTDIR || errno == ELOOP || errno == ENOENT ? 0 : err_sys(e, "emptying '%s'", path.p);
	}
	while (rc == 0 && depth < LAYER_DEPTH_MAX && (ent = readdir(d))) {
		_cleanup_free_ char *child = NULL;

		if (!strcmp(ent->d_name, ".") || !strcmp(ent->d_name, ".."))
			continue;
		child = strf("%s%s%s", path.p, path.n ? "/" : "", ent->d_name);
		rc = pathset_has(&a->own, str_of(child))
		             ? remove_others(a, fd, ent->d_name, str_of(child), depth + 1, e)
		             : remove_tree(fd, ent->d_name, e);
	}
	closedir(d);
	return rc;
}

/* ".wh.NAME" takes away what the layers below have put at NAME, ".wh..wh..opq" all they have put into its directory. */
static int whiteout(struct applier *a, const struct target *t, struct err *e)
{
	struct str upper = t->path, leaf = str_of(t->leaf);
	_cleanup_free_ char *dir = NULL, *victim = NULL;

	str_cut_last(&upper, '/');
	dir = str_dup(upper);
	if (str_is(leaf, ".wh..wh..opq"))
		return remove_others(a, t->parent, ".", str_of(dir), 0, e);
	str_skip(&leaf, STR(".wh."));
	if (leaf.n == 0 || str_is(leaf, ".") || str_is(leaf, "..") || str_starts(leaf, STR(".wh.")))
		return str_starts(leaf, STR(".wh."))
		               ? 0 /* bookkeeping of an old union file system */
		               : err_set(e, ERR_INVALID, "the layer holds the name '%s'", t->path.p);
	victim = strf("%s%s%s", dir, *dir ? "/" : "", leaf.p);
	if (pathset_has(&a->own, str_of(victim)))
		return 0;
	if (remove_tree(t->parent, leaf.p, e) < 0)
		return -1;
	forget_parent(a);
	return 0;
}

static int put_entry(struct applier *a, struct target *t, struct archive_entry *entry, struct err *e)
{
	const char *hardlink = archive_entry_hardlink(entry);
	mode_t type = archive_entry_filetype(entry);

	if (!hardlink && type != AE_IFREG && type != AE_IFDIR && type != AE_IFLNK && type != AE_IFIFO) {
		a->r->nodes_left_out++;
		return 0;
	}
	if (hardlink) {
		_cleanup_free_ char *same = NULL;

		if (layer_path(hardlink, &same, e) < 0)
			return -1;
		if (str_is(t->path, same))
			return 0; /* to itself */
	}
	if (clear_way(a, t, hardlink ? 0 : type, e) < 0)
		return -1;
	t->parent = a->parent_fd;
	if (hardlink)
		return put_hardlink(a, t, hardlink, e);
	if (type == AE_IFREG)
		return put_file(a, t, entry, e);
	return type == AE_IFDIR ? put_dir(a, t, entry, e) : put_other(a, t, entry, e);
}

static int apply_entry(struct applier *a, struct archive_entry *entry, struct err *e)
{
	_cleanup_free_ char *path = NULL;
	const char *name;
	struct target t;

	if (++a->r->entries > a->o->max_entries)
		return err_set(e, ERR_TOO_LARGE, "it holds more than %llu files",
		               (unsigned long long)a->o->max_entries);
	if (archive_text(archive_entry_pathname(entry), archive_entry_pathname_utf8(entry), "name", &name, e) < 0 ||
	    layer_path(name, &path, e) < 0)
		return -1;
	a->r->disk_bytes += BLOCK_BYTES; /* its inode, a directory's or link's block, the end of its last block */
	if (count(a, 0, e) < 0)
		return -1;
	if (!*path) { /* the root itself */
		_cleanup_close_ int fd = rootfs_open(a->root, ".", O_RDONLY | O_DIRECTORY, 0);

		t = (struct target){ .path = STR(".") };
		if (fd < 0)
			return err_sys(e, "opening the root");
		/* What mode the directory happened to have that was packed must not lock the image's users out. */
		archive_entry_set_perm(entry, archive_entry_perm(entry) | 0555);
		return archive_entry_filetype(entry) == AE_IFDIR ? set_dir(a, &t, fd, entry, e) : 0;
	}
	if (find_target(a, path, &t, e) < 0)
		return -1;
	if (a->o->whiteouts && !strncmp(t.leaf, ".wh.", 4))
		return whiteout(a, &t, e);
	if (a->o->whiteouts)
		pathset_add(&a->own, t.path);
	return put_entry(a, &t, entry, e);
}

static int apply_all(struct applier *a, struct err *e)
{
	struct archive *in = tarstream_entries(a->t);
	struct archive_entry *entry;
	int rc;

	while ((rc = archive_read_next_header(in, &entry)) != ARCHIVE_EOF) {
		if (rc == ARCHIVE_RETRY)
			continue;
		if (rc < ARCHIVE_WARN) /* a warning is about a name's encoding; the bytes are there */
			return tarstream_failed(a->t, e);
		if (apply_entry(a, entry, e) < 0)
			return -1;
	}
	for (size_t i = 0; i < a->dir_count; i++) {
		const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, a->dirs[i].mtime };
		_cleanup_close_ int fd = rootfs_open(a->root, a->dirs[i].path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);

		if (fd >= 0 && futimens(fd, times) < 0)
			return err_sys(e, "setting the time of '%s'", a->dirs[i].path);
	}
	return tarstream_finish(a->t, a->r->stream_sha256, a->r->tar_sha256, e);
}

static void applier_fini(struct applier *a)
{
	forget_parent(a);
	for (size_t i = 0; i < a->dir_count; i++)
		free(a->dirs[i].path);
	free(a->dirs);
	pathset_fini(&a->own);
	tarstream_close(a->t);
}

int layer_apply(int fd, int root, const struct layer_options *o, struct layer_result *ret, struct err *e)
{
	/* libarchive turns names into the locale's encoding; in this one they stay what they are. */
	locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0), before = uselocale(utf8);
	uint64_t stream_before = ret->stream_bytes;
	struct layer_result r = *ret;
	struct applier a = { .root = root, .o = o, .r = &r, .parent_fd = -EBADF };
	int rc = -1;

	pathset_init(&a.own);
	a.t = tarstream_open(fd, o->max_bytes, e);
	if (a.t)
		rc = apply_all(&a, e);
	if (rc == 0) {
		r.stream_bytes = stream_before + tarstream_bytes(a.t);
		*ret = r;
	}
	applier_fini(&a);
	uselocale(before);
	if (utf8)
		freelocale(utf8);
	return rc;
}
