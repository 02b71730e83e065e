/* workers.h - threads that run what may block, in the order it came.
 *
 * Used by http/server.c for slow handlers. Thread-safe.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>

/* One piece of work; the caller keeps it alive until run() is called, and may free it there. */
struct work {
	void (*run)(struct work *w);
	struct work *next;
};

struct workers;
struct workers *workers_new(unsigned threads); /* NULL with errno when the threads cannot be had */
/* False, and nothing will run, once workers_free has begun. */
bool workers_submit(struct workers *p, struct work *w);
/* Refuses further work, runs what was submitted, and joins the threads; p itself stays for late submitters until
 * workers_free. */
void workers_finish(struct workers *p);
void workers_free(struct workers *p); /* NULL is fine */
