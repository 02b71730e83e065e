/* parked.h - requests that wait for something to happen before they are answered (long polls), without a thread each.
 *
 * Used by http/server.c for routes with wait_key. Thread-safe.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdint.h>

#include "base/str.h"
#include "http/workers.h"

enum { PARKED_KEY_BYTES = 40 };

/* One request, in the caller's memory from parked_add until its work runs. */
struct parked {
	struct parked *prev, *next;
	struct work *work; /* what answers it */
	char key[PARKED_KEY_BYTES];
	int64_t deadline_ns;
	bool pinned, woken;
};

struct parking;
struct parking *parking_new(struct workers *workers);
/* Everything that waits is answered, and nothing will wait from here on. Before the workers are finished. */
void parking_close(struct parking *p);
void parking_free(struct parking *p); /* NULL is fine */

/* From here on a wake counts, but w->work does not run before parked_release(). False: closed, and nothing is kept. */
bool parked_add(struct parking *p, struct parked *w, const char *key, int64_t hold_ms);
/* now: it needs not wait. w may be gone when this returns. */
void parked_release(struct parking *p, struct parked *w, bool now);
/* Those with the key are answered; key NULL: those whose time is over. */
void parking_wake(struct parking *p, const char *key);
