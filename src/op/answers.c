/* SPDX-License-Identifier: Apache-2.0 */
#include "op/answers.h"

#include <pthread.h>
#include <stdlib.h>

struct slot {
	pthread_mutex_t mu; /* hold to touch anything in here */
	struct answer_key key;
	uint64_t version;
	struct buf text; /* empty: nothing is kept */
};

struct answers {
	_Atomic uint64_t forgotten; /* how often */
	struct slot slots[ANSWERS_SLOTS];
};

struct answers *answers_new(void)
{
	struct answers *a = xcalloc(1, sizeof(*a));

	for (size_t i = 0; i < ANSWERS_SLOTS; i++)
		pthread_mutex_init(&a->slots[i].mu, NULL);
	return a;
}

void answers_free(struct answers *a)
{
	for (size_t i = 0; a && i < ANSWERS_SLOTS; i++) {
		pthread_mutex_destroy(&a->slots[i].mu);
		buf_fini(&a->slots[i].text);
	}
	free(a);
}

/* A digest's bytes are as good as random; those of an attacker's making cost him a miss. */
static struct slot *slot_of(struct answers *a, const struct answer_key *key)
{
	return &a->slots[key->body[0] % ANSWERS_SLOTS];
}

static bool same_key(const struct answer_key *a, const struct answer_key *b)
{
	return a->op == b->op && memcmp(a->body, b->body, sizeof(a->body)) == 0;
}

uint64_t answers_version(struct answers *a, const struct store *s)
{
	uint64_t version = store_version(s);

	return version == STORE_CHANGING ? version : version + (a->forgotten << 48);
}

void answers_forget(struct answers *a)
{
	a->forgotten++;
}

bool answers_get(struct answers *a, const struct answer_key *key, uint64_t version, struct buf *out)
{
	struct slot *s = slot_of(a, key);
	bool found;

	pthread_mutex_lock(&s->mu);
	found = s->text.n && s->version == version && same_key(&s->key, key);
	if (found)
		buf_str(out, buf_view(&s->text));
	pthread_mutex_unlock(&s->mu);
	return found;
}

void answers_put(struct answers *a, const struct answer_key *key, uint64_t version, struct str text)
{
	struct slot *s = slot_of(a, key);

	if (text.n > ANSWER_MAX)
		return;
	pthread_mutex_lock(&s->mu);
	s->key = *key;
	s->version = version;
	buf_reset(&s->text);
	buf_str(&s->text, text);
	pthread_mutex_unlock(&s->mu);
}
