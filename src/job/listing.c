/* SPDX-License-Identifier: Apache-2.0 */
#include "job/listing.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "jobdir/list.h"
#include "jobdir/manifest.h"

enum { PIECE_BYTES = 256 << 10 };

/* One list that is being written. */
struct listing {
	const struct lists *lists;
	struct channel_spec *ch;
	FILE *f;
	struct manifest *manifest;
	struct buf scratch[LIST_PARTS_MAX]; /* of a line's objects */
	uint64_t objects, bytes;
};

int listing_check_stop(const struct lists *l, struct err *e)
{
	return l->stopped(l->arg) ? err_set(e, ERR_BUSY, "listing the channels was ended early") : 0;
}

static bool is_type(const struct channel_spec *ch, const char *type)
{
	return str_is(str_of(ch->s3_data_type), type);
}

/* ---- S3Prefix, embedded ---- */

static struct list_entry entry_of(const struct listing *w, const struct blob_entry *b)
{
	return (struct list_entry){ .size = b->size,
		                    .modified = b->modified,
		                    .object_id = w->lists->away ? STR("-") : b->id,
		                    .etag = b->etag,
		                    .key = b->key };
}

static int write_object(const struct blob_entry *found, void *arg, struct err *e)
{
	struct listing *w = arg;
	const struct list_entry entry = entry_of(w, found);

	if (listing_check_stop(w->lists, e) < 0)
		return -1;
	/* What consoles make of a new folder is nothing to transform, or to place. */
	if (w->lists->transform && !found->size && str_ends(found->key, STR("/")))
		return 0;
	w->objects++;
	w->bytes += found->size;
	return list_write(w->f, &entry, e);
}

/* One object by its whole key. */
static int list_object(struct listing *w, struct err *e)
{
	_cleanup_buf_ struct buf scratch = { 0 };
	struct blob_entry found;
	struct err why = { 0 };

	if (blob_find(w->lists->blobs, str_of(w->ch->bucket), str_of(w->ch->prefix), &scratch, &found, NULL, &why) == 0)
		return write_object(&found, w, e);
	if (why.kind == ERR_NOT_FOUND)
		return err_set(e, ERR_CLIENT,
		               "Data download failed:%s is there no more. It was deleted after the model was created; "
		               "upload it and create the job again",
		               w->ch->s3_uri);
	if (e)
		*e = why;
	return -1;
}

static int list_prefix(struct listing *w, struct err *e)
{
	if (blob_each(w->lists->blobs, str_of(w->ch->bucket), str_of(w->ch->prefix), write_object, w, e) < 0)
		return -1;
	if (w->objects) /* they were there when the job was created */
		return 0;
	return err_set(e, ERR_CLIENT,
	               "Data download failed:No S3 objects are left under S3 URL \"%s\". They were deleted after the "
	               "job was created; upload them and create the job again",
	               w->ch->s3_uri);
}

/* ---- manifests, embedded ---- */

static int find_part(struct listing *w, const struct manifest_unit *u, size_t i, struct list_part *ret, struct err *e)
{
	const struct manifest_part *part = &u->parts[i];
	struct blob_entry found;
	struct err why = { 0 };

	if (part->literal) {
		*ret = (struct list_part){ .literal = true, .bytes = part->bytes };
		w->bytes += part->bytes.n;
		return 0;
	}
	if (blob_find(w->lists->blobs, part->bucket, part->key, &w->scratch[i], &found, NULL, &why) < 0) {
		if (why.kind == ERR_NOT_FOUND)
			return manifest_blame(w->manifest, u, part, e,
			                      "which does not exist. Upload it, or take it out of the manifest");
		if (e)
			*e = why;
		return -1;
	}
	*ret = (struct list_part){ .object = entry_of(w, &found) };
	ret->object.bucket = part->bucket;
	w->bytes += found.size;
	return 0;
}

static int write_unit(void *arg, const struct manifest_unit *u, struct err *e)
{
	struct listing *w = arg;
	struct list_part parts[LIST_PARTS_MAX];

	if (listing_check_stop(w->lists, e) < 0)
		return -1;
	for (size_t i = 0; i < u->count; i++)
		if (find_part(w, u, i, &parts[i], e) < 0)
			return -1;
	w->objects++;
	if (is_type(w->ch, "ManifestFile"))
		return list_write(w->f, &parts[0].object, e);
	return list_write_line(w->f, parts, u->count, e);
}

static int feed_file(struct manifest *m, int fd, struct err *e)
{
	_cleanup_free_ char *piece = xcalloc(1, PIECE_BYTES);
	ssize_t n;

	while ((n = read(fd, piece, PIECE_BYTES)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "reading it");
		if (manifest_feed(m, (struct str){ piece, (size_t)n }, e) < 0)
			return -1;
	}
	return manifest_end(m, e);
}

/* The keys of a ManifestFile are placed relative to its prefix, in its bucket. */
static void take_place(struct listing *w)
{
	struct str bucket, prefix;

	manifest_place(w->manifest, &bucket, &prefix);
	free(w->ch->bucket);
	free(w->ch->prefix);
	w->ch->bucket = str_dup(bucket);
	w->ch->prefix = str_dup(prefix);
}

