/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/files.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

struct open_file {
	uint32_t file;
	int fd;
	unsigned users;
	struct open_file *next;          /* in its bucket */
	struct open_file *newer, *older; /* by last use; only those without users */
};

struct files {
	struct tree *tree;
	int objects_fd;
	uint32_t limit, bucket_mask;
	const char *bucket;
	struct { /* hold mu to touch anything in here */
		pthread_mutex_t mu;
		struct open_file **buckets;
		struct open_file idle; /* idle.older is the one used last, idle.newer the one used longest ago */
		uint32_t count;
	} shared;
};

struct files *files_new(struct tree *t, int objects_fd, uint32_t limit, const char *bucket)
{
	struct files *f = xcalloc(1, sizeof(*f));
	uint32_t buckets = 64;

	while (buckets < limit && buckets < 1U << 20)
		buckets *= 2;
	*f = (struct files){
		.tree = t, .objects_fd = objects_fd, .limit = limit, .bucket_mask = buckets - 1, .bucket = bucket
	};
	f->shared.buckets = xcalloc(buckets, sizeof(struct open_file *));
	f->shared.idle.newer = f->shared.idle.older = &f->shared.idle;
	pthread_mutex_init(&f->shared.mu, NULL);
	return f;
}

void files_free(struct files *f)
{
	if (!f)
		return;
	for (uint32_t i = 0; i <= f->bucket_mask; i++) {
		for (struct open_file *o = f->shared.buckets[i], *next; o; o = next) {
			next = o->next;
			close(o->fd);
			free(o);
		}
	}
	pthread_mutex_destroy(&f->shared.mu);
	free(f->shared.buckets);
	free(f);
}

static struct open_file **place_locked(struct files *f, uint32_t file)
{
	struct open_file **at = &f->shared.buckets[file & f->bucket_mask];

	while (*at && (*at)->file != file)
		at = &(*at)->next;
	return at;
}

static void use_locked(struct open_file *o)
{
	if (o->users++)
		return;
	o->newer->older = o->older;
	o->older->newer = o->newer;
}

static void rest_locked(struct files *f, struct open_file *o)
{
	struct open_file *idle = &f->shared.idle;

	if (--o->users)
		return;
	o->newer = idle;
	o->older = idle->older;
	o->older->newer = o;
	idle->older = o;
}

/* Closes what was used longest ago until the limit is kept, or all that is left is in use. */
static void make_room_locked(struct files *f)
{
	struct open_file *idle = &f->shared.idle;

	while (f->shared.count > f->limit && idle->newer != idle) {
		struct open_file *oldest = idle->newer;

		*place_locked(f, oldest->file) = oldest->next;
		oldest->newer->older = oldest->older;
		oldest->older->newer = oldest->newer;
		f->shared.count--;
		close(oldest->fd);
		free(oldest);
	}
}

/* ---- opening ---- */

static int open_object(const struct files *f, const struct tree_object *object, uint64_t size, struct err *e)
{
	_cleanup_free_ char *path = strf("%.2s/%s", object->id, object->id);
	_cleanup_close_ int fd = open_beneath(f->objects_fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, e);
	struct stat st;

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) < 0)
		return err_sys(e, "looking at its file in the store");
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != size)
		return err_set(e, ERR_IO, "its file in the store has %lld bytes, not %llu", (long long)st.st_size,
		               (unsigned long long)size);
	return take_fd(fd);
}

static int open_file(const struct files *f, uint32_t file, struct err *e)
{
	struct tree_object object;
	struct tree_stat st;
	int fd;

	if (!tree_stat(f->tree, file, &st) || tree_object(f->tree, file, &object, e) < 0)
		return -1;
	fd = open_object(f, &object, st.size, e);
	return fd < 0 ? err_in(e, "s3://%s/%s cannot be read", f->bucket, object.key) : fd;
}

int files_get(struct files *f, uint32_t file, int *ret_fd, struct err *e)
{
	struct open_file *o, *mine;
	int fd;

	pthread_mutex_lock(&f->shared.mu);
	o = *place_locked(f, file);
	if (o) {
		use_locked(o);
		*ret_fd = o->fd;
	}
	pthread_mutex_unlock(&f->shared.mu);
	if (o)
		return 0;
	fd = open_file(f, file, e);
	if (fd < 0)
		return -1;
	mine = xcalloc(1, sizeof(*mine));
	*mine = (struct open_file){ .file = file, .fd = fd, .users = 1 };
	pthread_mutex_lock(&f->shared.mu);
	o = *place_locked(f, file);
	if (o) { /* somebody was faster */
		use_locked(o);
	} else {
		*place_locked(f, file) = o = take_ptr(mine);
		f->shared.count++;
		make_room_locked(f);
	}
	*ret_fd = o->fd;
	pthread_mutex_unlock(&f->shared.mu);
	if (mine)
		close(fd);
	free(mine);
	return 0;
}

void files_put(struct files *f, uint32_t file)
{
	struct open_file *o;

	pthread_mutex_lock(&f->shared.mu);
	o = *place_locked(f, file);
	must(o && o->users);
	rest_locked(f, o);
	make_room_locked(f);
	pthread_mutex_unlock(&f->shared.mu);
}
