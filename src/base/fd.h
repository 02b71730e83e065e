/* fd.h - files without surprises: whole reads and writes, paths that cannot leave their root, atomic replacement.
 *
 * Everything opened here is O_CLOEXEC. Sizes are bytes. Nothing here logs.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/str.h"

/* Writes all n bytes, retrying EINTR and short writes; ERR_IO otherwise. */
int fd_write_all(int fd, const void *p, size_t n, struct err *e) must_check;
/* Reads until n bytes or end of file; *ret_n says how many. */
int fd_read_full(int fd, void *p, size_t n, size_t *ret_n, struct err *e) must_check;

/* Appends a whole file to *out. ERR_LIMIT when it is larger than max_bytes, ERR_NOT_FOUND when there is none. */
int file_read(const char *path, size_t max_bytes, struct buf *out, struct err *e) must_check;
int file_read_at(int dirfd, const char *path, size_t max_bytes, struct buf *out, struct err *e) must_check;
/* Writes a file that exists whole or not at all: temporary name in the same directory, fsync, rename, fsync of the
 * directory when durable. */
int file_write_atomic(int dirfd, const char *path, struct str bytes, mode_t mode, bool durable,
                      struct err *e) must_check;
/* Writes (creates or truncates) a small file, not atomically and not synced. */
int file_put(int dirfd, const char *path, struct str bytes, mode_t mode, struct err *e) must_check;

/* Opens path below dirfd; symbolic links, "..", absolute paths and mounts cannot lead out of dirfd (openat2
 * RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS). Returns -1 with errno set and err filled. */
int open_beneath(int dirfd, const char *path, int flags, mode_t mode, struct err *e) must_check;

/* For files in a directory that another user may change: opens dirfd/leaf, never waiting, when it is a regular file
 * with no other name (which could be one of a file that the other user may not touch). ERR_NOT_FOUND when there is
 * none, ERR_DENIED when it is anything else. */
int open_plain(int dirfd, const char *leaf, int flags, mode_t mode, struct err *e) must_check;
/* The same for reading, and it may have several names where it belongs to the owner of dirfd: who could have linked it
 * there could as well have copied it. */
int open_plain_shared(int dirfd, const char *leaf, struct err *e) must_check;
/* file_read_at() of such a file. */
int file_read_plain(int dirfd, const char *leaf, size_t max_bytes, struct buf *out, struct err *e) must_check;

/* mkdir -p below dirfd (AT_FDCWD allowed); existing directories are fine and keep their mode. */
int mkdir_all(int dirfd, const char *path, mode_t mode, struct err *e) must_check;

/* Removes a tree without following symbolic links and without crossing into other file systems; a missing path is
 * fine. Works on trees with directories lacking permissions (as root), and of any depth. */
int remove_tree(int dirfd, const char *path, struct err *e) must_check;

int fd_set_nonblock(int fd, bool on);
/* Marks a regular file as data: root sets this on what it makes its own although the bytes are somebody else's, so that
 * such a file can never pass for one that root has written. Only root can set it or take it away. -1: errno. */
int fd_mark_data(int fd);
bool fd_is_data(int fd);

/* The directory this program's binary lies in; caller frees. Siblings (bloomery-job, ...) are found there. */
char *program_dir(void);
