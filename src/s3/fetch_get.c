/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/fetch_get.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "s3/call.h"

/* One object to place; its key and ETag lie in wanted.bytes. */
struct item {
	size_t key_at, key_n, etag_at, etag_n;
	uint64_t size;
};

struct wanted {
	const struct fetch_get *g;
	struct item *v;
	size_t n;
	uint64_t listed; /* all there are, whoever's share */
	FILE *manifest;
	struct buf bytes;
	size_t *small, small_n; /* indices: those that one request each brings */
};

static struct str key_of(const struct wanted *w, const struct item *i)
{
	return (struct str){ w->bytes.p + i->key_at, i->key_n };
}

int fetch_blame(const struct order *o, struct err *e)
{
	(void)o;
	if (e->os == ENOSPC || e->os == EDQUOT)
		return err_set(e, ERR_CLIENT, "Data download failed:Insufficient disk space");
	if (e->kind == ERR_NOT_FOUND || e->kind == ERR_DENIED || e->kind == ERR_INVALID || e->kind == ERR_CONFLICT)
		e->kind = ERR_CLIENT;
	return -1;
}

/* "Data download failed:..." as the service words it, with what S3 said in parentheses. */
static int blame_object(const struct wanted *w, struct str key, struct err *e)
{
	char text[ERR_FRAMES * ERR_FRAME_BYTES];
	enum err_kind kind;

	fetch_blame(w->g->order, e);
	if (e->kind != ERR_CLIENT || e->os == ENOSPC)
		return err_in(e, "downloading s3://%s/" PRIstr, w->g->order->bucket, ARGstr(key));
	if (str_starts(str_of(e->frame[0]), STR("Data download failed:")))
		return -1;
	kind = e->kind;
	snprintf(text, sizeof(text), "%s", e->frame[0]);
	return err_set(e, kind, "Data download failed:Unable to download object s3://%s/" PRIstr " (%s)",
	               w->g->order->bucket, ARGstr(key), text);
}

/* ---- what there is ---- */

static int want(const struct s3_object *o, void *arg, struct err *e)
{
	struct wanted *w = arg;
	const struct order *order = w->g->order;
	struct item *i;

	if (w->manifest && (fprintf(w->manifest, "s3://%s/", order->bucket) < 0 ||
	                    fwrite(o->key.p, 1, o->key.n, w->manifest) != o->key.n || putc('\n', w->manifest) == EOF))
		return err_sys(e, "writing the manifest");
	if (w->listed++ % (order->shards ? order->shards : 1) != order->shard)
		return 0;
	if (!(w->n & (w->n - 1)))
		w->v = xrealloc(w->v, (w->n ? w->n * 2 : 1) * sizeof(*w->v));
	i = &w->v[w->n++];
	*i = (struct item){ .key_at = w->bytes.n, .key_n = o->key.n, .etag_n = o->etag.n, .size = o->size };
	buf_str(&w->bytes, o->key);
	i->etag_at = w->bytes.n;
	buf_str(&w->bytes, o->etag);
	w->g->objects(w->g->arg, &(struct fetch_totals){ .total_objects = 1, .total_bytes = o->size });
	return 0;
}

static int list_all(const struct order *o, struct s3 *s3,
                    int (*fn)(const struct s3_object *o, void *arg, struct err *e), void *arg, struct err *e)
{
	return s3_list(s3, str_of(o->bucket), str_of(o->prefix), fn, arg, e) < 0 ? fetch_blame(o, e) : 0;
}

static int count_one(const struct s3_object *o, void *arg, struct err *e)
{
	struct fetch_totals *t = arg;

	(void)e;
	t->total_objects++;
	t->total_bytes += o->size;
	return 0;
}

int fetch_count(struct s3 *s3, const struct order *o, struct fetch_totals *ret, struct err *e)
{
	struct fetch_totals t = { 0 };

	if (list_all(o, s3, count_one, &t, e) < 0)
		return -1;
	*ret = t;
	return 0;
}

/* ---- where it goes ---- */

