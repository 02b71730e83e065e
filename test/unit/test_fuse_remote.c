/* What is fetched of another S3, how often, and what becomes of failures; without a file system.
 * SPDX-License-Identifier: Apache-2.0 */
#include "fuse/remote.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "fuse_store.h"
#include "jobdir/list.h"

enum { BIG = 1, SMALL = 2, KIB = 1 << 10, MIB = 1 << 20 }; /* the first two: nodes of the tree */
static const uint64_t big_size = (uint64_t)64 * MIB + 777;

struct world {
	struct tree *tree;
	struct remote *remote;
	char *url;
};

/* One read, and its answer. */
struct read {
	char *bytes;
	size_t got;
	bool done, waited;
	enum err_kind kind;
	char text[1000];
};

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t answered = PTHREAD_COND_INITIALIZER;

static void take_answer(void *arg, void *asked, const struct iovec *bytes, int count, bool waited,
                        const struct err *why)
{
	struct read *r = asked;

	(void)arg;
	pthread_mutex_lock(&mu);
	CHECK(!r->done);
	for (int i = 0; i < count; i++) {
		memcpy(r->bytes + r->got, bytes[i].iov_base, bytes[i].iov_len);
		r->got += bytes[i].iov_len;
	}
	r->done = true;
	r->waited = waited;
	if (why) {
		r->kind = why->kind;
		err_text(why, r->text, sizeof(r->text));
	}
	pthread_cond_broadcast(&answered);
	pthread_mutex_unlock(&mu);
}

static void world_open(struct world *w, uint64_t cache_bytes, unsigned patience_s)
{
	_cleanup_free_ char *path = strf("%s/list", test_tmpdir());
	struct s3_target s3 = { .region = "us-east-1", .access_key = "AKIDEXAMPLE", .secret_key = "secret" };
	struct list_entry big = { .size = big_size, .object_id = STR("-"), .etag = STR("first"), .key = STR("p/big") };
	struct list_entry small = {
		.size = 100 * KIB, .object_id = STR("-"), .etag = STR("first"), .key = STR("p/small")
	};
	FILE *f = fopen(path, "we");
	_cleanup_close_ int fd = -EBADF;
	struct feeder_order o = { .place = PLACE_REMOTE, .bucket = "bkt", .prefix = "p/", .order.share_count = 1 };

	must(f);
	CHECK_OK(list_write(f, &big, e));
	CHECK_OK(list_write(f, &small, e));
	fclose(f);
	fd = o.list_fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK_OK(tree_new(&o, &w->tree, e));
	w->url = store_start();
	s3.endpoint = w->url;
	CHECK_OK(fuse_remote_new(&(struct remote_options){ .tree = w->tree,
	                                                   .s3 = &s3,
	                                                   .bucket = "bkt",
	                                                   .cache_bytes = cache_bytes,
	                                                   .threads = 8,
	                                                   .patience_s = patience_s,
	                                                   .answer = take_answer },
	                         &w->remote, e));
}

static void world_close(struct world *w)
{
	remote_free(w->remote);
	http_server_stop(store.server);
	tree_free(w->tree);
	free(w->url);
}

static struct read *ask(struct world *w, uint32_t file, uint64_t from, size_t n)
{
	struct read *r = xcalloc(1, sizeof(*r));

	r->bytes = xcalloc(n, 1);
	remote_read(w->remote, file, from, n, r);
	return r;
}

static void await(struct read *r)
{
	pthread_mutex_lock(&mu);
	while (!r->done)
		pthread_cond_wait(&answered, &mu);
	pthread_mutex_unlock(&mu);
}

static void done(struct read *r)
{
	free(r->bytes);
	free(r);
}

/* Asks, waits, and checks the bytes. */
static void check(struct world *w, uint32_t file, uint64_t from, size_t n)
{
	struct read *r = ask(w, file, from, n);

	await(r);
	CHECK_STR(r->text, "");
	CHECK_INT(r->got, n);
	CHECK(store_right(r->bytes, from, r->got));
	done(r);
}

/* Until nothing is read ahead any more, which shows in the numbers standing still. */
static void settle(struct world *w)
{
	struct remote_numbers a = remote_numbers(w->remote), b;
	struct timespec t = { .tv_nsec = 100000000 };

	for (;; a = b) {
		nanosleep(&t, NULL);
		b = remote_numbers(w->remote);
		if (a.gets == b.gets && a.got_bytes == b.got_bytes)
			return;
	}
}

TEST(remote_reads_anything_anywhere)
{
	struct world w;
	uint64_t state = 7;

	world_open(&w, 16 * MIB, 5);
	check(&w, SMALL, 0, 1);
	check(&w, SMALL, 1, 100 * KIB - 1);
	check(&w, BIG, big_size - 1, 1);
	check(&w, BIG, big_size - 300 * KIB, 300 * KIB);
	for (int i = 0; i < 200; i++) {
		state = state * 6364136223846793005 + 1442695040888963407;
		check(&w, BIG, (state >> 20) % (big_size - MIB), (size_t)(state >> 44) % MIB + 1);
	}
	for (uint64_t at = 0; at < big_size; at += MIB)
		check(&w, BIG, at, at + MIB < big_size ? MIB : (size_t)(big_size - at));
	world_close(&w);
}

TEST(remote_fetches_a_sequence_once)
{
	struct world w;
	uint64_t at = 0;

	world_open(&w, 256 * MIB, 5);
	for (; at + 128 * KIB < big_size; at += 128 * KIB)
		check(&w, BIG, at, 128 * KIB);
	check(&w, BIG, at, (size_t)(big_size - at));
	CHECK_INT(remote_numbers(w.remote).got_bytes, big_size);
	CHECK_INT(atomic_load(&store.bytes), big_size);
	CHECK(remote_numbers(w.remote).gets < 60); /* of ever more bytes at once */
	world_close(&w);
}

