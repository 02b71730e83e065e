/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/rootfs.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"

enum { ACCOUNT_FILE_MAX_BYTES = 8 << 20, GROUPS_MAX = 1024 };

int rootfs_open(int rootfs, const char *path, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (uint64_t)flags | O_CLOEXEC,
		.mode = flags & O_CREAT ? mode : 0,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	long fd;

	do /* EAGAIN: a rename somewhere on the machine while ".." was being resolved */
		fd = syscall(SYS_openat2, rootfs, path, &how, sizeof(how));
	while (fd < 0 && (errno == EINTR || errno == EAGAIN));
	return (int)fd;
}

bool rootfs_read(int rootfs, const char *path, size_t max_bytes, struct buf *out)
{
	_cleanup_close_ int fd = rootfs_open(rootfs, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	struct stat st;
	size_t got;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size > max_bytes)
		return false;
	buf_need(out, (size_t)st.st_size);
	if (fd_read_full(fd, out->p + out->n, (size_t)st.st_size, &got, NULL) < 0)
		return false;
	out->n += got;
	out->p[out->n] = 0;
	return true;
}

void rootfs_user_fini(struct rootfs_user *u)
{
	free(u->groups);
	*u = (struct rootfs_user){ 0 };
}

static bool to_id(struct str s, uint32_t *ret)
{
	uint64_t n;

	if (!str_to_u64(s, &n) || n > INT32_MAX)
		return false;
	*ret = (uint32_t)n;
	return true;
}

/* A line of passwd (name:password:uid:gid:...) or group (name:password:gid:members). */
struct account {
	struct str name, members;
	uint32_t id, gid;
};

static bool next_account(struct str *file, bool group, struct account *ret)
{
	while (file->n) {
		struct str line = str_cut(file, '\n'), id, gid;

		ret->name = str_cut(&line, ':');
		str_cut(&line, ':');
		id = str_cut(&line, ':');
		if (ret->name.n == 0 || !to_id(id, &ret->id))
			continue;
		ret->members = line;
		gid = str_cut(&line, ':');
		if (group || to_id(gid, &ret->gid))
			return true;
	}
	return false;
}

/* By name, or by number when the text is one. */
static bool find_account(struct str file, bool group, struct str wanted, struct account *ret)
{
	uint32_t id;
	bool numeric = to_id(wanted, &id);

	while (next_account(&file, group, ret))
		if (str_eq(ret->name, wanted) || (numeric && ret->id == id))
			return true;
	return false;
}

static bool has_member(struct str members, struct str name)
{
	while (members.n)
		if (str_eq(str_trim(str_cut(&members, ',')), name))
			return true;
	return false;
}

static void add_groups(struct str file, struct str name, struct rootfs_user *u)
{
	struct account a;

	while (next_account(&file, true, &a) && u->group_count < GROUPS_MAX) {
		if (a.id == u->gid || !has_member(a.members, name))
			continue;
		u->groups = xrealloc(u->groups, (u->group_count + 1) * sizeof(*u->groups));
		u->groups[u->group_count++] = a.id;
	}
}

int rootfs_user(int rootfs, const char *user, struct rootfs_user *ret, struct err *e)
{
	_cleanup_buf_ struct buf passwd = { 0 }, group = { 0 };
	struct str rest = str_of(user), name = str_cut(&rest, ':');
	struct rootfs_user u = { 0 };
	struct account a;
	bool known;

	buf_init(&passwd);
	buf_init(&group);
	rootfs_read(rootfs, "/etc/passwd", ACCOUNT_FILE_MAX_BYTES, &passwd);
	rootfs_read(rootfs, "/etc/group", ACCOUNT_FILE_MAX_BYTES, &group);
	known = name.n && find_account(buf_view(&passwd), false, name, &a);
	if (known) {
		u.uid = a.id;
		u.gid = a.gid;
	} else if (name.n && !to_id(name, &u.uid)) {
		return err_set(e, ERR_TRAINER,
		               "the image's user is '%s', but its /etc/passwd has no user '" PRIstr
		               "'; set USER to a user of the image or to a number",
		               user, ARGstr(name));
	}
	if (rest.n) {
		struct account g;

		if (find_account(buf_view(&group), true, rest, &g))
			u.gid = g.id;
		else if (!to_id(rest, &u.gid))
			return err_set(e, ERR_TRAINER,
			               "the image's user is '%s', but its /etc/group has no group '" PRIstr
			               "'; set USER to a group of the image or to a number",
			               user, ARGstr(rest));
	} else if (known) {
		add_groups(buf_view(&group), a.name, &u);
	}
	*ret = u;
	return 0;
}
