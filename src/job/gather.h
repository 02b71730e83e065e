/* gather.h - the artifacts of a job of several hosts: the parts that each has packed, put together (contract 4.2).
 *
 * Runs in the gatherer's thread. The parts stay in staged/ of their hosts until the job has ended in the store, so it
 * may be done again from the beginning, and comes to the same.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "blob/blob.h"
#include "job/remote.h"

struct gather_host {
	const char *id, *parts; /* parts: JSON array of the facts ARTIFACT, or NULL */
};
struct gather {
	struct blob_store *blobs;
	const struct remote *remote; /* NULL: artifacts go to the embedded store */
	const char *data_dir, *job_id;
	const struct gather_host *hosts; /* in the order of their numbers */
	size_t host_count;
	int stop_fd;                /* readable when it is to end early; borrowed */
	bool (*stopped)(void *arg); /* the same, asked for often */
	void *arg;
};

/* ERR_CLIENT: they cannot be kept, ready to come behind "Artifact upload failed:". Others: try again later. */
int gather_artifacts(const struct gather *g, struct err *e) must_check;
