/* SPDX-License-Identifier: Apache-2.0 */
#include "base/confine.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { NOBODY = 65534 };

static uint32_t raise_files(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) < 0)
		return 1024;
	l.rlim_cur = l.rlim_max;
	setrlimit(RLIMIT_NOFILE, &l);
	return l.rlim_cur > 1U << 20 ? 1U << 20 : (uint32_t)l.rlim_cur;
}

/* Whatever a file system can be asked to do, as of Landlock's first version. */
static const uint64_t all_rights = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                                   LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR |
                                   LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
                                   LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR |
                                   LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
                                   LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |
                                   LANDLOCK_ACCESS_FS_MAKE_SYM;
static const uint64_t reading = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
static const uint64_t writing = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |
                                LANDLOCK_ACCESS_FS_REMOVE_FILE;

/* Of `refused` rights only `allowed` are left, and only below dirfd (-1: nowhere). A kernel without Landlock leaves it
 * at what the user may do. */
static int restrict_files(uint64_t refused, int dirfd, uint64_t allowed, struct err *e)
{
	struct landlock_ruleset_attr rules = { .handled_access_fs = refused };
	struct landlock_path_beneath_attr below = { .allowed_access = allowed, .parent_fd = dirfd };
	_cleanup_close_ int fd = (int)syscall(SYS_landlock_create_ruleset, &rules, sizeof(rules), 0);

	if (fd < 0)
		return 0;
	if ((dirfd >= 0 && syscall(SYS_landlock_add_rule, fd, LANDLOCK_RULE_PATH_BENEATH, &below, 0) < 0) ||
	    syscall(SYS_landlock_restrict_self, fd, 0) < 0)
		return err_sys(e, "giving up the file system");
	return 0;
}

/* The client of another S3 has to read the names of hosts and certificates, wherever the system has them. */
static int only_read(int objects_fd, struct err *e)
{
	if (objects_fd < 0)
		return restrict_files(all_rights & ~reading, -1, 0, e);
	return restrict_files(all_rights, objects_fd, LANDLOCK_ACCESS_FS_READ_FILE, e);
}

/* All but these, which it keeps only if it had them. */
static int drop_capabilities(uint32_t kept)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct had[2] = { 0 }, rest[2] = { 0 };

	if (kept && syscall(SYS_capget, &head, had) < 0)
		return -1;
	rest[0].permitted = rest[0].effective = had[0].permitted & kept;
	return (int)syscall(SYS_capset, &head, rest);
}

static int become(uid_t uid, gid_t gid, struct err *e)
{
	if (geteuid() != 0)
		return 0; /* nothing to give up */
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 || setgroups(0, NULL) < 0 ||
	    setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		return err_sys(e, "becoming user %u", (unsigned)uid);
	return 0;
}

/* The rest of it, for a process that is user uid from here on. */
static int give_up(uid_t uid, gid_t gid, uint32_t kept, struct err *e)
{
	if (kept && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return err_sys(e, "keeping a capability");
	if (become(uid, gid, e) < 0)
		return -1;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || drop_capabilities(kept) < 0)
		return err_sys(e, "dropping privileges");
	return 0;
}

/* Becoming somebody else has cleared it. */
static int die_with_parent_again(pid_t parent, int signo, struct err *e)
{
	if (signo && (prctl(PR_SET_PDEATHSIG, signo) < 0 || getppid() != parent))
		return err_set(e, ERR_IO, "the process that started this one has gone");
	return 0;
}

int confine_reader(int objects_fd, bool keep_admin, uint32_t *ret_files, struct err *e)
{
	pid_t parent = getppid();
	uint32_t files = raise_files();
	struct stat st = { .st_uid = NOBODY, .st_gid = NOBODY };
	int dies = 0;

	if (objects_fd >= 0 && fstat(objects_fd, &st) < 0)
		return err_sys(e, "looking at the store");
	prctl(PR_GET_PDEATHSIG, &dies);
	if (give_up(st.st_uid, st.st_gid, keep_admin ? 1U << CAP_SYS_ADMIN : 0, e) < 0 ||
	    only_read(objects_fd, e) < 0 || die_with_parent_again(parent, dies, e) < 0)
		return -1;
	*ret_files = files;
	return 0;
}

static int write_below(int dirfd, uid_t uid, gid_t gid, struct err *e)
{
	pid_t parent = getppid();
	int dies = 0;

	prctl(PR_GET_PDEATHSIG, &dies);
	if (give_up(uid, gid, 0, e) < 0 || restrict_files(all_rights & ~reading, dirfd, writing, e) < 0)
		return -1;
	return die_with_parent_again(parent, dies, e);
}

int confine_writer(int dirfd, struct err *e)
{
	return write_below(dirfd, NOBODY, NOBODY, e);
}

int confine_owner(int dirfd, struct err *e)
{
	struct stat st;

	if (fstat(dirfd, &st) < 0)
		return err_sys(e, "looking at the directory to write to");
	return write_below(dirfd, st.st_uid, st.st_gid, e);
}

int confine_searcher(struct err *e)
{
	pid_t parent = getppid();
	int dies = 0;

	prctl(PR_GET_PDEATHSIG, &dies);
	if (give_up(NOBODY, NOBODY, 1U << CAP_DAC_READ_SEARCH, e) < 0 ||
	    restrict_files(all_rights & ~reading, -1, 0, e) < 0)
		return -1;
	return die_with_parent_again(parent, dies, e);
}
