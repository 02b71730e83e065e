/* source_remote.c - objects of another S3: a window of ranged requests that run in parallel, taken in order.
 *
 * A channel has a few threads that make requests, whichever of its streams asked, and 64 MiB for what they bring. A
 * stream that has nothing under way may always ask for one block more: so one that is not read on never stops another
 * (a trainer that has opened the next epoch and reads that first). Blocks belong to their stream and, while a request
 * is on its way, to its thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "feed/source.h"
#include "s3/s3.h"

enum {
	BLOCK = 4 << 20,
	MEMORY = 64 << 20, /* of a channel */
	AHEAD = 128,       /* blocks of one stream: small objects come in parallel, too */
	THREADS = 16,
	PATIENCE_S = 110, /* and a little for the last attempt: about two minutes */
	STACK = 1 << 20,
};

enum block_state { BLOCK_ASKED, BLOCK_COMING, BLOCK_HERE };

struct block {
	struct feed_item *item;
	uint64_t at;
	size_t n; /* 0: of an item without bytes to fetch, which only marks its place */
	char *p;
	/* Behind the remote's lock. */
	enum block_state state;
	bool abandoned;  /* its stream has gone; whoever fetches it frees it */
	struct err *why; /* NULL: it is well */
	struct block *next_asked;
};

struct remote {
	struct s3 *s3;
	char *endpoint;
	struct { /* hold mu to touch anything in here */
		pthread_mutex_t mu;
		pthread_cond_t asked, here;
		struct block *first, **last; /* to be fetched, in the order in which they were asked for */
		unsigned threads, idle, queued;
		uint64_t memory; /* of blocks that are there */
	} shared;
};

struct window {
	struct source source;
	struct remote *remote;
	struct walk *walk;
	struct block *ring[AHEAD];
	unsigned first, count;
	struct feed_item *asking; /* whose blocks are being asked for, up to asked_to */
	uint64_t asked_to;
	bool ended;
	struct err *broken;     /* the walk failed; told when what came before has been taken */
	struct feed_item *item; /* the current one */
	uint64_t at;            /* of it taken */
	size_t block_at;        /* of the first block taken */
};

/* ---- fetching ---- */

static void block_free(struct remote *r, struct block *b, bool locked)
{
	if (!locked)
		pthread_mutex_lock(&r->shared.mu);
	r->shared.memory -= b->n;
	if (!locked)
		pthread_mutex_unlock(&r->shared.mu);
	feed_item_unref(b->item);
	free(b->p);
	free(b->why);
	free(b);
}

/* Words a failure with what was read from where. */
static struct err *failure(const struct remote *r, const struct block *b, struct err *e)
{
	struct err *why = xcalloc(1, sizeof(*why));

	if (e->kind == ERR_CONFLICT)
		err_set(e, ERR_CLIENT, "the object was replaced while the job was running");
	err_in(e, "from %s, byte %llu on", r->endpoint, (unsigned long long)b->at);
	*why = *e;
	return why;
}

static void fetch(struct remote *r, struct block *b)
{
	const struct feed_item *i = b->item;
	struct err e = { 0 };
	struct err *why = NULL;
	bool abandoned;

	b->p = xrealloc(NULL, b->n);
	if (s3_get_range(r->s3, (struct s3_uri){ i->bucket, i->key }, i->etag, b->at, b->n, b->p, &e) < 0)
		why = failure(r, b, &e);
	pthread_mutex_lock(&r->shared.mu);
	b->why = why;
	b->state = BLOCK_HERE;
	abandoned = b->abandoned;
	if (abandoned)
		block_free(r, b, true);
	else
		pthread_cond_broadcast(&r->shared.here);
	pthread_mutex_unlock(&r->shared.mu);
}

static void *fetch_thread(void *arg)
{
	struct remote *r = arg;

	pthread_mutex_lock(&r->shared.mu);
	for (;;) {
		struct block *b;

		r->shared.idle++;
		while (!r->shared.first)
			pthread_cond_wait(&r->shared.asked, &r->shared.mu);
		r->shared.idle--;
		b = r->shared.first;
		r->shared.first = b->next_asked;
		r->shared.queued--;
		if (!r->shared.first)
			r->shared.last = &r->shared.first;
		b->state = BLOCK_COMING;
		pthread_mutex_unlock(&r->shared.mu);
		fetch(r, b);
		pthread_mutex_lock(&r->shared.mu);
	}
	return NULL;
}

