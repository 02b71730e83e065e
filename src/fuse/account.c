/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/account.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"

enum { TROUBLES_AT_ONCE = 5, TROUBLE_EVERY_MS = 10000, TEXT_MAX = 2000 };

struct account {
	uint32_t nodes;
	int changed_fd;
	struct { /* hold mu to touch anything in here */
		pthread_mutex_t mu;
		unsigned char *touched; /* a bit a node */
		uint64_t objects, bytes, stalls;
		uint64_t reads;           /* that are not answered */
		struct mono first, since; /* the first read; when `reads` became more than none */
		struct mono last;         /* when it became none */
		int64_t busy_ns;          /* with reads, up to `last` */
		bool begun, changed;
		uint64_t troubles, held_back;
		struct mono last_trouble;
	} shared;
};

struct account *account_new(uint32_t nodes)
{
	struct account *a = xcalloc(1, sizeof(*a));

	a->nodes = nodes;
	a->changed_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	must(a->changed_fd >= 0);
	a->shared.touched = xcalloc((size_t)nodes / 8 + 1, 1);
	pthread_mutex_init(&a->shared.mu, NULL);
	return a;
}

void account_free(struct account *a)
{
	if (!a)
		return;
	close(a->changed_fd);
	pthread_mutex_destroy(&a->shared.mu);
	free(a->shared.touched);
	free(a);
}

int account_fd(const struct account *a)
{
	return a->changed_fd;
}

static void changed_locked(struct account *a)
{
	uint64_t one = 1;

	if (!a->shared.changed)
		(void)!write(a->changed_fd, &one, sizeof(one));
	a->shared.changed = true;
}

bool account_take(struct account *a, struct feed_stats *ret)
{
	struct feed_stats s = { 0 };
	int64_t busy, active;
	uint64_t ignored;
	bool changed;

	pthread_mutex_lock(&a->shared.mu);
	changed = a->shared.changed;
	a->shared.changed = a->shared.reads > 0; /* time passes */
	if (!a->shared.changed)
		(void)!read(a->changed_fd, &ignored, sizeof(ignored));
	s.epochs = a->shared.begun;
	s.objects = a->shared.objects;
	s.bytes = a->shared.bytes;
	s.stalls_store = a->shared.stalls;
	busy = a->shared.busy_ns;
	active = a->shared.last.ns - a->shared.first.ns;
	if (a->shared.reads) {
		int64_t now = mono_now().ns;

		busy += now - a->shared.since.ns;
		active = now - a->shared.first.ns;
	}
	pthread_mutex_unlock(&a->shared.mu);
	if (!changed)
		return false;
	s.active_ms = (uint64_t)(active / 1000000);
	s.wait_store_ms = (uint64_t)(busy / 1000000);
	s.wait_reader_ms = s.active_ms - s.wait_store_ms;
	*ret = s;
	return true;
}

void account_begin(struct account *a, uint32_t file)
{
	unsigned char bit = (unsigned char)(1U << file % 8);

	must(file < a->nodes);
	pthread_mutex_lock(&a->shared.mu);
	if (!a->shared.begun)
		a->shared.first = mono_now();
	a->shared.begun = true;
	if (!(a->shared.touched[file / 8] & bit))
		a->shared.objects++;
	a->shared.touched[file / 8] |= bit;
	if (a->shared.reads++ == 0)
		a->shared.since = mono_now();
	changed_locked(a);
	pthread_mutex_unlock(&a->shared.mu);
}

void account_end(struct account *a, uint64_t bytes, bool stalled)
{
	pthread_mutex_lock(&a->shared.mu);
	must(a->shared.reads > 0);
	a->shared.bytes += bytes;
	a->shared.stalls += stalled;
	if (--a->shared.reads == 0) {
		a->shared.last = mono_now();
		a->shared.busy_ns += a->shared.last.ns - a->shared.since.ns;
	}
	changed_locked(a);
	pthread_mutex_unlock(&a->shared.mu);
}

void account_trouble(struct account *a, int fd, const struct err *why)
{
	_cleanup_buf_ struct buf text = { 0 };
	char chain[TEXT_MAX];
	uint64_t held_back;
	bool tell;

	pthread_mutex_lock(&a->shared.mu);
	a->shared.troubles++;
	tell = a->shared.troubles <= TROUBLES_AT_ONCE || mono_ms_since(a->shared.last_trouble) >= TROUBLE_EVERY_MS;
	held_back = a->shared.held_back;
	a->shared.held_back = tell ? 0 : held_back + 1;
	if (tell)
		a->shared.last_trouble = mono_now();
	pthread_mutex_unlock(&a->shared.mu);
	if (!tell)
		return;
	buf_z(&text, err_text(why, chain, sizeof(chain)));
	if (held_back)
		buf_f(&text, " (and %llu other reads failed since the last such sentence)",
		      (unsigned long long)held_back);
	feeder_say_trouble(fd, text.p);
}
