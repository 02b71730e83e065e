/* front_object.c - PutObject, CopyObject, DeleteObject(s); reading is front_get.c.  SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>

#include "blob/listed.h"
#include "blob/request.h"

static enum s3_code store_piece(struct str piece, void *arg, struct err *e)
{
	struct front *f = arg;

	return blob_in_write(&f->in, piece, e) < 0 ? S3_InternalError : S3_OK;
}

enum s3_code s3_put_object_begin(struct front *f, struct http_request *r, struct err *e)
{
	enum s3_code code = blob_bucket_find(f->b, buf_view(&f->bucket), NULL, e);
	_cleanup_buf_ struct buf meta = { 0 };

	/* What can be refused by the header alone is, before the client sends gigabytes. */
	if (code == S3_OK)
		code = front_meta(r, &meta, e);
	if (code == S3_OK && blob_in_begin(f->b, &f->in, e) < 0)
		code = S3_InternalError;
	if (code == S3_OK)
		body_sink(f->body, store_piece, f);
	return code;
}

enum s3_code s3_put_object(struct front *f, struct http_request *r, struct http_response *out, struct err *e)
{
	struct blob_cond cond = front_cond(r);
	_cleanup_buf_ struct buf meta = { 0 };
	enum s3_code code = front_meta(r, &meta, e);

	if (code != S3_OK)
		return code;
	buf_str(&meta, body_checksums(f->body));
	if (body_checksums(f->body).n)
		buf_z(&meta, "x-amz-checksum-type: FULL_OBJECT\n");
	code = blob_object_put(&f->in, buf_view(&f->bucket), buf_view(&f->key), body_md5(f->body), buf_view(&meta),
	                       &cond, e);
	if (code != S3_OK)
		return code;
	reply_etag(out, body_md5(f->body));
	reply_checksums(out, buf_view(&meta));
	return S3_OK;
}

/* ---- copying ---- */

/* The lines of stored meta that belong to the bytes, not to what the client says of them. */
static void keep_facts(struct str meta, struct buf *out)
{
	while (meta.n) {
		struct str line = str_cut(&meta, '\n'), name = line;

		name = str_cut(&name, ':');
		if (checksum_by_header(name) != CHECKSUM_NONE || str_eq(name, STR("x-amz-checksum-type")) ||
		    str_eq(name, STR("x-parts")))
			buf_f(out, PRIstr "\n", ARGstr(line));
	}
}

static enum s3_code copy_meta(const struct http_request *r, struct str from, bool same_object, struct buf *out,
                              struct err *e)
{
	struct str directive = http_header_get(r, "x-amz-metadata-directive");
	enum s3_code code;

	if (directive.n && !str_eq(directive, STR("COPY")) && !str_eq(directive, STR("REPLACE")))
		return s3_say(e, S3_InvalidArgument, "Unknown metadata directive.");
	if (!str_eq(directive, STR("REPLACE"))) {
		if (same_object)
			return s3_say(
			        e, S3_InvalidRequest,
			        "This copy request is illegal because it is trying to copy an object to itself "
			        "without changing the object's metadata, storage class, website redirect location "
			        "or encryption attributes.");
		buf_str(out, from);
		return S3_OK;
	}
	code = front_meta(r, out, e);
	keep_facts(from, out);
	return code;
}

static enum s3_code copy_once(struct front *f, struct http_request *r, struct http_response *out, struct err *e)
{
	_cleanup_(blob_object_fini) struct blob_object from = { 0 };
	_cleanup_buf_ struct buf bucket = { 0 }, key = { 0 }, meta = { 0 };
	struct blob_cond cond = front_cond(r);
	struct wall modified;
	bool same;
	enum s3_code code = front_copy_source(r, &bucket, &key, e);

	if (code == S3_OK)
		code = blob_object_get(f->b, buf_view(&bucket), buf_view(&key), &from, e);
	if (code == S3_OK)
		code = front_read_cond(r, "x-amz-copy-source-", &from);
	same = str_eq(buf_view(&bucket), buf_view(&f->bucket)) && str_eq(buf_view(&key), buf_view(&f->key));
	if (code == S3_OK)
		code = copy_meta(r, buf_view(&from.meta), same, &meta, e);
	if (code == S3_OK)
		code = blob_object_copy(f->b, buf_view(&bucket), buf_view(&key), &from, buf_view(&f->bucket),
		                        buf_view(&f->key), buf_view(&meta), &cond, &modified, e);
	if (code != S3_OK)
		return code;
	reply_xml_begin(out, "CopyObjectResult");
	reply_xml_time(out, "LastModified", modified);
	reply_xml_etag(out, buf_view(&from.etag));
	reply_xml_checksums(out, buf_view(&meta));
	reply_xml_end(out, "CopyObjectResult");
	return S3_OK;
}

