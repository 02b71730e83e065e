/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/crew.h"

void crew_init(struct crew *c, unsigned listeners)
{
	*c = (struct crew){ .listeners = listeners };
	pthread_mutex_init(&c->shared.mu, NULL);
	pthread_cond_init(&c->shared.wanted, NULL);
}

void crew_fini(struct crew *c)
{
	pthread_cond_destroy(&c->shared.wanted);
	pthread_mutex_destroy(&c->shared.mu);
}

bool crew_listen(struct crew *c)
{
	bool over;

	pthread_mutex_lock(&c->shared.mu);
	while (c->shared.listening >= c->listeners && !c->shared.over)
		pthread_cond_wait(&c->shared.wanted, &c->shared.mu);
	c->shared.listening++;
	over = c->shared.over;
	pthread_mutex_unlock(&c->shared.mu);
	return !over;
}

void crew_heard(struct crew *c)
{
	pthread_mutex_lock(&c->shared.mu);
	c->shared.listening--;
	pthread_mutex_unlock(&c->shared.mu);
}

void crew_busy(struct crew *c)
{
	pthread_mutex_lock(&c->shared.mu);
	if (c->shared.listening == 0)
		pthread_cond_signal(&c->shared.wanted);
	pthread_mutex_unlock(&c->shared.mu);
}

void crew_over(struct crew *c)
{
	pthread_mutex_lock(&c->shared.mu);
	c->shared.over = true;
	pthread_cond_broadcast(&c->shared.wanted);
	pthread_mutex_unlock(&c->shared.mu);
}
