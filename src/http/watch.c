/* SPDX-License-Identifier: Apache-2.0 */
#include "http/watch.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#include "base/clock.h"

struct watch {
	pthread_t thread;
	struct {
		pthread_mutex_t mu; /* hold it to touch anything in here */
		pthread_cond_t change;
		struct watched *first;
		bool ending;
	} shared;
};

/* The reading half is closed already; closing it from here too makes epoll say so again, and leaves an answer that may
 * be under way alone. */
static void wake_if_gone(struct watched *c)
{
	struct pollfd p = { .fd = c->fd, .events = POLLRDHUP };

	if (poll(&p, 1, 0) == 1 && p.revents & POLLRDHUP)
		shutdown(c->fd, SHUT_RD);
}

static void end_late_ones_locked(struct watch *w)
{
	int64_t now = mono_now().ns;

	for (struct watched *c = w->shared.first; c; c = c->next) {
		int64_t deadline = atomic_load_explicit(&c->deadline_ns, memory_order_relaxed);

		if (atomic_load_explicit(&c->receiving, memory_order_relaxed))
			wake_if_gone(c);
		if (!deadline || deadline > now)
			continue;
		shutdown(c->fd, SHUT_RDWR);
		atomic_store_explicit(&c->deadline_ns, 0, memory_order_relaxed);
	}
}

/* Looks once a second while there are connections, and rests while there are none. */
static void *watch_loop(void *arg)
{
	struct watch *w = arg;

	pthread_mutex_lock(&w->shared.mu);
	while (!w->shared.ending) {
		struct timespec until;

		if (!w->shared.first) {
			pthread_cond_wait(&w->shared.change, &w->shared.mu);
			continue;
		}
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec++;
		while (!w->shared.ending &&
		       pthread_cond_timedwait(&w->shared.change, &w->shared.mu, &until) != ETIMEDOUT)
			;
		end_late_ones_locked(w);
	}
	pthread_mutex_unlock(&w->shared.mu);
	return NULL;
}

struct watch *watch_new(void)
{
	struct watch *w = xcalloc(1, sizeof(*w));
	pthread_condattr_t attr;
	int os;

	must(pthread_condattr_init(&attr) == 0 && pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
	must(pthread_mutex_init(&w->shared.mu, NULL) == 0);
	must(pthread_cond_init(&w->shared.change, &attr) == 0);
	pthread_condattr_destroy(&attr);
	os = pthread_create(&w->thread, NULL, watch_loop, w);
	if (os) {
		pthread_cond_destroy(&w->shared.change);
		pthread_mutex_destroy(&w->shared.mu);
		free(w);
		errno = os;
		return NULL;
	}
	return w;
}

void watch_free(struct watch *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->shared.mu);
	must(!w->shared.first);
	w->shared.ending = true;
	pthread_cond_signal(&w->shared.change);
	pthread_mutex_unlock(&w->shared.mu);
	must(pthread_join(w->thread, NULL) == 0);
	pthread_cond_destroy(&w->shared.change);
	pthread_mutex_destroy(&w->shared.mu);
	free(w);
}

void watch_add(struct watch *w, struct watched *c)
{
	pthread_mutex_lock(&w->shared.mu);
	c->prev = NULL;
	c->next = w->shared.first;
	if (c->next)
		c->next->prev = c;
	else
		pthread_cond_signal(&w->shared.change);
	w->shared.first = c;
	pthread_mutex_unlock(&w->shared.mu);
}

void watch_remove(struct watch *w, struct watched *c)
{
	pthread_mutex_lock(&w->shared.mu);
	if (c->prev)
		c->prev->next = c->next;
	else
		w->shared.first = c->next;
	if (c->next)
		c->next->prev = c->prev;
	pthread_mutex_unlock(&w->shared.mu);
}

void watch_deadline(struct watched *c, unsigned seconds)
{
	int64_t at = seconds ? mono_now().ns + seconds * 1000000000LL : 0;

	atomic_store_explicit(&c->deadline_ns, at, memory_order_relaxed);
}
