/* confine.h - giving up what a program (bloomery-fuse, bloomery-metric) does not need once it has its descriptors.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

/* Called once, before there are threads. Afterwards the process has no capabilities (keep_admin: CAP_SYS_ADMIN, if it
 * had it, for fuse/passthrough.h) and cannot get any, is the user
 * that owns the directory behind objects_fd (-1: nobody), and where the kernel has Landlock it can only read files,
 * with objects_fd only those below it. It still dies with its parent. *ret_files: how many descriptors it may have. */
int confine_reader(int objects_fd, bool keep_admin, uint32_t *ret_files, struct err *e) must_check;
/* The same without any capability and as nobody; it can read files, and make and write them only below dirfd. */
int confine_writer(int dirfd, struct err *e) must_check;
/* The same as the user that owns dirfd. */
int confine_owner(int dirfd, struct err *e) must_check;
/* The same for who looks through somebody's files: it can read every file that it reaches, and write none. */
int confine_searcher(struct err *e) must_check;
