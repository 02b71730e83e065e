/* request.c - what an S3 request asks for, read from its line and headers.  SPDX-License-Identifier: Apache-2.0 */
#include "blob/request.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- query ---- */

static enum s3_code read_query(struct front *f, struct str query, struct err *e)
{
	struct str rest = query;
	size_t count = 1;

	for (size_t i = 0; i < query.n; i++)
		count += query.p[i] == '&';
	f->args = xcalloc(count, sizeof(*f->args));
	/* Decoding never makes a string longer, so that the views stay where they are. */
	buf_need(&f->arg_text, query.n);
	while (rest.n) {
		struct str value = str_cut(&rest, '&'), name;
		struct front_arg *a = &f->args[f->arg_count];
		size_t at = f->arg_text.n;

		if (!value.n)
			continue;
		a->has_value = str_has_byte(value, '=');
		name = str_cut(&value, '=');
		if (!buf_uri_decode(&f->arg_text, name, true))
			return S3_InvalidURI;
		a->name = (struct str){ f->arg_text.p + at, f->arg_text.n - at };
		at = f->arg_text.n;
		if (!buf_uri_decode(&f->arg_text, value, true))
			return S3_InvalidURI;
		a->value = (struct str){ f->arg_text.p + at, f->arg_text.n - at };
		if (!utf8_valid(a->value))
			return s3_say(e, S3_InvalidArgument, "The query parameter '" PRIstr "' is not UTF-8.",
			              ARGstr(name));
		f->arg_count++;
	}
	return S3_OK;
}

struct str front_arg(const struct front *f, const char *name)
{
	for (size_t i = 0; i < f->arg_count; i++)
		if (str_is(f->args[i].name, name))
			return f->args[i].value;
	return (struct str){ 0 };
}

bool front_has(const struct front *f, const char *name)
{
	for (size_t i = 0; i < f->arg_count; i++)
		if (str_is(f->args[i].name, name))
			return true;
	return false;
}

enum s3_code front_number(const struct front *f, const char *name, uint64_t otherwise, uint64_t max, uint64_t *ret,
                          struct err *e)
{
	struct str text = front_arg(f, name);
	uint64_t v = otherwise;

	if (text.n && (!str_to_u64(text, &v) || v > INT32_MAX))
		return s3_say(e, S3_InvalidArgument, "Provided %s not an integer or within integer range", name);
	*ret = v < max ? v : max;
	return S3_OK;
}

/* ---- bucket and key ---- */

/* The bucket in a host name: "bkt.localhost", "bkt.s3.<anything>"; empty when it has none. */
static struct str bucket_of_host(struct str host)
{
	ptrdiff_t at;

	host = str_cut(&host, ':');
	if (str_ends(host, STR(".localhost"))) {
		host.n -= strlen(".localhost");
		if (str_ends(host, STR(".s3")))
			host.n -= strlen(".s3");
		return str_eq(host, STR("s3")) ? (struct str){ 0 } : host;
	}
	at = str_find(host, STR(".s3."));
	if (at > 0 && str_ends(host, STR(".amazonaws.com")))
		return (struct str){ host.p, (size_t)at };
	return (struct str){ 0 };
}

static enum s3_code read_names(struct front *f, const struct http_request *r)
{
	struct str path = r->path, host = http_header_get(r, "Host"), bucket = bucket_of_host(host);

	buf_str(&f->host, host);
	str_skip(&path, STR("/"));
	f->virtual_host = bucket.n > 0;
	if (!f->virtual_host)
		bucket = str_cut(&path, '/');
	if (!buf_uri_decode(&f->bucket, bucket, false) || !buf_uri_decode(&f->key, path, false))
		return S3_InvalidURI;
	if (!f->bucket.n)
		return f->key.n ? S3_InvalidBucketName : S3_OK;
	if (!utf8_valid(buf_view(&f->bucket)) || !utf8_valid(buf_view(&f->key)))
		return S3_InvalidURI;
	if (!bucket_name_ok(buf_view(&f->bucket)))
		return S3_InvalidBucketName;
	return f->key.n > BLOB_KEY_MAX ? S3_KeyTooLongError : S3_OK;
}

enum s3_code front_parse(struct front *f, const struct http_request *r, struct err *e)
{
	enum s3_code code = read_query(f, r->query, e);
	struct str owner = http_header_get(r, "x-amz-expected-bucket-owner");