static int path_of(const struct wanted *w, const struct item *i, struct str *ret_rel, bool *ret_dir, struct err *e)
{
	const struct order *o = w->g->order;
	struct str key = key_of(w, i);
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

static bool below(struct str path, struct str dir)
{
	return str_skip(&path, dir) && path.n && path.p[0] == '/';
}

/* Somebody else's path is in the way of item i's: finds whose. */
static int blame_clash(const struct wanted *w, const struct item *mine, struct err *e)
{
	struct str rel, other;
	bool dir, other_dir;

	if (path_of(w, mine, &rel, &dir, e) < 0)
		return -1;
	for (size_t i = 0; i < w->n; i++)
		if (&w->v[i] != mine && path_of(w, &w->v[i], &other, &other_dir, NULL) == 0 &&
		    (str_eq(rel, other) || below(rel, other) || below(other, rel)))
			return err_set(e, ERR_CLIENT,
			               "Data download failed:The keys s3://%s/" PRIstr " and s3://%s/" PRIstr
			               " cannot both be files: one's path is the other's, or a directory of it",
			               w->g->order->bucket, ARGstr(key_of(w, mine)), w->g->order->bucket,
			               ARGstr(key_of(w, &w->v[i])));
	return err_set(e, ERR_CLIENT,
	               "Data download failed:For s3://%s/" PRIstr ", there is something at its path already",
	               w->g->order->bucket, ARGstr(key_of(w, mine)));
}

static bool is_clash(int os)
{
	return os == EEXIST || os == EISDIR || os == ENOTDIR;
}

/* Makes every directory there must be, before files are made. */
static int make_dirs(struct wanted *w, struct err *e)
{
	_cleanup_buf_ struct buf last = { 0 };

	for (size_t i = 0; i < w->n; i++) {
		_cleanup_free_ char *z = NULL;
		struct str rel, dir;
		bool is_dir;

		if (path_of(w, &w->v[i], &rel, &is_dir, e) < 0)
			return -1;
		dir = rel;
		if (!is_dir)
			str_cut_last(&dir, '/');
		if (!dir.n || str_eq(dir, buf_view(&last)))
			continue;
		buf_reset(&last);
		buf_str(&last, dir);
		z = str_dup(dir);
		if (mkdir_all(w->g->dirfd, z, 0755, e) < 0)
			return is_clash(e->os) ? blame_clash(w, &w->v[i], e) : fetch_blame(w->g->order, e);
	}
	return 0;
}

static int place(struct wanted *w, const struct item *i, struct err *e)
{
	struct s3_object o = { .key = key_of(w, i), .etag = { w->bytes.p + i->etag_at, i->etag_n }, .size = i->size };
	_cleanup_free_ char *z = NULL;
	_cleanup_close_ int fd = -EBADF;
	struct str rel;
	bool is_dir;

	if (path_of(w, i, &rel, &is_dir, e) < 0)
		return -1;
	if (!is_dir) {
		z = str_dup(rel);
		fd = open_beneath(w->g->dirfd, z, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644, e);
		if (fd < 0)
			return is_clash(e->os) ? blame_clash(w, i, e) : blame_object(w, o.key, e);
		if (fchmod(fd, 0644) < 0)
			return err_sys(e, "setting the mode of %s", z);
		if (s3_get(w->g->s3, (struct s3_uri){ str_of(w->g->order->bucket), o.key }, &o, fd, e) < 0)
			return blame_object(w, o.key, e);
	}
	w->g->objects(w->g->arg, &(struct fetch_totals){ .objects = 1 });
	return 0;
}

static int place_small(void *arg, size_t i, struct err *e)
{
	struct wanted *w = arg;

	return place(w, &w->v[w->small[i]], e);
}

/* Small objects side by side, one request each; then the large ones, each in ranges side by side. */
static int place_all(struct wanted *w, struct err *e)
{
	w->small = xcalloc(w->n + 1, sizeof(*w->small));
	for (size_t i = 0; i < w->n; i++)
		if (w->v[i].size <= S3_AT_ONCE_MAX)
			w->small[w->small_n++] = i;
	if (s3_parallel(s3_threads(w->g->s3), w->small_n, place_small, w, e) < 0)
		return -1;
	for (size_t i = 0; i < w->n; i++)
		if (w->v[i].size > S3_AT_ONCE_MAX && place(w, &w->v[i], e) < 0)
			return -1;
	return 0;
}

static int get_all(struct wanted *w, struct err *e)
{
	const struct order *o = w->g->order;

	if (o->manifest) {
		w->manifest = fdopen((int)o->manifest, "a");
		if (!w->manifest)
			return err_sys(e, "writing the manifest");
	}
	if (list_all(o, w->g->s3, want, w, e) < 0)
		return -1;
	if (w->manifest && fflush(w->manifest) != 0)
		return err_sys(e, "writing the manifest");
	if (!w->listed)
		return err_set(
		        e, ERR_CLIENT,
		        "Data download failed:No S3 objects found under S3 URL \"s3://%s/%s\". Please ensure that "
		        "objects exist under that S3 prefix.",
		        o->bucket, o->prefix);
	return make_dirs(w, e) < 0 ? -1 : place_all(w, e);
}

int fetch_get(const struct fetch_get *g, struct err *e)
{
	struct wanted w = { .g = g };
	int rc = get_all(&w, e);

	if (w.manifest)
		fclose(w.manifest);
	free(w.v);
	free(w.small);
	buf_fini(&w.bytes);
	return rc;
}
