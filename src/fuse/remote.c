/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/remote.h"

#include <stdlib.h>

#include "fuse/ahead.h"
#include "fuse/pieces.h"
#include "s3/s3.h"

enum {
	SMALL = 4 * AHEAD_BLOCK, /* objects up to this are fetched whole */
	THREADS_MAX = 64,
};

/* A read that has not been answered. */
struct reading {
	void *asked;
	uint64_t offset;
	size_t length;
	unsigned count;   /* of pieces */
	unsigned pending; /* of them that are not here */
	bool waited;
	const struct piece *failed; /* one of them */
	struct reading *next;       /* of those to be answered */
	struct part {
		struct piece *piece;
		struct wait wait;
	} parts[];
};

struct remote {
	struct remote_options options;
	struct s3 *s3;
	pthread_t thread[THREADS_MAX];
	unsigned threads;   /* that have been started; for who starts and ends them */
	unsigned early_max; /* threads that may read ahead at once: a quarter is for what is waited for */
	struct {            /* hold mu to touch anything in here, and in what it leads to */
		pthread_mutex_t mu;
		pthread_cond_t work;
		struct pieces pieces;
		struct ahead ahead;
		struct piece_queue wanted, early; /* to be fetched: somebody waits; read ahead */
		unsigned fetching_early;
		uint64_t gets, got_bytes;
		bool over;
	} shared;
};

/* ---- answering ---- */

static void answer(struct remote *r, struct reading *reading)
{
	struct iovec *v = xcalloc(reading->count, sizeof(*v));
	uint64_t end = reading->offset + reading->length;
	int n = 0;

	for (unsigned i = 0; i < reading->count && !reading->failed; i++) {
		const struct piece *p = reading->parts[i].piece;
		uint64_t start = p->first * AHEAD_BLOCK;
		uint64_t from = start > reading->offset ? start : reading->offset;
		uint64_t to = start + p->length < end ? start + p->length : end;

		v[n++] = (struct iovec){ p->bytes + (from - start), (size_t)(to - from) };
	}
	r->options.answer(r->options.arg, reading->asked, v, n, reading->waited,
	                  reading->failed ? reading->failed->why : NULL);
	free(v);
	pthread_mutex_lock(&r->shared.mu);
	for (unsigned i = 0; i < reading->count; i++) {
		struct piece *p = reading->parts[i].piece;

		pieces_release(&r->shared.pieces, p, end >= p->first * AHEAD_BLOCK + p->length);
	}
	pthread_mutex_unlock(&r->shared.mu);
	free(reading);
}

static void answer_all(struct remote *r, struct reading *list)
{
	while (list) {
		struct reading *next = list->next;

		answer(r, list);
		list = next;
	}
}

/* The piece is here, or never will be. Returns the reads that need wait no more. */
static struct reading *arrived_locked(struct remote *r, struct piece *p, const struct err *why)
{
	struct reading *ready = NULL;

	pieces_arrived(&r->shared.pieces, p, why);
	for (struct wait *w = p->waits, *next; w; w = next) {
		struct reading *reading = w->whose;

		next = w->next;
		if (why)
			reading->failed = p;
		if (--reading->pending)
			continue;
		reading->next = ready;
		ready = reading;
	}
	p->waits = NULL;
	pieces_release(&r->shared.pieces, p, false); /* what the fetching had */
	return ready;
}

/* ---- fetching ---- */

static bool cancelled(void *arg)
{
	struct remote *r = arg;
	bool over;

	pthread_mutex_lock(&r->shared.mu);
	over = r->shared.over;
	pthread_mutex_unlock(&r->shared.mu);
	return over;
}

static int fetch(struct remote *r, struct piece *p, struct err *e)
{
	struct tree_object object;
	struct s3_uri at = { .bucket = str_of(r->options.bucket) };
	struct str etag;

	if (tree_object(r->options.tree, p->file, &object, e) < 0)
		return -1;
	at.key = str_of(object.key);
	etag = str_of(object.etag);
	if (str_is(etag, "-"))
		etag = STR("");
	if (s3_get_range(r->s3, at, etag, p->first * AHEAD_BLOCK, p->length, p->bytes, e) < 0)
		return err_in(e, "s3://%s/%s cannot be read", r->options.bucket, object.key);
	return 0;
}

