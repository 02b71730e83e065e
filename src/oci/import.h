/* import.h - how images come into the store: from archives and directories of this machine, or from a registry.
 *
 * Runs in bloomery-image as root, one import a process; what parses the archive runs in its confined children
 * (confined.h). Others execute the program:
 *
 *   bloomery-image --images DIR import [options] NAME[:TAG] FILE|DIR|-     NAME already there is replaced
 *   bloomery-image --images DIR pull [--as NAME[:TAG]] [--config FILE | --conf-fd FD] [--provider ARN] NAME
 *                  what bloomery.conf says of registries is read from DIR/../bloomery.conf when no option says where
 *   bloomery-image --images DIR list
 *   bloomery-image --images DIR remove NAME[:TAG]
 *   bloomery-image --images DIR scan [--pull] NAME     scan.h; its exit status says whether it has passed
 *
 * each with --json for one JSON document on stdout; --quiet for no progress line. On failure one sentence
 * "bloomery-image: ..." on stderr and an exit status that image_exit_kind() turns back into a kind. Whatever happens,
 * at any moment, the store holds an image whole or not at all; what a dead import left is removed by the next.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "base/conf.h"

struct import_options {
	const char *images_dir;
	const char *const
	        *entrypoint;    /* NULL-terminated; NULL: as the image says. These four replace its configuration, */
	const char *const *env; /* (these are added to it,) */
	const char *working_dir, *user; /* and with any of them the image gets a digest of its own */
	const char *like;               /* of a packed image (image_pack): its image.json; NULL: an import like any */
	bool own_digest; /* with like: what it says of its digest is a stranger's word; it gets one by its content */
	const struct conf *conf; /* for pulling: what is said of registries */
	const char *provider;    /* the ARN by which the job names its credentials; NULL: it names none */
	uint64_t max_bytes;      /* unpacked; 0: nine tenths of what is free */
	unsigned stall_s;        /* a pull is given up when nothing comes for so long; 0: two minutes */
	bool progress;           /* a line on stderr, redrawn */
};

struct import_result {
	char *reference, *digest, *architecture; /* malloc'd; image_import_fini */
	uint64_t size_bytes;
	uint64_t nodes_left_out; /* device nodes and sockets that the archive held */
	bool reused;             /* the very same image was there already */
};
void import_result_fini(struct import_result *r);

/* source: a root file system as tar (plain, gzip, xz, zstd, bzip2) or directory, an OCI layout as directory or tar, a
 * docker archive; "-": stdin. ERR_NOT_FOUND: no such file. ERR_INVALID: not an image, damaged. ERR_TOO_LARGE. */
int image_import(const struct import_options *o, struct str reference, const char *source, struct import_result *ret,
                 struct err *e) must_check;
/* Fetches from the registry that the name says (docker.io when it says none) and stores it as `as` (empty: the same
 * name). ERR_CLIENT with SageMaker's words when the registry does not give it. */
int image_pull(const struct import_options *o, struct str name, struct str as, struct import_result *ret,
               struct err *e) must_check;

/* What the name means at its registry just now, without fetching it: *ret is "sha256:...", which the caller frees. What
 * is in the store already is not looked at. Else as image_pull. */
int image_ask_digest(const struct import_options *o, struct str name, char **ret, struct err *e) must_check;

/* For a machine that has not this store: the image's files as an archive, image.tar, and then image.json into the
 * directory that `into` is open on. The archive is made at the first time, and kept with the image. ERR_NOT_FOUND: no
 * such image. */
int image_pack(const char *images_dir, struct str name, int into, struct err *e) must_check;
/* That image.json again, checked; a new reference. */
int image_like_read(const char *path, json_t **ret, struct err *e) must_check;

/* bloomery-image's exit statuses. */
enum {
	IMAGE_EXIT_FAILED = 1,
	IMAGE_EXIT_USAGE,
	IMAGE_EXIT_NOT_FOUND,
	IMAGE_EXIT_IN_USE,
	IMAGE_EXIT_INVALID,
	IMAGE_EXIT_PULL,
	IMAGE_EXIT_FINDINGS /* of a scan: not passed */
};
int image_exit_status(enum err_kind kind);
enum err_kind image_exit_kind(int exit_status);
