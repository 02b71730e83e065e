/* SPDX-License-Identifier: Apache-2.0 */
#include "artifact/gzip.h"

#include <endian.h>
#include <isa-l/crc.h>
#include <isa-l/igzip_lib.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <zlib.h>

#include "base/fd.h"
#include "base/hash.h"

/* 48 blocks in flight, in and out, make 24 MiB at most. */
enum { BLOCK = 256 << 10, BLOCK_OUT = BLOCK + BLOCK / 16 + 1024, SLOTS_MAX = 48, THREADS_MAX = 22, LEVEL_DEFAULT = 1 };

static const uint32_t level_buf_bytes[] = { 0, ISAL_DEF_LVL1_DEFAULT, ISAL_DEF_LVL2_DEFAULT, ISAL_DEF_LVL3_DEFAULT };

/* A block on its way: filled by the caller, then deflated by a worker, then written. */
struct block {
	char *in;
	unsigned char *out;
	size_t in_n, out_n;
	uint32_t crc;
	bool zeros;    /* in and out are those of gzip.zeros */
	bool deflated; /* hold mu */
};

/* What one thread needs for deflating. */
struct deflater {
	struct isal_zstream stream;
	uint32_t level;
	unsigned char *level_buf;
};

struct gzip {
	int fd;
	uint32_t level;
	unsigned slots;
	struct block zeros; /* made on first use, by the caller's thread, before the writer can want it */
	pthread_t writer, worker[THREADS_MAX];
	bool writing; /* the writer runs */
	unsigned workers, workers_max;
	/* Touched by the writer only, until it is joined. */
	struct hash *md5;
	uint32_t crc;
	uint64_t in_bytes, out_bytes;
	struct { /* hold mu to touch anything in here; blocks belong to whose turn it is */
		pthread_mutex_t mu;
		pthread_cond_t filled, deflated, written;
		struct block block[SLOTS_MAX];
		uint64_t head, taken, tail; /* blocks filled, taken for deflating, written so far */
		bool last, stop, failed;
		struct err err;
	} shared;
};

/* ---- deflating ---- */

static void deflater_init(struct deflater *d, uint32_t level)
{
	d->level = level;
	d->level_buf = xrealloc(NULL, level_buf_bytes[level]);
}

static void deflate_block(struct deflater *d, struct block *b)
{
	if (!b->out)
		b->out = xrealloc(NULL, BLOCK_OUT);
	isal_deflate_stateless_init(&d->stream);
	d->stream.level = d->level;
	d->stream.level_buf = d->level_buf;
	d->stream.level_buf_size = level_buf_bytes[d->level];
	d->stream.flush = FULL_FLUSH;
	d->stream.end_of_stream = 0;
	d->stream.next_in = (uint8_t *)b->in;
	d->stream.avail_in = (uint32_t)b->in_n;
	d->stream.next_out = b->out;
	d->stream.avail_out = BLOCK_OUT;
	must(isal_deflate_stateless(&d->stream) == COMP_OK && d->stream.avail_in == 0);
	b->out_n = BLOCK_OUT - d->stream.avail_out;
	b->crc = crc32_gzip_refl(0, (const unsigned char *)b->in, b->in_n);
}

static void *work(void *arg)
{
	struct gzip *z = arg;
	struct deflater *d = xcalloc(1, sizeof(*d));

	deflater_init(d, z->level);
	pthread_mutex_lock(&z->shared.mu);
	for (;;) {
		struct block *b;

		while (z->shared.taken == z->shared.head && !z->shared.last && !z->shared.stop)
			pthread_cond_wait(&z->shared.filled, &z->shared.mu);
		if (z->shared.stop || z->shared.taken == z->shared.head)
			break;
		b = &z->shared.block[z->shared.taken++ % z->slots];
		if (!b->zeros) {
			pthread_mutex_unlock(&z->shared.mu);
			deflate_block(d, b);
			pthread_mutex_lock(&z->shared.mu);
		}
		b->deflated = true;
		pthread_cond_signal(&z->shared.deflated);
	}
	pthread_mutex_unlock(&z->shared.mu);
	free(d->level_buf);
	free(d);
	return NULL;
}

/* ---- writing ---- */

static int put(struct gzip *z, const void *p, size_t n, struct err *e)
{
	if (fd_write_all(z->fd, p, n, e) < 0)
		return -1;
	hash_add(z->md5, p, n);
	z->out_bytes += n;
	return 0;
}

