/* The container's root: one overlay of the volume over the job's tree over the image (doc/adr/0002).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "run/phase.h"

/* The image by a mount of its own, so that its path (which may hold ',' and ':') is no part of overlay's options. By
 * descriptor, as the store's directory lies in bloomeryd's. */
static int mount_image(struct box *b, struct err *e)
{
	struct run *r = b->run;
	_cleanup_free_ char *point = box_path(b, "image");
	_cleanup_free_ char *store = strf("%s/images", r->data_dir), *leaf = strf("%s/rootfs", b->image.digest);
	_cleanup_close_ int images = image_dir_open(store, e), fd = -EBADF;
	char from[32];

	if (images < 0)
		return -1;
	leaf[strlen("sha256")] = '-';
	fd = openat(images, leaf, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "opening the image %s", leaf);
	if (mkdirat(r->work_fd, point, 0755) < 0)
		return err_sys(e, "making work/%s", point);
	snprintf(from, sizeof(from), "/proc/self/fd/%d", fd);
	if (mount(from, point, NULL, MS_BIND, NULL) < 0)
		return err_sys(e, "mounting the image %s", b->image.rootfs);
	b->image_mounted = true;
	return 0;
}

/* The layers of the first box have the names that they have always had; others have theirs below a directory. */
static int make_upper(struct box *b, struct err *e)
{
	struct run *r = b->run;
	_cleanup_free_ char *dir = strf("volume/%s", b->path), *upper = strf("volume/%supper", b->path);
	_cleanup_free_ char *work = strf("volume/%swork", b->path), *image = box_path(b, "image");
	struct stat st;

	if (*b->path && (mkdirat(r->work_fd, dir, 0755) < 0 || mkdirat(r->work_fd, upper, 0755) < 0 ||
	                 mkdirat(r->work_fd, work, 0755) < 0))
		return err_sys(e, "making the directories of the volume");
	/* The root's own mode is the upper layer's; it is to be the image's. */
	if (fstatat(r->work_fd, image, &st, 0) < 0 || fchmodat(r->work_fd, upper, st.st_mode & 07777, 0) < 0)
		return err_sys(e, "looking at the image's root");
	return 0;
}

static int mount_overlay(struct box *b, struct err *e)
{
	/* "volatile": what the container syncs need not reach the disk, as nobody reads it after a crash. */
	static const char *const more[] = { ",index=off,volatile", "" };
	struct run *r = b->run;
	_cleanup_free_ char *rootfs = box_path(b, "rootfs");

	if (mkdirat(r->work_fd, rootfs, 0755) < 0)
		return err_sys(e, "making work/%s", rootfs);
	if (make_upper(b, e) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(more); i++) {
		_cleanup_free_ char *options = strf(
		        "lowerdir=%stree:%simage,upperdir=volume/%supper,workdir=volume/%swork%s", b->path, b->path,
		        b->path, b->path, more[i]);

		if (mount("overlay", rootfs, "overlay", MS_NODEV, options) == 0) {
			b->rootfs_mounted = true;
			return 0;
		}
	}
	return err_sys(e,
	               "mounting the container's root as an overlay in %s (its file system must be able to carry "
	               "overlayfs layers, such as ext4 or xfs)",
	               r->job_dir);
}

static int make_rootfs(struct box *b, struct err *e)
{
	_cleanup_free_ char *rootfs = box_path(b, "rootfs");
	_cleanup_close_ int fd = -EBADF;

	if (mount_image(b, e) < 0 || mount_overlay(b, e) < 0)
		return -1;
	fd = openat(b->run->work_fd, rootfs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "opening the container's root");
	return inside_mkdir(fd, b->image.working_dir, e);
}

enum step phase_rootfs(struct run *r, struct err *e)
{
	for (size_t i = 0; i < r->box_count; i++)
		if (make_rootfs(&r->box[i], e) < 0)
			return STEP_FAIL;
	return STEP_NEXT;
}

static void unmount(bool *mounted, const char *path)
{
	if (!*mounted)
		return;
	if (umount2(path, UMOUNT_NOFOLLOW) < 0) {
		log_warn("unmounting %s: %s", path, strerror(errno));
		umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
	}
	*mounted = false;
}

void undo_rootfs(struct run *r)
{
	for (size_t i = r->box_count; i-- > 0;) {
		_cleanup_free_ char *rootfs = box_path(&r->box[i], "rootfs"), *image = box_path(&r->box[i], "image");

		unmount(&r->box[i].rootfs_mounted, rootfs);
		unmount(&r->box[i].image_mounted, image);
	}
}
