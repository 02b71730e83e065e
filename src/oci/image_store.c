/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/image_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hash.h"
#include "oci/image.h"

static int make_dir(int images, const char *name, mode_t mode, struct err *e)
{
	if (mkdirat(images, name, mode) < 0 && errno != EEXIST)
		return err_sys(e, "making %s in the image store", name);
	return 0;
}

int image_dir_open(const char *images_dir, struct err *e)
{
	_cleanup_close_ int fd = open(images_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0 && errno == ENOENT)
		return err_set(e, ERR_NOT_FOUND, "there is no image store %s", images_dir);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "opening the image store %s", images_dir);
	if (st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)))
		return err_set(e, ERR_DENIED,
		               "the image store %s belongs to user %u or may be written to by others: what is in it "
		               "is run, so it must be user %u's alone (chown -R, chmod go-w)",
		               images_dir, (unsigned)st.st_uid, (unsigned)geteuid());
	return take_fd(fd);
}

int image_store_open(const char *images_dir, struct err *e)
{
	_cleanup_close_ int fd = -EBADF;

	if (mkdir_all(AT_FDCWD, images_dir, 0755, e) < 0)
		return err_in(e, "opening the image store");
	fd = image_dir_open(images_dir, e);
	if (fd < 0)
		return -1;
	if (make_dir(fd, "refs", 0755, e) < 0 || make_dir(fd, "tmp", 0700, e) < 0)
		return -1;
	return take_fd(fd);
}