/* What is wanted goes first. */
static struct piece *next_piece_locked(struct remote *r)
{
	struct piece *p = piece_queue_take(&r->shared.wanted);

	if (!p && r->shared.fetching_early < r->early_max) {
		p = piece_queue_take(&r->shared.early);
		if (p)
			r->shared.fetching_early++;
	}
	if (p) {
		p->queue = NULL;
		pieces_supply(&r->shared.pieces, p);
		r->shared.gets++;
	}
	return p;
}

static void *fetch_thread(void *arg)
{
	struct remote *r = arg;

	pthread_mutex_lock(&r->shared.mu);
	while (!r->shared.over) {
		struct piece *p = next_piece_locked(r);
		struct reading *ready;
		struct err e = { 0 };
		bool early;
		int rc;

		if (!p) {
			pthread_cond_wait(&r->shared.work, &r->shared.mu);
			continue;
		}
		early = p->early;
		pthread_mutex_unlock(&r->shared.mu);
		rc = fetch(r, p, &e);
		pthread_mutex_lock(&r->shared.mu);
		if (rc < 0 && r->shared.over)
			e.kind = ERR_BUSY;
		r->shared.got_bytes += rc < 0 ? 0 : p->length;
		ready = arrived_locked(r, p, rc < 0 ? &e : NULL);
		if (early && r->shared.fetching_early-- == r->early_max)
			pthread_cond_signal(&r->shared.work);
		pthread_mutex_unlock(&r->shared.mu);
		answer_all(r, ready);
		pthread_mutex_lock(&r->shared.mu);
	}
	pthread_mutex_unlock(&r->shared.mu);
	return NULL;
}

static struct piece *ask_locked(struct remote *r, uint32_t file, uint64_t first, size_t length, bool early)
{
	struct piece *p = pieces_add(&r->shared.pieces, file, first, length);

	p->early = early;
	p->queue = early ? &r->shared.early : &r->shared.wanted;
	piece_queue_put(p->queue, p);
	pthread_cond_signal(&r->shared.work);
	return p;
}

/* ---- reading ---- */

static uint64_t block_end(uint64_t block, uint64_t file_size)
{
	return (block + 1) * AHEAD_BLOCK < file_size ? (block + 1) * AHEAD_BLOCK : file_size;
}

/* The piece that `block` is in, asked for if need be: with those after it up to `last` that are in none. */
static struct piece *piece_at_locked(struct remote *r, uint32_t file, uint64_t file_size, uint64_t block, uint64_t last)
{
	struct piece *p = pieces_find(&r->shared.pieces, file, block);
	uint64_t to = block;

	if (p)
		return p;
	while (to < last && !pieces_find(&r->shared.pieces, file, to + 1))
		to++;
	return ask_locked(r, file, block, (size_t)(block_end(to, file_size) - block * AHEAD_BLOCK), false);
}

static void wait_locked(struct remote *r, struct reading *reading, struct part *part)
{
	struct piece *p = part->piece;

	part->wait = (struct wait){ .whose = reading, .next = p->waits };
	p->waits = &part->wait;
	reading->pending++;
	if (p->queue == &r->shared.early) { /* not begun, and now somebody waits */
		piece_queue_remove(p->queue, p);
		p->early = false;
		p->queue = &r->shared.wanted;
		piece_queue_put(p->queue, p);
	}
}

/* Asks for what is not there yet of the plan, as long as there is room. */
static void read_ahead_locked(struct remote *r, uint32_t file, uint64_t file_size, struct ahead_plan plan)
{
	for (uint64_t from = plan.from; from < plan.to;) {
		uint64_t to = from + plan.piece < plan.to ? from + plan.piece : plan.to, end = from;

		while (end < to && !pieces_find(&r->shared.pieces, file, end / AHEAD_BLOCK))
			end = block_end(end / AHEAD_BLOCK, file_size);
		if (end == from) {
			from = block_end(from / AHEAD_BLOCK, file_size);
			continue;
		}
		if (!pieces_room(&r->shared.pieces, end - from))
			return;
		ask_locked(r, file, from / AHEAD_BLOCK, (size_t)(end - from), true);
		from = end;
	}
}

