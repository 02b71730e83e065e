/* SPDX-License-Identifier: Apache-2.0 */
#include "store/cache.h"

#include <pthread.h>
#include <stdlib.h>

struct slot {
	char *name; /* NULL: free */
	int64_t n;
	char *text;
	size_t text_n;
};

struct cache {
	struct { /* hold mu to touch anything in here */
		pthread_mutex_t mu;
		uint64_t generation;
		struct slot slots[CACHE_SLOTS]; /* by a hash of the name: one job a slot, the last one stays */
	} shared;
};

struct cache *cache_new(void)
{
	struct cache *c = xcalloc(1, sizeof(*c));

	pthread_mutex_init(&c->shared.mu, NULL);
	return c;
}

static void slot_clear(struct slot *s)
{
	free(s->name);
	free(s->text);
	memset(s, 0, sizeof(*s));
}

void cache_free(struct cache *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < CACHE_SLOTS; i++)
		slot_clear(&c->shared.slots[i]);
	pthread_mutex_destroy(&c->shared.mu);
	free(c);
}

static struct slot *slot_of(struct cache *c, struct str name)
{
	uint32_t h = 2166136261u; /* FNV-1a */

	for (size_t i = 0; i < name.n; i++)
		h = (h ^ (unsigned char)name.p[i]) * 16777619u;
	return &c->shared.slots[h % CACHE_SLOTS];
}

bool cache_get(struct cache *c, struct str name, struct buf *out, uint64_t *ret_generation)
{
	struct slot *s;
	bool hit;

	pthread_mutex_lock(&c->shared.mu);
	s = slot_of(c, name);
	hit = s->name && str_is(name, s->name);
	if (hit)
		buf_add(out, s->text, s->text_n);
	*ret_generation = c->shared.generation;
	pthread_mutex_unlock(&c->shared.mu);
	return hit;
}

void cache_put(struct cache *c, struct str name, int64_t n, struct str text, uint64_t generation)
{
	struct slot *s, fresh;

	if (text.n > CACHE_TEXT_MAX)
		return;
	fresh = (struct slot){ str_dup(name), n, str_dup(text), text.n };
	pthread_mutex_lock(&c->shared.mu);
	if (c->shared.generation == generation) {
		struct slot old;

		s = slot_of(c, name);
		old = *s;
		*s = fresh;
		fresh = old;
	}
	pthread_mutex_unlock(&c->shared.mu);
	slot_clear(&fresh);
}

void cache_drop(struct cache *c, int64_t n)
{
	pthread_mutex_lock(&c->shared.mu);
	c->shared.generation++;
	for (size_t i = 0; i < CACHE_SLOTS; i++)
		if (c->shared.slots[i].name && c->shared.slots[i].n == n)
			slot_clear(&c->shared.slots[i]);
	pthread_mutex_unlock(&c->shared.mu);
}
