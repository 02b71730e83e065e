/* What channels are that are mounted: file systems of FileSystemDataSource, and what the container gets to see of them,
 * of linked channels and of bloomery-fuse.
 *
 * A file system is what root has said in bloomery.conf that the id stands for (doc/adr/0014). DirectoryPath comes from
 * the request and is resolved with the file system's root as "/", so that neither ".." nor a link leads out of it. All
 * of it is in our own mount namespace.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "run/phase.h"
#include "run/reason.h"

enum { MOUNT_MS = 60000, SAID_MAX = 2048, SAID_IN_REASON = 400, KILL_MS = 500, KILL_ROUNDS = 8 };

/* ---- a command that mounts ---- */

/* Programs without a slash are looked for where a system keeps its own. */
static char *find_program(const char *name)
{
	static const char *const dirs[] = { "/usr/local/sbin", "/usr/local/bin", "/usr/sbin",
		                            "/usr/bin",        "/sbin",          "/bin" };

	if (strchr(name, '/'))
		return xstrdup(name);
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		char *path = strf("%s/%s", dirs[i], name);

		if (access(path, X_OK) == 0)
			return path;
		free(path);
	}
	return NULL;
}

/* Until it has ended or the time is over; what it says meanwhile, the first SAID_MAX bytes. Whoever it leaves behind
 * (the server of a file system) may keep the pipe open, and is not waited for. */
static bool wait_for(int pidfd, int out, struct buf *said)
{
	struct mono start = mono_now();

	for (;;) {
		struct pollfd p[2] = { { .fd = pidfd, .events = POLLIN }, { .fd = out, .events = POLLIN } };
		int64_t left = MOUNT_MS - mono_ms_since(start);
		char bytes[1024];
		ssize_t n;

		if (left <= 0 || (poll(p, 2, (int)left) < 0 && errno != EINTR))
			return false;
		n = read(out, bytes, sizeof(bytes)); /* does not wait */
		if (n > 0)
			buf_add(said, bytes, (size_t)n < SAID_MAX - said->n ? (size_t)n : SAID_MAX - said->n);
		else if (n == 0)
			out = -1; /* poll ignores it, and read fails */
		if (p[0].revents && n <= 0)
			return true;
	}
}

static int command_failed(const struct conf_file_system *fs, bool in_time, int status, struct str said, struct err *e)
{
	struct buf words = { 0 }, how = { 0 };

	reason_clean(str_trim(said), SAID_IN_REASON, &words);
	if (!in_time)
		buf_f(&how, "has not ended within %d s", MOUNT_MS / 1000);
	else if (WIFEXITED(status))
		buf_f(&how, "ended with status %d", WEXITSTATUS(status));
	else
		buf_f(&how, "was killed by %s", reason_signal(WTERMSIG(status)));
	err_set(e, ERR_IO, "mounting the file system %s: `%s` of bloomery.conf %s%s%s", fs->id, fs->mount, how.p,
	        words.n ? " and said: " : "", words.n ? words.p : "");
	buf_fini(&words);
	buf_fini(&how);
	return -1;
}

static int run_command(const struct conf_file_system *fs, const char *const *argv, struct err *e)
{
	static const char *const env[] = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		                           "HOME=/root", "LC_ALL=C.UTF-8", NULL };
	struct spawn_options o = { .argv = argv, .envp = env, .in = -1, .die_with_parent = true, .setsid = true };
	_cleanup_close_ int reader = -EBADF, writer = -EBADF, pidfd = -EBADF;
	_cleanup_buf_ struct buf said = { 0 };
	int ends[2], status = 0;
	bool in_time;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(e, "making a pipe");
	reader = ends[0];
	o.out = o.err_fd = writer = ends[1];
	if (fd_set_nonblock(reader, true) < 0 || spawn(&o, &pid, e) < 0)
		return err_in(e, "mounting the file system %s", fs->id);
	cleanup_closep(&writer);
	writer = -EBADF;
	pidfd = pidfd_open(pid, 0);
	in_time = pidfd >= 0 && wait_for(pidfd, reader, &said);
	if (!in_time)
		kill(-pid, SIGKILL); /* its session */
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (said.n)
		log_info("%s: " PRIstr, fs->mount, ARGstr(str_trim(buf_view(&said))));
	return in_time && status == 0 ? 0 : command_failed(fs, in_time, status, buf_view(&said), e);
}

