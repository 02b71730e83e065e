/* SPDX-License-Identifier: Apache-2.0 */
#include "series/batch.h"

#include <math.h>
#include <stdlib.h>

struct series_batch *series_batch_new(void)
{
	return xcalloc(1, sizeof(struct series_batch));
}

void series_batch_be_strict(struct series_batch *b)
{
	b->strict = true;
}

void batch_reset(struct series_batch *b)
{
	bool strict = b->strict;

	for (size_t i = 0; i < b->key_count; i++) {
		free(b->keys[i].ns);
		free(b->keys[i].name);
		free(b->keys[i].dims);
		free(b->keys[i].unit);
	}
	for (size_t i = 0; i < b->point_count; i++)
		sketch_fini(&b->points[i].p.sketch);
	for (size_t i = 0; i < b->metric_count; i++) {
		free(b->metrics[i].job);
		free(b->metrics[i].host);
		free(b->metrics[i].name);
	}
	for (size_t i = 0; i < b->cursor_count; i++) {
		free(b->cursors[i].host_id);
		free(b->cursors[i].job);
		free(b->cursors[i].counts);
	}
	free(b->keys);
	free(b->points);
	free(b->values);
	free(b->metrics);
	free(b->cursors);
	free(b->slots);
	free(b->key_slots);
	*b = (struct series_batch){ .strict = strict };
}

void series_batch_free(struct series_batch *b)
{
	if (!b)
		return;
	batch_reset(b);
	free(b);
}

/* Room for one more, doubling. */
static void *grow(void *p, size_t count, size_t *room, size_t size)
{
	if (count < *room)
		return p;
	*room = *room ? 2 * *room : 16;
	return xrealloc(p, *room * size);
}

static uint64_t mix(uint64_t h, const void *p, size_t n)
{
	const unsigned char *c = p;

	for (size_t i = 0; i < n; i++)
		h = (h ^ c[i]) * 0x100000001b3ULL;
	return h ^ h >> 29;
}

/* ---- keys ---- */

static uint64_t key_hash(const struct batch_key *k)
{
	uint64_t h = mix(0xcbf29ce484222325ULL, k->ns, k->ns_n + 1);

	h = mix(h, k->name, k->name_n + 1);
	h = mix(h, k->dims, k->dims_n + 1);
	return mix(h, k->unit, k->unit_n + 1);
}

static bool same_bytes(const char *a, size_t a_n, const char *b, size_t b_n)
{
	return a_n == b_n && !memcmp(a, b, a_n);
}

static bool same_key(const struct batch_key *a, const struct batch_key *b)
{
	return same_bytes(a->name, a->name_n, b->name, b->name_n) &&
	       same_bytes(a->dims, a->dims_n, b->dims, b->dims_n) && same_bytes(a->ns, a->ns_n, b->ns, b->ns_n) &&
	       same_bytes(a->unit, a->unit_n, b->unit, b->unit_n);
}

static void rehash_keys(struct series_batch *b)
{
	b->key_slot_count = b->key_slot_count ? 2 * b->key_slot_count : 64;
	free(b->key_slots);
	b->key_slots = xcalloc(b->key_slot_count, sizeof(*b->key_slots));
	for (size_t i = 0; i < b->key_count; i++) {
		uint64_t at = key_hash(&b->keys[i]);

		while (b->key_slots[at & (b->key_slot_count - 1)])
			at++;
		b->key_slots[at & (b->key_slot_count - 1)] = (uint32_t)i + 1;
	}
}

unsigned series_batch_key(struct series_batch *b, const struct series_key *key)
{
	_cleanup_buf_ struct buf dims = { 0 };
	struct batch_key k = { .ns_n = key->ns.n, .name_n = key->name.n, .unit_n = key->unit.n, .last_ms = INT64_MIN };
	uint64_t at;

	series_dims_text(key->dims, key->dim_count, &dims);
	k.ns = str_dup(key->ns);
	k.name = str_dup(key->name);
	k.unit = str_dup(key->unit);
	k.dims_n = dims.n;
	k.dims = buf_take(&dims);
	if (2 * b->key_count >= b->key_slot_count)
		rehash_keys(b);
	for (at = key_hash(&k); b->key_slots[at & (b->key_slot_count - 1)]; at++) {
		uint32_t i = b->key_slots[at & (b->key_slot_count - 1)] - 1;

		if (!same_key(&b->keys[i], &k))
			continue;
		free(k.ns);
		free(k.name);
		free(k.dims);
		free(k.unit);
		return i;
	}
	b->keys = grow(b->keys, b->key_count, &b->key_room, sizeof(*b->keys));
	b->keys[b->key_count++] = k;
	b->key_slots[at & (b->key_slot_count - 1)] = (uint32_t)b->key_count;
	return (unsigned)b->key_count - 1;
}

/* ---- points ---- */

static uint64_t point_hash(unsigned key, unsigned tier, int64_t t)
{
	uint64_t h = ((uint64_t)t << 2 | tier) * 0x9e3779b97f4a7c15ULL ^ ((uint64_t)key + 1) * 0xc2b2ae3d27d4eb4fULL;

	return h ^ h >> 32;
}

