/* front_upload.c - multipart uploads; completing one is front_complete.c.  SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <unistd.h>

#include "blob/request.h"

enum { PIECE_BYTES = 1 << 20 };

/* "CRC32 COMPOSITE": which checksum the parts carry, and what the object's will be. Empty when the client named none.
 */
static enum s3_code read_algorithm(const struct http_request *r, struct buf *out, struct err *e)
{
	struct str name = http_header_get(r, "x-amz-checksum-algorithm"),
	           type = http_header_get(r, "x-amz-checksum-type");
	enum checksum_kind kind = checksum_by_name(name);
	bool full;

	if (!name.n)
		return type.n ? s3_say(e, S3_InvalidRequest,
		                       "The x-amz-checksum-type header can only be used with the "
		                       "x-amz-checksum-algorithm "
		                       "header.")
		              : S3_OK;
	if (kind == CHECKSUM_NONE)
		return s3_say(e, S3_InvalidRequest, "Checksum algorithm provided is unsupported: " PRIstr ".",
		              ARGstr(name));
	full = type.n ? str_eq_nocase(type, STR("FULL_OBJECT")) : kind == CHECKSUM_CRC64NVME;
	if (type.n && !full && !str_eq_nocase(type, STR("COMPOSITE")))
		return s3_say(e, S3_InvalidRequest, "Value for x-amz-checksum-type header is invalid.");
	if (full ? !checksum_info[kind].joins : kind == CHECKSUM_CRC64NVME)
		return s3_say(e, S3_InvalidRequest,
		              "The %s checksum type cannot be used with the %s checksum algorithm.",
		              full ? "FULL_OBJECT" : "COMPOSITE", checksum_info[kind].name);
	buf_f(out, "%s %s", checksum_info[kind].name, full ? "FULL_OBJECT" : "COMPOSITE");
	return S3_OK;
}

enum s3_code s3_create_upload(struct front *f, struct http_request *r, struct http_response *out, struct err *e)
{
	_cleanup_buf_ struct buf algorithm = { 0 }, meta = { 0 };
	char id[BLOB_ID_BYTES];
	struct str kind, type;
	enum s3_code code = read_algorithm(r, &algorithm, e);

	if (code == S3_OK)
		code = front_meta(r, &meta, e);
	if (code == S3_OK)
		code = blob_upload_begin(f->b, buf_view(&f->bucket), buf_view(&f->key), buf_view(&algorithm),
		                         buf_view(&meta), id, e);
	if (code != S3_OK)
		return code;
	type = buf_view(&algorithm);
	kind = str_cut(&type, ' ');
	if (kind.n) {
		http_add_header(out, "x-amz-checksum-algorithm", PRIstr, ARGstr(kind));
		http_add_header(out, "x-amz-checksum-type", PRIstr, ARGstr(type));
	}
	reply_xml_begin(out, "InitiateMultipartUploadResult");
	reply_xml_text(out, "Bucket", buf_view(&f->bucket));
	reply_xml_text(out, "Key", buf_view(&f->key));
	reply_xml_text(out, "UploadId", str_of(id));
	reply_xml_end(out, "InitiateMultipartUploadResult");
	return S3_OK;
}

/* ---- parts ---- */

static enum s3_code part_number(const struct front *f, unsigned *ret, struct err *e)
{
	uint64_t n = 0;

	if (!str_to_u64(front_arg(f, "partNumber"), &n) || n < 1 || n > BLOB_PARTS_MAX)
		return s3_say(e, S3_InvalidArgument, "Part number must be an integer between 1 and 10000, inclusive");
	*ret = (unsigned)n;
	return S3_OK;
}

/* Opens the part's place; its checksum is computed whether or not the client sends it. */
static enum s3_code open_part(struct front *f, uint64_t length, struct err *e)
{
	struct str algorithm;
	unsigned number = 0;
	enum checksum_kind kind;
	enum s3_code code = part_number(f, &number, e);

	if (code == S3_OK)
		code = blob_part_begin(f->b, buf_view(&f->bucket), buf_view(&f->key), front_arg(f, "uploadId"), number,
		                       length, &f->part, e);
	if (code != S3_OK)
		return code;
	algorithm = buf_view(&f->part.upload.algorithm);
	kind = checksum_by_name(str_cut(&algorithm, ' '));
	if (kind != CHECKSUM_NONE)
		body_want(f->body, kind);
	return S3_OK;
}

