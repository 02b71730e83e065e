/* SPDX-License-Identifier: Apache-2.0 */
#include "feed/fifos.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"

enum {
	STACK = 512 << 10,
	LATE_MAX = 2048, /* FIFOs without a name that are still looked after: at the limit new readers wait */
	LATE_TICKS = 3,  /* for so many seconds */
	NAMES_MAX = FIFOS_READ_MAX + 3,
	LEAF_MAX = 128,
};

/* A FIFO that was made. Held by its thread until that ends. */
struct fifo {
	struct fifos *all;
	uint64_t epoch;
	int path_fd; /* O_PATH: stands for the FIFO whatever its name does */
	dev_t dev;
	ino_t ino;
	int watch;         /* of inotify; -1: none */
	bool retired;      /* has lost its name without being opened */
	bool missed;       /* a reader has come and gone before the thread waited */
	struct fifo *next; /* in waiting or retired */
};

/* A finished FIFO: a reader that had found it by its name just before it lost that may come yet. */
struct late {
	int path_fd;
	int ticks;
};

struct fifos {
	struct fifos_options o;
	int inotify_fd; /* -1: none to be had */
	struct {        /* hold mu to touch anything in here */
		pthread_mutex_t mu;
		pthread_cond_t less;  /* less is being read or looked after */
		struct fifo *waiting; /* with a name */
		struct fifo *retired;
		uint64_t reading[FIFOS_READ_MAX]; /* epochs; one may be there twice */
		unsigned reads;
		bool any_opened, any_finished, troubled;
		uint64_t newest, finished;       /* epochs: the newest opened, the newest finished */
		struct late late[LATE_MAX + 64]; /* those that retire do not wait for room */
		unsigned lates;
		struct mono active_since;
		struct fifos_counts counts;
	} shared;
};

static void leaf_of(const struct fifos *a, uint64_t epoch, char leaf[LEAF_MAX])
{
	snprintf(leaf, LEAF_MAX, "%s_%llu", a->o.channel, (unsigned long long)epoch);
}

static int open_path(int path_fd, int flags)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", path_fd);
	return open(path, flags | O_CLOEXEC);
}

/* ---- looking after those without a name ---- */

/* Ends the wait of readers in open(2): they get an end of file. */
static void wake_readers(int path_fd)
{
	int fd = open_path(path_fd, O_WRONLY | O_NONBLOCK);

	cleanup_closep(&fd);
}

/* Ends the wait of the FIFO's thread in open(2). */
static void wake_thread(const struct fifo *f)
{
	int fd = open_path(f->path_fd, O_RDONLY | O_NONBLOCK);

	cleanup_closep(&fd);
}

/* Not at once: the reader that has just been given all of it may be between select(2), which told it of the end, and
 * read(2), which would then fail with EAGAIN because there is a writer again. */
static void look_after_locked(struct fifos *a, int path_fd)
{
	if (a->shared.lates == ARRAY_LEN(a->shared.late)) { /* the oldest must do */
		wake_readers(a->shared.late[0].path_fd);
		close(a->shared.late[0].path_fd);
		a->shared.lates--;
		memmove(a->shared.late, a->shared.late + 1, a->shared.lates * sizeof(*a->shared.late));
	}
	a->shared.late[a->shared.lates++] = (struct late){ path_fd, LATE_TICKS };
}

/* A reader that opens without waiting and closes at once can be gone before the thread has come to wait in open(2),
 * which then never learns of it. It has had its epoch nevertheless, and looks for the next one. */
static void missed_locked(struct fifos *a, int watch)
{
	for (struct fifo *f = a->shared.waiting; f; f = f->next)
		if (f->watch == watch && !f->missed) {
			f->missed = true;
			wake_thread(f); /* if it still is not there, the next tick does it */
		}
}

int fifos_fd(const struct fifos *a)
{
	return a->inotify_fd;
}

