/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/fetch_list.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "jobdir/list.h"
#include "jobdir/manifest.h"
#include "s3/refs.h"

enum { KEY_MAX = 1024, ETAG_MAX = 128, MANIFEST_PIECE = 4 << 20 };

static bool is_prefix(const struct order *o)
{
	return !o->s3_data_type || strcmp(o->s3_data_type, "S3Prefix") == 0;
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

	if (s3_list(s3, str_of(o->bucket), str_of(o->prefix), count_one, &t, e) < 0)
		return fetch_blame(o, e);
	*ret = t;
	return 0;
}

int fetch_exists(struct s3 *s3, const struct order *o, struct fetch_totals *ret, struct err *e)
{
	_cleanup_buf_ struct buf scratch = { 0 };
	struct s3_object found;
	bool any = true;

	if (is_prefix(o)) {
		if (s3_any(s3, str_of(o->bucket), str_of(o->prefix), &any, e) < 0)
			return fetch_blame(o, e);
	} else if (s3_head(s3, (struct s3_uri){ str_of(o->bucket), str_of(o->prefix) }, &scratch, &found, e) < 0) {
		if (e->kind != ERR_NOT_FOUND)
			return fetch_blame(o, e);
		any = false;
	}
	*ret = (struct fetch_totals){ .total_objects = any };
	return 0;
}

/* ---- the list ---- */

struct listing {
	const struct order *order;
	FILE *f;
	struct fetch_totals totals;
	struct buf *bucket, *prefix; /* of a ManifestFile's objects */
};

/* What another store calls an ETag may be anything; what is none for us is not compared. */
static struct str fit_etag(struct str etag)
{
	bool good = etag.n >= 1 && etag.n <= ETAG_MAX;

	for (size_t i = 0; i < etag.n && good; i++)
		good = etag.p[i] > ' ' && etag.p[i] < 0x7f && etag.p[i] != '"';
	return good ? etag : STR("-");
}

static struct list_entry entry_of(const struct s3_object *o)
{
	return (struct list_entry){ .size = o->size,
		                    .modified = o->modified,
		                    .object_id = STR("-"),
		                    .etag = fit_etag(o->etag),
		                    .key = o->key };
}

static int list_one(const struct s3_object *o, void *arg, struct err *e)
{
	struct listing *l = arg;
	struct list_entry entry = entry_of(o);

	if (o->key.n < 1 || o->key.n > KEY_MAX)
		return err_set(e, ERR_CLIENT, "Data download failed:s3://%s has a key of %zu bytes, which is none",
		               l->order->bucket, o->key.n);
	count_one(o, &l->totals, NULL);
	return list_write(l->f, &entry, e);
}

static int list_prefix(struct listing *l, struct s3 *s3, struct err *e)
{
	const struct order *o = l->order;

	if (s3_list(s3, str_of(o->bucket), str_of(o->prefix), list_one, l, e) < 0)
		return fetch_blame(o, e);
	if (!l->totals.total_objects)
		return err_set(
		        e, ERR_CLIENT,
		        "Data download failed:No S3 objects found under S3 URL \"s3://%s/%s\". Please ensure that "
		        "objects exist under that S3 prefix.",
		        o->bucket, o->prefix);
	return 0;
}

/* ---- manifests ---- */

/* A manifest is read twice, so that not all of it is in memory: what it names is looked up in between. */
struct reading {
	struct listing *l;
	struct s3 *s3;
	struct s3_object self;
	struct manifest *m;
	struct refs *refs;
};

static int note_unit(void *arg, const struct manifest_unit *u, struct err *e)
{
	struct reading *r = arg;

	(void)e;
	for (size_t i = 0; i < u->count; i++)
		if (!u->parts[i].literal)
			refs_add(r->refs, (struct s3_uri){ u->parts[i].bucket, u->parts[i].key });
	return 0;
}

static int find_part(struct reading *r, const struct manifest_unit *u, const struct manifest_part *part,
                     struct list_part *ret, struct err *e)
{
	struct s3_object o;

	*ret = (struct list_part){ .literal = part->literal, .bytes = part->bytes };
	if (part->literal) {
		r->l->totals.total_bytes += part->bytes.n;
		return 0;
	}
	if (refs_find(r->refs, (struct s3_uri){ part->bucket, part->key }, &o, e) < 0) {
		if (e->kind != ERR_NOT_FOUND && e->kind != ERR_DENIED)
			return -1;
		return manifest_blame(r->m, u, part, e, "%s",
		                      e->kind == ERR_DENIED ? "which may not be read (access denied)"
		                                            : "which does not exist");
	}
	r->l->totals.total_bytes += o.size;
	ret->object = entry_of(&o);
	ret->object.key = part->key;
	ret->object.bucket = part->bucket;
	return 0;
}

