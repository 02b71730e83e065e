/* front_complete.c - CompleteMultipartUpload: the list of parts, checked, and what follows from it for the object.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "aws/xml.h"
#include "blob/listed.h"
#include "blob/request.h"

/* The index of the part of that number; parts are sorted. */
static bool find_part(const struct blob_parts *all, uint64_t number, size_t *ret)
{
	size_t lo = 0, hi = all->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (all->v[mid].number < number)
			lo = mid + 1;
		else
			hi = mid;
	}
	*ret = lo;
	return lo < all->n && all->v[lo].number == number;
}

static enum s3_code same_checksums(const struct listed_part *listed, const struct blob_part *part, struct err *e)
{
	for (int i = 0; i < CHECKSUM_COUNT; i++) {
		struct str have = meta_get(str_of(part->checksum), checksum_info[i].header);

		if (listed->checksum[i] && (!have.p || !str_is(have, listed->checksum[i])))
			return s3_say(e, S3_InvalidPart,
			              "The Checksum%s of part %u is not that of the part that was uploaded.",
			              checksum_info[i].name, part->number);
	}
	return S3_OK;
}

/* Finds each listed part among those there are. */
static enum s3_code choose(const struct listed *list, const struct blob_parts *all, size_t *chosen, struct err *e)
{
	for (size_t i = 0; i < list->n; i++) {
		const struct listed_part *l = &list->v[i];
		enum s3_code code;

		if (i && l->number <= list->v[i - 1].number)
			return S3_InvalidPartOrder;
		if (!find_part(all, l->number, &chosen[i]) || !str_is(str_of(l->etag), all->v[chosen[i]].etag))
			return S3_InvalidPart;
		code = same_checksums(l, &all->v[chosen[i]], e);
		if (code != S3_OK)
			return code;
	}
	for (size_t i = 0; i + 1 < list->n; i++)
		if (all->v[chosen[i]].size < BLOB_PART_MIN)
			return S3_EntityTooSmall;
	return S3_OK;
}

/* MD5 of the parts' MD5s, "-", their number. */
static void multipart_etag(const struct blob_parts *all, const size_t *chosen, size_t n, struct buf *out)
{
	struct hash *h = hash_new(HASH_MD5);
	unsigned char raw[MD5_BYTES];

	for (size_t i = 0; i < n; i++) {
		must(unhex(str_of(all->v[chosen[i]].etag), raw, sizeof(raw)));
		hash_add(h, raw, sizeof(raw));
	}
	hash_end(h, raw);
	buf_hex(out, raw, sizeof(raw));
	buf_f(out, "-%zu", n);
}

static bool composite(enum checksum_kind kind, const struct blob_parts *all, const size_t *chosen, size_t n,
                      struct buf *out)
{
	struct checksum sum;

	checksum_begin(&sum, kind);
	for (size_t i = 0; i < n; i++) {
		_cleanup_buf_ struct buf raw = { 0 };

		if (!buf_unbase64(&raw, meta_get(str_of(all->v[chosen[i]].checksum), checksum_info[kind].header))) {
			checksum_fini(&sum);
			return false;
		}
		checksum_add(&sum, raw.p, raw.n);
	}
	checksum_end(&sum, out);
	buf_f(out, "-%zu", n);
	return true;
}

static bool joined(enum checksum_kind kind, const struct blob_parts *all, const size_t *chosen, size_t n,
                   struct buf *out)
{
	for (size_t i = 0; i < n; i++) {
		const struct blob_part *p = &all->v[chosen[i]];
		struct str next = meta_get(str_of(p->checksum), checksum_info[kind].header);
		_cleanup_buf_ struct buf sum = { 0 };

		if (i == 0)
			buf_str(&sum, next);
		else if (!checksum_join(kind, buf_view(out), next, p->size, &sum))
			return false;
		buf_reset(out);
		buf_str(out, buf_view(&sum));
	}
	return true;
}

/* The object's checksum, as lines; checked against what the request says it is. */
static enum s3_code object_checksum(const struct http_request *r, const struct blob_upload *u,
                                    const struct blob_parts *all, const size_t *chosen, size_t n, struct buf *out,
                                    struct err *e)
{
	struct str type = buf_view(&u->algorithm);
	enum checksum_kind kind = checksum_by_name(str_cut(&type, ' '));
	_cleanup_buf_ struct buf sum = { 0 };
	struct str given;
	bool full = str_eq(type, STR("FULL_OBJECT"));

	if (kind == CHECKSUM_NONE)
		return S3_OK;
	if (full ? !joined(kind, all, chosen, n, &sum) : !composite(kind, all, chosen, n, &sum)) {
		err_set(e, ERR_BUG, "a part of upload %s has no %s", u->id, checksum_info[kind].name);
		return S3_InternalError;
	}
	given = http_header_get(r, checksum_info[kind].header);
	if (given.n && full && !str_eq(given, buf_view(&sum)))
		return s3_say(e, S3_BadDigest, "The %s you specified did not match the calculated checksum.",
		              checksum_info[kind].name);
	buf_f(out, "%s: %s\nx-amz-checksum-type: " PRIstr "\n", checksum_info[kind].header, sum.p, ARGstr(type));
	return S3_OK;
}

