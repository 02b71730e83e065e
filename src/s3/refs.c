/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/refs.h"

#include <pthread.h>
#include <stdlib.h>

#include "s3/call.h"

/* A page of a listing brings 1000 objects and takes about as long as 8 requests one after the other; single requests
 * go on S3_THREADS at once. So a listing is worth it while it takes fewer pages than there are objects to this: */
enum { OBJECTS_A_PAGE_IS_WORTH = 256, PAGE = 1000 };

enum known { UNKNOWN, FOUND, MISSING, DENIED };

struct ref {
	size_t at; /* of "bucket\0key" in text */
	uint32_t bucket_n, key_n;
	enum known known;
	uint32_t etag_n;
	size_t etag_at; /* in etags */
	uint64_t size;
	struct wall modified;
};

struct refs {
	struct buf text;
	struct ref *v;
	size_t n, cap;
	size_t sorted; /* so many are in order and without doubles */
	struct {       /* hold mu to touch anything in here, and what is known in v, while several threads ask */
		pthread_mutex_t mu;
		struct buf etags;
	} shared;
};

struct refs *refs_new(void)
{
	struct refs *r = xcalloc(1, sizeof(*r));

	pthread_mutex_init(&r->shared.mu, NULL);
	return r;
}

void refs_free(struct refs *r)
{
	if (!r)
		return;
	pthread_mutex_destroy(&r->shared.mu);
	buf_fini(&r->shared.etags);
	buf_fini(&r->text);
	free(r->v);
	free(r);
}

static struct str bucket_of(const struct refs *r, const struct ref *x)
{
	return (struct str){ r->text.p + x->at, x->bucket_n };
}

static struct str key_of(const struct refs *r, const struct ref *x)
{
	return (struct str){ r->text.p + x->at + x->bucket_n + 1, x->key_n };
}

static int compare(struct str bucket, struct str key, const struct refs *r, const struct ref *x)
{
	int c = str_cmp(bucket, bucket_of(r, x));

	return c ? c : str_cmp(key, key_of(r, x));
}

static int by_name(const void *a, const void *b, void *arg)
{
	const struct refs *r = arg;
	const struct ref *x = a;

	return compare(bucket_of(r, x), key_of(r, x), r, b);
}

/* In order, each once. Done now and then while they come, so that doubles take no room for long. */
static void tidy(struct refs *r)
{
	size_t n = 0;

	if (r->n)
		qsort_r(r->v, r->n, sizeof(*r->v), by_name, r);
	for (size_t i = 0; i < r->n; i++)
		if (n == 0 || by_name(&r->v[n - 1], &r->v[i], r) != 0)
			r->v[n++] = r->v[i];
	r->n = r->sorted = n;
}

void refs_add(struct refs *r, struct s3_uri at)
{
	struct ref *x = r->n ? &r->v[r->n - 1] : NULL;

	if (x && compare(at.bucket, at.key, r, x) == 0)
		return;
	if (r->n == r->cap) {
		if (r->sorted < r->n / 2)
			tidy(r);
		if (r->n >= r->cap / 2)
			r->cap = r->cap ? r->cap * 2 : 64;
		r->v = xrealloc(r->v, r->cap * sizeof(*r->v));
	}
	r->v[r->n++] = (struct ref){ .at = r->text.n, .bucket_n = (uint32_t)at.bucket.n, .key_n = (uint32_t)at.key.n };
	buf_str(&r->text, at.bucket);
	buf_c(&r->text, 0);
	buf_str(&r->text, at.key);
}

static struct ref *find(const struct refs *r, struct str bucket, struct str key)
{
	size_t low = 0, high = r->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = compare(bucket, key, r, &r->v[mid]);