static int put_block(struct gzip *z, const struct block *b, struct err *e)
{
	const struct block *out = b->zeros ? &z->zeros : b;

	z->crc = (uint32_t)crc32_combine(z->crc, out->crc, (z_off_t)b->in_n);
	z->in_bytes += b->in_n;
	return put(z, out->out, out->out_n, e);
}

static int put_start(struct gzip *z, struct err *e)
{
	/* No name, no time. */
	static const unsigned char head[10] = { 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3 };

	return put(z, head, sizeof(head), e);
}

static int put_end(struct gzip *z, struct err *e)
{
	/* An empty final block, then what gzip wants to know of the data. */
	unsigned char end[10] = { 3, 0 };
	uint32_t crc = htole32(z->crc), size = htole32((uint32_t)z->in_bytes);

	memcpy(end + 2, &crc, 4);
	memcpy(end + 6, &size, 4);
	return put(z, end, sizeof(end), e);
}

/* Waits for the next block in order. NULL: that was all, or stop. */
static struct block *next_deflated(struct gzip *z)
{
	struct block *b = &z->shared.block[z->shared.tail % z->slots];

	while (!z->shared.stop) {
		bool there = z->shared.tail < z->shared.head;

		if (there && b->deflated)
			return b;
		if (!there && z->shared.last)
			return NULL;
		pthread_cond_wait(&z->shared.deflated, &z->shared.mu);
	}
	return NULL;
}

static void *write_all(void *arg)
{
	struct gzip *z = arg;
	struct err e = { 0 };
	int rc = put_start(z, &e);
	struct block *b;

	pthread_mutex_lock(&z->shared.mu);
	while (rc == 0 && (b = next_deflated(z))) {
		pthread_mutex_unlock(&z->shared.mu);
		rc = put_block(z, b, &e);
		pthread_mutex_lock(&z->shared.mu);
		b->deflated = b->zeros = false;
		b->in_n = 0;
		z->shared.tail++;
		pthread_cond_signal(&z->shared.written);
	}
	if (rc == 0 && !z->shared.stop)
		rc = put_end(z, &e);
	if (rc < 0) {
		z->shared.failed = z->shared.stop = true;
		z->shared.err = e;
		pthread_cond_broadcast(&z->shared.filled);
		pthread_cond_signal(&z->shared.written);
	}
	pthread_mutex_unlock(&z->shared.mu);
	return NULL;
}

/* ---- the caller's side ---- */

