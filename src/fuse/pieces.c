/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/pieces.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "fuse/ahead.h"

enum { HUGE_PAGE = 2 << 20 };

/* ---- queues ---- */

void piece_queue_put(struct piece_queue *q, struct piece *p)
{
	p->next = NULL;
	p->prev = q->tail;
	*(q->tail ? &q->tail->next : &q->head) = p;
	q->tail = p;
}

static void put_first(struct piece_queue *q, struct piece *p)
{
	p->prev = NULL;
	p->next = q->head;
	*(q->head ? &q->head->prev : &q->tail) = p;
	q->head = p;
}

void piece_queue_remove(struct piece_queue *q, struct piece *p)
{
	*(p->prev ? &p->prev->next : &q->head) = p->next;
	*(p->next ? &p->next->prev : &q->tail) = p->prev;
	p->next = p->prev = NULL;
}

struct piece *piece_queue_take(struct piece_queue *q)
{
	struct piece *p = q->head;

	if (p)
		piece_queue_remove(q, p);
	return p;
}

/* ---- the cache ---- */

void pieces_init(struct pieces *c, uint64_t limit)
{
	*c = (struct pieces){ .limit = limit, .buckets = xcalloc(PIECES_BUCKETS, sizeof(struct slot *)) };
}

static struct slot **bucket_of(const struct pieces *c, uint32_t file, uint64_t block)
{
	uint64_t h = ((uint64_t)file << 32 ^ block) * 0x9e3779b97f4a7c15;

	return &c->buckets[h >> 50 & (PIECES_BUCKETS - 1)];
}

static uint64_t block_of(const struct slot *s)
{
	return s->piece->first + (uint64_t)(s - s->piece->slots);
}

struct piece *pieces_find(const struct pieces *c, uint32_t file, uint64_t block)
{
	for (const struct slot *s = *bucket_of(c, file, block); s; s = s->next)
		if (s->piece->file == file && block_of(s) == block)
			return s->piece;
	return NULL;
}

struct piece *pieces_add(struct pieces *c, uint32_t file, uint64_t first, size_t length)
{
	uint32_t blocks = (uint32_t)((length + AHEAD_BLOCK - 1) / AHEAD_BLOCK);
	struct piece *p = xcalloc(1, sizeof(*p) + blocks * sizeof(p->slots[0]));

	*p = (struct piece){ .file = file, .blocks = blocks, .first = first, .length = length, .holders = 1 };
	for (uint32_t i = 0; i < blocks; i++) {
		struct slot **bucket = bucket_of(c, file, first + i);

		p->slots[i] = (struct slot){ .piece = p, .next = *bucket };
		*bucket = &p->slots[i];
	}
	c->bytes += length;
	return p;
}

static void forget(struct pieces *c, struct piece *p)
{
	for (uint32_t i = 0; i < p->blocks; i++) {
		struct slot **at = bucket_of(c, p->file, p->first + i);

		while (*at != &p->slots[i])
			at = &(*at)->next;
		*at = p->slots[i].next;
	}
}

static void drop(struct pieces *c, struct piece *p)
{
	c->bytes -= p->length;
	if (p->bytes && p->length == AHEAD_PIECE_MAX && c->spares < PIECES_SPARE)
		c->spare[c->spares++] = take_ptr(p->bytes);
	free(p->bytes);
	free(p->why);
	free(p);
}

void pieces_supply(struct pieces *c, struct piece *p)
{
	if (p->length == AHEAD_PIECE_MAX && c->spares) {
		p->bytes = c->spare[--c->spares];
		return;
	}
	if (p->length < AHEAD_PIECE_MAX) {
		p->bytes = xrealloc(NULL, p->length);
		return;
	}
	p->bytes = aligned_alloc(HUGE_PAGE, p->length);
	must(p->bytes);
	(void)madvise(p->bytes, p->length, MADV_HUGEPAGE);
}

void pieces_arrived(struct pieces *c, struct piece *p, const struct err *why)
{
	p->here = !why;
	if (!why)
		return;
	p->why = xcalloc(1, sizeof(*why));
	*p->why = *why;
	forget(c, p);
}

void pieces_hold(struct pieces *c, struct piece *p)
{
	if (p->holders++ == 0)
		piece_queue_remove(&c->idle, p);
}

void pieces_release(struct pieces *c, struct piece *p, bool done)
{
	must(p->holders > 0);
	if (--p->holders)
		return;
	if (p->why)
		drop(c, p);
	else if (done)
		piece_queue_put(&c->idle, p);
	else
		put_first(&c->idle, p);
}

bool pieces_room(struct pieces *c, uint64_t bytes)
{
	while (c->bytes + bytes > c->limit) {
		struct piece *p = c->idle.tail;

		if (!p)
			return false;
		piece_queue_remove(&c->idle, p);
		forget(c, p);
		drop(c, p);
	}
	return true;
}

void pieces_fini(struct pieces *c)
{
	for (struct piece *p; (p = piece_queue_take(&c->idle));) {
		forget(c, p);
		drop(c, p);
	}
	must(!c->buckets || c->bytes == 0);
	while (c->spares)
		free(c->spare[--c->spares]);
	free(c->buckets);
}