/* One thread more, if that helps. */
static int add_thread_locked(struct remote *r, struct err *e)
{
	pthread_attr_t attr;
	pthread_t thread;

	if (r->shared.idle > r->shared.queued || r->shared.threads == THREADS)
		return 0;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK);
	errno = pthread_create(&thread, &attr, fetch_thread, r);
	pthread_attr_destroy(&attr);
	if (errno)
		return r->shared.threads ? 0 : err_sys(e, "starting a thread");
	r->shared.threads++;
	return 0;
}

int remote_share_new(const struct s3_target *t, struct remote **ret, struct err *e)
{
	const struct s3_options o = { .endpoint = t->endpoint,
		                      .region = t->region,
		                      .access_key = t->access_key,
		                      .secret_key = t->secret_key,
		                      .session_token = t->session_token,
		                      .patience_s = PATIENCE_S };
	struct remote *r = xcalloc(1, sizeof(*r));
	pthread_condattr_t attr;

	if (s3_new(&o, &r->s3, e) < 0) {
		free(r);
		return -1;
	}
	r->endpoint = t->endpoint && *t->endpoint ? xstrdup(t->endpoint) : strf("S3 in %s", t->region);
	r->shared.last = &r->shared.first;
	pthread_mutex_init(&r->shared.mu, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&r->shared.asked, NULL);
	pthread_cond_init(&r->shared.here, &attr);
	pthread_condattr_destroy(&attr);
	*ret = r;
	return 0;
}

/* ---- asking ---- */

/* The next item to ask for, if there is one. */
static bool next_to_ask(struct window *w)
{
	struct err e = { 0 };
	int rc;

	if (w->asking)
		return true;
	if (w->ended)
		return false;
	rc = walk_next(w->walk, &w->asking, &e);
	w->asked_to = 0;
	if (rc > 0)
		return true;
	w->ended = true;
	if (rc < 0) {
		w->broken = xcalloc(1, sizeof(e));
		*w->broken = e;
	}
	return false;
}

/* Takes the memory for n bytes. A stream that has nothing may always have it. */
static bool may_ask_locked(const struct window *w, size_t n)
{
	return w->count == 0 || w->remote->shared.memory + n <= MEMORY;
}

/* Asks for the next block. False when there is no room, or nothing to ask for. */
static int ask(struct window *w, struct err *e)
{
	struct remote *r = w->remote;
	struct feed_item *i = w->asking;
	uint64_t left = i->size - w->asked_to;
	size_t n = i->literal ? (size_t)i->size : left < BLOCK ? (size_t)left : BLOCK;
	struct block *b;
	int rc = 0;

	pthread_mutex_lock(&r->shared.mu);
	if (!may_ask_locked(w, n) || (rc = add_thread_locked(r, e)) < 0) {
		pthread_mutex_unlock(&r->shared.mu);
		return rc;
	}
	b = xcalloc(1, sizeof(*b));
	*b = (struct block){ .item = feed_item_ref(i), .at = w->asked_to, .n = n, .state = BLOCK_ASKED };
	r->shared.memory += n;
	if (i->literal || !n) {
		b->state = BLOCK_HERE;
	} else {
		*r->shared.last = b;
		r->shared.last = &b->next_asked;
		r->shared.queued++;
		pthread_cond_signal(&r->shared.asked);
	}
	pthread_mutex_unlock(&r->shared.mu);
	w->ring[(w->first + w->count++) % AHEAD] = b;
	w->asked_to += n;
	if (w->asked_to == i->size) {
		feed_item_unref(i);
		w->asking = NULL;
	}
	return 1;
}

static int ask_ahead(struct window *w, struct err *e)
{
	int rc = 1;

	while (rc > 0 && w->count < AHEAD && next_to_ask(w))
		rc = ask(w, e);
	return rc < 0 ? -1 : 0;
}

/* ---- taking ---- */

/* 0, or OUT_GONE: the reader is looked after now and then, because the store may be gone for minutes. */
static int wait_for_block(struct remote *r, const struct block *b, struct out *o)
{
	bool here = false, gone = false;

	pthread_mutex_lock(&r->shared.mu);
	while (!(here = b->state == BLOCK_HERE) && !gone) {
		struct timespec until;

		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec++;
		if (pthread_cond_timedwait(&r->shared.here, &r->shared.mu, &until) != ETIMEDOUT)
			continue;
		out_waiting(o);
		gone = out_gone(o);
	}
	pthread_mutex_unlock(&r->shared.mu);
	return here ? 0 : OUT_GONE;
}