static enum s3_code store_piece(struct str piece, void *arg, struct err *e)
{
	struct front *f = arg;

	return blob_in_write(&f->part.in, piece, e) < 0 ? S3_InternalError : S3_OK;
}

enum s3_code s3_upload_part_begin(struct front *f, struct http_request *r, struct err *e)
{
	uint64_t length = body_length(f->body);
	enum s3_code code;

	(void)r;
	_Static_assert(BODY_UNKNOWN == BLOB_PART_UNKNOWN, "one way of not knowing");
	code = open_part(f, length, e);
	if (code == S3_OK)
		body_sink(f->body, store_piece, f);
	return code;
}

enum s3_code s3_upload_part(struct front *f, struct http_request *r, struct http_response *out, struct err *e)
{
	struct wall modified;
	enum s3_code code = blob_part_commit(&f->part, body_md5(f->body), body_checksums(f->body), &modified, e);

	(void)r;
	if (code != S3_OK)
		return code;
	reply_etag(out, body_md5(f->body));
	reply_checksums(out, body_checksums(f->body));
	return S3_OK;
}

/* Hashes and writes length bytes of fd from offset on as the part. */
static enum s3_code copy_bytes(struct front *f, struct body *hashes, int fd, uint64_t offset, uint64_t length,
                               struct err *e)
{
	_cleanup_free_ char *piece = xcalloc(1, PIECE_BYTES);

	while (length) {
		ssize_t n = pread(fd, piece, length < PIECE_BYTES ? (size_t)length : PIECE_BYTES, (off_t)offset);
		struct str got = { piece, n < 0 ? 0 : (size_t)n };

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			err_sys(e, "reading the object to copy");
			return S3_InternalError;
		}
		body_hash(hashes, got);
		if (blob_in_write(&f->part.in, got, e) < 0)
			return S3_InternalError;
		offset += got.n;
		length -= got.n;
	}
	return S3_OK;
}

struct copied_part {
	struct blob_object from;
	int fd;
	uint64_t offset, length;
};

static enum s3_code open_source(struct front *f, const struct http_request *r, struct copied_part *c, struct err *e)
{
	_cleanup_buf_ struct buf bucket = { 0 }, key = { 0 };
	struct str range = http_header_get(r, "x-amz-copy-source-range");
	enum s3_code code = front_copy_source(r, &bucket, &key, e);

	if (code == S3_OK)
		code = blob_object_open(f->b, buf_view(&bucket), buf_view(&key), &c->from, &c->fd, e);
	if (code == S3_OK)
		code = front_read_cond(r, "x-amz-copy-source-", &c->from);
	if (code != S3_OK)
		return code;
	c->length = c->from.size;
	if (range.n && front_range(range, c->from.size, &c->offset, &c->length) <= 0)
		return s3_say(e, S3_InvalidArgument,
		              "The x-amz-copy-source-range value must be of the form bytes=first-last where first and "
		              "last are "
		              "the zero-based offsets of the first and last bytes to copy, within the source");
	return c->length > BLOB_PART_MAX ? S3_EntityTooLarge : S3_OK;
}

static enum s3_code copy_part(struct front *f, const struct http_request *r, struct copied_part *c,
                              struct http_response *out, struct err *e)
{
	struct wall modified;
	/* The hashes of a request without a body. */
	struct http_request none = { .has_body_length = false };
	struct s3_auth unsigned_body = { .payload_hash = STR("UNSIGNED-PAYLOAD") };
	enum s3_code code = open_source(f, r, c, e);

	body_free(take_ptr(f->body));
	if (code == S3_OK)
		code = body_new(&none, &unsigned_body, BLOB_PART_MAX, &f->body, e);
	if (code == S3_OK)
		code = open_part(f, c->length, e);
	if (code == S3_OK)
		code = copy_bytes(f, f->body, c->fd, c->offset, c->length, e);
	if (code == S3_OK)
		code = body_end(f->body, e);
	if (code == S3_OK)
		code = blob_part_commit(&f->part, body_md5(f->body), body_checksums(f->body), &modified, e);
	if (code != S3_OK)
		return code;
	reply_xml_begin(out, "CopyPartResult");
	reply_xml_time(out, "LastModified", modified);
	reply_xml_etag(out, body_md5(f->body));
	reply_xml_checksums(out, body_checksums(f->body));
	reply_xml_end(out, "CopyPartResult");
	return S3_OK;
}

