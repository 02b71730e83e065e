/* fetch_get.h - the objects of a list into a directory; what bloomery-fetch's `get` does.
 *
 * Up to `threads` requests are under way at once. The work is dealt in pieces, whole small objects and ranges of large
 * ones, so that neither many small ones nor a single large one leaves a thread without work. The list is read as it
 * goes: memory does not grow with the number of objects.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "s3/order.h"
#include "s3/s3.h"

struct fetch_totals {
	uint64_t objects, bytes, total_objects, total_bytes;
};

struct fetch_get {
	struct s3 *s3;
	const struct order *order;
	int dirfd;
	void (*objects)(void *arg, const struct fetch_totals *add); /* objects done, or found; any thread */
	void *arg;
};

/* Checks every key of the list, then downloads. Errors are worded for people (contract 2.3). */
int fetch_get(const struct fetch_get *g, struct err *e) must_check;

/* Turns an error of the client into the one to report: what is the data's or the caller's fault becomes ERR_CLIENT.
 * Returns -1. */
int fetch_blame(const struct order *o, struct err *e);