/* A description of its own each time, so that threads of one process exclude each other as well. */
static int lock_store(int images, struct err *e)
{
	_cleanup_close_ int fd = openat(images, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(e, "opening the image store");
	while (flock(fd, LOCK_EX) < 0)
		if (errno != EINTR)
			return err_sys(e, "locking the image store");
	return take_fd(fd);
}

static char *fresh_name(void)
{
	unsigned char r[8];
	struct buf b = { 0 };

	random_bytes(r, sizeof(r));
	buf_init(&b);
	buf_f(&b, "tmp/%d-", (int)getpid());
	buf_hex(&b, r, sizeof(r));
	return buf_take(&b);
}

/* Opens and locks a directory; -1 when it is gone or somebody has it. */
static int try_lock_dir(int images, const char *path)
{
	_cleanup_close_ int fd = openat(images, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		return -1;
	return take_fd(fd);
}

/* A list of paths with the descriptors that keep them ours. */
struct doomed {
	char **path;
	int *fd;
	size_t n;
};

static void doomed_add(struct doomed *d, char *path, int fd)
{
	d->path = xrealloc(d->path, (d->n + 1) * sizeof(*d->path));
	d->fd = xrealloc(d->fd, (d->n + 1) * sizeof(*d->fd));
	d->path[d->n] = path;
	d->fd[d->n++] = fd;
}

/* Best effort: what cannot be removed now is found by the next sweep. */
static void doomed_remove(struct doomed *d, int images)
{
	for (size_t i = 0; i < d->n; i++) {
		if (remove_tree(images, d->path[i], NULL) < 0)
			(void)0;
		close(d->fd[i]);
		free(d->path[i]);
	}
	free(d->path);
	free(d->fd);
	*d = (struct doomed){ 0 };
}

static DIR *open_dir_at(int images, const char *path)
{
	int fd = openat(images, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d && fd >= 0)
		close(fd);
	return d;
}

/* The store is locked. */
static void find_abandoned_locked(int images, struct doomed *out)
{
	DIR *d = open_dir_at(images, "tmp");
	struct dirent *ent;

	while (d && (ent = readdir(d))) {
		_cleanup_free_ char *path = strf("tmp/%s", ent->d_name);
		int fd;

		if (ent->d_name[0] == '.')
			continue;
		fd = try_lock_dir(images, path);
		if (fd >= 0)
			doomed_add(out, take_ptr(path), fd);
	}
	if (d)
		closedir(d);
}

int image_store_work_new(int images, char **ret_name, struct err *e)
{
	_cleanup_close_ int lock = lock_store(images, e);
	_cleanup_free_ char *name = fresh_name();
	_cleanup_close_ int fd = -EBADF;
	struct doomed old = { 0 };

	if (lock < 0)
		return -1;
	find_abandoned_locked(images, &old);
	if (mkdirat(images, name, 0700) < 0) {
		err_sys(e, "making %s in the image store", name);
	} else {
		fd = try_lock_dir(images, name);
		if (fd < 0)
			err_sys(e, "locking %s in the image store", name);
	}
	close(take_fd(lock));
	doomed_remove(&old, images);
	if (fd < 0)
		return -1;
	*ret_name = take_ptr(name);
	return take_fd(fd);
}

/* Takes the digest's directory out of the store when nobody holds it. -1: held. The store is locked. */
static int doom_digest_locked(int images, const char *hex, struct doomed *out, struct err *e)
{
	_cleanup_free_ char *dir = strf("sha256-%s", hex);
	_cleanup_free_ char *json = strf("%s/image.json", dir);
	_cleanup_free_ char *gone = fresh_name();
	_cleanup_close_ int held = openat(images, json, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	_cleanup_close_ int fd = -EBADF;

	if (held >= 0 && flock(held, LOCK_EX | LOCK_NB) < 0)
		return err_set(e, ERR_IN_USE, "a running job uses the image; stop the job or wait for its end");
	fd = try_lock_dir(images, dir);
	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0 || renameat(images, dir, images, gone) < 0)
		return err_sys(e, "taking %s out of the image store", dir);
	doomed_add(out, take_ptr(gone), take_fd(fd));
	return 0;
}

/* Whether bloomeryd has algorithms or models that name the image by its digest. The file is in a directory of
 * bloomeryd's; all that it can do is to keep an image. What cannot be looked at is kept. */
static bool is_pinned(int images, const char *hex)
{
	_cleanup_free_ char *pin = strf("../pins/%s", hex);

	return faccessat(images, pin, F_OK, AT_SYMLINK_NOFOLLOW) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

/* Images without a name that nobody holds. The store is locked. */
static void find_nameless_locked(int images, struct doomed *out)
{
	DIR *d = open_dir_at(images, ".");
	struct dirent *ent;

	while (d && (ent = readdir(d))) {
		struct str hex = str_of(ent->d_name);
		_cleanup_free_ char *digest = NULL;

		if (!str_skip(&hex, STR("sha256-")))
			continue;
		digest = strf("sha256:" PRIstr, ARGstr(hex));
		if (digest_valid(str_of(digest)) && !image_store_digest_named(images, hex.p, NULL) &&
		    !is_pinned(images, hex.p))
			(void)(doom_digest_locked(images, hex.p, out, NULL) == 0);
	}
	if (d)
		closedir(d);
}

static int sync_at(int images, const char *path, struct err *e)
{
	_cleanup_close_ int fd = openat(images, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd) < 0)
		return err_sys(e, "syncing %s of the image store", path);
	return 0;
}

static int point_ref_locked(int images, const char *hex, const char *reference, struct err *e)
{
	_cleanup_free_ char *leaf = reference_leaf(str_of(reference));
	_cleanup_free_ char *path = strf("refs/%s", leaf);
	static const char tmp[] = "refs/.new"; /* ours alone while the store is locked; a dead one's is taken away */
	_cleanup_free_ char *target = strf("../sha256-%s", hex);

	if (unlinkat(images, tmp, 0) < 0 && errno != ENOENT)
		return err_sys(e, "removing %s", tmp);
	if (symlinkat(target, images, tmp) < 0 || renameat(images, tmp, images, path) < 0)
		return err_sys(e, "naming the image %s", reference);
	return sync_at(images, "refs", e);
}

bool image_store_has(int images, const char *hex)
{
	_cleanup_free_ char *json = strf("sha256-%s/image.json", hex);

	return faccessat(images, json, R_OK, 0) == 0;
}

static int place_locked(int images, const char *made, const char *hex, bool *ret_reused, struct doomed *gone,
                        struct err *e)
{
	_cleanup_free_ char *dir = strf("sha256-%s", hex);

	*ret_reused = image_store_has(images, hex);
	if (*ret_reused)
		return 0;
	if (faccessat(images, dir, F_OK, 0) == 0 && doom_digest_locked(images, hex, gone, e) < 0)
		return -1;
	if (renameat(images, made, images, dir) < 0)
		return err_sys(e, "putting the image at %s", dir);
	return sync_at(images, ".", e);
}

int image_store_publish(int images, const char *made, const char *hex, const char *reference, bool *ret_reused,
                        struct err *e)
{
	_cleanup_close_ int lock = lock_store(images, e);
	struct doomed gone = { 0 };
	int rc;

	if (lock < 0)
		return -1;
	rc = place_locked(images, made, hex, ret_reused, &gone, e);
	if (rc == 0)
		rc = point_ref_locked(images, hex, reference, e);
	if (rc == 0)
		find_nameless_locked(images, &gone);
	close(take_fd(lock));
	doomed_remove(&gone, images);
	return rc;
}

static int remove_locked(int images, const char *reference, struct doomed *gone, struct err *e)
{
	_cleanup_free_ char *leaf = reference_leaf(str_of(reference));
	_cleanup_free_ char *path = strf("refs/%s", leaf);
	char hex[DIGEST_HEX_BYTES + 1];

	if (!image_store_ref_read(images, reference, hex))
		return err_set(e, ERR_NOT_FOUND,
		               "there is no local image '%s'; `bloomery image list` shows those there are", reference);
	if (!image_store_digest_named(images, hex, reference) && is_pinned(images, hex))
		return err_set(e, ERR_IN_USE,
		               "removing image %s: an algorithm or a model names it by its digest, and it has no other "
		               "name; delete that first",
		               reference);
	if (!image_store_digest_named(images, hex, reference) && doom_digest_locked(images, hex, gone, e) < 0)
		return err_in(e, "removing image %s", reference);
	if (unlinkat(images, path, 0) < 0)
		return err_sys(e, "removing the name %s", reference);
	find_nameless_locked(images, gone);
	return sync_at(images, "refs", e);
}

int image_remove(const char *images_dir, struct str text, struct err *e)
{
	_cleanup_free_ char *reference = NULL;
	_cleanup_close_ int images = -EBADF, lock = -EBADF;
	struct doomed gone = { 0 };
	int rc;

	if (reference_canonical(text, &reference, e) < 0)
		return -1;
	images = image_store_open(images_dir, e);
	if (images < 0)
		return -1;
	lock = lock_store(images, e);
	if (lock < 0)
		return -1;
	rc = remove_locked(images, reference, &gone, e);
	close(take_fd(lock));
	doomed_remove(&gone, images);
	return rc;
}