	f->head = str_eq(r->method, STR("HEAD"));
	if (code == S3_OK)
		code = read_names(f, r);
	if (code == S3_OK && owner.p && !str_eq(owner, buf_view(&f->account)))
		code = S3_AccessDenied;
	return code;
}

enum s3_code front_copy_source(const struct http_request *r, struct buf *bucket, struct buf *key, struct err *e)
{
	struct str from = http_header_get(r, "x-amz-copy-source"), path = str_cut(&from, '?'), version = from;

	str_skip(&path, STR("/"));
	if (!buf_uri_decode(bucket, str_cut(&path, '/'), false) || !buf_uri_decode(key, path, false) || !bucket->n ||
	    !key->n || !utf8_valid(buf_view(key)))
		return s3_say(e, S3_InvalidArgument,
		              "Copy Source must mention the source bucket and key: sourcebucket/sourcekey");
	if (str_skip(&version, STR("versionId=")) && !str_eq(version, STR("null")))
		return s3_say(e, S3_NotImplemented, "Objects have no versions here: 'versionId' of the copy source.");
	return S3_OK;
}

/* ---- headers ---- */

/* What a header may ask for. `only`: the values that change nothing here, separated by blanks; NULL: none does. */
static const struct {
	const char *prefix, *only;
	enum s3_code code;
} refused[] = {
	{ "x-amz-acl", "private bucket-owner-full-control bucket-owner-read", S3_AccessControlListNotSupported },
	{ "x-amz-grant-", NULL, S3_AccessControlListNotSupported },
	{ "x-amz-server-side-encryption-customer-", NULL, S3_NotImplemented },
	{ "x-amz-copy-source-server-side-encryption-customer-", NULL, S3_NotImplemented },
	{ "x-amz-tagging", NULL, S3_NotImplemented },
	{ "x-amz-object-lock-", NULL, S3_NotImplemented },
	{ "x-amz-bucket-object-lock-enabled", "false False", S3_NotImplemented },
	{ "x-amz-website-redirect-location", NULL, S3_NotImplemented },
	{ "x-amz-write-offset-bytes", NULL, S3_NotImplemented },
	{ "x-amz-storage-class", "STANDARD", S3_NotImplemented },
};

static bool among(struct str value, const char *words)
{
	struct str rest = str_of(words);

	while (rest.n)
		if (str_eq(str_cut(&rest, ' '), value))
			return true;
	return false;
}

static bool starts_nocase(struct str s, const char *prefix)
{
	size_t n = strlen(prefix);

	return s.n >= n && str_eq_nocase((struct str){ s.p, n }, str_of(prefix));
}

enum s3_code front_check_headers(const struct http_request *r, struct err *e)
{
	for (size_t i = 0; i < r->header_count; i++) {
		const struct http_header *h = &r->headers[i];

		/* "x-amz-tagging-directive: COPY" asks for nothing; and the tags are none anyway. */
		if (str_eq_nocase(h->name, STR("x-amz-tagging-directive")) || !h->value.n)
			continue;
		for (size_t k = 0; k < ARRAY_LEN(refused); k++) {
			if (!starts_nocase(h->name, refused[k].prefix) || among(h->value, refused[k].only))
				continue;
			if (refused[k].code == S3_AccessControlListNotSupported)
				return refused[k].code;
			return s3_say(e, refused[k].code,
			              "The header '" PRIstr ": " PRIstr "' is not supported by this server.",
			              ARGstr(h->name), ARGstr(h->value));
		}
	}
	return S3_OK;
}

static const char *const kept_headers[] = { "Content-Type", "Cache-Control", "Content-Disposition", "Content-Language",
	                                    "Expires" };

/* Content-Encoding without "aws-chunked", which is of the transfer. */
static void keep_encoding(struct str value, struct buf *out)
{
	_cleanup_buf_ struct buf rest = { 0 };

	while (value.n) {
		struct str one = str_trim(str_cut(&value, ','));

		if (!one.n || str_eq_nocase(one, STR("aws-chunked")))
			continue;
		if (rest.n)
			buf_c(&rest, ',');
		buf_str(&rest, one);
	}
	if (rest.n)
		buf_f(out, "Content-Encoding: %s\n", rest.p);
}

enum s3_code front_meta(const struct http_request *r, struct buf *out, struct err *e)
{
	size_t user = 0;

