/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/fetch_get.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "jobdir/list.h"
#include "s3/call.h"

/* An object on its way; freed by whoever finishes its last piece. */
struct file {
	char *key, *etag;
	struct s3_object object; /* views of the two */
	int fd;
	_Atomic size_t pieces; /* that are not finished */
};

/* What one thread does next: a range of a file, all of it when it is small. */
struct piece {
	struct file *file;
	uint64_t from, length;
};

enum { DOORS = 32 };

struct getting {
	const struct fetch_get *g;
	size_t pieces; /* in all */
	/* One to each directory (by its hash): the kernel makes one file of a directory at a time anyhow, and lets who
	 * waits spin; here they sleep. */
	pthread_mutex_t doors[DOORS];
	struct { /* hold mu to touch anything in here */
		pthread_mutex_t mu;
		struct list_reader *list;
		struct file *large; /* being dealt out */
		uint64_t next;      /* where its next piece begins */
	} shared;
};

/* ---- what went wrong ---- */

int fetch_blame(const struct order *o, struct err *e)
{
	(void)o;
	if (e->os == ENOSPC || e->os == EDQUOT)
		return err_set(
		        e, ERR_CLIENT,
		        "Data download failed:Insufficient disk space on the training host: the volume is full. Raise "
		        "ResourceConfig.VolumeSizeInGB");
	if (e->kind == ERR_NOT_FOUND || e->kind == ERR_DENIED || e->kind == ERR_INVALID || e->kind == ERR_CONFLICT)
		e->kind = ERR_CLIENT;
	return -1;
}

/* "Data download failed:..." as the service words it, with what S3 said in parentheses. */
static int blame_object(const struct order *o, struct str key, struct err *e)
{
	char text[ERR_FRAMES * ERR_FRAME_BYTES];

	if (e->kind == ERR_CONFLICT)
		return err_set(e, ERR_CLIENT,
		               "Data download failed:Unable to download object s3://%s/" PRIstr
		               ": it was replaced after the job was launched",
		               o->bucket, ARGstr(key));
	fetch_blame(o, e);
	if (e->kind != ERR_CLIENT)
		return err_in(e, "downloading s3://%s/" PRIstr, o->bucket, ARGstr(key));
	if (str_starts(str_of(e->frame[0]), STR("Data download failed:")))
		return -1;
	snprintf(text, sizeof(text), "%s", e->frame[0]);
	return err_set(e, ERR_CLIENT, "Data download failed:Unable to download object s3://%s/" PRIstr " (%s)",
	               o->bucket, ARGstr(key), text);
}

static int path_of(const struct order *o, struct str key, struct str *ret_rel, bool *ret_dir, struct err *e)
{
	char text[ERR_FRAME_BYTES];

	if (s3_rel_path(str_of(o->prefix), key, ret_rel, ret_dir, e) == 0)
		return 0;
	if (str_find(str_of(e->frame[0]), STR("sub-sequence '//'")) >= 0)
		return err_set(e, ERR_CLIENT,
		               "Data download failed:Failed to download data. S3 key: s3://%s/" PRIstr
		               " has an illegal char sub-sequence '//' in it",
		               o->bucket, ARGstr(key));
	snprintf(text, sizeof(text), "%s", e->frame[0]);
	return err_set(e, ERR_CLIENT, "Data download failed:In s3://%s, %s", o->bucket, text);
}

/* A reader of our own for the list. */
static int open_list(const struct order *o, struct list_reader **ret, struct err *e)
{
	char path[40];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%u", o->list);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? err_sys(e, "opening the list") : list_open_fd(fd, ret, e);
}

static bool below(struct str path, struct str dir)
{
	return str_skip(&path, dir) && path.n && path.p[0] == '/';
}

static bool in_the_way(const struct order *o, struct str rel, struct str key)
{
	struct str other;
	bool dir;

	return path_of(o, key, &other, &dir, NULL) == 0 &&
	       (str_eq(rel, other) || below(rel, other) || below(other, rel));
}

