/* mount.c - fastfile_mount(): the part of bloomery-fuse's life that needs root.  SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/fd.h"
#include "fuse/fastfile.h"

/* A few requests of the largest size; what a reader needs beyond that, bloomery-fuse reads ahead itself. */
enum { READ_AHEAD_KB = 1024 };

/* The last mount on `at` is the one just made. False when it is not found. */
static bool device_of(const char *at, unsigned *ret_major, unsigned *ret_minor)
{
	_cleanup_buf_ struct buf table = { 0 };
	_cleanup_free_ char *want = realpath(at, NULL);
	struct str rest;
	bool found = false;

	if (!want || file_read("/proc/self/mountinfo", 64 << 20, &table, NULL) < 0)
		return false;
	/* "36 35 98:0 / /mnt rw ... - type source options"; blanks in paths are octal there, and not in ours */
	for (rest = buf_view(&table); rest.n;) {
		struct str line = str_cut(&rest, '\n'), device, major;
		uint64_t a, b;

		str_cut(&line, ' ');
		str_cut(&line, ' ');
		device = str_cut(&line, ' ');
		str_cut(&line, ' ');
		if (!str_is(str_cut(&line, ' '), want))
			continue;
		major = str_cut(&device, ':');
		if (!str_to_u64(major, &a) || !str_to_u64(device, &b) || a > UINT32_MAX || b > UINT32_MAX)
			continue;
		*ret_major = (unsigned)a;
		*ret_minor = (unsigned)b;
		found = true;
	}
	return found;
}

/* The kernel's default is made for disks. Without it reading is slower, nothing else. */
static void set_read_ahead(const char *at)
{
	unsigned major, minor;
	_cleanup_free_ char *path = NULL;
	FILE *f;

	if (!device_of(at, &major, &minor))
		return;
	path = strf("/sys/class/bdi/%u:%u/read_ahead_kb", major, minor);
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
