/* Objects of the embedded store into the job's tree: hard links where they can be, else copies. The caller's thread
 * walks the list and makes directories; workers take tasks from a ring.  SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hash.h"
#include "channel/mode.h"

enum {
	RING = 1024,
	TAKE = 32,
	ID_BYTES = 32,
	LEAF_BYTES = 256,
	KEY_BYTES = 1025,
	COPY_STEP = 64 << 20,
	MAX_THREADS = 16
};

struct dir {
	int fd;
	atomic_uint refs; /* one a task, one of the placer while it is the directory entered last */
};

struct task {
	struct dir *dir;
	uint64_t size;
	char id[ID_BYTES + 1], leaf[LEAF_BYTES], key[KEY_BYTES];
};

struct placer {
	struct placer_options o;
	uid_t owner;    /* of the store */
	int shard[256]; /* descriptors of <objects>/xx, opened before they are needed by the caller's thread */
	struct dir *dir;
	pthread_t thread[MAX_THREADS];
	unsigned threads;
	atomic_bool no_links; /* another file system: do not try again */
	atomic_uint_least64_t linked, copied;
	atomic_bool stop; /* a failure, or nobody waits any more */
	struct {          /* hold mu to touch anything in here */
		pthread_mutex_t mu;
		pthread_cond_t work, room;
		struct task *ring;
		unsigned first, count;
		bool closed;
		bool failed;
		struct err err;
		char clash[KEY_BYTES];
	} shared;
};

static void dir_unref(struct dir *d)
{
	if (!d || atomic_fetch_sub(&d->refs, 1) > 1)
		return;
	cleanup_closep(&d->fd);
	free(d);
}

/* ---- one object ---- */

/* Copies n bytes between regular files, in the kernel where it can. */
static int copy_bytes(const struct placer *p, int from, int to, uint64_t n, struct err *e)
{
	static const size_t plain_step = 1 << 20;
	_cleanup_free_ char *plain = NULL;

	while (n) {
		ssize_t r = 0;

		if (atomic_load(&p->stop) || (p->o.cancelled && p->o.cancelled(p->o.arg)))
			return err_set(e, ERR_BUSY, "stopped");
		if (!plain) {
			r = copy_file_range(from, NULL, to, NULL, n < COPY_STEP ? n : COPY_STEP, 0);
			if (r < 0 && (errno == EXDEV || errno == ENOSYS || errno == EINVAL || errno == EOPNOTSUPP)) {
				plain = xcalloc(1, plain_step);
				continue;
			}
		} else {
			size_t got = 0;

			if (fd_read_full(from, plain, n < plain_step ? n : plain_step, &got, e) < 0 ||
			    fd_write_all(to, plain, got, e) < 0)
				return -1;
			r = (ssize_t)got;
		}
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return err_sys(e, "copying");
		if (r == 0)
			return err_set(e, ERR_IO, "the file ends %llu bytes early", (unsigned long long)n);
		n -= (uint64_t)r;
	}
	return 0;
}

static int copy_object(const struct placer *p, const struct task *t, int from, const struct stat *st, struct err *e)
{
	_cleanup_close_ int to = openat(t->dir->fd, t->leaf, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
	                                0644);
	struct timespec times[2] = { st->st_mtim, st->st_mtim };

	if (to < 0)
		return err_sys(e, "creating the file");
	if (fchmod(to, 0644) < 0)
		return err_sys(e, "setting the file's mode");
	if (copy_bytes(p, from, to, t->size, e) < 0)
		return -1;
	return futimens(to, times) < 0 ? err_sys(e, "setting the file's time") : 0;
}

/* The store's directory is bloomeryd's: what lies in it, is not of its user and is not for everybody to read is a file
 * from elsewhere that was linked there. Objects are made 0644. */
static int check_object(const struct placer *p, const struct stat *st, struct err *e)
{
	if (geteuid() == 0 && st->st_uid != p->owner && !(st->st_mode & S_IROTH))
		return err_set(e, ERR_DENIED, "it is not the store's, but user %u's", (unsigned)st->st_uid);
	return 0;
}

/* The container finds root:root 0644 (contract 2.3). An object is made so once, when it is first placed; the mode is
 * set after the owner, who could have changed it in between. It stays where bloomeryd may rename it, so it is marked as
 * data first; where there are no marks it remains whose it is. */
