/* alone.h - a training host on a machine of its own: bloomery-job without bloomery-host and without <data>.
 *
 * `bloomery-job --spec FILE --root DIR` has a work order and an empty directory. It fetches what the host needs over
 * HTTP (op/elsewhere.h says how, the token in the work order says for which host), makes DIR look like a data directory
 * with one job in it, and starts the supervisor there as bloomery-host would have, which knows of nothing. Then it
 * sends on what the supervisor writes: log, feeds.json, artifacts and facts, in this order, so that a fact finds there
 * what it tells of; and tells the supervisor what bloomeryd wants of it.
 *
 * When bloomeryd cannot be reached, all that waits and the container runs on. When this process is killed, the
 * supervisor ends and cleans up, and bloomeryd counts the host as lost once it has been silent for long enough; started
 * again with the same directory it cleans up what is left, and tells the end.
 *
 *   DIR/jobs/ID/   the job directory (jobdir/jobdir.h); gone when all was told
 *   DIR/images/    an image store; stays, so that the next job finds its image there
 *   DIR/runtime.json, DIR/bloomery.conf    the container runtime; file systems of this machine (root's own, may be
 * absent)
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

struct alone_options {
	const char *spec;     /* path of the work order; "-": standard input */
	const char *root;     /* made when it is not there */
	const char *programs; /* NULL: beside this program */
};

/* Runs the host to its end and returns 0 when bloomeryd knows it, however it ended. -1: it does not. As root. */
int alone_run(const struct alone_options *o, struct err *e) must_check;