static void rehash_points(struct series_batch *b)
{
	b->slot_count = b->slot_count ? 2 * b->slot_count : 256;
	free(b->slots);
	b->slots = xcalloc(b->slot_count, sizeof(*b->slots));
	for (size_t i = 0; i < b->point_count; i++) {
		const struct batch_point *p = &b->points[i];
		uint64_t at = point_hash(p->key, p->tier, p->p.t);

		while (b->slots[at & (b->slot_count - 1)])
			at++;
		b->slots[at & (b->slot_count - 1)] = (uint32_t)i + 1;
	}
}

static struct series_point *point(struct series_batch *b, unsigned key, unsigned tier, int64_t t)
{
	uint64_t at;

	if (2 * b->point_count >= b->slot_count)
		rehash_points(b);
	for (at = point_hash(key, tier, t); b->slots[at & (b->slot_count - 1)]; at++) {
		struct batch_point *p = &b->points[b->slots[at & (b->slot_count - 1)] - 1];

		if (p->key == key && p->tier == tier && p->p.t == t)
			return &p->p;
	}
	b->points = grow(b->points, b->point_count, &b->point_room, sizeof(*b->points));
	b->points[b->point_count] = (struct batch_point){ key, tier, { .t = t } };
	b->slots[at & (b->slot_count - 1)] = (uint32_t)++b->point_count;
	return &b->points[b->point_count - 1].p;
}

/* The beginning of the interval, also before 1970. */
static int64_t align(int64_t t, int64_t seconds)
{
	int64_t rest = t % seconds;

	return t - (rest < 0 ? rest + seconds : rest);
}

static void add(struct series_batch *b, unsigned key, struct wall at, const struct series_point *p, bool fine)
{
	int64_t t = align(at.ms, 1000) / 1000;

	if (b->keys[key].last_ms < at.ms)
		b->keys[key].last_ms = at.ms;
	for (unsigned i = fine ? 0 : 1; i < ARRAY_LEN(series_tiers); i++)
		series_point_merge(point(b, key, i, align(t, series_tiers[i].seconds)), p);
}

void series_batch_add(struct series_batch *b, unsigned key, struct wall at, double value, double count, bool fine)
{
	struct series_point p = { .count = count, .sum = value * count, .min = value, .max = value };

	add(b, key, at, &p, fine);
}

void series_batch_set(struct series_batch *b, unsigned key, struct wall at, double count, double sum, double min,
                      double max, bool fine)
{
	struct series_point p = { .count = count, .sum = sum, .min = min, .max = max };

	p.sketch.unknown = min != max;
	add(b, key, at, &p, fine);
}

/* ---- jobs ---- */

static unsigned metric(struct series_batch *b, struct str job, struct str host, struct str name)
{
	for (size_t i = b->metric_count; i-- > 0;) {
		const struct batch_metric *m = &b->metrics[i];

		if (str_is(name, m->name) && str_is(host, m->host) && str_is(job, m->job))
			return (unsigned)i;
	}
	if (!(b->metric_count & (b->metric_count - 1)))
		b->metrics = xrealloc(b->metrics, (b->metric_count ? 2 * b->metric_count : 1) * sizeof(*b->metrics));
	b->metrics[b->metric_count++] = (struct batch_metric){ .job = str_dup(job),
		                                               .host = str_dup(host),
		                                               .name = str_dup(name) };
	return (unsigned)b->metric_count - 1;
}

void series_batch_value(struct series_batch *b, const struct series_value *v)
{
	unsigned m = metric(b, v->job, STR(""), v->metric);

	b->values = grow(b->values, b->value_count, &b->value_room, sizeof(*b->values));
	b->values[b->value_count++] = (struct batch_value){ .metric = m,
		                                            .at_ms = v->at.ms,
		                                            .step = v->step,
		                                            .has_step = v->has_step,
		                                            .value = v->value,
		                                            .source = v->source,
		                                            .host = v->host };
}

void series_batch_sample(struct series_batch *b, struct str job, struct str host, struct str name, struct wall at,
                         double value)
{
	unsigned index = metric(b, job, host, name); /* may move b->metrics */
	struct batch_metric *m = &b->metrics[index];

	if (m->sampled && m->sampled_ms > at.ms)
		return;
	m->sampled = true;
	m->sampled_ms = at.ms;
	m->sample = value;
}

void series_batch_cursor(struct series_batch *b, struct str host_id, struct str job, uint64_t offset, struct str counts)
{
	struct batch_cursor *c = NULL;

	for (size_t i = 0; i < b->cursor_count && !c; i++)
		if (str_is(host_id, b->cursors[i].host_id))
			c = &b->cursors[i];
	if (!c) {
		b->cursors = xrealloc(b->cursors, (b->cursor_count + 1) * sizeof(*b->cursors));
		c = &b->cursors[b->cursor_count++];
		*c = (struct batch_cursor){ .host_id = str_dup(host_id), .job = str_dup(job) };
	}
	c->offset = offset;
	if (counts.p) {
		free(c->counts);
		c->counts = str_dup(counts);
	}
}
