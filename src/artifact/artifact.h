/* artifact.h - packs a directory into tar.gz on all cores, streamed, in bounded memory: about 1 MiB a
 * core, at most 32 MiB, and the names in the directories on the way down.
 *
 * Runs inside bloomery-job (or a helper of it); blocks. Uses threads internally and has joined them when it returns.
 *
 * Members are plain relative names (no "./"), a directory before what is in it and its entries in bytewise order, so
 * that the same tree makes the same tar (its compressed form may differ by some bytes: ISA-L makes no promise). Owners
 * are numbers as found; symbolic links stay links, further names of one file become hard links (for some ten thousands
 * of such files; the rest are packed again). Sockets, FIFOs and devices are left out, and so is what vanishes
 * meanwhile. Holes are packed as zeros, at the speed of memory. The result is POSIX tar (ustar, pax where needed) in
 * one gzip member, which any tar and gunzip reads.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

struct artifact_options {
	unsigned threads;             /* 0: one a core */
	int level;                    /* 1 fast to 3 small; 0: default */
	bool part;                    /* without the end of the archive, for artifact_join */
	bool (*cancelled)(void *arg); /* may be NULL; asked now and then, in the caller's thread as progress is */
	void (*progress)(void *arg, uint64_t bytes_in); /* may be NULL; contents packed so far */
	void *arg;
};

struct artifact_result {
	uint64_t files;    /* entries of every kind */
	uint64_t bytes_in; /* contents of files, holes included */
	uint64_t bytes_out;
	char md5[33]; /* of the output, lower-case hex */
};

/* Whether anything is below dirfd (the directory itself does not count). */
int artifact_is_empty(int dirfd, bool *ret_empty, struct err *e) must_check;
/* Packs everything below dirfd into out_fd (written sequentially; fsync'ed). Never follows a symbolic link. A file that
 * grows while it is read is packed as long as it was, one that shrinks is filled up with zeros, as tar does. ERR_BUSY:
 * cancelled. ERR_CLIENT: a path over 4095 bytes. ERR_IO, with os: what could not be read or written. */
int artifact_pack(int dirfd, int out_fd, const struct artifact_options *o, struct artifact_result *ret,
                  struct err *e) must_check;
/* Parts behind each other, in that order, and the end of the archive: the union of what was packed, in as many gzip
 * members, which any tar and gunzip reads as one. Written to out_fd from its offset on, and synced; bytes_out and md5
 * of *ret are set. Of o only cancelled counts. Errors as in artifact_pack. */
int artifact_join(const int *part_fds, size_t count, int out_fd, const struct artifact_options *o,
                  struct artifact_result *ret, struct err *e) must_check;
