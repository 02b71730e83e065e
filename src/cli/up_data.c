/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <linux/fs.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/conf.h"
#include "base/fd.h"
#include "cli/up.h"

int up_user(const struct conf *c, uid_t *ret_uid, gid_t *ret_gid, struct err *e)
{
	const char *name = *c->user ? c->user : "bloomery";
	struct passwd *pw = getpwnam(name);
	uint64_t number;

	if (pw) {
		*ret_uid = pw->pw_uid;
		*ret_gid = pw->pw_gid;
	} else if (str_to_u64(str_of(c->user), &number) && number < UINT32_MAX) {
		*ret_uid = (uid_t)number;
		*ret_gid = (gid_t)number;
	} else if (*c->user) {
		return err_set(e, ERR_NOT_FOUND, "there is no user '%s', which the setting `user` names", c->user);
	} else {
		*ret_uid = *ret_gid = UP_DEFAULT_UID;
	}
	if (*ret_uid == 0)
		return err_set(e, ERR_DENIED,
		               "bloomeryd does not run as root; let the setting `user` name another user");
	return 0;
}

int up_conf_check(const struct conf *c, const char *path, struct err *e)
{
	const char *has = *c->user ? "the setting `user`" : "file systems for root to mount";
	struct stat st;

	if ((!*c->user && !c->file_system_count) || (lstat(path, &st) < 0 && errno == ENOENT))
		return 0;
	if (lstat(path, &st) < 0)
		return err_sys(e, "looking at %s", path);
	if (st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)))
		return err_set(
		        e, ERR_DENIED,
		        "%s has %s, and user %u or others may write to it: make it root's (chown root, chmod go-w)",
		        path, has, (unsigned)st.st_uid);
	return 0;
}

/* ---- ownership ---- */

struct owner {
	uid_t uid;
	gid_t gid;
};

/* Gives away the directory entry that fd is, unless that user has it. */
static int give(int fd, const char *what, struct owner to, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(e, "looking at %s", what);
	if (st.st_uid == to.uid)
		return 0;
	if (S_ISREG(st.st_mode) && st.st_nlink != 1) /* a name of a file that is not ours, perhaps */
		return err_set(e, ERR_DENIED, "%s has %lu names; its owner stays", what, (unsigned long)st.st_nlink);
	return fchown(fd, to.uid, to.gid) < 0 ? err_sys(e, "changing the owner of %s", what) : 0;
}