void remote_read(struct remote *r, uint32_t file, uint64_t offset, size_t length, void *asked)
{
	uint64_t first = offset / AHEAD_BLOCK, last = (offset + length - 1) / AHEAD_BLOCK, until = last;
	struct reading *reading = xcalloc(1, sizeof(*reading) + (last - first + 1) * sizeof(reading->parts[0]));
	struct tree_stat st = { 0 };

	must(tree_stat(r->options.tree, file, &st) && length && offset + length <= st.size);
	*reading = (struct reading){ .asked = asked, .offset = offset, .length = length };
	if (st.size <= SMALL)
		until = (st.size - 1) / AHEAD_BLOCK;
	pthread_mutex_lock(&r->shared.mu);
	for (uint64_t block = first; block <= last;) {
		struct part *part = &reading->parts[reading->count++];

		part->piece = piece_at_locked(r, file, st.size, block, until);
		pieces_hold(&r->shared.pieces, part->piece);
		if (!part->piece->here)
			wait_locked(r, reading, part);
		block = part->piece->first + part->piece->blocks;
	}
	read_ahead_locked(r, file, st.size, ahead_read(&r->shared.ahead, file, st.size, offset, length));
	pieces_room(&r->shared.pieces, 0);
	reading->waited = reading->pending > 0;
	if (reading->pending)
		reading = NULL;
	pthread_mutex_unlock(&r->shared.mu);
	if (reading)
		answer(r, reading);
}

/* ---- beginning and end ---- */

int fuse_remote_new(const struct remote_options *o, struct remote **ret, struct err *e)
{
	_cleanup_(remote_freep) struct remote *r = xcalloc(1, sizeof(*r));
	struct s3_options s3 = { .endpoint = o->s3->endpoint,
		                 .region = o->s3->region,
		                 .access_key = o->s3->access_key,
		                 .secret_key = o->s3->secret_key,
		                 .session_token = o->s3->session_token,
		                 .patience_s = o->patience_s,
		                 .cancelled = cancelled,
		                 .arg = r };

	r->options = *o;
	r->options.s3 = NULL;
	r->early_max = o->threads - o->threads / 4;
	pthread_mutex_init(&r->shared.mu, NULL);
	pthread_cond_init(&r->shared.work, NULL);
	pieces_init(&r->shared.pieces, o->cache_bytes);
	ahead_init(&r->shared.ahead, o->cache_bytes / 2);
	if (s3_new(&s3, &r->s3, e) < 0)
		return -1;
	while (r->threads < o->threads && r->threads < THREADS_MAX) {
		int rc = pthread_create(&r->thread[r->threads], NULL, fetch_thread, r);

		if (rc && !r->threads) {
			errno = rc;
			return err_sys(e, "starting a thread");
		}
		if (rc)
			break; /* fewer will do */
		r->threads++;
	}
	*ret = take_ptr(r);
	return 0;
}

void remote_free(struct remote *r)
{
	struct err ended = { 0 };

	if (!r)
		return;
	err_set(&ended, ERR_BUSY, "the file system ends");
	pthread_mutex_lock(&r->shared.mu);
	r->shared.over = true;
	pthread_cond_broadcast(&r->shared.work);
	pthread_mutex_unlock(&r->shared.mu);
	for (unsigned i = 0; i < r->threads; i++)
		pthread_join(r->thread[i], NULL);
	for (;;) {
		struct reading *ready = NULL;
		struct piece *p;

		pthread_mutex_lock(&r->shared.mu);
		p = piece_queue_take(&r->shared.wanted);
		if (!p)
			p = piece_queue_take(&r->shared.early);
		if (p)
			ready = arrived_locked(r, p, &ended);
		pthread_mutex_unlock(&r->shared.mu);
		if (!p)
			break;
		answer_all(r, ready);
	}
	pieces_fini(&r->shared.pieces);
	s3_free(r->s3);
	pthread_cond_destroy(&r->shared.work);
	pthread_mutex_destroy(&r->shared.mu);
	free(r);
}

struct remote_numbers remote_numbers(struct remote *r)
{
	struct remote_numbers n;

	pthread_mutex_lock(&r->shared.mu);
	n = (struct remote_numbers){ .cached_bytes = r->shared.pieces.bytes,
		                     .gets = r->shared.gets,
		                     .got_bytes = r->shared.got_bytes };
	pthread_mutex_unlock(&r->shared.mu);
	return n;
}