static int own_object(const struct placer *p, int fd, const struct stat *st, struct err *e)
{
	if (geteuid() != 0 || (!st->st_uid && !st->st_gid && (st->st_mode & 07777) == 0644))
		return 0;
	if (st->st_uid != p->owner) {
		errno = EPERM;
		return err_sys(e, "making root its owner");
	}
	if (fd_mark_data(fd) < 0) {
		errno = errno == EOPNOTSUPP ? EPERM : errno;
		return err_sys(e, "marking it as data");
	}
	if (fchown(fd, 0, 0) < 0)
		return err_sys(e, "making root its owner");
	return fchmod(fd, 0644) < 0 ? err_sys(e, "setting its mode") : 0;
}

static int link_object(int fd, const struct task *t)
{
	char proc[32];

	if (linkat(fd, "", t->dir->fd, t->leaf, AT_EMPTY_PATH) == 0)
		return 0;
	if (errno != ENOENT)
		return -1;
	/* Without CAP_DAC_READ_SEARCH the kernel says ENOENT to the above. */
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, proc, t->dir->fd, t->leaf, AT_SYMLINK_FOLLOW);
}

/* A manifest may name an object twice. In a directory it is there once. */
static bool is_there_already(const struct task *t, const struct stat *object)
{
	struct stat st;

	return fstatat(t->dir->fd, t->leaf, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_dev == object->st_dev &&
	       st.st_ino == object->st_ino;
}

/* Nothing is open longer than its own placing, and what is linked is what was looked at. */
static int place(struct placer *p, const struct task *t, struct err *e)
{
	unsigned char shard = 0;
	_cleanup_close_ int fd = -EBADF;
	struct stat st;

	must(unhex((struct str){ t->id, 2 }, &shard, 1));
	fd = openat(p->shard[shard], t->id, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "opening the stored bytes, object %s", t->id);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != t->size)
		return err_set(e, ERR_IO, "the stored bytes, object %s, are not the %llu that were listed", t->id,
		               (unsigned long long)t->size);
	if (check_object(p, &st, e) < 0)
		return err_in(e, "object %s", t->id);
	if (!atomic_load(&p->no_links)) {
		/* A store that may only be read is copied from. */
		if (own_object(p, fd, &st, e) < 0 && e->os != EROFS && e->os != EPERM)
			return err_in(e, "object %s", t->id);
		if (link_object(fd, t) == 0) {
			atomic_fetch_add(&p->linked, 1);
			return 0;
		}
		if (errno == EEXIST && is_there_already(t, &st))
			return 0;
		if (errno == EXDEV)
			atomic_store(&p->no_links, true);
		else if (errno != EMLINK && errno != EPERM && errno != EOPNOTSUPP && errno != EROFS)
			return err_sys(e, "linking");
	}
	if (copy_object(p, t, fd, &st, e) < 0)
		return -1;
	atomic_fetch_add(&p->copied, 1);
	return 0;
}

/* Turns what went wrong into the service's sentence. */
static void word_failure(const struct placer *p, const struct task *t, struct err *e)
{
	if (e->os == EEXIST)
		e->kind = ERR_IN_USE;
	else if (e->os == ENOSPC || e->os == EDQUOT)
		err_set(e, ERR_CLIENT, "Data download failed:Insufficient disk space");
	else if (e->kind == ERR_IO)
		err_in(e, "Data download failed:Unable to download object s3://%s/%s", p->o.bucket, t->key);
}

static void run_task(struct placer *p, struct task *t)
{
	struct err e = { 0 };

	if (!atomic_load(&p->stop) && place(p, t, &e) < 0) {
		word_failure(p, t, &e);
		pthread_mutex_lock(&p->shared.mu);
		if (!p->shared.failed) {
			p->shared.failed = true;
			p->shared.err = e;
			if (e.kind == ERR_IN_USE)
				memcpy(p->shared.clash, t->key, sizeof(t->key));
		}
		pthread_mutex_unlock(&p->shared.mu);
		atomic_store(&p->stop, true);
	}
	dir_unref(t->dir);
}

/* ---- the ring ---- */

static void *worker(void *arg)
{
	struct placer *p = arg;
	struct task *mine = xcalloc(TAKE, sizeof(*mine));

	pthread_mutex_lock(&p->shared.mu);
	for (;;) {
		unsigned n = p->shared.count < TAKE ? p->shared.count : TAKE;

		if (n == 0 && p->shared.closed)
			break;
		if (n == 0) {
			pthread_cond_wait(&p->shared.work, &p->shared.mu);
			continue;
		}
		for (unsigned i = 0; i < n; i++)
			mine[i] = p->shared.ring[(p->shared.first + i) % RING];
		p->shared.first = (p->shared.first + n) % RING;
		p->shared.count -= n;
		pthread_cond_signal(&p->shared.room);
		pthread_mutex_unlock(&p->shared.mu);
		for (unsigned i = 0; i < n; i++)
			run_task(p, &mine[i]);
		pthread_mutex_lock(&p->shared.mu);
	}
	pthread_mutex_unlock(&p->shared.mu);
	free(mine);
	return NULL;
}