	for (size_t i = 0; i < ARRAY_LEN(kept_headers); i++) {
		struct str value = http_header_get(r, kept_headers[i]);

		if (value.n)
			buf_f(out, "%s: " PRIstr "\n", kept_headers[i], ARGstr(value));
	}
	keep_encoding(http_header_get(r, "Content-Encoding"), out);
	for (size_t i = 0; i < r->header_count; i++) {
		const struct http_header *h = &r->headers[i];

		if (!starts_nocase(h->name, "x-amz-meta-"))
			continue;
		user += h->name.n - strlen("x-amz-meta-") + h->value.n;
		for (size_t k = 0; k < h->name.n; k++)
			buf_c(out,
			      h->name.p[k] >= 'A' && h->name.p[k] <= 'Z' ? (char)(h->name.p[k] + 32) : h->name.p[k]);
		buf_f(out, ": " PRIstr "\n", ARGstr(h->value));
	}
	if (user > S3_META_MAX)
		return s3_say(e, S3_MetadataTooLarge, "Your metadata headers hold %zu bytes; at most %d are allowed.",
		              user, S3_META_MAX);
	return S3_OK;
}

struct str meta_get(struct str meta, const char *name)
{
	while (meta.n) {
		struct str value = str_cut(&meta, '\n'), key = str_cut(&value, ':');

		if (str_eq_nocase(key, str_of(name)))
			return str_trim(value);
	}
	return (struct str){ 0 };
}

struct blob_cond front_cond(const struct http_request *r)
{
	return (struct blob_cond){ .if_match = http_header_get(r, "If-Match"),
		                   .if_none_match = http_header_get(r, "If-None-Match") };
}

/* ---- reading conditions ---- */

static bool etag_among(struct str list, struct str etag)
{
	while (list.n) {
		struct str one = str_trim(str_cut(&list, ','));

		str_skip(&one, STR("W/"));
		if (str_eq(one, STR("*")))
			return true;
		if (one.n >= 2 && one.p[0] == '"' && one.p[one.n - 1] == '"')
			one = (struct str){ one.p + 1, one.n - 2 };
		if (str_eq(one, etag))
			return true;
	}
	return false;
}

static struct str cond_header(const struct http_request *r, const char *prefix, const char *name)
{
	char z[64];

	snprintf(z, sizeof(z), "%s%s", prefix, name);
	return http_header_get(r, z);
}

/* Whether the object changed after the time in the header; a header that is no time does not count. */
static bool later_than(struct wall modified, struct str header, bool otherwise)
{
	struct wall t;

	if (!header.p || !wall_from_http(header, &t))
		return otherwise;
	return modified.ms / 1000 > t.ms / 1000;
}

enum s3_code front_read_cond(const struct http_request *r, const char *prefix, const struct blob_object *o)
{
	struct str match = cond_header(r, prefix, "if-match"), none = cond_header(r, prefix, "if-none-match"),
	           since = cond_header(r, prefix, "if-modified-since"),
	           unless = cond_header(r, prefix, "if-unmodified-since"), etag = buf_view(&o->etag);

	if (match.p ? !etag_among(match, etag) : later_than(o->modified, unless, false))
		return S3_PreconditionFailed;
	if (none.p ? etag_among(none, etag) : !later_than(o->modified, since, true))
		return *prefix ? S3_PreconditionFailed : S3_NotModified;
	return S3_OK;
}

int front_range(struct str header, uint64_t size, uint64_t *ret_from, uint64_t *ret_length)
{
	struct str to = header, from;
	uint64_t first = 0, last = 0;

	if (!str_skip(&to, STR("bytes=")) || str_has_byte(to, ',') || !str_has_byte(to, '-'))
		return 0;
	from = str_trim(str_cut(&to, '-'));
	to = str_trim(to);
	if (!from.n) { /* the last bytes */
		if (!str_to_u64(to, &last))
			return 0;
		if (!last || !size)
			return -1;
		first = last < size ? size - last : 0;
		last = size - 1;
	} else {
		if (!str_to_u64(from, &first) || (to.n && !str_to_u64(to, &last)) || (to.n && last < first))
			return 0;
		if (first >= size)
			return -1;
		if (!to.n || last >= size)
			last = size - 1;
	}
	*ret_from = first;
	*ret_length = last - first + 1;
	return 1;
}
