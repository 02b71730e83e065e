/* The job's volume: VolumeSizeInGB as a sparse ext4 image on a loop device, so that a trainer that fills its disk gets
 * ENOSPC at the size it asked for (doc/adr/0003). The image is unlinked as soon as it is mounted: nothing is left of it
 * when the mount namespace goes, however that comes about.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <linux/loop.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "run/phase.h"
#include "run/reason.h"

enum { LOOP_TRIES = 128, DISK_RESERVE_SHARE = 64 };
static const uint64_t least_volume = 16 << 20;

#define VOLUME_IMAGE "volume.img"
/* Not in every set of headers: makes an ext4 forget what it has not written yet. */
#define FS_SHUTDOWN _IOR('X', 125, uint32_t)
#define FS_SHUTDOWN_NOLOGFLUSH 2u

/* A sparse image must not promise what the disk has not got: full, it would show as I/O errors instead of ENOSPC. */
static int volume_size(struct run *r, uint64_t *ret_bytes, struct err *e)
{
	uint64_t asked = r->spec.limits.volume_bytes, free_bytes;
	struct statvfs st;

	if (fstatvfs(r->work_fd, &st) < 0)
		return err_sys(e, "asking for the free space of %s", r->job_dir);
	free_bytes = (uint64_t)st.f_bavail * st.f_frsize;
	free_bytes -= free_bytes / DISK_RESERVE_SHARE;
	if (asked > free_bytes) {
		struct buf a = { 0 }, f = { 0 };

		reason_bytes(asked, &a);
		reason_bytes(free_bytes, &f);
		run_say(r, "The volume is %s instead of %s: the machine's disk has no more free.", f.p, a.p);
		buf_fini(&a);
		buf_fini(&f);
		asked = free_bytes;
	}
	asked = asked >> 20 << 20;
	if (asked < least_volume)
		return err_set(e, ERR_LIMIT, "the machine's disk is full: no room for the job's volume in %s",
		               r->job_dir);
	*ret_bytes = asked;
	return 0;
}

/* mkfs.ext4 at work, while the phases before `mount` run. Most of its time it waits for the disk. */
struct volume {
	pid_t pid; /* 0: reaped */
	struct loop_source *process;
	int image_fd, said_fd;
	bool ended, waited_for;
	struct err failed; /* kind ERR_NONE: it has not */
};

static void volume_free(struct volume *v)
{
	if (!v)
		return;
	loop_source_free(v->process);
	if (v->pid > 0) {
		kill(v->pid, SIGKILL);
		waitpid(v->pid, NULL, 0);
	}
	cleanup_closep(&v->image_fd);
	cleanup_closep(&v->said_fd);
	free(v);
}

static void on_made(void *arg, int code, int status);

static int start_mkfs(struct run *r, const char *image, struct err *e)
{
	static const char *const programs[] = { "/usr/sbin/mkfs.ext4", "/sbin/mkfs.ext4", "/usr/bin/mkfs.ext4" };
	_cleanup_close_ int said = -EBADF;
	struct volume *v = r->volume;
	size_t i = 0;
	int ends[2];

	while (i < ARRAY_LEN(programs) && access(programs[i], X_OK) < 0)
		i++;
	if (i == ARRAY_LEN(programs))
		return err_set(e, ERR_NOT_FOUND, "there is no mkfs.ext4 (package e2fsprogs)");
	/* No journal, as nothing outlives a crash; inode tables count as zeroed, as the image is new; few big groups,
	 * so that little is written for a large volume. */
	const char *const argv[] = { programs[i],
		                     "-q",
		                     "-F",
		                     "-m",
		                     "0",
		                     "-i",
		                     "16384",
		                     "-G",
		                     "256",
		                     "-O",
		                     "^has_journal,^resize_inode",
		                     "-E",
		                     "lazy_itable_init=1,assume_storage_prezeroed=1,nodiscard",
		                     image,
		                     NULL };

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) /* it fails rather than waits when it says more than fits */
		return err_sys(e, "making a pipe");
	v->said_fd = ends[0];
	said = ends[1];
	if (spawn(
	            &(struct spawn_options){
	                    .argv = argv, .in = -1, .out = said, .err_fd = said, .die_with_parent = true },
	            &v->pid, e) < 0)
		return -1;
	v->process = loop_process(r->loop, v->pid, true, on_made, r);
	return v->process ? 0 : err_sys(e, "watching %s", programs[i]);
}

