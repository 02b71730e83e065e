/* feeders.h - the programs that feed Pipe and FastFile channels while the container runs (channel/feeder.h): started
 * before it, watched with it, ended after it.
 *
 * Each is a child with a pidfd and a pipe on the run's loop. One that dies, or says that it cannot go on, fails the job
 * at once, with the channel's name. They are ended before anybody waits for the container's processes: one of those
 * that waits for the answer of a file system can only be killed once nobody serves that any more.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

struct run;
struct feeders; /* r->feeders; NULL when no channel is fed, and before */

/* What a channel is fed through, to be freed with feeders_free; in r->feeders. */
void feeders_free(struct run *r); /* SIGKILL, waits, unmounts */

/* The first failure of any, or NULL. While the container is being started nobody is told, so its phases ask: with
 * feeders_look(), which does not wait for the loop to come round to it. */
const struct err *feeders_failure(const struct run *r);
const struct err *feeders_look(struct run *r);
/* The container is being killed or has ended: SIGTERM to all, and SIGKILL two seconds later. training_feeders_ended()
 * is called from the loop when the last has gone. Twice is fine. */
void feeders_end(struct run *r);
bool feeders_ended(const struct run *r);
/* SIGKILL to all, and waits: from here on no process can hang on a file system of theirs. */
void feeders_kill(struct run *r);
/* What could not be read although the job went on, as a sentence; empty when there was no such thing. */
void feeders_trouble(const struct run *r, struct buf *out);
