/* SPDX-License-Identifier: Apache-2.0 */
#include "blob/body.h"

#include <stdlib.h>

struct body {
	uint64_t announced, max, got;
	struct chunked *chunked; /* NULL: plain */
	enum s3_code (*sink)(struct str piece, void *arg, struct err *e);
	void *arg;

	struct hash *md5, *sha256;
	struct checksum sum[CHECKSUM_COUNT];
	bool wanted[CHECKSUM_COUNT];
	char *given[CHECKSUM_COUNT]; /* header values */
	bool in_trailer[CHECKSUM_COUNT];

	unsigned char md5_given[MD5_BYTES], sha256_given[SHA256_BYTES];
	bool has_md5;
	struct buf md5_hex, lines;
};

static enum s3_code read_md5(struct body *b, const struct http_request *r, struct err *e)
{
	struct str text = http_header_get(r, "Content-MD5");
	_cleanup_buf_ struct buf raw = { 0 };

	if (!text.p)
		return S3_OK;
	if (!buf_unbase64(&raw, text) || raw.n != MD5_BYTES)
		return s3_say(e, S3_InvalidDigest, "The Content-MD5 you specified is not valid.");
	memcpy(b->md5_given, raw.p, MD5_BYTES);
	b->has_md5 = true;
	return S3_OK;
}

static enum s3_code read_checksum_headers(struct body *b, const struct http_request *r, struct err *e)
{
	for (size_t i = 0; i < r->header_count; i++) {
		struct str value = r->headers[i].value;
		enum checksum_kind kind = checksum_by_header(r->headers[i].name);

		if (kind == CHECKSUM_NONE)
			continue;
		if (!checksum_text_ok(kind, value))
			return s3_say(e, S3_InvalidRequest, "Value for %s header is invalid.",
			              checksum_info[kind].header);
		free(b->given[kind]);
		b->given[kind] = str_dup(value);
		body_want(b, kind);
	}
	return S3_OK;
}

static enum s3_code read_trailer_names(struct body *b, const struct http_request *r, struct err *e)
{
	struct str rest = http_header_get(r, "x-amz-trailer");

	while (rest.n) {
		struct str name = str_trim(str_cut(&rest, ','));
		enum checksum_kind kind = checksum_by_header(name);

		if (kind == CHECKSUM_NONE)
			return s3_say(e, S3_InvalidRequest, "The trailer '" PRIstr "' is not supported.", ARGstr(name));
		b->in_trailer[kind] = true;
		body_want(b, kind);
	}
	return S3_OK;
}

static enum s3_code read_algorithm(struct body *b, const struct http_request *r, struct err *e)
{
	struct str name = http_header_get(r, "x-amz-sdk-checksum-algorithm");
	enum checksum_kind kind = checksum_by_name(name);

	if (!name.p)
		return S3_OK;
	if (kind == CHECKSUM_NONE)
		return s3_say(e, S3_InvalidRequest, "Checksum algorithm provided is unsupported: " PRIstr ".",
		              ARGstr(name));
	body_want(b, kind);
	return S3_OK;
}

static enum s3_code read_length(struct body *b, const struct http_request *r, struct err *e)
{
	struct str decoded = http_header_get(r, "x-amz-decoded-content-length");

	b->announced = r->has_body_length ? r->body_length : BODY_UNKNOWN;
	if (b->chunked) {
		if (!decoded.p)
			return s3_say(e, S3_MissingContentLength,
			              "You must provide the x-amz-decoded-content-length HTTP header.");
		if (!str_to_u64(decoded, &b->announced))
			return s3_say(e, S3_InvalidArgument, "x-amz-decoded-content-length is not a number.");
	}
	if (b->announced != BODY_UNKNOWN && b->announced > b->max)
		return S3_EntityTooLarge;
	return S3_OK;
}

static enum s3_code body_as_chunk(struct str piece, void *arg, struct err *e);

static enum s3_code read_payload_hash(struct body *b, const struct s3_auth *auth, struct err *e)
{
	struct str hash = auth->payload_hash;
	struct chunked_keys keys = { .scope = auth->scope, .seed = auth->seed };

	if (chunked_is_kind(hash)) {
		if (auth->claim) {
			keys.amz_date = auth->claim->amz_date;
			sigv4_signing_key(auth->secret, auth->claim->date8, auth->claim->region, auth->claim->service,
			                  keys.signing_key);
		}
		b->chunked = chunked_new(hash, &keys, body_as_chunk, b);
		return S3_OK;
	}
	if (unhex(hash, b->sha256_given, SHA256_BYTES)) {
		b->sha256 = hash_new(HASH_SHA256);
		return S3_OK;
	}
	if (str_starts(hash, STR("STREAMING-")))
		return s3_say(e, S3_NotImplemented, "The payload kind " PRIstr " is not supported.", ARGstr(hash));
	if (!str_eq(hash, STR("UNSIGNED-PAYLOAD")))
		return s3_say(e, S3_InvalidArgument,
		              "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, "
		              "STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a "
		              "valid sha256 value.");
	return S3_OK;
}