static int read_manifest(struct listing *w, const json_t *attribute_names, struct err *e)
{
	const char *names[MANIFEST_ATTRIBUTES_MAX];
	struct manifest_options o = { .uri = w->ch->s3_uri, .attributes = names, .unit = write_unit, .arg = w };
	_cleanup_buf_ struct buf scratch = { 0 };
	_cleanup_close_ int fd = -EBADF;
	struct blob_entry found;
	struct err why = { 0 };
	int rc;

	for (size_t i = 0; i < json_array_size(attribute_names); i++)
		names[o.attribute_count++] = json_string_value(json_array_get(attribute_names, i));
	if (blob_find(w->lists->blobs, str_of(w->ch->bucket), str_of(w->ch->prefix), &scratch, &found, &fd, &why) < 0) {
		if (why.kind == ERR_NOT_FOUND)
			return err_set(
			        e, ERR_CLIENT,
			        "Data download failed:The manifest %s is there no more. It was deleted after the "
			        "job was created; upload it and create the job again",
			        w->ch->s3_uri);
		if (e)
			*e = why;
		return -1;
	}
	w->manifest = manifest_new(&o);
	rc = feed_file(w->manifest, fd, e);
	if (rc == 0 && is_type(w->ch, "ManifestFile"))
		take_place(w);
	manifest_free(take_ptr(w->manifest));
	for (size_t i = 0; i < ARRAY_LEN(w->scratch); i++)
		buf_fini(&w->scratch[i]);
	return rc;
}

int listing_embedded(const struct lists *l, int fd, const json_t *s3, struct channel_spec *ch, struct err *e)
{
	struct listing w = { .lists = l, .ch = ch, .f = fdopen(fd, "w") };
	int rc;

	must(w.f);
	rc = is_type(ch, "S3Prefix")   ? list_prefix(&w, e)
	     : is_type(ch, "S3Object") ? list_object(&w, e)
	                               : read_manifest(&w, json_object_get(s3, "AttributeNames"), e);
	if (rc == 0 && (fflush(w.f) != 0 || fsync(fd) < 0))
		rc = err_sys(e, "writing the list of its objects");
	if (fclose(w.f) != 0 && rc == 0)
		rc = err_sys(e, "writing the list of its objects");
	ch->objects = w.objects;
	ch->bytes = w.bytes;
	return rc;
}

/* ---- of another S3 ---- */

/* Of a list of keys that begin with an object's, that object alone. */
static int keep_object(const struct lists *l, struct channel_spec *ch, struct err *e)
{
	_cleanup_(list_closep) struct list_reader *r = NULL;
	_cleanup_free_ char *own = strf("%s.object", ch->list);
	struct list_entry entry;
	int fd = openat(l->dirfd, ch->list, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), out, more, rc;
	FILE *f;

	if (fd < 0)
		return err_sys(e, "reading the list of its objects");
	if (list_open_fd(fd, &r, e) < 0)
		return -1;
	while ((more = list_next(r, &entry, e)) > 0)
		if (str_is(entry.key, ch->prefix))
			break;
	if (more <= 0)
		return more < 0 ? -1
		                : err_set(e, ERR_CLIENT,
		                          "Data download failed:%s is there no more; upload it and create "
		                          "the job again",
		                          ch->s3_uri);
	out = openat(l->dirfd, own, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (out < 0)
		return err_sys(e, "making the list of its objects");
	f = fdopen(out, "w");
	must(f);
	ch->objects = 1;
	ch->bytes = entry.size;
	rc = list_write(f, &entry, e);
	if (rc == 0 && (fflush(f) != 0 || fsync(out) < 0 || renameat(l->dirfd, own, l->dirfd, ch->list) < 0))
		rc = err_sys(e, "writing the list of its objects");
	fclose(f);
	return rc;
}

int listing_remote(const struct lists *l, int fd, const json_t *s3, struct channel_spec *ch, struct err *e)
{
	struct remote_question q = { .verb = "list",
		                     .bucket = ch->bucket,
		                     .prefix = ch->prefix,
		                     .s3_data_type = is_type(ch, "S3Object") ? "S3Prefix" : ch->s3_data_type,
		                     .attribute_names = json_object_get(s3, "AttributeNames"),
		                     .list_fd = fd,
		                     .stop_fd = l->stop_fd };
	struct remote_answer a;

	if (remote_ask(l->remote, &q, &a, e) < 0)
		return -1;
	ch->objects = a.objects;
	ch->bytes = a.bytes;
	if (a.bucket && a.prefix) {
		free(ch->bucket);
		free(ch->prefix);
		ch->bucket = take_ptr(a.bucket);
		ch->prefix = take_ptr(a.prefix);
	}
	remote_answer_fini(&a);
	if (is_type(ch, "S3Object"))
		return keep_object(l, ch, e);
	return fsync(fd) < 0 ? err_sys(e, "writing the list of its objects") : 0;
}
