/* SPDX-License-Identifier: Apache-2.0 */
#include "http/parked.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

struct parking {
	struct workers *workers;
	struct { /* hold mu to touch anything in here, and any parked */
		pthread_mutex_t mu;
		struct parked *first;
		bool closed;
	} shared;
};

struct parking *parking_new(struct workers *workers)
{
	struct parking *p = xcalloc(1, sizeof(*p));

	p->workers = workers;
	pthread_mutex_init(&p->shared.mu, NULL);
	return p;
}

void parking_free(struct parking *p)
{
	if (!p)
		return;
	pthread_mutex_destroy(&p->shared.mu);
	free(p);
}

bool parked_add(struct parking *p, struct parked *w, const char *key, int64_t hold_ms)
{
	bool taken;

	snprintf(w->key, sizeof(w->key), "%s", key);
	w->deadline_ns = mono_now().ns + hold_ms * 1000000;
	w->pinned = true;
	w->woken = false;
	pthread_mutex_lock(&p->shared.mu);
	taken = !p->shared.closed;
	if (taken) {
		w->prev = NULL;
		w->next = p->shared.first;
		if (w->next)
			w->next->prev = w;
		p->shared.first = w;
	}
	pthread_mutex_unlock(&p->shared.mu);
	return taken;
}

static void unlink_locked(struct parking *p, struct parked *w)
{
	if (w->next)
		w->next->prev = w->prev;
	if (w->prev)
		w->prev->next = w->next;
	else
		p->shared.first = w->next;
}

static void run(struct parking *p, struct work *work)
{
	if (!workers_submit(p->workers, work))
		work->run(work); /* they are being ended */
}

void parked_release(struct parking *p, struct parked *w, bool now)
{
	struct work *work = NULL;

	pthread_mutex_lock(&p->shared.mu);
	w->pinned = false;
	if (now || w->woken) {
		unlink_locked(p, w);
		work = w->work;
	}
	pthread_mutex_unlock(&p->shared.mu);
	if (work)
		run(p, work);
}

static bool is_due(const struct parked *w, const char *key, int64_t now, bool closed)
{
	return closed || (key ? strcmp(w->key, key) == 0 : w->deadline_ns <= now);
}

/* One that is due and may run; its work is nobody else's from here on. */
static struct work *take_due(struct parking *p, const char *key, int64_t now)
{
	struct work *work = NULL;

	pthread_mutex_lock(&p->shared.mu);
	for (struct parked *w = p->shared.first; w && !work; w = w->next) {
		if (!is_due(w, key, now, p->shared.closed))
			continue;
		w->woken = true;
		if (w->pinned)
			continue;
		unlink_locked(p, w);
		work = w->work;
	}
	pthread_mutex_unlock(&p->shared.mu);
	return work;
}

void parking_wake(struct parking *p, const char *key)
{
	int64_t now = mono_now().ns;
	struct work *work;

	while ((work = take_due(p, key, now)))
		run(p, work);
}

void parking_close(struct parking *p)
{
	pthread_mutex_lock(&p->shared.mu);
	p->shared.closed = true;
	pthread_mutex_unlock(&p->shared.mu);
	parking_wake(p, NULL);
}