TEST(remote_fetches_little_for_random_reads)
{
	struct world w;
	uint64_t state = 99;

	world_open(&w, 256 * MIB, 5);
	for (int i = 0; i < 20; i++) { /* two MiB apart, and not in order */
		state = (state * 5 + 3) % 29;
		check(&w, BIG, (state + 1) * 2 * MIB + 128 * KIB * (unsigned)i % MIB, 128 * KIB);
	}
	settle(&w);
	CHECK(remote_numbers(w.remote).got_bytes <= 20 * 256 * KIB);
	world_close(&w);
}

TEST(remote_fetches_small_objects_whole)
{
	struct world w;

	world_open(&w, 16 * MIB, 5);
	check(&w, SMALL, 0, 4 * KIB);
	check(&w, SMALL, 90 * KIB, 4 * KIB);
	settle(&w);
	CHECK_INT(remote_numbers(w.remote).gets, 1);
	world_close(&w);
}

TEST(remote_asks_once_for_many)
{
	struct read *reads[32];
	struct world w;

	world_open(&w, 16 * MIB, 5);
	atomic_store(&store.slow_ms, 100);
	for (size_t i = 0; i < ARRAY_LEN(reads); i++)
		reads[i] = ask(&w, BIG, 20 * MIB + 10 * (unsigned)i, 64 * KIB - 1000);
	for (size_t i = 0; i < ARRAY_LEN(reads); i++) {
		await(reads[i]);
		CHECK(reads[i]->waited && reads[i]->got == 64 * KIB - 1000);
		done(reads[i]);
	}
	CHECK_INT(remote_numbers(w.remote).gets, 1);
	world_close(&w);
}

TEST(remote_cache_is_bounded)
{
	struct world w;

	world_open(&w, 4 * MIB, 5);
	for (uint64_t at = 0; at + MIB < big_size; at += MIB) {
		check(&w, BIG, at, MIB);
		CHECK(remote_numbers(w.remote).cached_bytes <= 5 * MIB);
	}
	world_close(&w);
}

TEST(remote_replaced_object_is_no_mixture)
{
	struct world w;
	struct read *r;

	world_open(&w, 16 * MIB, 5);
	check(&w, BIG, 10 * MIB, 64 * KIB);
	atomic_store(&store.replaced, 1);
	r = ask(&w, BIG, 10 * MIB, 128 * KIB); /* the first half is in the cache */
	await(r);
	CHECK_INT(r->kind, ERR_CONFLICT);
	CHECK_INT(r->got, 0);
	CHECK(strstr(r->text, "s3://bkt/p/big cannot be read: the object was replaced"));
	done(r);
	check(&w, BIG, 10 * MIB, 64 * KIB);
	world_close(&w);
}

TEST(remote_store_that_dies_and_comes_back)
{
	struct world w;
	struct read *r;
	struct mono start;

	world_open(&w, 16 * MIB, 2);
	check(&w, BIG, 10 * MIB, 64 * KIB);
	atomic_store(&store.broken, 1);
	start = mono_now();
	r = ask(&w, BIG, 30 * MIB, 64 * KIB);
	await(r);
	CHECK_INT(r->kind, ERR_IO);
	CHECK(mono_ms_since(start) >= 1500 && mono_ms_since(start) < 20000);
	CHECK(strstr(r->text, "s3://bkt/p/big cannot be read: ") && strstr(r->text, "503"));
	done(r);
	r = ask(&w, BIG, 40 * MIB, 64 * KIB); /* outlived */
	atomic_store(&store.broken, 0);
	await(r);
	CHECK_STR(r->text, "");
	CHECK(r->got == 64 * KIB && store_right(r->bytes, 40 * MIB, r->got));
	done(r);
	check(&w, BIG, 30 * MIB, 64 * KIB);
	world_close(&w);
}

TEST(remote_end_answers_everybody)
{
	struct read *reads[64];
	struct world w;
	struct mono start;

	world_open(&w, 16 * MIB, 60);
	atomic_store(&store.broken, 1);
	for (size_t i = 0; i < ARRAY_LEN(reads); i++)
		reads[i] = ask(&w, BIG, i * MIB, 64 * KIB);
	start = mono_now();
	world_close(&w);
	CHECK(mono_ms_since(start) < 5000);
	for (size_t i = 0; i < ARRAY_LEN(reads); i++) {
		CHECK(reads[i]->done);
		CHECK_INT(reads[i]->kind, ERR_BUSY);
		done(reads[i]);
	}
}

struct crowd {
	struct world *w;
	uint64_t seed;
};

static void *read_many(void *arg)
{
	struct crowd *c = arg;
	uint64_t state = c->seed;

	for (int i = 0; i < 100; i++) {
		state = state * 6364136223846793005 + 1442695040888963407;
		if (i % 10 == 0)
			check(c->w, SMALL, state % 1000, 50 * KIB);
		check(c->w, BIG, (state >> 20) % (big_size - MIB), (size_t)(state >> 44) % (300 * KIB) + 1);
	}
	return NULL;
}

TEST(remote_many_threads)
{
	struct crowd crowd[6];
	pthread_t thread[ARRAY_LEN(crowd)];
	struct world w;

	world_open(&w, 8 * MIB, 5);
	for (size_t i = 0; i < ARRAY_LEN(crowd); i++) {
		crowd[i] = (struct crowd){ &w, i + 1 };
		must(pthread_create(&thread[i], NULL, read_many, &crowd[i]) == 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(crowd); i++)
		pthread_join(thread[i], NULL);
	world_close(&w);
}
