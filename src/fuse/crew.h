/* crew.h - the threads that answer the kernel: a few listen, others stand by for when those have to wait for a disk.
 *
 * The kernel wakes whoever has listened longest, so many listeners would make every small answer wait for a thread that
 * has to be woken up from far away.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pthread.h>

#include "base/str.h"

struct crew {
	unsigned listeners; /* wanted; set once */
	struct {            /* hold mu to touch anything in here */
		pthread_mutex_t mu;
		pthread_cond_t wanted;
		unsigned listening;
		bool over;
	} shared;
};

void crew_init(struct crew *c, unsigned listeners);
void crew_fini(struct crew *c);
/* Before listening: returns when one more is wanted. False: it is over. */
bool crew_listen(struct crew *c);
/* After listening. */
void crew_heard(struct crew *c);
/* What was heard will take a while: somebody else listens if nobody does. */
void crew_busy(struct crew *c);
void crew_over(struct crew *c); /* nobody listens any more */
