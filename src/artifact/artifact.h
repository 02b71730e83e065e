/* artifact.h - packs a directory into tar.gz on all cores, streamed, with bounded memory.
 *
 * Runs inside bloomery-job (or a helper of it); blocks. Uses threads internally and has joined them when it returns.
 * Members are plain relative names in sorted order (no "./"), directories included, owner root:root numeric kept as
 * found, symbolic links kept as links, sockets and FIFOs left out. The result is one or more gzip members that any
 * gunzip reads.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

struct artifact_options {
	unsigned threads;  /* 0: one a core */
	int level;         /* 0: default */
	bool (*cancelled)(void *arg); /* may be NULL; asked now and then */
	void (*progress)(void *arg, uint64_t bytes_in); /* may be NULL */
	void *arg;
};

struct artifact_result {
	uint64_t files, bytes_in, bytes_out;
	char md5[33]; /* of the output, lower-case hex */
};

/* Whether anything is below dirfd (the directory itself does not count). */
int artifact_is_empty(int dirfd, bool *ret_empty, struct err *e) must_check;
/* Packs everything below dirfd into out_fd (written sequentially; fsync'ed). Never follows a symbolic link. A file
 * that shrinks while it is read is padded, as tar does, and that is an error only when strict reading fails. */
int artifact_pack(int dirfd, int out_fd, const struct artifact_options *o, struct artifact_result *ret,
                  struct err *e) must_check;