static int give_entry(int dirfd, const char *leaf, struct owner to, struct err *e)
{
	_cleanup_close_ int fd = openat(dirfd, leaf, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? 0 : err_sys(e, "opening %s", leaf);
	return give(fd, leaf, to, e);
}

/* Every directory directly in dirfd/leaf, and, when `inner` is set, those named in it within each; then the directory.
 */
static int give_directories(int dirfd, const char *leaf, const char *const *inner, struct owner to, struct err *e)
{
	_cleanup_close_ int fd = openat(dirfd, leaf, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(dup(fd));
	struct dirent *ent;
	int rc = 0;

	if (!d)
		return err_sys(e, "opening %s", leaf);
	while (rc == 0 && (ent = readdir(d))) {
		_cleanup_close_ int sub = -EBADF;

		if (ent->d_name[0] == '.')
			continue;
		sub = openat(fd, ent->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (sub < 0)
			continue; /* a file */
		for (size_t i = 0; rc == 0 && inner && inner[i]; i++)
			rc = give_entry(sub, inner[i], to, e);
		if (rc == 0)
			rc = give(sub, ent->d_name, to, e);
	}
	closedir(d);
	return rc == 0 ? give(fd, leaf, to, e) : -1;
}

static int give_files(int dirfd, struct owner to, struct err *e)
{
	static const char *const names[] = { "bloomery.db*", "objects.db*", "credentials", "endpoint", "lock" };
	DIR *d = fdopendir(openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct dirent *ent;
	int rc = 0;

	if (!d)
		return err_sys(e, "reading the data directory");
	while (rc == 0 && (ent = readdir(d)))
		for (size_t i = 0; rc == 0 && i < ARRAY_LEN(names); i++)
			if (fnmatch(names[i], ent->d_name, 0) == 0)
				rc = give_entry(dirfd, ent->d_name, to, e);
	closedir(d);
	return rc;
}

static int make_directory(int dirfd, const char *leaf, struct owner to, struct err *e)
{
	if (mkdirat(dirfd, leaf, 0700) < 0) /* data and logs: nobody else's */
		return errno == EEXIST ? 0 : err_sys(e, "making %s", leaf);
	return give_entry(dirfd, leaf, to, e);
}

/* Lets ext4 put each new directory of jobs/ somewhere else. It keeps the files of one directory together and does not
 * use the inodes of deleted files again for a minute, but looks at each: next to a job that has just ended, making
 * 50,000 files takes twenty times as long. What has no such flag is not slow. */
static void spread(int dirfd, const char *leaf)
{
	_cleanup_close_ int fd = openat(dirfd, leaf, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int flags;

	if (fd >= 0 && ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && !(flags & FS_TOPDIR_FL)) {
		flags |= FS_TOPDIR_FL;
		(void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
	}
}

/* Root's as well, for bloomeryd to read; what was imported before there was a user for it is in another group. */
static int open_products(int dirfd, struct owner to, struct err *e)
{
	_cleanup_close_ int fd = openat(dirfd, "products", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return errno == ENOENT ? 0 : err_sys(e, "opening products");
	if (fstat(fd, &st) < 0 || (st.st_uid == 0 && st.st_gid != to.gid && fchown(fd, 0, to.gid) < 0))
		return err_sys(e, "giving products to bloomeryd's group");
	return 0;
}

/* The data directory itself is given last: that it has the right owner says that the rest has, too. */
static int give_all(int fd, struct owner to, struct err *e)
{
	static const char *const of_jobs[] = { "lists", "staged", "spec.json", NULL };
	struct stat st;

	if (mkdirat(fd, "images", 0755) < 0 && errno != EEXIST) /* root's, as what is in it runs */
		return err_sys(e, "making images");
	if (open_products(fd, to, e) < 0 || make_directory(fd, "objects", to, e) < 0 ||
	    make_directory(fd, "jobs", to, e) < 0 || give_files(fd, to, e) < 0)
		return -1;
	spread(fd, "jobs");
	if (fstat(fd, &st) < 0)
		return err_sys(e, "looking at the data directory");
	if (st.st_uid == to.uid)
		return 0;
	if (give_directories(fd, "objects", NULL, to, e) < 0 || give_directories(fd, "jobs", of_jobs, to, e) < 0)
		return -1;
	return give(fd, "the data directory", to, e);
}

int up_data(const char *data_dir, uid_t uid, gid_t gid, char **ret_dir, struct err *e)
{
	_cleanup_close_ int fd = -EBADF;
	_cleanup_free_ char *real = NULL;

	if (mkdir_all(AT_FDCWD, data_dir, 0755, e) < 0)
		return err_in(e, "making the data directory");
	real = realpath(data_dir, NULL);
	fd = real ? open(real, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (fd < 0)
		return err_sys(e, "opening the data directory %s", data_dir);
	if (give_all(fd, (struct owner){ uid, gid }, e) < 0)
		return err_in(e, "preparing %s", real);
	*ret_dir = take_ptr(real);
	return 0;
}

/* ---- the way there ---- */

static bool may_search(const char *dir, uid_t uid, gid_t gid)
{
	struct stat st;

	if (stat(dir, &st) < 0)
		return false;
	if (st.st_uid == uid)
		return st.st_mode & S_IXUSR;
	return st.st_mode & (st.st_gid == gid ? S_IXGRP : S_IXOTH);
}

bool up_reachable(const char *dir, uid_t uid, gid_t gid, char **ret_at)
{
	for (const char *at = dir; (at = strchr(at, '/')); at++) {
		_cleanup_free_ char *part = str_dup((struct str){ dir, at == dir ? 1 : (size_t)(at - dir) });

		if (!may_search(part, uid, gid)) {
			*ret_at = take_ptr(part);
			return false;
		}
	}
	return true;
}