enum s3_code s3_copy_object(struct front *f, struct http_request *r, struct http_response *out, struct err *e)
{
	enum s3_code code = S3_OperationAborted;

	/* Aborted: the source was replaced between reading and copying it. */
	for (int tries = 0; tries < 5 && code == S3_OperationAborted; tries++)
		code = copy_once(f, r, out, e);
	return code;
}

/* ---- deleting ---- */

enum s3_code s3_delete_object(struct front *f, struct http_request *r, struct http_response *out, struct err *e)
{
	struct str key = buf_view(&f->key);
	enum s3_code code;

	if (http_header_get(r, "If-Match").n)
		return s3_say(e, S3_NotImplemented, "Conditional deletion (If-Match) is not supported by this server.");
	code = blob_object_drop(f->b, buf_view(&f->bucket), &key, 1, e);
	out->status = 204;
	return code;
}

/* A key that is not deleted, and why. */
struct refusal {
	struct str key;
	enum s3_code code;
	char *text; /* instead of the code's own; NULL */
};

static void write_deletion(struct http_response *out, const struct str *keys, size_t n, const struct refusal *refused,
                           size_t refused_n, bool quiet)
{
	reply_xml_begin(out, "DeleteResult");
	for (size_t i = 0; i < n && !quiet; i++) {
		buf_z(&out->body, "<Deleted>");
		reply_xml_text(out, "Key", keys[i]);
		buf_z(&out->body, "</Deleted>");
	}
	for (size_t i = 0; i < refused_n; i++) {
		const struct s3_code_info *info = &s3_code_info[refused[i].code];

		buf_z(&out->body, "<Error>");
		reply_xml_text(out, "Key", refused[i].key);
		reply_xml_text(out, "Code", str_of(info->name));
		reply_xml_text(out, "Message", str_of(refused[i].text ? refused[i].text : info->text));
		buf_z(&out->body, "</Error>");
	}
	reply_xml_end(out, "DeleteResult");
}

static enum s3_code check_key(const struct front *f, struct str key, struct refusal *why)
{
	struct err e = { 0 };

	*why = (struct refusal){ .key = key, .code = S3_KeyTooLongError };
	if (key.n > BLOB_KEY_MAX)
		return why->code;
	why->code = front_may(f, "s3:DeleteObject", buf_view(&f->bucket), key, &e);
	if (why->code != S3_OK && e.depth)
		why->text = xstrdup(e.frame[0]);
	return why->code;
}

static enum s3_code delete_all(struct front *f, const struct deletion *d, struct http_response *out, struct err *e)
{
	_cleanup_free_ struct str *keys = xcalloc(d->n, sizeof(*keys));
	_cleanup_free_ struct refusal *refused = xcalloc(d->n, sizeof(*refused));
	size_t n = 0, refused_n = 0;
	enum s3_code code;

	for (size_t i = 0; i < d->n; i++) {
		struct str key = deletion_key(d, i);

		if (check_key(f, key, &refused[refused_n]) == S3_OK)
			keys[n++] = key;
		else
			refused_n++;
	}
	code = blob_object_drop(f->b, buf_view(&f->bucket), keys, n, e);
	if (code == S3_OK)
		write_deletion(out, keys, n, refused, refused_n, d->quiet);
	for (size_t i = 0; i < refused_n; i++)
		free(refused[i].text);
	return code;
}

enum s3_code s3_delete_objects(struct front *f, struct http_request *r, struct http_response *out, struct err *e)
{
	struct deletion *d = xcalloc(1, sizeof(*d));
	enum s3_code code;

	(void)r;
	if (deletion_read(buf_view(&f->text), d, e) < 0) {
		e->depth = 0;
		code = S3_MalformedXML;
	} else if (d->versioned) {
		code = s3_say(e, S3_NotImplemented, "Objects have no versions here: 'VersionId'.");
	} else {
		code = delete_all(f, d, out, e);
	}
	deletion_fini(d);
	free(d);
	return code;
}