/* Something is at this key's path: finds whose it is. 0: its own, from an entry before. */
static int blame_clash(const struct order *o, struct str key, struct err *e)
{
	_cleanup_(list_closep) struct list_reader *list = NULL;
	struct list_entry entry;
	struct str rel;
	bool dir;
	int rc;

	if (path_of(o, key, &rel, &dir, e) < 0 || open_list(o, &list, e) < 0)
		return -1;
	while ((rc = list_next(list, &entry, e)) > 0) {
		int order = str_cmp(key, entry.key);

		if (order && in_the_way(o, rel, entry.key))
			return err_set(e, ERR_CLIENT,
			               "Data download failed:The keys s3://%s/" PRIstr " and s3://%s/" PRIstr
			               " cannot both be files: one's path is the other's, or a directory of it",
			               o->bucket, ARGstr(order < 0 ? key : entry.key), o->bucket,
			               ARGstr(order < 0 ? entry.key : key));
	}
	return rc; /* nobody's but its own: a manifest names it twice */
}

static bool is_clash(int os)
{
	return os == EEXIST || os == EISDIR || os == ENOTDIR;
}

static int blame_path(const struct order *o, struct str key, struct err *e)
{
	return is_clash(e->os) ? blame_clash(o, key, e) : blame_object(o, key, e);
}

/* ---- dealing out ---- */

static void file_free(struct file *f)
{
	cleanup_closep(&f->fd);
	free(f->key);
	free(f->etag);
	free(f);
}

static size_t pieces_of(uint64_t size)
{
	return size <= S3_AT_ONCE_MAX ? 1 : (size_t)((size + S3_PIECE - 1) / S3_PIECE);
}

static struct file *file_new(const struct list_entry *entry)
{
	struct file *f = xcalloc(1, sizeof(*f));

	f->key = str_dup(entry->key);
	f->etag = str_dup(entry->etag);
	f->object = (struct s3_object){ .key = { f->key, entry->key.n },
		                        .etag = { f->etag, entry->etag.n },
		                        .size = entry->size };
	f->fd = -EBADF;
	atomic_init(&f->pieces, pieces_of(entry->size));
	return f;
}

static uint32_t hash(struct str s)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < s.n; i++)
		h = (h ^ (unsigned char)s.p[i]) * 16777619u;
	return h;
}

static int create(const struct fetch_get *g, const char *path, pthread_mutex_t *door, struct err *e)
{
	int fd, os;

	pthread_mutex_lock(door);
	fd = open_beneath(g->dirfd, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644, e);
	os = errno;
	pthread_mutex_unlock(door);
	errno = os;
	return fd;
}

/* Makes the file, and the directories before it when it must. A key that ends in '/' has no file. */
static int make_file(struct getting *w, struct file *f, struct err *e)
{
	const struct fetch_get *g = w->g;
	pthread_mutex_t *door;
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int dir = -EBADF;
	struct str rel, parent;
	bool is_dir;

	if (path_of(g->order, f->object.key, &rel, &is_dir, e) < 0)
		return -1;
	path = str_dup(rel);
	if (is_dir) {
		if (rel.n && (mkdir_all(g->dirfd, path, 0755, e) < 0 ||
		              (dir = open_beneath(g->dirfd, path, O_PATH | O_DIRECTORY, 0, e)) < 0))
			return blame_path(g->order, f->object.key, e);
		return 0;
	}
	parent = rel;
	str_cut_last(&parent, '/');
	door = &w->doors[hash(parent) % DOORS];
	f->fd = create(g, path, door, e);
	if (f->fd < 0 && errno == ENOENT && parent.n) {
		_cleanup_free_ char *before = str_dup(parent);

		if (mkdir_all(g->dirfd, before, 0755, e) < 0)
			return blame_path(g->order, f->object.key, e);
		f->fd = create(g, path, door, e);
	}
	return f->fd < 0 ? blame_path(g->order, f->object.key, e) : 0;
}