static int mount_by_command(const struct conf_file_system *fs, const char *at, bool writable, struct err *e)
{
	_cleanup_free_ char *where = strf(RUN_WORK "/%s", at), *program = NULL;
	char **argv = conf_mount_argv(fs, where, writable);
	struct stat before, after;
	int rc = -1;

	program = find_program(argv[0]);
	if (!program) {
		err_set(e, ERR_IO, "mounting the file system %s: there is no program '%s'", fs->id, argv[0]);
	} else if (stat(at, &before) < 0) {
		err_sys(e, "looking at %s", at);
	} else {
		free(argv[0]);
		argv[0] = take_ptr(program);
		rc = run_command(fs, (const char *const *)argv, e);
	}
	conf_argv_free(argv);
	if (rc < 0)
		return -1;
	if (stat(at, &after) < 0)
		return err_sys(e, "looking at what was mounted for the file system %s", fs->id);
	if (before.st_dev == after.st_dev && before.st_ino == after.st_ino)
		return err_set(e, ERR_IO,
		               "mounting the file system %s: `%s` of bloomery.conf ended well, and has mounted "
		               "nothing",
		               fs->id, fs->mount);
	return 0;
}

/* ---- its directory ---- */

static int open_in(int root, const char *path)
{
	struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
		                .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };

	return (int)syscall(SYS_openat2, root, *path ? path : "/", &how, sizeof(how));
}

/* A path of FSx for Lustre begins with the file system's mount name, which a directory here need not have. */
static int open_directory(const struct channel_spec *ch, int root, struct err *e)
{
	int fd = open_in(root, ch->directory_path);

	if (fd < 0 && errno == ENOENT && strcmp(ch->file_system_type, "FSxLustre") == 0) {
		struct str rest = str_of(ch->directory_path);

		while (str_skip(&rest, STR("/")))
			;
		str_cut(&rest, '/');
		fd = open_in(root, rest.p);
		if (fd < 0)
			errno = ENOENT;
	}
	if (fd >= 0)
		return fd;
	if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == EXDEV)
		return err_set(e, ERR_CLIENT, "channel '%s': there is no directory %s in the file system %s", ch->name,
		               ch->directory_path, ch->file_system_id);
	err_sys(e, "opening %s", ch->directory_path);
	return err_in(e, "the file system %s", ch->file_system_id);
}

/* Binds the directory at fs/<channel>, without what is mounted below it, which nobody has mapped. */
static int bind_directory(const struct channel_spec *ch, int fd, struct err *e)
{
	_cleanup_free_ char *at = strf("fs/%s", ch->name);
	unsigned long flags = MS_BIND | MS_REMOUNT | MS_NOSUID | MS_NODEV;
	char from[32];

	snprintf(from, sizeof(from), "/proc/self/fd/%d", fd);
	if (strcmp(ch->file_system_access, "rw") != 0)
		flags |= MS_RDONLY;
	if (mkdir_all(AT_FDCWD, at, 0755, e) < 0)
		return -1;
	if (mount(from, at, NULL, MS_BIND, NULL) < 0 || mount(NULL, at, NULL, flags, NULL) < 0)
		return err_sys(e, "mounting %s of the file system %s", ch->directory_path, ch->file_system_id);
	return 0;
}

