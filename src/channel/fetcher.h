/* fetcher.h - running bloomery-fetch (s3/fetch.h): lists and objects of another S3, a file into it.
 *
 * Called where it may block: a child of bloomery-job, or a thread. The program dies with the caller. Nothing secret is
 * in an argument list.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "jobdir/spec.h"

struct fetch_progress {
	uint64_t objects, bytes, total_objects, total_bytes;
	const char *trouble; /* NULL: none; what is tried again, while nothing comes */
};

struct fetcher {
	const char *program; /* path of bloomery-fetch */
	const char *verb;    /* "list", "get", "put", "count" or "exists" */
	int fd;              /* get: of the directory; put: of the file; else ignored */
	int list_fd;         /* list: writable; get: readable; else ignored */
	const struct s3_target *s3;
	const char *bucket, *prefix, *key; /* prefix: all but put; key: put */
	const char *s3_data_type;          /* list, exists; NULL: S3Prefix */
	const json_t *attribute_names;     /* list; borrowed; NULL: none */
	unsigned patience_s;               /* 0: bloomery-fetch's own */
	/* About twice a second. May be NULL. */
	void (*progress)(void *arg, const struct fetch_progress *p);
	void *arg;
};

struct fetched {
	uint64_t objects, bytes;
	/* list of a ManifestFile: where its objects are, and what they are placed relative to. Else NULL. */
	char *bucket, *prefix;
};
void fetched_fini(struct fetched *f);

/* Waits for its end. ret may be NULL, else it is for the caller to fetched_fini(). The error has the kind and the words
 * of bloomery-fetch. */
int fetcher_run(const struct fetcher *f, struct fetched *ret, struct err *e) must_check;