void fifos_heard(struct fifos *a)
{
	char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t n;

	while ((n = read(a->inotify_fd, events, sizeof(events))) > 0) {
		pthread_mutex_lock(&a->shared.mu);
		for (const char *at = events; at < events + n; at += sizeof(struct inotify_event)) {
			const struct inotify_event *ev = (const struct inotify_event *)at;

			if (ev->mask & IN_CLOSE)
				missed_locked(a, ev->wd);
			at += ev->len;
		}
		pthread_mutex_unlock(&a->shared.mu);
	}
}

/* ---- making FIFOs ---- */

static void *fifo_thread(void *arg);

static int start_thread(struct fifo *f, struct err *e)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK);
	errno = pthread_create(&thread, &attr, fifo_thread, f);
	pthread_attr_destroy(&attr);
	return errno ? err_sys(e, "starting a thread") : 0;
}

static void unwatch(struct fifo *f)
{
	if (f->watch >= 0)
		inotify_rm_watch(f->all->inotify_fd, f->watch);
	f->watch = -1;
}

static void fifo_free(struct fifo *f)
{
	unwatch(f);
	cleanup_closep(&f->path_fd);
	free(f);
}

/* Holds what was made as `temp`; the container may have put something else there meanwhile. */
static int hold(struct fifo *f, const char *temp, struct err *e)
{
	char path[40];
	struct stat st;

	f->path_fd = openat(f->all->o.dirfd, temp, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (f->path_fd < 0 || fstat(f->path_fd, &st) < 0)
		return err_sys(e, "making it");
	if (!S_ISFIFO(st.st_mode))
		return err_set(e, ERR_IO, "something else was put in its place");
	f->dev = st.st_dev;
	f->ino = st.st_ino;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", f->path_fd);
	f->watch = inotify_add_watch(f->all->inotify_fd, path, IN_CLOSE);
	return 0;
}

/* A FIFO under the epoch's name, instead of whatever has that name, with a thread that waits. */
static int make_locked(struct fifos *a, uint64_t epoch, struct err *e)
{
	struct fifo *f = xcalloc(1, sizeof(*f));
	char temp[LEAF_MAX + 20], leaf[LEAF_MAX];
	uint64_t noise;

	*f = (struct fifo){ .all = a, .epoch = epoch, .path_fd = -EBADF, .watch = -1 };
	random_bytes(&noise, sizeof(noise));
	leaf_of(a, epoch, leaf);
	snprintf(temp, sizeof(temp), ".%s.%016llx", leaf, (unsigned long long)noise);
	if (mknodat(a->o.dirfd, temp, S_IFIFO | 0644, 0) < 0) {
		err_sys(e, "making it");
		goto fail;
	}
	if (hold(f, temp, e) < 0)
		goto fail_temp;
	if (renameat(a->o.dirfd, temp, a->o.dirfd, leaf) < 0) {
		err_sys(e, "giving it its name");
		goto fail_temp;
	}
	if (start_thread(f, e) < 0) {
		unlinkat(a->o.dirfd, leaf, 0);
		look_after_locked(a, take_fd(f->path_fd)); /* a reader may have found it already */
		goto fail;
	}
	f->next = a->shared.waiting;
	a->shared.waiting = f;
	return 0;
fail_temp:
	unlinkat(a->o.dirfd, temp, 0);
fail:
	fifo_free(f);
	return err_in(e, "the FIFO %s", leaf);
}

/* Removes the name if it stands for a FIFO of ours: that of `f`, or one that is being read. */
static void unname(struct fifos *a, uint64_t epoch, const struct fifo *f)
{
	char leaf[LEAF_MAX];
	struct stat st;

	leaf_of(a, epoch, leaf);
	if (fstatat(a->o.dirfd, leaf, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_dev == f->dev && st.st_ino == f->ino)
		unlinkat(a->o.dirfd, leaf, 0);
}

static void take_out(struct fifo **list, const struct fifo *f)
{
	while (*list != f)
		list = &(*list)->next;
	*list = f->next;
}

static void retire_locked(struct fifos *a, struct fifo *f)
{
	unname(a, f->epoch, f);
	take_out(&a->shared.waiting, f);
	unwatch(f);
	f->retired = true;
	f->next = a->shared.retired;
	a->shared.retired = f;
	wake_thread(f);
}

/* ---- which names there must be ---- */

static bool has(const uint64_t *v, unsigned n, uint64_t epoch)
{
	while (n--)
		if (v[n] == epoch)
			return true;
	return false;
}

/* In the order in which they are made. */
static unsigned names_locked(const struct fifos *a, uint64_t v[NAMES_MAX])
{
	unsigned n = 0;

	if (a->shared.any_opened)
		v[n++] = a->shared.newest + 1;
	for (unsigned i = 0; i < a->shared.reads; i++)
		if (!has(v, n, a->shared.reading[i]))
			v[n++] = a->shared.reading[i];
	if (a->shared.any_finished && !has(v, n, a->shared.finished))
		v[n++] = a->shared.finished;
	if (!has(v, n, 0))
		v[n++] = 0;
	return n;
}

static bool is_waiting_locked(const struct fifos *a, uint64_t epoch)
{
	for (const struct fifo *f = a->shared.waiting; f; f = f->next)
		if (f->epoch == epoch)
			return true;
	return false;
}

/* Makes what is missing and removes what is too much. gone: one that was opened, and may have its name still; or NULL.
 */
static int update_locked(struct fifos *a, const struct fifo *gone, struct err *e)
{
	bool full = a->shared.reads == FIFOS_READ_MAX;
	uint64_t v[NAMES_MAX];
	unsigned n = names_locked(a, v);
	int rc = 0;

	for (struct fifo *f = a->shared.waiting, *next; f; f = next) {
		next = f->next;
		if (full || !has(v, n, f->epoch))
			retire_locked(a, f);
	}
	for (unsigned i = 0; i < n && !full; i++)
		if (!is_waiting_locked(a, v[i]) && make_locked(a, v[i], rc == 0 ? e : NULL) < 0)
			rc = -1;
	if (gone)
		unname(a, gone->epoch, gone); /* unless it got a fresh one above */
	return rc;
}

/* The container's doing, in all likelihood: the job goes on. Told once. */
static void update_or_tell(struct fifos *a, const struct fifo *gone)
{
	struct err e = { 0 };
	char text[ERR_FRAMES * ERR_FRAME_BYTES];

	if (update_locked(a, gone, &e) == 0) {
		a->shared.troubled = false;
		return;
	}
	if (!a->shared.troubled)
		a->o.trouble(a->o.arg, err_text(&e, text, sizeof(text)));
	a->shared.troubled = true;
}

void fifos_tick(struct fifos *a)
{
	unsigned kept = 0;

	pthread_mutex_lock(&a->shared.mu);
	for (const struct fifo *f = a->shared.retired; f; f = f->next)
		wake_thread(f);
	for (const struct fifo *f = a->shared.waiting; f; f = f->next)
		if (f->missed)
			wake_thread(f);
	for (unsigned i = 0; i < a->shared.lates; i++) {
		struct late l = a->shared.late[i];

		wake_readers(l.path_fd);
		if (--l.ticks > 0)
			a->shared.late[kept++] = l;
		else
			close(l.path_fd);
	}
	a->shared.lates = kept;
	pthread_cond_broadcast(&a->shared.less);
	if (a->shared.troubled)
		update_or_tell(a, NULL); /* what failed may work now: nobody opens what is not there */
	pthread_mutex_unlock(&a->shared.mu);
}

/* ---- the life of one ---- */

static bool has_reader(int fd)
{
	struct pollfd p = { .fd = fd };

	return fd >= 0 && (poll(&p, 1, 0) == 0 || !(p.revents & POLLERR));
}

/* False: it was only woken because it has lost its name. */
static bool opened(struct fifo *f, int fd)
{
	struct fifos *a = f->all;

	pthread_mutex_lock(&a->shared.mu);
	if (f->retired && !has_reader(fd)) {
		take_out(&a->shared.retired, f);
		pthread_mutex_unlock(&a->shared.mu);
		return false;
	}
	/* At the limit only those come here that a reader had found before the names were removed. */
	while (a->shared.reads == FIFOS_READ_MAX || a->shared.lates >= LATE_MAX)
		pthread_cond_wait(&a->shared.less, &a->shared.mu);
	take_out(f->retired ? &a->shared.retired : &a->shared.waiting, f);
	unwatch(f);
	if (a->shared.reads == 0)
		a->shared.active_since = mono_now();
	a->shared.reading[a->shared.reads++] = f->epoch;
	a->shared.counts.opened++;
	if (!a->shared.any_opened || f->epoch > a->shared.newest)
		a->shared.newest = f->epoch;
	a->shared.any_opened = true;
	update_or_tell(a, f);
	pthread_mutex_unlock(&a->shared.mu);
	return true;
}

static void finished(struct fifo *f)
{
	struct fifos *a = f->all;
	unsigned i = 0;

	pthread_mutex_lock(&a->shared.mu);
	while (a->shared.reading[i] != f->epoch)
		i++;
	a->shared.reading[i] = a->shared.reading[--a->shared.reads];
	if (a->shared.reads == 0)
		a->shared.counts.active_ns += mono_now().ns - a->shared.active_since.ns;
	if (!a->shared.any_finished || f->epoch > a->shared.finished)
		a->shared.finished = f->epoch;
	a->shared.any_finished = true;
	update_or_tell(a, NULL);
	pthread_cond_signal(&a->shared.less);
	pthread_mutex_unlock(&a->shared.mu);
}

/* Waits for a reader. -1 with ENXIO: one has come and gone. */
static int wait_for_reader(struct fifo *f)
{
	bool missed;
	int fd;

	pthread_mutex_lock(&f->all->shared.mu);
	missed = f->missed;
	pthread_mutex_unlock(&f->all->shared.mu);
	do
		fd = open_path(f->path_fd, missed ? O_WRONLY | O_NONBLOCK : O_WRONLY);
	while (fd < 0 && errno == EINTR);
	return fd;
}

static void *fifo_thread(void *arg)
{
	struct fifo *f = arg;
	struct fifos *a = f->all;
	struct err e = { 0 };
	int fd = wait_for_reader(f);

	if (fd < 0 && errno != ENXIO) {
		err_sys(&e, "opening the FIFO of epoch %llu", (unsigned long long)f->epoch);
		a->o.failed(a->o.arg, &e);
		return NULL;
	}
	if (opened(f, fd)) {
		if (has_reader(fd) && a->o.stream(a->o.arg, f->epoch, fd, &e) < 0)
			a->o.failed(a->o.arg, &e);
		finished(f);
	}
	cleanup_closep(&fd);
	pthread_mutex_lock(&a->shared.mu);
	look_after_locked(a, take_fd(f->path_fd));
	pthread_mutex_unlock(&a->shared.mu);
	fifo_free(f);
	return NULL;
}

/* ---- the whole ---- */

struct fifos *fifos_new(const struct fifos_options *o)
{
	struct fifos *a = xcalloc(1, sizeof(*a));

	a->o = *o;
	a->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC); /* a machine can have run out of them */
	pthread_mutex_init(&a->shared.mu, NULL);
	pthread_cond_init(&a->shared.less, NULL);
	return a;
}

int fifos_start(struct fifos *a, struct err *e)
{
	int rc;

	pthread_mutex_lock(&a->shared.mu);
	rc = update_locked(a, NULL, e);
	pthread_mutex_unlock(&a->shared.mu);
	return rc;
}

void fifos_counts(struct fifos *a, struct fifos_counts *ret)
{
	pthread_mutex_lock(&a->shared.mu);
	*ret = a->shared.counts;
	ret->newest = a->shared.newest;
	if (a->shared.reads)
		ret->active_ns += mono_now().ns - a->shared.active_since.ns;
	pthread_mutex_unlock(&a->shared.mu);
}
