/* What is done when a supervisor has died without undoing its work.
 *
 * The order matters: first the processes, as each can hold what comes after, and all of them at once, as one that waits
 * for the answer of a file system's server goes only when that server has; a supervisor's mounts and loop devices are
 * in its own mount namespace and go with the last process in there; then what is visible here, though it should not be;
 * then files.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/loop.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "host/host.h"
#include "jobdir/jobdir.h"
#include "joblog/joblog.h"
#include "net/net.h"
#include "oci/bundle.h"

enum { MOUNTS_MAX_BYTES = 8 << 20, ROUNDS = 10, ROUND_MS = 5000 };

/* ---- mounts that are visible here ---- */

/* Blanks and the like are \ooo in mountinfo. */
static void unescape(struct str s, struct buf *out)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] == '\\' && i + 3 < s.n) {
			buf_c(out, (char)((s.p[i + 1] - '0') * 64 + (s.p[i + 2] - '0') * 8 + (s.p[i + 3] - '0')));
			i += 3;
		} else {
			buf_c(out, s.p[i]);
		}
}

static struct str mount_point(struct str line)
{
	for (int i = 0; i < 4; i++)
		str_cut(&line, ' ');
	return str_cut(&line, ' ');
}

/* Unmounts all below dir, the last mounted first. *ret_count: how many there were. */
static int unmount_below(const char *dir, int *ret_count, struct err *e)
{
	_cleanup_buf_ struct buf text = { 0 };
	_cleanup_free_ char *prefix = strf("%s/", dir);
	struct str rest;

	*ret_count = 0;
	if (file_read("/proc/self/mountinfo", MOUNTS_MAX_BYTES, &text, e) < 0)
		return -1;
	for (rest = buf_view(&text); rest.n;) {
		_cleanup_buf_ struct buf path = { 0 };

		unescape(mount_point(str_cut_last(&rest, '\n')), &path);
		if (!str_starts(buf_view(&path), str_of(prefix)))
			continue;
		++*ret_count;
		if (umount2(path.p, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL && errno != ENOENT)
			return err_sys(e, "unmounting %s", path.p);
	}
	return 0;
}

/* ---- processes in the supervisor's mount namespace, or in one made from it ---- */

static bool same_namespace(const char *pid)
{
	_cleanup_free_ char *path = strf("/proc/%s/ns/mnt", pid);
	struct stat theirs, ours;

	return stat(path, &theirs) < 0 || stat("/proc/self/ns/mnt", &ours) < 0 ||
	       (theirs.st_ino == ours.st_ino && theirs.st_dev == ours.st_dev);
}

/* A supervisor has its work/ mounted by itself; there only the end of the path is told as we know it. */
static bool sees_below(const char *pid, const char *dir)
{
	_cleanup_free_ char *path = strf("/proc/%s/mountinfo", pid);
	_cleanup_free_ char *below = strf("%s/", dir), *work = strf("/jobs%s/work ", strrchr(dir, '/'));
	_cleanup_buf_ struct buf text = { 0 }, plain = { 0 };

	if (same_namespace(pid) || file_read(path, MOUNTS_MAX_BYTES, &text, NULL) < 0)
		return false;
	unescape(buf_view(&text), &plain);
	return str_find(buf_view(&plain), str_of(below)) >= 0 || str_find(buf_view(&plain), str_of(work)) >= 0;
}

/* SIGKILLs who has a mount below dir that nobody else can see; *ret_left: how many there were. When `wait` is set each
 * is given some time to end. */
static int kill_round(const char *dir, bool wait, int *ret_left, struct err *e)
{
	DIR *d = opendir("/proc");
	struct dirent *ent;

	if (!d)
		return err_sys(e, "reading /proc");
	*ret_left = 0;
	while ((ent = readdir(d))) {
		_cleanup_close_ int fd = -EBADF;
		struct pollfd p = { .events = POLLIN };
		uint64_t pid;

		if (!str_to_u64(str_of(ent->d_name), &pid) || !sees_below(ent->d_name, dir))
			continue;
		++*ret_left;
		p.fd = fd = pidfd_open((pid_t)pid, 0);
		if (fd >= 0 && pidfd_send_signal(fd, SIGKILL, NULL, 0) == 0 && wait)
			poll(&p, 1, ROUND_MS);
	}
	closedir(d);
	return 0;
}

/* All get the signal before any is waited for. */
static int kill_in_namespaces(const char *dir, struct err *e)
{
	int left = 1;

	for (int round = 0; left && round < ROUNDS; round++)
		if (kill_round(dir, round > 0, &left, e) < 0)
			return -1;
	return left ? err_set(e, ERR_IO, "%d processes of the job do not go away", left) : 0;
}

/* ---- loop devices ---- */

static int detach_loop(const char *name, const char *prefix, struct err *e)
{
	_cleanup_free_ char *file = strf("/sys/block/%s/loop/backing_file", name), *dev = strf("/dev/%s", name);
	_cleanup_buf_ struct buf backing = { 0 };
	_cleanup_close_ int fd = -EBADF;

	if (file_read(file, PATH_MAX + 64, &backing, NULL) < 0 || !str_starts(buf_view(&backing), str_of(prefix)))
		return 0;
	fd = open(dev, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || (ioctl(fd, LOOP_CLR_FD, 0) < 0 && errno != ENXIO))
		return err_sys(e, "detaching %s", dev);
	return 0;
}

static int detach_loops(const char *dir, struct err *e)
{
	_cleanup_free_ char *prefix = strf("%s/", dir);
	DIR *d = opendir("/sys/block");
	struct dirent *ent;
	int rc = 0;

	while (rc == 0 && d && (ent = readdir(d)))
		if (str_starts(str_of(ent->d_name), STR("loop")))
			rc = detach_loop(ent->d_name, prefix, e);
	if (d)
		closedir(d);
	return rc;
}

/* ---- all of it ---- */

static int undo(const char *dir, const char *id, struct err *e)
{
	_cleanup_free_ char *cgroup = strf("/bloomery/%s", id);
	char port[NET_NAME_BYTES];
	int visible, left;

	if (unmount_below(dir, &visible, e) < 0)
		return -1;
	/* What was mounted where everybody sees it says nothing about whose process it is. */
	if (!visible && kill_round(dir, false, &left, e) < 0)
		return -1;
	if (cgroup_destroy(cgroup, e) < 0)
		return -1;
	if (!visible && kill_in_namespaces(dir, e) < 0)
		return -1;
	net_port_name(id, port);
	if (net_sweep(port, e) < 0)
		return -1;
	return detach_loops(dir, e);
}

/* The lines that the container had not ended are in its log. Nothing more than that is lost when it fails. */
static void end_logs(int jobs_fd, const char *id)
{
	_cleanup_free_ char *path = strf("%s/log", id);
	int fd = open_beneath(jobs_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, NULL);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *one;

	while (d && (one = readdir(d))) {
		struct str rest = str_of(one->d_name), name = str_cut(&rest, '.'); /* of a segment, its log's */
		_cleanup_free_ char *log = strf("/proc/self/fd/%d/" PRIstr, fd, ARGstr(name));
		struct err e = { 0 };

		if (name.n && joblog_recover(log, &e) < 0)
			log_err(LOG_WARN, &e, "ending the log of job %s", id);
	}
	if (d)
		closedir(d);
	else
		cleanup_closep(&fd);
}

static int remove_files(int jobs_fd, const char *id, enum clean_depth depth, struct err *e)
{
	_cleanup_close_ int fd = -EBADF;

	if (depth == CLEAN_REMOVE)
		return remove_tree(jobs_fd, id, e);
	fd = open_beneath(jobs_fd, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, e);
	if (fd < 0)
		return errno == ENOENT ? 0 : -1;
	if (unlinkat(fd, "sock", 0) < 0 && errno != ENOENT)
		return err_sys(e, "removing sock");
	if (depth == CLEAN_FORGET && remove_tree(fd, "staged", e) < 0)
		return -1;
	return remove_tree(fd, "work", e);
}

int host_clean(const char *data_dir, struct str id, enum clean_depth depth, struct err *e)
{
	_cleanup_free_ char *real = realpath(data_dir, NULL), *leaf = NULL, *jobs = NULL, *dir = NULL;
	_cleanup_close_ int jobs_fd = -EBADF;
	pid_t pid;
	int alive;

	if (!job_id_valid(id))
		return err_set(e, ERR_INVALID, "'%.*s' is not a job id", (int)(id.n < 64 ? id.n : 64), id.p);
	if (!real)
		return err_sys(e, "finding %s", data_dir);
	leaf = str_dup(id);
	jobs = strf("%s/jobs", real);
	dir = strf("%s/%s", jobs, leaf);
	jobs_fd = open(jobs, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (jobs_fd < 0)
		return err_sys(e, "opening %s", jobs);
	alive = jobdir_alive(dir, &pid, NULL);
	if (alive > 0)
		return err_set(e, ERR_IN_USE, "process %d is at work in %s", (int)pid, dir);
	if (undo(dir, leaf, e) < 0)
		return err_in(e, "cleaning up after job %s", leaf);
	if (depth == CLEAN_LEFTOVERS)
		end_logs(jobs_fd, leaf);
	if (remove_files(jobs_fd, leaf, depth, e) < 0)
		return err_in(e, "cleaning up after job %s", leaf);
	return 0;
}
