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
static int mount_image(struct run *r, struct err *e)
{
	_cleanup_free_ char *store = strf("%s/images", r->data_dir), *leaf = strf("%s/rootfs", r->image.digest);
	_cleanup_close_ int images = image_dir_open(store, e), fd = -EBADF;
	char from[32];

	if (images < 0)
		return -1;
	leaf[strlen("sha256")] = '-';
	fd = openat(images, leaf, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "opening the image %s", leaf);
	if (mkdirat(r->work_fd, "image", 0755) < 0)
		return err_sys(e, "making work/image");
	snprintf(from, sizeof(from), "/proc/self/fd/%d", fd);
	if (mount(from, "image", NULL, MS_BIND, NULL) < 0)
		return err_sys(e, "mounting the image %s", r->image.rootfs);
	r->image_mounted = true;
	return 0;
}

static int mount_overlay(struct run *r, struct err *e)
{
	/* "volatile": what the container syncs need not reach the disk, as nobody reads it after a crash. */
	static const char *const options[] = {
		"lowerdir=tree:image,upperdir=volume/upper,workdir=volume/work,index=off,volatile",
		"lowerdir=tree:image,upperdir=volume/upper,workdir=volume/work",
	};
	struct stat st;

	if (mkdirat(r->work_fd, "rootfs", 0755) < 0)
		return err_sys(e, "making work/rootfs");
	/* The root's own mode is the upper layer's; it is to be the image's. */
	if (fstatat(r->work_fd, "image", &st, 0) < 0 || fchmodat(r->work_fd, "volume/upper", st.st_mode & 07777, 0) < 0)
		return err_sys(e, "looking at the image's root");
	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		if (mount("overlay", "rootfs", "overlay", MS_NODEV, options[i]) == 0) {
			r->rootfs_mounted = true;
			return 0;
		}
	return err_sys(e,
	               "mounting the container's root as an overlay in %s (its file system must be able to carry "
	               "overlayfs layers, such as ext4 or xfs)",
	               r->job_dir);
}

enum step phase_rootfs(struct run *r, struct err *e)
{
	_cleanup_close_ int fd = -EBADF;

	if (mount_image(r, e) < 0 || mount_overlay(r, e) < 0)
		return STEP_FAIL;
	fd = openat(r->work_fd, "rootfs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		err_sys(e, "opening the container's root");
		return STEP_FAIL;
	}
	return inside_mkdir(fd, r->image.working_dir, e) < 0 ? STEP_FAIL : STEP_NEXT;
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
	unmount(&r->rootfs_mounted, "rootfs");
	unmount(&r->image_mounted, "image");
}