static unsigned cores(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

struct gzip *gzip_new(int fd, const struct gzip_options *o)
{
	struct gzip *z = xcalloc(1, sizeof(*z));
	unsigned want = o->threads ? o->threads : cores();

	want = want < THREADS_MAX ? want : THREADS_MAX;
	z->fd = fd;
	z->level = o->level >= 1 && o->level <= 3 ? (uint32_t)o->level : LEVEL_DEFAULT;
	z->workers_max = want;
	z->slots = 2 * want + 4;
	z->md5 = hash_new(HASH_MD5);
	pthread_mutex_init(&z->shared.mu, NULL);
	pthread_cond_init(&z->shared.filled, NULL);
	pthread_cond_init(&z->shared.deflated, NULL);
	pthread_cond_init(&z->shared.written, NULL);
	must(pthread_create(&z->writer, NULL, write_all, z) == 0);
	z->writing = true;
	return z;
}

static int failure(struct gzip *z, struct err *e)
{
	if (e)
		*e = z->shared.err;
	return -1;
}

/* The block being filled, once the writer is done with what was in it. */
static int current(struct gzip *z, struct block **ret, struct err *e)
{
	struct block *b = &z->shared.block[z->shared.head % z->slots];
	int rc = 0;

	pthread_mutex_lock(&z->shared.mu);
	while (z->shared.head - z->shared.tail == z->slots && !z->shared.failed)
		pthread_cond_wait(&z->shared.written, &z->shared.mu);
	if (z->shared.failed)
		rc = failure(z, e);
	pthread_mutex_unlock(&z->shared.mu);
	if (rc == 0)
		*ret = b;
	return rc;
}

/* Hands the block being filled on. Each of the first blocks starts a worker, so that a small archive takes few. */
static void submit(struct gzip *z)
{
	pthread_mutex_lock(&z->shared.mu);
	z->shared.head++;
	pthread_cond_signal(&z->shared.filled);
	pthread_mutex_unlock(&z->shared.mu);
	if (z->workers < z->workers_max && pthread_create(&z->worker[z->workers], NULL, work, z) == 0)
		z->workers++;
	must(z->workers);
}

int gzip_room(struct gzip *z, char **ret_p, size_t *ret_room, struct err *e)
{
	struct block *b;

	if (current(z, &b, e) < 0)
		return -1;
	if (!b->in)
		b->in = xrealloc(NULL, BLOCK);
	*ret_p = b->in + b->in_n;
	*ret_room = BLOCK - b->in_n;
	return 0;
}

void gzip_filled(struct gzip *z, size_t n)
{
	struct block *b = &z->shared.block[z->shared.head % z->slots];

	b->in_n += n;
	must(b->in_n <= BLOCK);
	if (b->in_n == BLOCK)
		submit(z);
}

int gzip_add(struct gzip *z, struct str bytes, struct err *e)
{
	while (bytes.n) {
		size_t room;
		char *p;

		if (gzip_room(z, &p, &room, e) < 0)
			return -1;
		room = room < bytes.n ? room : bytes.n;
		memcpy(p, bytes.p, room);
		gzip_filled(z, room);
		bytes.p += room;
		bytes.n -= room;
	}
	return 0;
}

static void make_zeros(struct gzip *z)
{
	struct deflater *d = xcalloc(1, sizeof(*d));

	deflater_init(d, z->level);
	z->zeros.in = xcalloc(1, BLOCK);
	z->zeros.in_n = BLOCK;
	deflate_block(d, &z->zeros);
	free(d->level_buf);
	free(d);
}

int gzip_zeros(struct gzip *z, uint64_t n, struct err *e)
{
	while (n) {
		struct block *b;

		if (current(z, &b, e) < 0)
			return -1;
		if (b->in_n == 0 && n >= BLOCK) {
			if (!z->zeros.in)
				make_zeros(z);
			b->zeros = true;
			b->in_n = BLOCK;
			submit(z);
			n -= BLOCK;
		} else {
			size_t room;
			char *p;

			if (gzip_room(z, &p, &room, e) < 0)
				return -1;
			room = room < n ? room : (size_t)n;
			memset(p, 0, room);
			gzip_filled(z, room);
			n -= room;
		}
	}
	return 0;
}

static void join(struct gzip *z, bool stop)
{
	pthread_mutex_lock(&z->shared.mu);
	z->shared.last = true;
	z->shared.stop |= stop;
	pthread_cond_broadcast(&z->shared.filled);
	pthread_cond_broadcast(&z->shared.deflated);
	pthread_mutex_unlock(&z->shared.mu);
	while (z->workers)
		pthread_join(z->worker[--z->workers], NULL);
	if (z->writing)
		pthread_join(z->writer, NULL);
	z->writing = false;
}

int gzip_finish(struct gzip *z, uint64_t *ret_bytes, char ret_md5[33], struct err *e)
{
	static const char digits[] = "0123456789abcdef";
	unsigned char md5[MD5_BYTES];
	struct block *b;

	if (current(z, &b, e) < 0)
		return -1;
	if (b->in_n)
		submit(z);
	join(z, false);
	if (z->shared.failed)
		return failure(z, e);
	hash_end(take_ptr(z->md5), md5);
	for (size_t i = 0; i < sizeof(md5); i++) {
		ret_md5[2 * i] = digits[md5[i] >> 4];
		ret_md5[2 * i + 1] = digits[md5[i] & 15];
	}
	ret_md5[32] = 0;
	*ret_bytes = z->out_bytes;
	return 0;
}

void gzip_free(struct gzip *z)
{
	if (!z)
		return;
	join(z, true);
	for (size_t i = 0; i < SLOTS_MAX; i++) {
		free(z->shared.block[i].in);
		free(z->shared.block[i].out);
	}
	free(z->zeros.in);
	free(z->zeros.out);
	hash_free(z->md5);
	pthread_cond_destroy(&z->shared.written);
	pthread_cond_destroy(&z->shared.deflated);
	pthread_cond_destroy(&z->shared.filled);
	pthread_mutex_destroy(&z->shared.mu);
	free(z);
}