enum s3_code body_new(const struct http_request *r, const struct s3_auth *auth, uint64_t max, struct body **ret,
                      struct err *e)
{
	_cleanup_(body_freep) struct body *b = xcalloc(1, sizeof(*b));
	enum s3_code code;

	b->max = max;
	b->md5 = hash_new(HASH_MD5);
	code = read_payload_hash(b, auth, e);
	if (code == S3_OK)
		code = read_length(b, r, e);
	if (code == S3_OK)
		code = read_md5(b, r, e);
	if (code == S3_OK)
		code = read_checksum_headers(b, r, e);
	if (code == S3_OK)
		code = read_trailer_names(b, r, e);
	if (code == S3_OK)
		code = read_algorithm(b, r, e);
	if (code == S3_OK)
		*ret = take_ptr(b);
	return code;
}

void body_free(struct body *b)
{
	if (!b)
		return;
	chunked_free(b->chunked);
	hash_free(b->md5);
	hash_free(b->sha256);
	for (int i = 0; i < CHECKSUM_COUNT; i++) {
		checksum_fini(&b->sum[i]);
		free(b->given[i]);
	}
	buf_fini(&b->md5_hex);
	buf_fini(&b->lines);
	free(b);
}

void body_sink(struct body *b, enum s3_code (*sink)(struct str piece, void *arg, struct err *e), void *arg)
{
	b->sink = sink;
	b->arg = arg;
}

void body_want(struct body *b, enum checksum_kind kind)
{
	if (b->wanted[kind])
		return;
	b->wanted[kind] = true;
	checksum_begin(&b->sum[kind], kind);
}

uint64_t body_length(const struct body *b)
{
	return b->announced;
}

void body_hash(struct body *b, struct str piece)
{
	b->got += piece.n;
	hash_add(b->md5, piece.p, piece.n);
	for (int i = 0; i < CHECKSUM_COUNT; i++)
		if (b->wanted[i])
			checksum_add(&b->sum[i], piece.p, piece.n);
}

/* Decoded bytes, of either kind of body. */
static enum s3_code body_as_chunk(struct str piece, void *arg, struct err *e)
{
	struct body *b = arg;

	if (b->announced != BODY_UNKNOWN && piece.n > b->announced - b->got)
		return s3_say(e, S3_IncompleteBody, "The body is longer than the %llu bytes announced.",
		              (unsigned long long)b->announced);
	if (piece.n > b->max - b->got)
		return S3_EntityTooLarge;
	body_hash(b, piece);
	return b->sink ? b->sink(piece, b->arg, e) : S3_OK;
}

enum s3_code body_feed(struct body *b, struct str piece, struct err *e)
{
	if (b->chunked)
		return chunked_feed(b->chunked, piece, e);
	if (b->sha256)
		hash_add(b->sha256, piece.p, piece.n);
	return body_as_chunk(piece, b, e);
}

static enum s3_code end_checksum(struct body *b, enum checksum_kind kind, struct err *e)
{
	const struct checksum_info *info = &checksum_info[kind];
	struct str given = b->given[kind] ? str_of(b->given[kind]) : (struct str){ 0 };
	_cleanup_buf_ struct buf text = { 0 };

	if (b->in_trailer[kind]) {
		given = b->chunked ? chunked_trailer(b->chunked, str_of(info->header)) : given;
		if (!given.p)
			return s3_say(e, S3_InvalidRequest, "The trailer %s was announced and did not come.",
			              info->header);
	}
	checksum_end(&b->sum[kind], &text);
	if (given.p && !str_eq(given, buf_view(&text)))
		return s3_say(e, S3_BadDigest, "The %s you specified did not match the calculated checksum.",
		              info->name);
	buf_f(&b->lines, "%s: %s\n", info->header, text.p);
	return S3_OK;
}

enum s3_code body_end(struct body *b, struct err *e)
{
	unsigned char digest[SHA256_BYTES];
	enum s3_code code = b->chunked ? chunked_end(b->chunked, e) : S3_OK;

	if (code != S3_OK)
		return code;
	if (b->announced != BODY_UNKNOWN && b->got != b->announced)
		return S3_IncompleteBody;
	if (b->sha256) {
		hash_end(take_ptr(b->sha256), digest);
		if (memcmp(digest, b->sha256_given, SHA256_BYTES))
			return S3_XAmzContentSHA256Mismatch;
	}
	hash_end(take_ptr(b->md5), digest);
	buf_hex(&b->md5_hex, digest, MD5_BYTES);
	if (b->has_md5 && memcmp(digest, b->md5_given, MD5_BYTES))
		return s3_say(e, S3_BadDigest, "The Content-MD5 you specified did not match what we received.");
	for (int i = 0; i < CHECKSUM_COUNT && code == S3_OK; i++)
		if (b->wanted[i])
			code = end_checksum(b, (enum checksum_kind)i, e);
	return code;
}

struct str body_md5(const struct body *b)
{
	return buf_view(&b->md5_hex);
}

struct str body_checksums(const struct body *b)
{
	return buf_view(&b->lines);
}