int mount_file_system(struct run *r, const struct channel_spec *ch, struct err *e)
{
	const struct conf_file_system *fs = conf_file_system(&r->conf, str_of(ch->file_system_id));
	_cleanup_free_ char *at = strf("fsroot/%s", ch->name);
	_cleanup_close_ int root = -EBADF, fd = -EBADF;

	if (!fs)
		return err_set(
		        e, ERR_CLIENT,
		        "channel '%s': nothing is known here of the file system %s; bloomery.conf has to say what "
		        "file_system.%s stands for",
		        ch->name, ch->file_system_id, ch->file_system_id);
	if (fs->mount && (mkdir_all(AT_FDCWD, at, 0700, e) < 0 ||
	                  mount_by_command(fs, at, strcmp(ch->file_system_access, "rw") == 0, e) < 0))
		return -1;
	root = open(fs->mount ? at : fs->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return err_sys(e, "opening %s, which bloomery.conf has for the file system %s",
		               fs->mount ? at : fs->directory, fs->id);
	fd = open_directory(ch, root, e);
	return fd < 0 ? -1 : bind_directory(ch, fd, e);
}

static void unmount(const char *folder, const char *channel)
{
	_cleanup_free_ char *at = strf("%s/%s", folder, channel);

	if (umount2(at, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL && errno != ENOENT)
		log_warn("unmounting %s: %s", at, strerror(errno));
}

/* Our children but two get SIGKILL, and some time to end; false: there are none. */
static bool kill_children(pid_t but, pid_t and)
{
	_cleanup_free_ char *path = strf("/proc/self/task/%d/children", (int)gettid());
	_cleanup_buf_ struct buf list = { 0 };
	bool any = false;
	struct str rest;
	uint64_t pid;

	if (file_read(path, 1 << 16, &list, NULL) < 0)
		return false;
	for (rest = buf_view(&list); rest.n;) {
		_cleanup_close_ int fd = -EBADF;
		struct pollfd p = { .events = POLLIN };

		if (!str_to_u64(str_trim(str_cut(&rest, ' ')), &pid) || pid <= 1 || (pid_t)pid == but ||
		    (pid_t)pid == and)
			continue;
		p.fd = fd = pidfd_open((pid_t)pid, 0);
		if (fd < 0)
			continue;
		any = true;
		if (pidfd_send_signal(fd, SIGKILL, NULL, 0) == 0)
			poll(&p, 1, KILL_MS);
		waitpid((pid_t)pid, NULL, WNOHANG);
	}
	return any;
}

/* What a command has left running to serve its file system has become our child, and has no more to do; and so will its
 * own children. Of those that others here have started only these two can be left by now: the maker of the volume, and
 * who removes the network. */
static void kill_servers(const struct run *r)
{
	for (int round = 0; round < KILL_ROUNDS && kill_children(volume_maker(r), network_remover(r)); round++)
		;
}

void unmount_file_systems(struct run *r)
{
	bool by_command = false;

	for (size_t i = 0; i < r->spec.channel_count; i++) {
		const struct channel_spec *ch = &r->spec.channels[i];
		const struct conf_file_system *fs;

		if (channel_way(ch, &r->spec) != CHANNEL_MOUNTED)
			continue;
		unmount("fs", ch->name);
		unmount("fsroot", ch->name);
		fs = conf_file_system(&r->conf, str_of(ch->file_system_id));
		by_command |= fs && fs->mount;
	}
	if (by_command)
		kill_servers(r);
}

/* ---- for the container ---- */

struct bundle_mount *channel_mounts(const struct run *r, size_t *ret_count)
{
	static const char *const read_only[] = { "bind", "ro", "nosuid", "nodev", NULL };
	static const char *const writable[] = { "bind", "rw", "nosuid", "nodev", NULL };
	static const char *const folders[] = {
		[CHANNEL_LINKED] = "farm", [CHANNEL_FUSED] = "fast", [CHANNEL_MOUNTED] = "fs"
	};
	struct bundle_mount *mounts = xcalloc(r->spec.channel_count + 1, sizeof(*mounts));
	size_t n = 0;

	for (size_t i = 0; i < r->spec.channel_count; i++) {
		const struct channel_spec *ch = &r->spec.channels[i];
		enum channel_way way = channel_way(ch, &r->spec);

		if (way == CHANNEL_PLACED || way == CHANNEL_PIPED)
			continue;
		mounts[n++] = (struct bundle_mount){
			.source = strf(RUN_WORK "/%s/%s", folders[way], ch->name),
			.destination = strf("/opt/ml/input/data/%s", ch->name),
			.type = "bind",
			.options = way == CHANNEL_MOUNTED && strcmp(ch->file_system_access, "rw") == 0 ? writable
			                                                                               : read_only,
		};
	}
	*ret_count = n;
	return mounts;
}

void channel_mounts_free(struct bundle_mount *mounts, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free((char *)mounts[i].source);
		free((char *)mounts[i].destination);
	}
	free(mounts);
}
