/* front_list.c - ListObjects, both versions.  SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"
#include "blob/request.h"

struct lister {
	struct front *f;
	struct http_response *out;
	bool encode, owner;
	uint64_t count;
	struct buf contents, prefixes; /* S3 writes the common prefixes after all keys */
};

/* The reply functions write to out->body; lists are put together in their own buffers. */
static void swap_body(struct lister *l, struct buf *b)
{
	struct buf keep = l->out->body;

	l->out->body = *b;
	*b = keep;
}

static void add_key(const struct blob_entry *entry, void *arg)
{
	struct lister *l = arg;

	swap_body(l, &l->contents);
	buf_z(&l->out->body, "<Contents>");
	reply_xml_key(l->out, "Key", entry->key, l->encode);
	reply_xml_time(l->out, "LastModified", entry->modified);
	reply_xml_etag(l->out, entry->etag);
	reply_xml_number(l->out, "Size", entry->size);
	if (l->owner)
		reply_xml_owner(l->f, l->out, "Owner");
	buf_z(&l->out->body, "<StorageClass>STANDARD</StorageClass></Contents>");
	swap_body(l, &l->contents);
	l->count++;
}

static void add_prefix(struct str prefix, void *arg)
{
	struct lister *l = arg;

	swap_body(l, &l->prefixes);
	buf_z(&l->out->body, "<CommonPrefixes>");
	reply_xml_key(l->out, "Prefix", prefix, l->encode);
	buf_z(&l->out->body, "</CommonPrefixes>");
	swap_body(l, &l->prefixes);
	l->count++;
}

static enum s3_code read_common(struct lister *l, struct blob_list *q, struct err *e)
{
	struct str encoding = front_arg(l->f, "encoding-type");
	enum s3_code code;
	uint64_t max = S3_LIST_MAX;

	if (encoding.n && !str_eq(encoding, STR("url")))
		return s3_say(e, S3_InvalidArgument, "Invalid Encoding Method specified in Request");
	l->encode = encoding.n > 0;
	q->bucket = buf_view(&l->f->bucket);
	q->prefix = front_arg(l->f, "prefix");
	q->delimiter = front_arg(l->f, "delimiter");
	code = front_number(l->f, "max-keys", S3_LIST_MAX, S3_LIST_MAX, &max, e);
	q->max = (size_t)max;
	return code;
}

static enum s3_code run_list(struct lister *l, const struct blob_list *q, bool *ret_more, struct buf *last,
                             bool *ret_last_is_prefix, struct err *e)
{
	struct blob_list_sink sink = { add_key, add_prefix, l };

	return blob_list(l->f->b, q, &sink, ret_more, last, ret_last_is_prefix, e);
}

static void write_common(struct lister *l, const struct blob_list *q, bool more)
{
	reply_xml_begin(l->out, "ListBucketResult");
	reply_xml_text(l->out, "Name", q->bucket);
	reply_xml_key(l->out, "Prefix", q->prefix, l->encode);
	reply_xml_number(l->out, "MaxKeys", q->max);
	if (q->delimiter.n)
		reply_xml_key(l->out, "Delimiter", q->delimiter, l->encode);
	if (l->encode)
		reply_xml_text(l->out, "EncodingType", STR("url"));
	reply_xml_text(l->out, "IsTruncated", more ? STR("true") : STR("false"));
}

static void drop_lists(struct lister *l)
{
	buf_fini(&l->contents);
	buf_fini(&l->prefixes);
}

static void write_rest(struct lister *l)
{
	buf_str(&l->out->body, buf_view(&l->contents));
	buf_str(&l->out->body, buf_view(&l->prefixes));
	reply_xml_end(l->out, "ListBucketResult");
	drop_lists(l);
}

/* A marker that is a common prefix, as NextMarker may be, stands for all that it folds. */
static bool is_folded(const struct blob_list *q)
{
	struct str rest = q->after;

	return q->delimiter.n && str_skip(&rest, q->prefix) &&
	       str_find(rest, q->delimiter) == (ptrdiff_t)(rest.n - q->delimiter.n) && rest.n >= q->delimiter.n;
}

enum s3_code s3_list_v1(struct front *f, struct http_request *r, struct http_response *out, struct err *e)
{
	struct lister l = { .f = f, .out = out, .owner = true };
	struct blob_list q = { .after = front_arg(f, "marker") };
	_cleanup_buf_ struct buf last = { 0 };
	bool more = false, last_is_prefix = false;
	enum s3_code code = read_common(&l, &q, e);

	(void)r;
	q.after_prefix = is_folded(&q);
	if (code == S3_OK)
		code = run_list(&l, &q, &more, &last, &last_is_prefix, e);
	if (code != S3_OK) {
		drop_lists(&l);
		return code;
	}
	write_common(&l, &q, more);
	reply_xml_key(out, "Marker", q.after, l.encode);
	if (more && q.delimiter.n)
		reply_xml_key(out, "NextMarker", buf_view(&last), l.encode);
	write_rest(&l);
	return S3_OK;
}

/* A continuation token: base64 of 'k' or 'p', for a key or a common prefix, and that. */
static bool read_token(struct str token, struct buf *raw, struct blob_list *q)
{
	if (!buf_unbase64(raw, token) || !raw->n || (raw->p[0] != 'k' && raw->p[0] != 'p'))
		return false;
	q->after = (struct str){ raw->p + 1, raw->n - 1 };
	q->after_prefix = raw->p[0] == 'p';
	return true;
}

static void write_token(struct http_response *out, struct str last, bool is_prefix)
{
	_cleanup_buf_ struct buf raw = { 0 };

	buf_c(&raw, is_prefix ? 'p' : 'k');
	buf_str(&raw, last);
	buf_z(&out->body, "<NextContinuationToken>");
	buf_base64(&out->body, raw.p, raw.n);
	buf_z(&out->body, "</NextContinuationToken>");
}

enum s3_code s3_list_v2(struct front *f, struct http_request *r, struct http_response *out, struct err *e)
{
	struct lister l = { .f = f, .out = out, .owner = str_eq(front_arg(f, "fetch-owner"), STR("true")) };
	struct str token = front_arg(f, "continuation-token"), start_after = front_arg(f, "start-after");
	struct blob_list q = { .after = start_after };
	_cleanup_buf_ struct buf last = { 0 };
	_cleanup_buf_ struct buf raw = { 0 };
	bool more = false, last_is_prefix = false;
	enum s3_code code = read_common(&l, &q, e);

	(void)r;
	if (code == S3_OK && front_has(f, "continuation-token") && !read_token(token, &raw, &q))
		code = s3_say(e, S3_InvalidArgument, "The continuation token provided is incorrect");
	if (code == S3_OK)
		code = run_list(&l, &q, &more, &last, &last_is_prefix, e);
	if (code != S3_OK) {
		drop_lists(&l);
		return code;
	}
	write_common(&l, &q, more);
	reply_xml_number(out, "KeyCount", l.count);
	if (token.n)
		reply_xml_text(out, "ContinuationToken", token);
	if (more)
		write_token(out, buf_view(&last), last_is_prefix);
	if (start_after.n)
		reply_xml_key(out, "StartAfter", start_after, l.encode);
	write_rest(&l);
	return S3_OK;
}