enum s3_code s3_upload_part_copy(struct front *f, struct http_request *r, struct http_response *out, struct err *e)
{
	struct copied_part c = { .fd = -EBADF };
	enum s3_code code = copy_part(f, r, &c, out, e);

	blob_object_fini(&c.from);
	if (c.fd >= 0)
		close(c.fd);
	return code;
}

enum s3_code s3_abort_upload(struct front *f, struct http_request *r, struct http_response *out, struct err *e)
{
	struct blob_upload u = { 0 };
	enum s3_code code = blob_upload_get(f->b, buf_view(&f->bucket), buf_view(&f->key), front_arg(f, "uploadId"), &u,
	                                    e);

	(void)r;
	if (code == S3_OK)
		code = blob_upload_abort(f->b, &u, e);
	blob_upload_fini(&u);
	out->status = 204;
	return code;
}

/* ---- lists ---- */

static void write_parts(struct front *f, struct http_response *out, const struct blob_upload *u,
                        const struct blob_parts *parts, uint64_t after, uint64_t max)
{
	size_t n = parts->n < max ? parts->n : (size_t)max;
	struct str type = buf_view(&u->algorithm), kind = str_cut(&type, ' ');

	reply_xml_begin(out, "ListPartsResult");
	reply_xml_text(out, "Bucket", buf_view(&f->bucket));
	reply_xml_text(out, "Key", buf_view(&f->key));
	reply_xml_text(out, "UploadId", str_of(u->id));
	reply_xml_owner(f, out, "Initiator");
	reply_xml_owner(f, out, "Owner");
	reply_xml_text(out, "StorageClass", STR("STANDARD"));
	if (kind.n) {
		reply_xml_text(out, "ChecksumAlgorithm", kind);
		reply_xml_text(out, "ChecksumType", type);
	}
	reply_xml_number(out, "PartNumberMarker", after);
	reply_xml_number(out, "NextPartNumberMarker", n ? parts->v[n - 1].number : 0);
	reply_xml_number(out, "MaxParts", max);
	reply_xml_text(out, "IsTruncated", n < parts->n ? STR("true") : STR("false"));
	for (size_t i = 0; i < n; i++) {
		const struct blob_part *p = &parts->v[i];

		buf_z(&out->body, "<Part>");
		reply_xml_number(out, "PartNumber", p->number);
		reply_xml_time(out, "LastModified", p->modified);
		reply_xml_etag(out, str_of(p->etag));
		reply_xml_number(out, "Size", p->size);
		reply_xml_checksums(out, str_of(p->checksum));
		buf_z(&out->body, "</Part>");
	}
	reply_xml_end(out, "ListPartsResult");
}

enum s3_code s3_list_parts(struct front *f, struct http_request *r, struct http_response *out, struct err *e)
{
	struct blob_upload u = { 0 };
	_cleanup_(blob_parts_fini) struct blob_parts parts = { 0 };
	uint64_t after = 0, max = S3_LIST_MAX;
	enum s3_code code = front_number(f, "part-number-marker", 0, BLOB_PARTS_MAX, &after, e);

	(void)r;
	if (code == S3_OK)
		code = front_number(f, "max-parts", S3_LIST_MAX, S3_LIST_MAX, &max, e);
	if (code == S3_OK)
		code = blob_upload_get(f->b, buf_view(&f->bucket), buf_view(&f->key), front_arg(f, "uploadId"), &u, e);
	if (code == S3_OK)
		code = blob_parts_load(f->b, u.id, (unsigned)after, &parts, e);
	if (code == S3_OK)
		write_parts(f, out, &u, &parts, after, max);
	blob_upload_fini(&u);
	return code;
}

struct upload_lister {
	struct front *f;
	struct http_response *out;
	struct str prefix, delimiter;
	struct buf list, prefixes, last_prefix, last_key, last_id;
	uint64_t left;
	bool more, encode;
};

static bool list_upload_prefix(struct upload_lister *l, struct str common)
{
	struct buf keep = l->out->body;

	if (str_eq(buf_view(&l->last_prefix), common))
		return true;
	if (!l->left--) {
		l->more = true;
		return false;
	}
	buf_reset(&l->last_prefix);
	buf_str(&l->last_prefix, common);
	l->out->body = l->prefixes;
	buf_z(&l->out->body, "<CommonPrefixes>");
	reply_xml_key(l->out, "Prefix", common, l->encode);
	buf_z(&l->out->body, "</CommonPrefixes>");
	l->prefixes = l->out->body;
	l->out->body = keep;
	return true;
}

