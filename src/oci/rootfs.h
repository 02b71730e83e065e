/* rootfs.h - opening what a container would open, seen from outside: paths resolved as after a chroot.
 *
 * Absolute paths, ".." and symbolic links stay within the root (openat2 RESOLVE_IN_ROOT), so a hostile image cannot
 * lead us to a file of the machine. Anything may lie at the end: FIFOs and devices are not waited for, but the caller
 * must fstat before it reads.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <sys/types.h>

#include "base/str.h"

/* Returns a descriptor, or -1 with errno (ENOENT, ENOTDIR, ELOOP, ...). flags as openat's; O_CLOEXEC is added. */
int rootfs_open(int rootfs, const char *path, int flags, mode_t mode);
/* Reads a regular file of at most max_bytes. False when it is not there, is something else or is larger. */
bool rootfs_read(int rootfs, const char *path, size_t max_bytes, struct buf *out);

/* Who a container's first process is. */
struct rootfs_user {
	uint32_t uid, gid;
	uint32_t *groups; /* additional ones, from /etc/group; malloc'd */
	size_t group_count;
};
void rootfs_user_fini(struct rootfs_user *u);
/* "", "name", "uid", each with an optional ":group" or ":gid", looked up in the root's own /etc/passwd and /etc/group.
 * ERR_TRAINER: names a user or group that the image does not have. */
int rootfs_user(int rootfs, const char *user, struct rootfs_user *ret, struct err *e) must_check;
