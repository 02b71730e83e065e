/* mount.c - fastfile_mount(): the part of bloomery-fuse's life that needs root.  SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/fd.h"
#include "fuse/fastfile.h"

/* A few requests of the largest size; what a reader needs beyond that, bloomery-fuse reads ahead itself. */
enum { READ_AHEAD_KB = 1024 };

/* The number of the mount that a path leads to. The file system is not asked, as nobody would answer yet. */
static bool mount_id(const char *at, uint64_t *ret)
{
	_cleanup_close_ int fd = open(at, O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_free_ char *path = strf("/proc/self/fdinfo/%d", fd);
	_cleanup_buf_ struct buf info = { 0 };
	struct str rest;

	if (fd < 0 || file_read(path, 4096, &info, NULL) < 0)
		return false;
	for (rest = buf_view(&info); rest.n;) {
		struct str line = str_cut(&rest, '\n');

		if (str_skip(&line, STR("mnt_id:")))
			return str_to_u64(str_trim(line), ret);
	}
	return false;
}

static bool device_of(const char *at, uint64_t *ret_major, uint64_t *ret_minor)
{
	_cleanup_buf_ struct buf table = { 0 };
	uint64_t want, id;
	struct str rest;

	if (!mount_id(at, &want) || file_read("/proc/self/mountinfo", 64 << 20, &table, NULL) < 0)
		return false;
	for (rest = buf_view(&table); rest.n;) { /* "36 35 98:0 / /mnt rw ..." */
		struct str line = str_cut(&rest, '\n'), device, major;

		if (!str_to_u64(str_cut(&line, ' '), &id) || id != want)
			continue;
		str_cut(&line, ' ');
		device = str_cut(&line, ' ');
		major = str_cut(&device, ':');
		return str_to_u64(major, ret_major) && str_to_u64(device, ret_minor);
	}
	return false;
}

/* The kernel's default is made for disks. Without it reading is slower, nothing else. */
static void set_read_ahead(const char *at)
{
	uint64_t major, minor;
	_cleanup_free_ char *path = NULL;
	FILE *f;

	if (!device_of(at, &major, &minor))
		return;
	path = strf("/sys/class/bdi/%" PRIu64 ":%" PRIu64 "/read_ahead_kb", major, minor);
	f = fopen(path, "we");
	if (!f)
		return;
	fprintf(f, "%d\n", READ_AHEAD_KB);
	fclose(f);
}

int fastfile_mount(const char *at, const char *source, int *ret_fd, struct err *e)
{
	_cleanup_close_ int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	_cleanup_free_ char *options = strf("fd=%d,rootmode=40555,user_id=0,group_id=0,allow_other,default_permissions",
	                                    fd);

	if (fd < 0)
		return err_sys(e,
		               "opening /dev/fuse, which FastFile needs here (modprobe fuse; in a container: give it "
		               "the device)");
	if (mount(source, at, "fuse.bloomery", MS_RDONLY | MS_NOSUID | MS_NODEV, options) < 0)
		return err_sys(e, "mounting a file system by FUSE");
	set_read_ahead(at);
	*ret_fd = take_fd(fd);
	return 0;
}
