/* lists.h - the channels of a job as spec.json has them, and their lists in lists/, as of now.
 *
 * Runs in the freezer's thread. Channels of the embedded store are listed here; those of another S3 by bloomery-fetch,
 * which writes the same list, so that every host of the job has one and sizes are known before the start.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "blob/blob.h"
#include "job/remote.h"
#include "jobdir/spec.h"

struct iam;

struct lists {
	struct blob_store *blobs;
	const struct iam *iam;       /* whether the job's role may read its objects; NULL: every role may */
	bool transform;              /* s is of a transform job: its input, and the models of its containers */
	bool away;                   /* the job's hosts have not the store's files: they read it as another S3 */
	const struct remote *remote; /* NULL: data is in the embedded store */
	int dirfd;                   /* of lists/ */
	int stop_fd;                 /* readable when it is to end early; borrowed */
	bool (*stopped)(void *arg);  /* the same, asked for often */
	void *arg;
};

/* Fills s->channels from s->request, of a transform job also the models of s->containers; s->host_number, host_count
 * and limits are there. Of several hosts: with all channels, undivided, for lists_for_host. ERR_CLIENT: a sentence that
 * is ready to be a FailureReason, and names the channel. ERR_BUSY: ended early. */
int lists_make(const struct lists *l, struct job_spec *s, struct err *e) must_check;

/* The work order of one host of several: *ret is a copy of s, as lists_make left it and with this host's number, with
 * the channels that are for this host and its share of them. Their lists are linked from one directory to the other,
 * which may be the same. The caller finishes *ret, also on failure. */
int lists_for_host(const struct job_spec *s, int lists_fd, int own_lists_fd, struct job_spec *ret,
                   struct err *e) must_check;

/* Whether a job reads objects of the embedded store while its container runs, by their ids: their files have to stay.
 */
bool lists_are_lazy(const struct job_spec *s);