static int write_unit(void *arg, const struct manifest_unit *u, struct err *e)
{
	struct reading *r = arg;
	struct list_part parts[MANIFEST_ATTRIBUTES_MAX];

	for (size_t i = 0; i < u->count; i++)
		if (find_part(r, u, &u->parts[i], &parts[i], e) < 0)
			return -1;
	r->l->totals.total_objects++;
	if (r->l->order->attribute_count)
		return list_write_line(r->l->f, parts, u->count, e);
	return list_write(r->l->f, &parts[0].object, e);
}

/* The whole manifest through a reader that calls unit(). */
static int read_manifest(struct reading *r, int (*unit)(void *arg, const struct manifest_unit *u, struct err *e),
                         struct err *e)
{
	const struct order *o = r->l->order;
	_cleanup_free_ char *uri = strf("s3://%s/%s", o->bucket, o->prefix), *piece = xcalloc(1, MANIFEST_PIECE);
	struct s3_uri at = { str_of(o->bucket), str_of(o->prefix) };

	manifest_free(r->m);
	r->m = manifest_new(&(struct manifest_options){ .uri = uri,
	                                                .attributes = (const char *const *)o->attributes,
	                                                .attribute_count = o->attribute_count,
	                                                .unit = unit,
	                                                .arg = r });
	for (uint64_t from = 0; from < r->self.size;) {
		uint64_t left = r->self.size - from;
		size_t n = left < MANIFEST_PIECE ? (size_t)left : MANIFEST_PIECE;

		if (s3_get_range(r->s3, at, r->self.etag, from, n, piece, e) < 0) {
			fetch_blame(o, e);
			return err_in(e, "reading the manifest %s", uri);
		}
		if (manifest_feed(r->m, (struct str){ piece, n }, e) < 0)
			return -1;
		from += n;
	}
	return manifest_end(r->m, e);
}

static int list_manifest(struct listing *l, struct s3 *s3, struct err *e)
{
	_cleanup_(refs_freep) struct refs *refs = refs_new();
	_cleanup_buf_ struct buf scratch = { 0 };
	struct reading r = { .l = l, .s3 = s3, .refs = refs };
	const struct order *o = l->order;
	struct str bucket, prefix;
	int rc;

	if (s3_head(s3, (struct s3_uri){ str_of(o->bucket), str_of(o->prefix) }, &scratch, &r.self, e) < 0) {
		if (e->kind == ERR_NOT_FOUND)
			return err_set(e, ERR_CLIENT, "Data download failed:There is no manifest s3://%s/%s", o->bucket,
			               o->prefix);
		return fetch_blame(o, e);
	}
	rc = read_manifest(&r, note_unit, e);
	if (rc == 0 && refs_resolve(refs, s3, e) < 0)
		rc = fetch_blame(o, e);
	if (rc == 0)
		rc = read_manifest(&r, write_unit, e);
	if (rc == 0 && !o->attribute_count) {
		manifest_place(r.m, &bucket, &prefix);
		buf_str(l->bucket, bucket);
		buf_str(l->prefix, prefix);
	}
	manifest_free(r.m);
	return rc;
}

static int check_type(const struct order *o, struct err *e)
{
	bool augmented = o->s3_data_type && strcmp(o->s3_data_type, "AugmentedManifestFile") == 0;

	if (!is_prefix(o) && !augmented && strcmp(o->s3_data_type, "ManifestFile") != 0)
		return err_set(e, ERR_INVALID, "the work order's 's3_data_type' is '%s', which is none",
		               o->s3_data_type);
	if (augmented != (o->attribute_count > 0))
		return err_set(e, ERR_INVALID, "the work order %s 'attribute_names'",
		               augmented ? "lacks" : "must not have");
	return 0;
}

int fetch_list(struct s3 *s3, const struct order *o, struct fetched_list *ret, struct err *e)
{
	struct listing l = { .order = o, .bucket = &ret->bucket, .prefix = &ret->prefix };
	int fd, rc;

	if (check_type(o, e) < 0)
		return -1;
	fd = fcntl((int)o->list, F_DUPFD_CLOEXEC, 3);
	l.f = fd < 0 ? NULL : fdopen(fd, "w");
	if (!l.f) {
		err_sys(e, "writing the list");
		cleanup_closep(&fd);
		return -1;
	}
	rc = is_prefix(o) ? list_prefix(&l, s3, e) : list_manifest(&l, s3, e);
	if (rc == 0 && fflush(l.f) != 0)
		rc = err_sys(e, "writing the list");
	if (fclose(l.f) != 0 && rc == 0)
		rc = err_sys(e, "writing the list");
	ret->totals = l.totals;
	return rc;
}
