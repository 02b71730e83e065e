/* layer.h - a tar archive, plain or compressed, laid over a directory tree: a root file system, or a layer of an image.
 *
 * Runs inside bloomery-image's confined child (confined.h) and the fuzzer. The bytes come from strangers: names are
 * brought into a clean form and ".." is refused; directories are resolved below the root as after a chroot; the last
 * step of a name is never followed; hard links lead only to files of the tree; device nodes and sockets are left out (a
 * container gets a /dev of its own), as are extended attributes that mean something to the machine (trusted.*,
 * overlay's); sizes and numbers are bounded. Owners stay numeric; set-user-id bits and file capabilities are kept.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/hash.h"

enum { LAYER_PATH_MAX_BYTES = 4095, LAYER_NAME_MAX_BYTES = 255, LAYER_DEPTH_MAX = 512 };

/* What has been done, and what was seen on the way. Plain data: it crosses a process boundary as bytes. */
struct layer_result {
	uint64_t entries, bytes; /* written to the tree */
	uint64_t disk_bytes;     /* about what that takes on disk: whole blocks, and one for each entry */
	uint64_t nodes_left_out; /* devices and sockets */
	uint64_t stream_bytes;   /* read from the descriptor */
	unsigned char stream_sha256[SHA256_BYTES]; /* of what was read */
	unsigned char tar_sha256[SHA256_BYTES];    /* of the archive without its compression */
	unsigned elf_machine;                      /* of the first executable, 0: none seen */
};

struct layer_options {
	bool whiteouts;  /* a layer: ".wh." names remove what lies below; else they are names like others */
	bool keep_owner; /* needs root; else files are ours, and we keep access to them */
	uint64_t max_bytes, max_entries; /* on disk; the archive without its compression may be little larger */
	void (*progress)(void *arg, const struct layer_result *so_far); /* NULL: none; now and then */
	void *progress_arg;
};

/* Reads fd to its end and applies it to the directory root. On failure the tree is half done: throw it away.
 * ERR_INVALID: not an archive, damaged, or holding a name that may not be; ERR_TOO_LARGE: more than the limits. Numbers
 * are added to *ret, digests replaced. */
int layer_apply(int fd, int root, const struct layer_options *o, struct layer_result *ret, struct err *e) must_check;

/* "./a//b/" to "a/b", "/" to "". ERR_INVALID: "..", too long or too deep. *ret is malloc'd. */
int layer_path(const char *name, char **ret, struct err *e) must_check;