struct placer *placer_new(const struct placer_options *o)
{
	struct placer *p = xcalloc(1, sizeof(*p));
	unsigned want = o->threads < MAX_THREADS ? o->threads : MAX_THREADS;
	struct stat st;

	p->o = *o;
	if (fstat(o->objects_dirfd, &st) == 0)
		p->owner = st.st_uid;
	for (size_t i = 0; i < ARRAY_LEN(p->shard); i++)
		p->shard[i] = -EBADF;
	pthread_mutex_init(&p->shared.mu, NULL);
	pthread_cond_init(&p->shared.work, NULL);
	pthread_cond_init(&p->shared.room, NULL);
	p->shared.ring = xcalloc(RING, sizeof(*p->shared.ring));
	while (p->threads < want && pthread_create(&p->thread[p->threads], NULL, worker, p) == 0)
		p->threads++;
	return p;
}

static void close_ring(struct placer *p)
{
	pthread_mutex_lock(&p->shared.mu);
	p->shared.closed = true;
	pthread_cond_broadcast(&p->shared.work);
	pthread_mutex_unlock(&p->shared.mu);
	while (p->threads)
		pthread_join(p->thread[--p->threads], NULL);
}

void placer_free(struct placer *p)
{
	if (!p)
		return;
	atomic_store(&p->stop, true);
	close_ring(p);
	dir_unref(p->dir);
	for (size_t i = 0; i < ARRAY_LEN(p->shard); i++)
		cleanup_closep(&p->shard[i]);
	pthread_cond_destroy(&p->shared.room);
	pthread_cond_destroy(&p->shared.work);
	pthread_mutex_destroy(&p->shared.mu);
	free(p->shared.ring);
	free(p);
}

void placer_enter(struct placer *p, int dirfd)
{
	dir_unref(p->dir);
	p->dir = xcalloc(1, sizeof(*p->dir));
	p->dir->fd = dirfd;
	atomic_init(&p->dir->refs, 1);
}

static int failure(struct placer *p, struct err *e)
{
	bool failed;

	pthread_mutex_lock(&p->shared.mu);
	failed = p->shared.failed;
	if (failed && e)
		*e = p->shared.err;
	pthread_mutex_unlock(&p->shared.mu);
	return failed ? -1 : 0;
}

static void put(struct placer *p, const struct task *t)
{
	pthread_mutex_lock(&p->shared.mu);
	while (p->shared.count == RING)
		pthread_cond_wait(&p->shared.room, &p->shared.mu);
	p->shared.ring[(p->shared.first + p->shared.count++) % RING] = *t;
	/* Waking a worker for each task costs more than the task. */
	if (p->shared.count % TAKE == 1)
		pthread_cond_signal(&p->shared.work);
	pthread_mutex_unlock(&p->shared.mu);
}

int placer_add(struct placer *p, const struct list_entry *object, struct str leaf, struct err *e)
{
	struct task t = { .dir = p->dir, .size = object->size };
	unsigned char id[ID_BYTES / 2];

	if (atomic_load(&p->stop))
		return failure(p, e);
	if (!unhex(object->object_id, id, sizeof(id)))
		return err_set(e, ERR_BUG, "'" PRIstr "' is not the id of an object", ARGstr(object->object_id));
	must(leaf.n > 0 && leaf.n < LEAF_BYTES && object->key.n < KEY_BYTES && p->dir);
	memcpy(t.id, object->object_id.p, ID_BYTES);
	memcpy(t.leaf, leaf.p, leaf.n);
	memcpy(t.key, object->key.p, object->key.n);
	if (p->shard[id[0]] < 0) {
		char xx[3] = { t.id[0], t.id[1], 0 };
		int fd = open_beneath(p->o.objects_dirfd, xx, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0, e);

		if (fd < 0)
			return err_in(e, "opening the stored bytes, object %s", t.id);
		p->shard[id[0]] = fd;
	}
	atomic_fetch_add(&p->dir->refs, 1);
	if (p->threads) {
		put(p, &t);
		return 0;
	}
	run_task(p, &t);
	return failure(p, e);
}

int placer_finish(struct placer *p, uint64_t *ret_linked, uint64_t *ret_copied, struct err *e)
{
	close_ring(p);
	if (failure(p, e) < 0)
		return -1;
	*ret_linked = atomic_load(&p->linked);
	*ret_copied = atomic_load(&p->copied);
	return 0;
}

struct str placer_clash(const struct placer *p)
{
	return str_of(p->shared.clash);
}
