/* SPDX-License-Identifier: Apache-2.0 */
#include "http/workers.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/str.h"

struct workers {
	unsigned thread_count;
	struct {
		pthread_mutex_t mu; /* hold it to touch anything in here */
		pthread_cond_t more;
		struct work *first, **last;
		bool finishing;
	} shared;
	pthread_t threads[];
};

static void *work_loop(void *arg)
{
	struct workers *p = arg;

	pthread_mutex_lock(&p->shared.mu);
	for (;;) {
		struct work *w = p->shared.first;

		if (w) {
			p->shared.first = w->next;
			if (!w->next)
				p->shared.last = &p->shared.first;
			pthread_mutex_unlock(&p->shared.mu);
			w->run(w);
			pthread_mutex_lock(&p->shared.mu);
		} else if (p->shared.finishing) {
			break;
		} else {
			pthread_cond_wait(&p->shared.more, &p->shared.mu);
		}
	}
	pthread_mutex_unlock(&p->shared.mu);
	return NULL;
}

struct workers *workers_new(unsigned threads)
{
	struct workers *p = xcalloc(1, sizeof(*p) + threads * sizeof(p->threads[0]));

	p->shared.last = &p->shared.first;
	must(pthread_mutex_init(&p->shared.mu, NULL) == 0);
	must(pthread_cond_init(&p->shared.more, NULL) == 0);
	for (; p->thread_count < threads; p->thread_count++) {
		int os = pthread_create(&p->threads[p->thread_count], NULL, work_loop, p);

		if (os) {
			workers_free(p);
			errno = os;
			return NULL;
		}
	}
	return p;
}

bool workers_submit(struct workers *p, struct work *w)
{
	bool taken;

	pthread_mutex_lock(&p->shared.mu);
	taken = !p->shared.finishing;
	if (taken) {
		w->next = NULL;
		*p->shared.last = w;
		p->shared.last = &w->next;
		pthread_cond_signal(&p->shared.more);
	}
	pthread_mutex_unlock(&p->shared.mu);
	return taken;
}

void workers_finish(struct workers *p)
{
	pthread_mutex_lock(&p->shared.mu);
	p->shared.finishing = true;
	pthread_cond_broadcast(&p->shared.more);
	pthread_mutex_unlock(&p->shared.mu);
	while (p->thread_count > 0)
		must(pthread_join(p->threads[--p->thread_count], NULL) == 0);
}

void workers_free(struct workers *p)
{
	if (!p)
		return;
	workers_finish(p);
	pthread_cond_destroy(&p->shared.more);
	pthread_mutex_destroy(&p->shared.mu);
	free(p);
}