static void what_it_said(const struct volume *v, int code, int status, struct err *e)
{
	char text[1024];
	ssize_t n = read(v->said_fd, text, sizeof(text));

	if (code != CLD_EXITED)
		err_set(e, ERR_IO, "mkfs.ext4 was killed by %s", reason_signal(status));
	else
		err_set(e, ERR_IO, "mkfs.ext4: " PRIstr, ARGstr(str_trim((struct str){ text, n > 0 ? (size_t)n : 0 })));
}

/* Binds the image to a free loop device that frees itself after its last user; *ret_fd keeps it until it is mounted.
 * Direct: without it everything is cached twice, and 3 GB are written in 16 s instead of 2. */
static int attach(int image_fd, char *path, size_t path_bytes, int *ret_fd, struct err *e)
{
	_cleanup_close_ int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	struct loop_config config = { .fd = (uint32_t)image_fd,
		                      .info = { .lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO } };

	if (control < 0)
		return err_sys(e, "opening /dev/loop-control");
	snprintf((char *)config.info.lo_file_name, sizeof(config.info.lo_file_name), "bloomery volume");
	for (int i = 0; i < LOOP_TRIES; i++) {
		int n = ioctl(control, LOOP_CTL_GET_FREE);
		_cleanup_close_ int fd = -EBADF;

		if (n < 0)
			return err_sys(e, "looking for a free loop device");
		snprintf(path, path_bytes, "/dev/loop%d", n);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0 && errno != ENXIO)
			return err_sys(e, "opening %s", path);
		if (fd >= 0 && ioctl(fd, LOOP_CONFIGURE, &config) == 0) {
			*ret_fd = take_fd(fd);
			return 0;
		}
		if (errno == EINVAL && (config.info.lo_flags & LO_FLAGS_DIRECT_IO))
			config.info.lo_flags = LO_FLAGS_AUTOCLEAR; /* this file system cannot */
		else if (errno != EBUSY && errno != ENXIO)         /* those two: somebody was quicker */
			return err_sys(e, "configuring %s", path);
	}
	return err_set(e, ERR_BUSY, "no loop device could be had in %d tries", LOOP_TRIES);
}

static int mount_image(int image_fd, struct err *e)
{
	_cleanup_close_ int fd = -EBADF;
	char path[64];

	if (attach(image_fd, path, sizeof(path), &fd, e) < 0)
		return -1;
	/* No barriers: nobody reads the volume after a crash, so nothing need reach the disk in order. */
	if (mount(path, "volume", "ext4", MS_NODEV | MS_NOATIME, "noinit_itable,discard,barrier=0") < 0)
		return err_sys(e, "mounting %s", path);
	return 0;
}

