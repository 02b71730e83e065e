/* deal.h - the requests of a transform job: objects in, records dealt into requests, answers out in the order of the
 * records.
 *
 * As many threads as there may be requests under way; each takes the next records, posts them, and goes on. An answer
 * waits until those before it have been written, so a slow one holds up the others only when a fixed number of them
 * wait; memory depends on that number, MaxPayloadInMB and the house of results, not on the objects.
 *
 * Objects are numbered as they stand in the list. The output of object N becomes the file N in the directory, whole or
 * not at all. An object that fails ends, its data-log says why, and the others go on.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "transform/work.h"

struct reader_place;
struct poster_to;

struct deal_object {
	uint64_t number;
	struct str bucket, key;
	uint64_t records, bytes; /* of the input; of the output */
};

struct deal_options {
	const struct work *work;
	const struct poster_to *to; /* the containers, work->container_count of them */
	struct terms terms;
	const struct reader_place *from;
	/* Called when an object's output is there, by any thread, one at a time, in order. */
	void (*done)(void *arg, const struct deal_object *o);
	/* Requests that went well: how many records they had. Any thread. */
	void (*progress)(void *arg, uint64_t records, uint64_t bytes_in);
	void *arg;
	int stop_fd; /* readable: do not try again any more */
};

/* Takes w->list over. 0: every object is there. -1: some are not; e is the first one's error, ready to be a
 * FailureReason, and says how many others failed. */
int deal(const struct deal_options *o, struct err *e) must_check;