		if (c == 0)
			return &r->v[mid];
		if (c < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}

static void learn(struct refs *r, struct ref *x, const struct s3_object *o)
{
	pthread_mutex_lock(&r->shared.mu);
	x->known = FOUND;
	x->size = o->size;
	x->modified = o->modified;
	x->etag_at = r->shared.etags.n;
	x->etag_n = (uint32_t)o->etag.n;
	buf_str(&r->shared.etags, o->etag);
	pthread_mutex_unlock(&r->shared.mu);
}

/* ---- by listing ---- */

struct listed {
	struct refs *r;
	struct str bucket;
	uint64_t most, seen;
	bool enough;
};

static int learn_listed(const struct s3_object *o, void *arg, struct err *e)
{
	struct listed *l = arg;
	struct ref *x = find(l->r, l->bucket, o->key);

	if (x)
		learn(l->r, x, o);
	l->enough = ++l->seen >= l->most;
	return l->enough ? err_set(e, ERR_LIMIT, "too many other objects") : 0;
}

/* What all keys from first to last, which are in order, begin with. */
static struct str common(const struct refs *r, const struct ref *first, const struct ref *last)
{
	struct str a = key_of(r, first), b = key_of(r, last);
	size_t n = 0;

	while (n < a.n && n < b.n && a.p[n] == b.p[n])
		n++;
	return (struct str){ a.p, n };
}

/* One bucket's, v[from] to v[to - 1]. */
static int list_bucket(struct refs *r, struct s3 *s3, size_t from, size_t to, struct err *e)
{
	struct listed l = { .r = r,
		            .bucket = bucket_of(r, &r->v[from]),
		            .most = (uint64_t)(to - from) / OBJECTS_A_PAGE_IS_WORTH * PAGE };

	if (!l.most || s3_list(s3, l.bucket, common(r, &r->v[from], &r->v[to - 1]), learn_listed, &l, e) == 0)
		return 0;
	/* Who may not list may still read; and what is not known yet is asked for one by one. */
	return l.enough || e->kind == ERR_DENIED || e->kind == ERR_NOT_FOUND ? 0 : -1;
}

/* ---- one by one ---- */

static int ask(void *arg, size_t i, struct err *e)
{
	struct refs *r = ((void **)arg)[0];
	struct s3 *s3 = ((void **)arg)[1];
	struct ref *x = &r->v[i];
	_cleanup_buf_ struct buf scratch = { 0 };
	struct s3_object o;

	if (x->known == FOUND)
		return 0;
	if (s3_head(s3, (struct s3_uri){ bucket_of(r, x), key_of(r, x) }, &scratch, &o, e) == 0) {
		learn(r, x, &o);
		return 0;
	}
	if (e->kind != ERR_NOT_FOUND && e->kind != ERR_DENIED)
		return -1;
	x->known = e->kind == ERR_DENIED ? DENIED : MISSING;
	return 0;
}

int refs_resolve(struct refs *r, struct s3 *s3, struct err *e)
{
	void *both[] = { r, s3 };
	struct err local = { 0 };
	size_t to;

	e = e ? e : &local;
	tidy(r);
	for (size_t from = 0; from < r->n; from = to) {
		for (to = from + 1; to < r->n && r->v[to].bucket_n == r->v[from].bucket_n &&
		                    str_eq(bucket_of(r, &r->v[to]), bucket_of(r, &r->v[from]));)
			to++;
		if (list_bucket(r, s3, from, to, e) < 0)
			return -1;
	}
	return s3_parallel(s3_threads(s3), r->n, ask, both, e);
}

int refs_find(const struct refs *r, struct s3_uri at, struct s3_object *ret, struct err *e)
{
	const struct ref *x = find(r, at.bucket, at.key);

	if (!x || x->known == UNKNOWN)
		return err_set(e, ERR_BUG, "nobody asked for s3://" PRIstr "/" PRIstr, ARGstr(at.bucket),
		               ARGstr(at.key));
	if (x->known != FOUND)
		return err_set(e, x->known == DENIED ? ERR_DENIED : ERR_NOT_FOUND, "%s",
		               x->known == DENIED ? "access denied" : "not found");
	*ret = (struct s3_object){ .key = key_of(r, x),
		                   .etag = { r->shared.etags.p + x->etag_at, x->etag_n },
		                   .size = x->size,
		                   .modified = x->modified };
	return 0;
}
