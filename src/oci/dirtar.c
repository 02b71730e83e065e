/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/dirtar.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <locale.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "oci/layer.h"

enum { COPY_BYTES = 256 << 10 };

struct writer {
	struct archive *out;
	struct archive_entry_linkresolver *links;
	dev_t dev;
	char *copy;
};

static int archive_failed(struct writer *w, const char *path, struct err *e)
{
	const char *why = archive_error_string(w->out);

	return err_set(e, ERR_IO, "packing '%s': %s", path, why ? why : "failed");
}

static void add_xattrs(int fd, struct archive_entry *entry)
{
	char names[65536], value[65536];
	ssize_t n = flistxattr(fd, names, sizeof(names));

	for (char *name = names; n > 0 && name < names + n; name += strlen(name) + 1) {
		ssize_t m;

		if (strncmp(name, "user.", 5) != 0 && strcmp(name, "security.capability") != 0)
			continue;
		m = fgetxattr(fd, name, value, sizeof(value));
		if (m >= 0)
			archive_entry_xattr_add_entry(entry, name, value, (size_t)m);
	}
}

static int copy_content(struct writer *w, int fd, uint64_t size, const char *path, struct err *e)
{
	uint64_t done = 0;

	while (done < size) {
		size_t want = size - done < COPY_BYTES ? (size_t)(size - done) : COPY_BYTES, got;

		if (fd_read_full(fd, w->copy, want, &got, e) < 0)
			return err_in(e, "packing '%s'", path);
		if (got != want)
			return err_set(e, ERR_IO, "'%s' became shorter while it was read", path);
		if (archive_write_data(w->out, w->copy, got) != (la_ssize_t)got)
			return archive_failed(w, path, e);
		done += got;
	}
	return 0;
}

static struct archive_entry *describe(const struct stat *st, const char *path)
{
	struct archive_entry *entry = archive_entry_new();

	must(entry);
	archive_entry_copy_pathname(entry, path);
	archive_entry_set_mode(entry, st->st_mode);
	archive_entry_set_uid(entry, st->st_uid);
	archive_entry_set_gid(entry, st->st_gid);
	archive_entry_set_mtime(entry, st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
	archive_entry_set_dev(entry, st->st_dev); /* these three only tell hard links; tar does not store them */
	archive_entry_set_ino(entry, (la_int64_t)st->st_ino);
	archive_entry_set_nlink(entry, (unsigned)st->st_nlink);
	if (S_ISREG(st->st_mode))
		archive_entry_set_size(entry, st->st_size);
	return entry;
}

static int write_one(struct writer *w, int parent, const char *name, const char *path, const struct stat *st,
                     struct err *e)
{
	struct archive_entry *entry = describe(st, path), *later = NULL;
	_cleanup_close_ int fd = -EBADF;
	char target[PATH_MAX];
	int rc = 0;

	if (S_ISLNK(st->st_mode)) {
		ssize_t n = readlinkat(parent, name, target, sizeof(target) - 1);

		target[n > 0 ? n : 0] = 0;
		archive_entry_copy_symlink(entry, target);
	} else if (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode)) {
		fd = openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (fd < 0)
			rc = err_sys(e, "opening '%s'", path);
		else
			add_xattrs(fd, entry);
	}
	if (rc == 0)
		archive_entry_linkify(w->links, &entry, &later);
	if (rc == 0 && archive_write_header(w->out, entry) < ARCHIVE_WARN)
		rc = archive_failed(w, path, e);
	if (rc == 0 && S_ISREG(st->st_mode) && !archive_entry_hardlink(entry))
		rc = copy_content(w, fd, (uint64_t)st->st_size, path, e);
	archive_entry_free(entry);
	archive_entry_free(later);
	return rc;
}

static int not_dots(const struct dirent *ent)
{
	return strcmp(ent->d_name, ".") != 0 && strcmp(ent->d_name, "..") != 0;
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int write_tree(struct writer *w, int dirfd, const char *prefix, unsigned depth, struct err *e);

static int write_child(struct writer *w, int dirfd, const char *name, const char *prefix, unsigned depth, struct err *e)
{
	_cleanup_free_ char *path = strf("%s/%s", prefix, name);
	_cleanup_close_ int fd = -EBADF;
	struct stat st;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : err_sys(e, "looking at '%s'", path);
	if (S_ISSOCK(st.st_mode) || (!S_ISDIR(st.st_mode) && st.st_dev != w->dev))
		return 0;
	if (write_one(w, dirfd, name, path, &st, e) < 0)
		return -1;
	if (!S_ISDIR(st.st_mode) || st.st_dev != w->dev)
		return 0;
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? err_sys(e, "opening '%s'", path) : write_tree(w, fd, path, depth + 1, e);
}

static int write_tree(struct writer *w, int dirfd, const char *prefix, unsigned depth, struct err *e)
{
	struct dirent **list;
	int n, rc = 0;

	if (depth > LAYER_DEPTH_MAX)
		return err_set(e, ERR_INVALID, "'%.200s...' is nested too deeply", prefix);
	n = scandirat(dirfd, ".", &list, not_dots, by_bytes);
	if (n < 0)
		return err_sys(e, "reading '%s'", prefix);
	for (int i = 0; i < n; i++) {
		if (rc == 0)
			rc = write_child(w, dirfd, list[i]->d_name, prefix, depth, e);
		free(list[i]);
	}
	free(list);
	return rc;
}

int dirtar_write(int dirfd, int out, struct err *e)
{
	locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0), before = uselocale(utf8);
	struct writer w = { .out = archive_write_new(), .links = archive_entry_linkresolver_new() };
	struct stat st;
	int rc;

	must(w.out && w.links);
	w.copy = xcalloc(1, COPY_BYTES);
	archive_entry_linkresolver_set_strategy(w.links, ARCHIVE_FORMAT_TAR_PAX_INTERCHANGE);
	archive_write_set_format_pax(w.out);
	archive_write_set_bytes_in_last_block(w.out, 1);
	if (fstat(dirfd, &st) < 0) {
		rc = err_sys(e, "reading the directory");
	} else if (archive_write_open_fd(w.out, out) != ARCHIVE_OK) {
		rc = archive_failed(&w, ".", e);
	} else {
		w.dev = st.st_dev;
		rc = write_one(&w, dirfd, ".", ".", &st, e);
		if (rc == 0)
			rc = write_tree(&w, dirfd, ".", 0, e);
		if (rc == 0 && archive_write_close(w.out) != ARCHIVE_OK)
			rc = archive_failed(&w, ".", e);
	}
	archive_entry_linkresolver_free(w.links);
	archive_write_free(w.out);
	free(w.copy);
	uselocale(before);
	if (utf8)
		freelocale(utf8);
	return rc;
}