/* The next piece, and *ret->file NULL at the end. Large files are made here, as more than one thread will write them.
 */
static int take_locked(struct getting *w, struct piece *ret, struct err *e)
{
	struct list_entry entry;
	struct file *f = w->shared.large;
	uint64_t left;
	int rc;

	if (!f) {
		rc = list_next(w->shared.list, &entry, e);
		if (rc <= 0) {
			*ret = (struct piece){ 0 };
			return rc;
		}
		f = file_new(&entry);
		if (entry.size <= S3_AT_ONCE_MAX) {
			*ret = (struct piece){ .file = f, .length = entry.size };
			return 0;
		}
		if (make_file(w, f, e) < 0) {
			file_free(f);
			return -1;
		}
		w->shared.large = f;
		w->shared.next = 0;
	}
	left = f->object.size - w->shared.next;
	*ret = (struct piece){ .file = f, .from = w->shared.next, .length = left < S3_PIECE ? left : S3_PIECE };
	w->shared.next += ret->length;
	if (ret->length == left)
		w->shared.large = NULL;
	return 0;
}

static int get_one(struct getting *w, const struct piece *p, struct err *e)
{
	const struct fetch_get *g = w->g;
	struct file *f = p->file;

	if (p->length == f->object.size && make_file(w, f, e) < 0)
		return -1;
	if (f->fd >= 0 && s3_get_piece(g->s3, (struct s3_uri){ str_of(g->order->bucket), f->object.key }, &f->object,
	                               p->from, p->length, f->fd, e) < 0)
		return blame_object(g->order, f->object.key, e);
	return 0;
}

static int do_piece(void *arg, size_t i, struct err *e)
{
	struct getting *w = arg;
	struct piece p;
	int rc;

	(void)i; /* the list's order, whoever is next */
	pthread_mutex_lock(&w->shared.mu);
	rc = take_locked(w, &p, e);
	pthread_mutex_unlock(&w->shared.mu);
	if (rc < 0 || !p.file)
		return rc;
	rc = get_one(w, &p, e);
	if (atomic_fetch_sub(&p.file->pieces, 1) == 1) {
		file_free(p.file);
		if (rc == 0)
			w->g->objects(w->g->arg, &(struct fetch_totals){ .objects = 1 });
	}
	return rc;
}

/* What is not dealt out when an error ends the work. */
static void drop_large(struct getting *w)
{
	if (w->shared.large)
		file_free(w->shared.large);
}

/* ---- the whole ---- */

/* Before anything is downloaded: are all keys such that they can be placed, and how much is it? */
static int look(struct getting *w, struct err *e)
{
	_cleanup_(list_closep) struct list_reader *list = NULL;
	struct fetch_totals found = { 0 };
	struct list_entry entry;
	struct str rel;
	bool dir;
	int rc;

	if (open_list(w->g->order, &list, e) < 0)
		return -1;
	while ((rc = list_next(list, &entry, e)) > 0) {
		if (path_of(w->g->order, entry.key, &rel, &dir, e) < 0)
			return -1;
		found.total_objects++;
		found.total_bytes += entry.size;
		w->pieces += pieces_of(entry.size);
	}
	w->g->objects(w->g->arg, &found);
	return rc;
}

int fetch_get(const struct fetch_get *g, struct err *e)
{
	struct getting w = { .g = g };
	int rc;

	if (look(&w, e) < 0 || open_list(g->order, &w.shared.list, e) < 0)
		return -1;
	pthread_mutex_init(&w.shared.mu, NULL);
	for (size_t i = 0; i < DOORS; i++)
		pthread_mutex_init(&w.doors[i], NULL);
	rc = s3_parallel(s3_threads(g->s3), w.pieces, do_piece, &w, e);
	drop_large(&w);
	for (size_t i = 0; i < DOORS; i++)
		pthread_mutex_destroy(&w.doors[i]);
	pthread_mutex_destroy(&w.shared.mu);
	list_close(w.shared.list);
	return rc;
}
