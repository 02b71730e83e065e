/* list.c - ListObjectsV2, page by page, and HeadObject.  SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "aws/xml.h"
#include "s3/call.h"

enum { PAGE_BYTES_MAX = 16 << 20 };

/* One page, read. Keys and ETags lie in `bytes`; an object knows where. */
struct page_object {
	size_t key_at, key_n, etag_at, etag_n;
	uint64_t size;
	struct wall modified;
};
struct page {
	struct page_object *v;
	size_t n;
	struct page_object now;
	struct buf bytes, token;
	bool encoded, truncated;
};

static void page_fini(struct page *p)
{
	free(p->v);
	buf_fini(&p->bytes);
	buf_fini(&p->token);
}

static int end_contents(struct page *p)
{
	if (!(p->n & (p->n - 1)))
		p->v = xrealloc(p->v, (p->n ? p->n * 2 : 1) * sizeof(*p->v));
	p->v[p->n++] = p->now;
	p->now = (struct page_object){ 0 };
	return 0;
}

static int page_element(struct str path, struct str text, void *arg, struct err *e)
{
	struct page *p = arg;

	if (!str_skip(&path, STR("ListBucketResult")))
		return err_set(e, ERR_IO, "the answer is no list of objects");
	if (str_eq(path, STR("/Contents")))
		return end_contents(p);
	if (str_eq(path, STR("/Contents/Key"))) {
		p->now.key_at = p->bytes.n;
		p->now.key_n = text.n;
		buf_str(&p->bytes, text);
	} else if (str_eq(path, STR("/Contents/ETag"))) {
		text = s3_unquote(text);
		p->now.etag_at = p->bytes.n;
		p->now.etag_n = text.n;
		buf_str(&p->bytes, text);
	} else if (str_eq(path, STR("/Contents/Size"))) {
		if (!str_to_u64(str_trim(text), &p->now.size))
			return err_set(e, ERR_IO, "the size '" PRIstr "' of an object is no number", ARGstr(text));
	} else if (str_eq(path, STR("/Contents/LastModified"))) {
		if (!wall_from_iso8601(str_trim(text), &p->now.modified))
			p->now.modified = (struct wall){ 0 };
	} else if (str_eq(path, STR("/EncodingType"))) {
		p->encoded = str_eq(text, STR("url"));
	} else if (str_eq(path, STR("/IsTruncated"))) {
		p->truncated = str_eq(str_trim(text), STR("true"));
	} else if (str_eq(path, STR("/NextContinuationToken"))) {
		buf_reset(&p->token);
		buf_str(&p->token, text);
	}
	return 0;
}

static int give_page(const struct page *p, int (*fn)(const struct s3_object *o, void *arg, struct err *e), void *arg,
                     struct err *e)
{
	_cleanup_buf_ struct buf key = { 0 };

	for (size_t i = 0; i < p->n; i++) {
		const struct page_object *x = &p->v[i];
		struct s3_object o = { .key = { p->bytes.p + x->key_at, x->key_n },
			               .etag = { p->bytes.p + x->etag_at, x->etag_n },
			               .size = x->size,
			               .modified = x->modified };

		buf_reset(&key);
		if (p->encoded && !buf_uri_decode(&key, o.key, true))
			return err_set(e, ERR_IO, "the key '" PRIstr "' is not encoded as announced", ARGstr(o.key));
		if (p->encoded)
			o.key = buf_view(&key);
		if (fn(&o, arg, e) < 0)
			return -1;
	}
	return 0;
}

static int list_page(struct s3 *s, struct str bucket, struct str query, struct page *p, struct err *e)
{
	struct s3_call c = S3_CALL(.method = "GET", .bucket = bucket, .query = query, .max_reply = PAGE_BYTES_MAX);
	struct http_reply reply = { 0 };
	int rc;

	if (s3_call(s, &c, &reply, e) < 0)
		return -1;
	rc = xml_read(buf_view(&reply.body), page_element, p, e);
	http_reply_fini(&reply);
	return rc;
}

int s3_list(struct s3 *s, struct str bucket, struct str prefix,
            int (*fn)(const struct s3_object *o, void *arg, struct err *e), void *arg, struct err *e)
{
	_cleanup_buf_ struct buf token = { 0 };
	bool more = true;

	while (more) {
		_cleanup_buf_ struct buf query = { 0 };
		_cleanup_(page_fini) struct page p = { 0 };

		if (token.n) {
			buf_z(&query, "continuation-token=");
			buf_uri(&query, buf_view(&token), false);
			buf_c(&query, '&');
		}
		buf_z(&query, "encoding-type=url&list-type=2&prefix=");
		buf_uri(&query, prefix, false);
		if (list_page(s, bucket, buf_view(&query), &p, e) < 0)
			return err_in(e, "listing s3://" PRIstr "/" PRIstr, ARGstr(bucket), ARGstr(prefix));
		if (give_page(&p, fn, arg, e) < 0)
			return -1;
		more = p.truncated;
		if (more && (!p.token.n || str_eq(buf_view(&p.token), buf_view(&token))))
			return err_set(e, ERR_IO,
			               "the list of s3://" PRIstr "/" PRIstr
			               " is cut and does not say where it goes on",
			               ARGstr(bucket), ARGstr(prefix));
		buf_reset(&token);
		buf_str(&token, buf_view(&p.token));
	}
	return 0;
}

int s3_any(struct s3 *s, struct str bucket, struct str prefix, bool *ret, struct err *e)
{
	_cleanup_buf_ struct buf query = { 0 };
	_cleanup_(page_fini) struct page p = { 0 };

	buf_z(&query, "encoding-type=url&list-type=2&max-keys=1&prefix=");
	buf_uri(&query, prefix, false);
	if (list_page(s, bucket, buf_view(&query), &p, e) < 0)
		return err_in(e, "listing s3://" PRIstr "/" PRIstr, ARGstr(bucket), ARGstr(prefix));
	*ret = p.n > 0;
	return 0;
}

int s3_head(struct s3 *s, struct s3_uri at, struct buf *scratch, struct s3_object *ret, struct err *e)
{
	struct s3_call c = S3_CALL(.method = "HEAD", .bucket = at.bucket, .key = at.key);
	struct http_reply reply = { 0 };
	struct s3_object o = { .key = at.key };
	struct str text;
	int rc = 0;

	if (s3_call(s, &c, &reply, e) < 0)
		return -1;
	if (!http_reply_header(&reply, "Content-Length", &text) || !str_to_u64(text, &o.size))
		rc = err_set(e, ERR_IO, "the answer about s3://" PRIstr "/" PRIstr " does not say how large it is",
		             ARGstr(at.bucket), ARGstr(at.key));
	if (rc == 0 && http_reply_header(&reply, "ETag", &text))
		buf_str(scratch, s3_unquote(text));
	if (rc == 0 && http_reply_header(&reply, "Last-Modified", &text) && !wall_from_http(text, &o.modified))
		o.modified = (struct wall){ 0 };
	http_reply_fini(&reply);
	o.etag = buf_view(scratch);
	if (rc == 0)
		*ret = o;
	return rc;
}
