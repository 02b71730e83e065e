/* fetcher.h - running bloomery-fetch (s3/fetch.h): objects of a remote S3 into a directory, a file into a remote S3.
 *
 * Called in a child of bloomery-job that may block; the program dies with the caller. Nothing secret is in an argument
 * list.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "jobdir/spec.h"

struct fetcher {
	const char *program; /* path of bloomery-fetch */
	const char *verb;    /* "get" or "put" */
	int fd;              /* of the directory or the file */
	int manifest_fd;     /* get: gets a line an object; -1: none */
	const struct s3_target *s3;
	const char *bucket, *prefix, *key; /* prefix: get; key: put */
	unsigned shard, shards;            /* get: this host's share, 0 of 0 or 1: all */
};

/* Waits for its end. ret_objects and ret_bytes may be NULL. The error has the kind and the words of bloomery-fetch. */
int fetcher_run(const struct fetcher *f, uint64_t *ret_objects, uint64_t *ret_bytes, struct err *e) must_check;
