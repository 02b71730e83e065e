/* fastfile.h - what bloomery-fuse does: a FastFile channel as a read-only file system (contract 3.6).
 *
 * bloomery-job opens /dev/fuse, mounts it where the container will see the channel, and runs `bloomery-fuse` with the
 * descriptor; work order and answers are those of channel/feeder.h. The names are those of the frozen list, all there
 * from the start (fuse/tree.h); bytes come when they are asked for: from the embedded store's files, spliced
 * (fuse/files.h), or from another S3 by ranges, read ahead and kept in a bounded cache (fuse/remote.h). Nothing can be
 * written: EROFS. What cannot be read is EIO for the container, and a sentence for the job's log.
 *
 * What is read comes from the kernel's page cache the second time: the view never changes, so the kernel may keep all
 * it has been told. The process has no privileges once it serves, see fuse/confine.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

/* The whole program: returns the exit status. in_fd: the work order; out_fd: the answers. */
int fastfile_main(int in_fd, int out_fd);

/* For who starts it: /dev/fuse, mounted read-only on the directory `at` as a file system that all users may read, its
 * read-ahead as bloomery-fuse likes it. Needs root. *ret_fd is the caller's, who hands it down and closes it, so that
 * the file system ends with the process. The caller unmounts. */
int fastfile_mount(const char *at, const char *source, int *ret_fd, struct err *e) must_check;