/* "x-parts: 8388608*12,123" */
static void part_sizes(const struct blob_parts *all, const size_t *chosen, size_t n, struct buf *out)
{
	buf_z(out, "x-parts: ");
	for (size_t i = 0, run; i < n; i += run) {
		uint64_t size = all->v[chosen[i]].size;

		for (run = 1; i + run < n && all->v[chosen[i + run]].size == size; run++)
			;
		buf_f(out, i ? ",%llu" : "%llu", (unsigned long long)size);
		if (run > 1)
			buf_f(out, "*%zu", run);
	}
	buf_c(out, '\n');
}

static enum s3_code check_size(const struct http_request *r, const struct blob_parts *all, const size_t *chosen,
                               size_t n, struct err *e)
{
	struct str announced = http_header_get(r, "x-amz-mp-object-size");
	uint64_t size = 0, want = 0;

	for (size_t i = 0; i < n; i++)
		size += all->v[chosen[i]].size;
	if (size > BLOB_SIZE_MAX)
		return S3_EntityTooLarge;
	if (announced.n && (!str_to_u64(announced, &want) || want != size))
		return s3_say(e, S3_InvalidRequest,
		              "The provided 'x-amz-mp-object-size' header value " PRIstr
		              " does not match what was computed: %llu",
		              ARGstr(announced), (unsigned long long)size);
	return S3_OK;
}

static void write_result(struct front *f, struct http_response *out, struct str etag, struct str meta)
{
	_cleanup_buf_ struct buf location = { 0 };

	buf_z(&location, "http://");
	buf_str(&location, buf_view(&f->host));
	buf_c(&location, '/');
	if (!f->virtual_host) {
		buf_str(&location, buf_view(&f->bucket));
		buf_c(&location, '/');
	}
	buf_uri(&location, buf_view(&f->key), true);
	reply_xml_begin(out, "CompleteMultipartUploadResult");
	reply_xml_text(out, "Location", buf_view(&location));
	reply_xml_text(out, "Bucket", buf_view(&f->bucket));
	reply_xml_text(out, "Key", buf_view(&f->key));
	reply_xml_etag(out, etag);
	reply_xml_checksums(out, meta);
	reply_xml_end(out, "CompleteMultipartUploadResult");
}

struct completion {
	struct blob_upload upload;
	struct blob_parts all;
	size_t *chosen;
	struct buf etag, meta;
};

static enum s3_code complete(struct front *f, const struct http_request *r, const struct listed *list,
                             struct completion *c, struct err *e)
{
	struct blob_cond cond = front_cond(r);
	enum s3_code code = blob_parts_load(f->b, c->upload.id, 0, &c->all, e);

	c->chosen = xcalloc(list->n, sizeof(*c->chosen));
	if (code == S3_OK && !c->all.n) /* none was uploaded, or all are an object since we looked */
		code = blob_upload_get(f->b, buf_view(&f->bucket), buf_view(&f->key), front_arg(f, "uploadId"),
		                       &c->upload, e);
	if (code == S3_OK)
		code = choose(list, &c->all, c->chosen, e);
	if (code == S3_OK)
		code = check_size(r, &c->all, c->chosen, list->n, e);
	if (code != S3_OK)
		return code;
	multipart_etag(&c->all, c->chosen, list->n, &c->etag);
	buf_str(&c->meta, buf_view(&c->upload.meta));
	part_sizes(&c->all, c->chosen, list->n, &c->meta);
	code = object_checksum(r, &c->upload, &c->all, c->chosen, list->n, &c->meta, e);
	if (code == S3_OK)
		code = blob_upload_complete(f->b, &c->upload, buf_view(&f->key), &c->all, c->chosen, list->n,
		                            buf_view(&c->etag), buf_view(&c->meta), &cond, e);
	return code;
}

enum s3_code s3_complete_upload(struct front *f, struct http_request *r, struct http_response *out, struct err *e)
{
	struct completion c = { 0 };
	struct listed list = { 0 };
	struct str bucket = buf_view(&f->bucket), key = buf_view(&f->key), id = front_arg(f, "uploadId");
	enum s3_code code = blob_upload_get(f->b, bucket, key, id, &c.upload, e);

	if (code == S3_OK)
		code = listed_read(buf_view(&f->text), &list, e) < 0 ? S3_MalformedXML : complete(f, r, &list, &c, e);
	if (code == S3_MalformedXML)
		e->depth = 0;
	if (code == S3_NoSuchUpload) {
		/* Completed before, or while we waited, and the answer may have got lost: it is given again. */
		buf_reset(&c.etag);
		buf_reset(&c.meta);
		code = blob_upload_finished(f->b, bucket, key, id, &c.etag, e);
	}
	if (code == S3_OK)
		write_result(f, out, buf_view(&c.etag), buf_view(&c.meta));
	listed_fini(&list);
	blob_upload_fini(&c.upload);
	blob_parts_fini(&c.all);
	free(c.chosen);
	buf_fini(&c.etag);
	buf_fini(&c.meta);
	return code;
}
