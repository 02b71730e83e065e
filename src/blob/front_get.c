/* front_get.c - GetObject and HeadObject.  SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <unistd.h>

#include "blob/request.h"

/* Answer headers that the query may set (only signed requests come here). */
static const struct {
	const char *arg, *header;
} overrides[] = {
	{ "response-content-type", "Content-Type" },
	{ "response-content-language", "Content-Language" },
	{ "response-expires", "Expires" },
	{ "response-cache-control", "Cache-Control" },
	{ "response-content-disposition", "Content-Disposition" },
	{ "response-content-encoding", "Content-Encoding" },
};

static struct str override_of(const struct front *f, struct str header)
{
	for (size_t i = 0; i < ARRAY_LEN(overrides); i++)
		if (str_is(header, overrides[i].header))
			return front_arg(f, overrides[i].arg);
	return (struct str){ 0 };
}

/* What the client said of the object, and what it now wants to hear instead. */
static void write_meta(const struct front *f, struct str meta, struct http_response *out)
{
	bool has_type = false;

	while (meta.n) {
		struct str value = str_cut(&meta, '\n'), name = str_cut(&value, ':');
		_cleanup_free_ char *z = str_dup(name);

		has_type |= str_eq(name, STR("Content-Type"));
		if (checksum_by_header(name) == CHECKSUM_NONE && !str_eq(name, STR("x-amz-checksum-type")) &&
		    !str_eq(name, STR("x-parts")) && !override_of(f, name).n)
			http_add_header(out, z, PRIstr, ARGstr(str_trim(value)));
	}
	for (size_t i = 0; i < ARRAY_LEN(overrides); i++) {
		struct str value = front_arg(f, overrides[i].arg);

		has_type |= value.n && str_is(STR("Content-Type"), overrides[i].header);
		if (value.n)
			http_add_header(out, overrides[i].header, PRIstr, ARGstr(value));
	}
	if (!has_type)
		http_add_header(out, "Content-Type", "binary/octet-stream");
}

/* "8388608*12,123": the sizes of the parts, runs folded. Finds the one of that number; *ret_count is how many. */
static bool find_part(struct str sizes, uint64_t number, uint64_t *ret_from, uint64_t *ret_length, uint64_t *ret_count)
{
	uint64_t at = 0, n = 0;
	bool found = false;

	while (sizes.n) {
		struct str times = str_cut(&sizes, ','), size = str_cut(&times, '*');
		uint64_t bytes = 0, count = 1;

		if (!str_to_u64(size, &bytes) || (times.n && !str_to_u64(times, &count)))
			return false;
		if (!found && number > n && number <= n + count) {
			*ret_from = at + (number - n - 1) * bytes;
			*ret_length = bytes;
			found = true;
		}
		n += count;
		at += count * bytes;
	}
	*ret_count = n;
	return found;
}

struct slice {
	uint64_t from, length, parts;
	bool partial;
};

static enum s3_code slice_of_part(const struct blob_object *o, struct str number, struct slice *s, struct err *e)
{
	struct str sizes = meta_get(buf_view(&o->meta), "x-parts");
	uint64_t n = 0;

	if (!str_to_u64(number, &n) || n < 1 || n > BLOB_PARTS_MAX)
		return s3_say(e, S3_InvalidArgument, "Part number must be an integer between 1 and 10000, inclusive");
	if (!sizes.n && n == 1)
		return S3_OK; /* put at once: the whole is its first part */
	if (!find_part(sizes, n, &s->from, &s->length, &s->parts))
		return s3_say(e, S3_InvalidRange, "The requested partnumber is not satisfiable");
	s->partial = s->length > 0; /* no range has no bytes */
	return S3_OK;
}

static enum s3_code slice_of(const struct front *f, const struct http_request *r, const struct blob_object *o,
                             struct slice *ret, struct err *e)
{
	struct str range = http_header_get(r, "Range"), if_range = http_header_get(r, "If-Range"),
	           part = front_arg(f, "partNumber");
	struct slice s = { .length = o->size };
	struct wall t;
	int fits;
	enum s3_code code = S3_OK;

	if (range.p && part.n)
		return s3_say(e, S3_InvalidRequest, "Cannot specify both Range header and partNumber query parameter");
	if (part.n)
		code = slice_of_part(o, part, &s, e);
	if (if_range.n && (wall_from_http(if_range, &t) ? t.ms / 1000 != o->modified.ms / 1000
	                                                : str_find(if_range, buf_view(&o->etag)) != 1))
		range = (struct str){ 0 };
	fits = range.p ? front_range(range, o->size, &s.from, &s.length) : 0;
	if (fits < 0)
		return S3_InvalidRange;
	s.partial |= fits > 0;
	*ret = s;
	return code;
}

static void write_headers(const struct front *f, const struct http_request *r, const struct blob_object *o,
                          const struct slice *s, struct http_response *out)
{
	char text[CLOCK_TEXT_BYTES];

	reply_etag(out, buf_view(&o->etag));
	http_add_header(out, "Last-Modified", "%s", wall_http(o->modified, text));
	http_add_header(out, "Accept-Ranges", "bytes");
	write_meta(f, buf_view(&o->meta), out);
	if (s->partial) {
		out->status = 206;
		http_add_header(out, "Content-Range", "bytes %llu-%llu/%llu", (unsigned long long)s->from,
		                (unsigned long long)(s->from + s->length - 1), (unsigned long long)o->size);
	}
	if (s->parts)
		http_add_header(out, "x-amz-mp-parts-count", "%llu", (unsigned long long)s->parts);
	/* The checksums are of the whole: clients would hold a part against them. */
	if (!s->partial && str_eq_nocase(http_header_get(r, "x-amz-checksum-mode"), STR("ENABLED")))
		reply_checksums(out, buf_view(&o->meta));
}

static enum s3_code give(struct front *f, struct http_request *r, const struct blob_object *o, int *fd,
                         struct http_response *out, struct err *e)
{
	struct slice s = { 0 };
	char text[CLOCK_TEXT_BYTES];
	enum s3_code code = front_read_cond(r, "", o);

	if (code == S3_NotModified) {
		reply_etag(out, buf_view(&o->etag));
		http_add_header(out, "Last-Modified", "%s", wall_http(o->modified, text));
	}
	if (code == S3_OK)
		code = slice_of(f, r, o, &s, e);
	if (code == S3_InvalidRange)
		http_add_header(out, "Content-Range", "bytes */%llu", (unsigned long long)o->size);
	if (code != S3_OK)
		return code;
	write_headers(f, r, o, &s, out);
	if (f->head) {
		out->head = true;
		out->head_length = s.length;
	} else if (s.length) {
		out->fd = take_fd(*fd);
		out->offset = s.from;
		out->length = s.length;
	}
	return S3_OK;
}

enum s3_code s3_get_object(struct front *f, struct http_request *r, struct http_response *out, struct err *e)
{
	_cleanup_(blob_object_fini) struct blob_object o = { 0 };
	_cleanup_close_ int fd = -EBADF;
	struct str bucket = buf_view(&f->bucket), key = buf_view(&f->key);
	enum s3_code code = f->head ? blob_object_get(f->b, bucket, key, &o, e)
	                            : blob_object_open(f->b, bucket, key, &o, &fd, e);

	return code == S3_OK ? give(f, r, &o, &fd, out, e) : code;
}
