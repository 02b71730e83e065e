/* confined.h - a function in a forked child that can do little harm: what parses foreign bytes runs there.
 *
 * Used by bloomery-image, which has one thread. A confined child sees one directory as its root and nothing else of the
 * machine's files, has no network, no capabilities but those for owners and modes, and limits on memory, time and file
 * size; limits are only ever lowered. It dies with its parent. Its result comes back as plain bytes.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <sys/types.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct confined {
	pid_t pid;
	int fd; /* where its result comes from */
	size_t result_bytes;
	const char *doing; /* for sentences: "unpacking" */
};

struct confined_options {
	int confine_to;  /* a directory's descriptor; -1: not confined */
	const int *keep; /* descriptors besides stdio that the child keeps; confined children lose all others */
	size_t keep_count;
	uint64_t file_bytes_max;
	bool only_reads;   /* it can read all files below confine_to, and change none (confine_searcher) */
	const char *doing; /* for sentences; NULL: "unpacking" */
};

/* Runs fn(arg, result, e) in a child; result has result_bytes (below 48 KiB) zeroed bytes, and is handed back by
 * confined_finish. The child ends when fn returns. */
int confined_start(const struct confined_options *o, int (*fn)(void *arg, void *result, struct err *e), void *arg,
                   size_t result_bytes, struct confined *ret, struct err *e) must_check;
/* Waits. The child's own error comes through as it was; a child that was killed is ERR_INVALID that says by what. */
int confined_finish(struct confined *w, void *result, struct err *e) must_check;
/* For after a failure elsewhere: kills it and waits. */
void confined_kill(struct confined *w);
