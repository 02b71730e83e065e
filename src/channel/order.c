/* SPDX-License-Identifier: Apache-2.0 */
#include "channel/order.h"

struct unit_order unit_order_of(const struct channel_spec *ch)
{
	return (struct unit_order){ .shuffled = ch->shuffled,
		                    .seed = ch->shuffle_seed,
		                    .share_number = ch->share_number,
		                    .share_count = ch->share_count ? ch->share_count : 1 };
}

static uint64_t splitmix64(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

/* From 0 to below, each equally likely: what would favour small numbers is drawn again. */
static uint32_t draw(uint64_t *state, uint32_t below)
{
	uint64_t limit = UINT64_MAX - UINT64_MAX % below, x;

	do
		x = splitmix64(state);
	while (x >= limit);
	return (uint32_t)(x % below);
}

static void shuffle(const struct unit_order *o, uint64_t epoch, uint32_t count, uint32_t *v)
{
	uint64_t seed = (uint64_t)o->seed, state;

	/* Seeds and epochs that are neighbours start far apart. */
	state = splitmix64(&seed) + epoch;
	state = splitmix64(&state);
	for (uint32_t i = count; i > 1; i--) {
		uint32_t j = draw(&state, i), kept = v[i - 1];

		v[i - 1] = v[j];
		v[j] = kept;
	}
}

uint32_t unit_order(const struct unit_order *o, uint64_t epoch, uint32_t count, uint32_t *v)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < count; i++)
		v[i] = i;
	if (o->shuffled)
		shuffle(o, epoch, count, v);
	for (uint64_t i = o->share_number; i < count; i += o->share_count)
		v[n++] = v[i];
	return n;
}
