/* worker.h - a piece of blocking work in a forked child of bloomery-job, which reports back in JSON packets.
 *
 * Why a fork: the loop stays free for a stop, the child can be killed at any moment, its memory goes back to the system
 * when it is done, and a crash of it is a sentence instead of our end. The child is killed by the kernel when
 * bloomery-job dies. It shares the mount namespace, and must not use the parent's loop, journal or log.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "loop/loop.h"

struct worker_link; /* the child's end */

struct worker_task {
	/* In the child: the work. -1 with e set is carried over to `ended`. */
	int (*work)(struct worker_link *link, void *arg, struct err *e);
	/* In the parent, on the loop: one report; msg is borrowed. -1 kills the child and is carried over to `ended`.
	 */
	int (*report)(void *arg, const json_t *msg, struct err *e);
	/* In the parent, on the loop, once, after the last report: e is NULL when the work went well. The worker may be
	 * freed from here. */
	void (*ended)(void *arg, const struct err *e);
	void *arg;
	const char *name; /* for sentences */
};

struct worker;
int worker_start(struct loop *l, const struct worker_task *task, struct worker **ret, struct err *e) must_check;
/* SIGKILL; `ended` follows with ERR_IO. */
void worker_kill(struct worker *w);
/* Kills, waits and frees without calling anything; NULL is fine. */
void worker_free(struct worker *w);

/* In the child: sends {"t": ...}; steals msg. */
int worker_report(struct worker_link *link, json_t *msg, struct err *e) must_check;
/* In the child: {"t":"say","text":...}, for the job's log. Failures are ignored. */
void worker_say(struct worker_link *link, const char *text);
