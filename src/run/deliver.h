/* deliver.h - the way of an artifact out of the job: a file in staged/ that bloomeryd adopts as an object
 * (doc/adr/0006), or a put to a remote S3 by bloomery-fetch. Runs in the upload phase's child; blocks.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "run/phase.h"

struct delivery {
	const struct run *run;
	struct worker_link *link;
	bool compressed; /* OutputDataConfig.CompressionType is not NONE */
	bool part;       /* what is sent is this host's part, and stays here also for a remote S3 */
	int outbox;      /* in work/, so that what is half done goes with it, whoever dies */
	int staged;      /* where complete files are renamed to; -EBADF for a remote S3 */
	size_t files;    /* of uncompressed delivery: numbers the names in staged/ */
	json_t *pending; /* reports that wait for delivery_end's sync */
};

/* staged/ of the job, made for its owner. */
int deliver_open_staged(const struct run *r, struct err *e) must_check;
int delivery_init(struct delivery *d, const struct run *r, struct worker_link *link, struct err *e) must_check;
void delivery_fini(struct delivery *d);
/* The key of something of this job: <prefix>/<job name>/output/<rest>; caller frees. */
char *delivery_key(const struct delivery *d, const char *rest);
/* A new, empty file of that leaf name, to be filled, synced and sent. */
int delivery_create(struct delivery *d, const char *leaf, struct err *e) must_check;
void delivery_drop(struct delivery *d, const char *leaf);
/* The file, complete and synced, goes its way under key. */
int delivery_send(struct delivery *d, int fd, const char *leaf, const char *key, uint64_t size, const char *md5,
                  struct err *e) must_check;
/* Every regular file below dirfd as an object of its own, under <folder>/<its path>; links within dirfd are followed to
 * files. */
int delivery_tree(struct delivery *d, int dirfd, const char *folder, struct err *e) must_check;
/* Syncs, stages and reports what was sent without compression. */
int delivery_end(struct delivery *d, struct err *e) must_check;