static void write_upload(struct upload_lister *l, struct str key, struct str id, struct wall created,
                         struct str algorithm)
{
	struct buf keep = l->out->body;
	struct str type = algorithm, kind = str_cut(&type, ' ');

	l->out->body = l->list;
	buf_z(&l->out->body, "<Upload>");
	reply_xml_key(l->out, "Key", key, l->encode);
	reply_xml_text(l->out, "UploadId", id);
	reply_xml_owner(l->f, l->out, "Initiator");
	reply_xml_owner(l->f, l->out, "Owner");
	reply_xml_text(l->out, "StorageClass", STR("STANDARD"));
	reply_xml_time(l->out, "Initiated", created);
	if (kind.n) {
		reply_xml_text(l->out, "ChecksumAlgorithm", kind);
		reply_xml_text(l->out, "ChecksumType", type);
	}
	buf_z(&l->out->body, "</Upload>");
	l->list = l->out->body;
	l->out->body = keep;
}

static bool list_upload(struct str key, struct str id, struct wall created, struct str algorithm, void *arg)
{
	struct upload_lister *l = arg;
	struct str rest = key;
	ptrdiff_t at;

	if (!str_skip(&rest, l->prefix))
		return str_cmp(key, l->prefix) < 0; /* not there yet; or past it, and done */
	at = l->delimiter.n ? str_find(rest, l->delimiter) : -1;
	if (at >= 0) {
		if (!list_upload_prefix(l, (struct str){ key.p, l->prefix.n + (size_t)at + l->delimiter.n }))
			return false;
	} else if (!l->left--) {
		l->more = true;
		return false;
	} else {
		write_upload(l, key, id, created, algorithm);
	}
	buf_reset(&l->last_key);
	buf_str(&l->last_key, key);
	buf_reset(&l->last_id);
	buf_str(&l->last_id, id);
	return true;
}

static void write_uploads(struct upload_lister *l, struct str key_marker, struct str id_marker, uint64_t max)
{
	struct http_response *out = l->out;

	reply_xml_begin(out, "ListMultipartUploadsResult");
	reply_xml_text(out, "Bucket", buf_view(&l->f->bucket));
	reply_xml_key(out, "KeyMarker", key_marker, l->encode);
	reply_xml_text(out, "UploadIdMarker", id_marker);
	if (l->more) {
		reply_xml_key(out, "NextKeyMarker", buf_view(&l->last_key), l->encode);
		reply_xml_text(out, "NextUploadIdMarker", buf_view(&l->last_id));
	}
	reply_xml_key(out, "Prefix", l->prefix, l->encode);
	if (l->delimiter.n)
		reply_xml_key(out, "Delimiter", l->delimiter, l->encode);
	if (l->encode)
		reply_xml_text(out, "EncodingType", STR("url"));
	reply_xml_number(out, "MaxUploads", max);
	reply_xml_text(out, "IsTruncated", l->more ? STR("true") : STR("false"));
	buf_str(&out->body, buf_view(&l->list));
	buf_str(&out->body, buf_view(&l->prefixes));
	reply_xml_end(out, "ListMultipartUploadsResult");
}

enum s3_code s3_list_uploads(struct front *f, struct http_request *r, struct http_response *out, struct err *e)
{
	struct upload_lister l = { .f = f,
		                   .out = out,
		                   .prefix = front_arg(f, "prefix"),
		                   .delimiter = front_arg(f, "delimiter"),
		                   .encode = str_eq(front_arg(f, "encoding-type"), STR("url")) };
	struct str key_marker = front_arg(f, "key-marker"), id_marker = front_arg(f, "upload-id-marker");
	uint64_t max = S3_LIST_MAX;
	enum s3_code code = front_number(f, "max-uploads", S3_LIST_MAX, S3_LIST_MAX, &max, e);

	(void)r;
	l.left = max;
	/* A key marker alone means: after all uploads of that key. No id is as great as "~". */
	if (code == S3_OK)
		code = blob_upload_each(f->b, buf_view(&f->bucket), key_marker,
		                        key_marker.n && !id_marker.n ? STR("~") : id_marker, list_upload, &l, e);
	if (code == S3_OK)
		write_uploads(&l, key_marker, id_marker, max);
	buf_fini(&l.list);
	buf_fini(&l.prefixes);
	buf_fini(&l.last_prefix);
	buf_fini(&l.last_key);
	buf_fini(&l.last_id);
	return code;
}