/* Waits for the first block of the ring. What is pending goes out before that. */
static int first_block(struct window *w, struct out *o, struct block **ret, struct err *e)
{
	struct remote *r = w->remote;
	struct block *b;
	bool here;
	int rc;

	if (ask_ahead(w, e) < 0)
		return -1;
	must(w->count);
	b = w->ring[w->first];
	pthread_mutex_lock(&r->shared.mu);
	here = b->state == BLOCK_HERE;
	pthread_mutex_unlock(&r->shared.mu);
	if (!here && ((rc = out_flush(o, e)) != 0 || (rc = wait_for_block(r, b, o)) != 0))
		return rc;
	if (b->why) {
		*e = *b->why;
		return -1;
	}
	*ret = b;
	return 0;
}

static void drop_first(struct window *w)
{
	struct block *b = w->ring[w->first];

	w->first = (w->first + 1) % AHEAD;
	w->count--;
	w->block_at = 0;
	block_free(w->remote, b, false);
}

static int window_next(struct source *source, struct out *o, const struct feed_item **ret, struct err *e)
{
	struct window *w = (struct window *)source;

	(void)o;
	/* Of the current item there may be the one block left that only marks its place. */
	if (w->item && w->count && w->ring[w->first]->item == w->item)
		drop_first(w);
	feed_item_unref(take_ptr(w->item));
	w->at = 0;
	if (ask_ahead(w, e) < 0)
		return -1;
	if (!w->count) {
		if (w->broken)
			*e = *w->broken;
		return w->broken ? -1 : 0;
	}
	w->item = feed_item_ref(w->ring[w->first]->item);
	*ret = w->item;
	return 1;
}

/* Bytes of the current item that are there, `most` at most; at least one. 0, OUT_GONE, -1. */
static int some(struct window *w, struct out *o, uint64_t most, struct str *ret, struct err *e)
{
	struct block *b;
	int rc;

	if (w->count && w->ring[w->first]->item == w->item && w->block_at == w->ring[w->first]->n)
		drop_first(w);
	rc = first_block(w, o, &b, e);
	if (rc != 0)
		return rc;
	must(b->item == w->item && b->at + w->block_at == w->at);
	ret->p = b->p + w->block_at;
	ret->n = b->n - w->block_at < most ? b->n - w->block_at : (size_t)most;
	w->block_at += ret->n;
	w->at += ret->n;
	return 0;
}

static int window_give(struct source *source, uint64_t n, struct out *o, struct err *e)
{
	struct window *w = (struct window *)source;

	while (n) {
		struct str bytes;
		int rc = some(w, o, n, &bytes, e);

		rc = rc ? rc : out_add(o, bytes, e);
		if (rc != 0)
			return rc;
		n -= bytes.n;
	}
	return 0;
}

static int window_read(struct source *source, struct out *o, struct str *ret, struct err *e)
{
	struct window *w = (struct window *)source;
	int rc;

	if (w->at == w->item->size)
		return 0;
	rc = some(w, o, UINT64_MAX, ret, e);
	return rc == 0 ? 1 : rc;
}

static void window_free(struct source *source)
{
	struct window *w = (struct window *)source;
	struct remote *r = w->remote;
	struct block **at, *b;

	pthread_mutex_lock(&r->shared.mu);
	for (unsigned i = 0; i < w->count; i++)
		w->ring[(w->first + i) % AHEAD]->abandoned = true;
	for (at = &r->shared.first; (b = *at);)
		if (b->abandoned) {
			*at = b->next_asked;
			r->shared.queued--;
		} else {
			at = &b->next_asked;
		}
	r->shared.last = at;
	for (unsigned i = 0; i < w->count; i++) {
		b = w->ring[(w->first + i) % AHEAD];
		if (b->state != BLOCK_COMING)
			block_free(r, b, true);
	}
	pthread_mutex_unlock(&r->shared.mu);
	feed_item_unref(w->item);
	feed_item_unref(w->asking);
	walk_free(w->walk);
	free(w->broken);
	free(w);
}

struct source *source_remote_new(struct remote *r, struct walk *w)
{
	static const struct source_ops ops = { window_next, window_give, window_read, window_free };
	struct window *window = xcalloc(1, sizeof(*window));

	window->source.ops = &ops;
	window->remote = r;
	window->walk = w;
	return &window->source;
}