static int begin(struct run *r, struct err *e)
{
	struct volume *v = r->volume;

	v->image_fd = openat(r->work_fd, VOLUME_IMAGE, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (v->image_fd < 0 || ftruncate(v->image_fd, (off_t)r->volume_bytes) < 0)
		return err_sys(e, "making %s", VOLUME_IMAGE);
	return start_mkfs(r, VOLUME_IMAGE, e);
}

enum step phase_volume(struct run *r, struct err *e)
{
	if (r->spec.limits.clipped)
		run_say(r, "%s", r->spec.limits.clipped);
	if (volume_size(r, &r->volume_bytes, e) < 0)
		return STEP_FAIL;
	if (mkdirat(r->work_fd, "volume", 0700) < 0) {
		err_sys(e, "making work/volume");
		return STEP_FAIL;
	}
	r->volume = xcalloc(1, sizeof(*r->volume));
	r->volume->image_fd = r->volume->said_fd = -EBADF;
	if (begin(r, &r->volume->failed) < 0)
		r->volume->ended = true;
	return STEP_NEXT;
}

/* Mounts what was made, or goes on in the plain directory; either way the upper layer is ready. */
static int take_into_use(struct run *r, struct err *e)
{
	struct volume *v = r->volume;
	char text[1024];

	if (v->failed.kind == ERR_NONE && mount_image(v->image_fd, &v->failed) == 0)
		r->volume_mounted = r->volume_enforced = true;
	if (v->image_fd >= 0 && unlinkat(r->work_fd, VOLUME_IMAGE, 0) < 0)
		return err_sys(e, "unlinking %s", VOLUME_IMAGE);
	if (!r->volume_mounted) {
		log_err(LOG_WARN, &v->failed, "no loop-mounted volume, using a directory");
		run_say(r, "VolumeSizeInGB is not enforced, the container can fill the machine's disk: %s.",
		        err_text(&v->failed, text, sizeof(text)));
	}
	volume_free(take_ptr(r->volume));
	if (mkdirat(r->work_fd, "volume/upper", 0755) < 0 || mkdirat(r->work_fd, "volume/work", 0755) < 0)
		return err_sys(e, "making the directories of the volume");
	return 0;
}

static void on_made(void *arg, int code, int status)
{
	struct run *r = arg;
	struct volume *v = r->volume;
	struct err e = { 0 };

	loop_source_free(take_ptr(v->process));
	v->pid = 0;
	v->ended = true;
	if (code != CLD_EXITED || status != 0)
		what_it_said(v, code, status, &v->failed);
	if (!v->waited_for)
		return;
	if (r->stop == STOP_NONE && take_into_use(r, &e) < 0)
		run_failed(r, &e);
	else
		run_next(r); /* when stopped, to the end */
}

enum step phase_mount(struct run *r, struct err *e)
{
	if (r->volume->ended)
		return take_into_use(r, e) < 0 ? STEP_FAIL : STEP_NEXT;
	r->volume->waited_for = true;
	return STEP_WAIT;
}

void stop_mount(struct run *r)
{
	if (r->volume && r->volume->pid > 0)
		kill(r->volume->pid, SIGKILL);
}

pid_t volume_maker(const struct run *r)
{
	return r->volume ? r->volume->pid : 0;
}

int volume_space(struct run *r, uint64_t *ret_size, uint64_t *ret_free, uint64_t *ret_free_inodes, struct err *e)
{
	struct statvfs st;
	_cleanup_close_ int fd = openat(r->work_fd, "volume", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fstatvfs(fd, &st) < 0)
		return err_sys(e, "asking for the free space of the volume");
	*ret_size = (uint64_t)st.f_blocks * st.f_frsize;
	*ret_free = (uint64_t)st.f_bavail * st.f_frsize;
	*ret_free_inodes = st.f_favail;
	return 0;
}

/* What the container wrote last would be written out by the unmount, only to be thrown away. */
static void forget_unwritten(void)
{
	_cleanup_close_ int fd = open("volume", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint32_t how = FS_SHUTDOWN_NOLOGFLUSH;

	if (fd >= 0 && ioctl(fd, FS_SHUTDOWN, &how) < 0)
		log_debug("the volume could not be shut down: %s", strerror(errno));
}

void undo_volume(struct run *r)
{
	volume_free(take_ptr(r->volume));
	if (!r->volume_mounted)
		return;
	forget_unwritten();
	if (umount2("volume", UMOUNT_NOFOLLOW) < 0) {
		log_warn("unmounting the volume: %s", strerror(errno));
		umount2("volume", MNT_DETACH | UMOUNT_NOFOLLOW);
	}
	r->volume_mounted = false;
}
