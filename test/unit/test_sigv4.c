/* SPDX-License-Identifier: Apache-2.0 */
#include "aws/sigv4.h"

#include <jansson.h>

#include "base/hash.h"
#include "harness.h"

/* test/golden/sigv4.json: requests signed by other implementations, which must be accepted, and the same ones tampered
 * with, which must not. */

struct vector {
	const json_t *json;
	struct sig_request request;
	struct sig_header headers[32];
	struct str body;
};

static struct str text(const json_t *o, const char *key)
{
	return str_of(json_string_value(json_object_get(o, key)));
}

static void read_vector(const json_t *v, struct vector *ret)
{
	const json_t *request = json_object_get(v, "request"), *headers = json_object_get(request, "headers"), *h;
	struct str query = text(request, "target");
	size_t i;

	*ret = (struct vector){ .json = v, .body = text(request, "body") };
	ret->request.method = text(request, "method");
	ret->request.path = str_cut(&query, '?');
	ret->request.query = query;
	ret->request.headers = ret->headers;
	ret->request.header_count = json_array_size(headers);
	must(ret->request.header_count <= ARRAY_LEN(ret->headers));
	json_array_foreach (headers, i, h) {
		ret->headers[i].name = str_of(json_string_value(json_array_get(h, 0)));
		ret->headers[i].value = str_of(json_string_value(json_array_get(h, 1)));
	}
}

static bool header(const struct vector *v, const char *name, struct str *ret)
{
	for (size_t i = 0; i < v->request.header_count; i++)
		if (str_eq_nocase(v->headers[i].name, str_of(name))) {
			*ret = v->headers[i].value;
			return true;
		}
	return false;
}

/* As the server does it: the payload hash as sent, checked against the body where it is one; else the body's own, or
 * UNSIGNED-PAYLOAD for S3's presigned requests. */
static enum sig_fault serve(const struct vector *v)
{
	_cleanup_buf_ struct buf scratch = { 0 }, hash = { 0 };
	struct str payload, server_secret = text(v->json, "server_secret_key"), token = text(v->json, "session_token");
	bool s3 = json_is_false(json_object_get(v->json, "normalize_path"));
	unsigned char digest[SHA256_BYTES];
	struct sig_claim c;
	struct wall now;
	const char *why;
	enum sig_fault fault = sigv4_claim(&v->request, &scratch, &c, &why);

	CHECK(wall_from_basic(text(v->json, "server_now"), &now));
	if (fault)
		return fault;
	if (json_is_false(json_object_get(v->json, "server_knows_key")) ||
	    !str_eq(c.access_key, text(v->json, "access_key")))
		return SIG_UNKNOWN_KEY;
	if (!str_eq(c.token, token))
		return SIG_BAD_TOKEN;
	sha256(v->body, digest);
	buf_hex(&hash, digest, sizeof(digest));
	if (!header(v, "x-amz-content-sha256", &payload))
		payload = str_is(text(v->json, "payload_hash"), "UNSIGNED-PAYLOAD") ? STR("UNSIGNED-PAYLOAD")
		                                                                    : buf_view(&hash);
	fault = sigv4_verify(&v->request, &c, server_secret.n ? server_secret : text(v->json, "secret_key"), payload,
	                     s3, now);
	if (!fault && payload.n == 64 && !str_eq(payload, buf_view(&hash)))
		return SIG_BAD_BODY_HASH;
	return fault;
}

/* The S3 and JSON codes a fault becomes; one of them must be among the vector's. */
static bool fault_fits(enum sig_fault fault, bool presigned, const json_t *codes)
{
	static const char *const names[][3] = {
		[SIG_MISSING] = { "AccessDenied", "MissingAuthenticationTokenException" },
		[SIG_BOTH] = { "InvalidArgument" },
		[SIG_INCOMPLETE] = { "AuthorizationHeaderMalformed", "IncompleteSignatureException" },
		[SIG_BAD_SCOPE] = { "AuthorizationHeaderMalformed", "InvalidSignatureException" },
		[SIG_UNKNOWN_KEY] = { "InvalidAccessKeyId", "UnrecognizedClientException" },
		[SIG_BAD_TOKEN] = { "InvalidToken", "UnrecognizedClientException" },
		[SIG_TOKEN_EXPIRED] = { "ExpiredToken", "ExpiredTokenException" },
		[SIG_EXPIRED] = { "AccessDenied" },
		[SIG_SKEWED] = { "RequestTimeTooSkewed", "InvalidSignatureException" },
		[SIG_UNSIGNED_HEADER] = { "AccessDenied", "InvalidSignatureException" },
		[SIG_MISMATCH] = { "SignatureDoesNotMatch", "InvalidSignatureException" },
		[SIG_BAD_BODY_HASH] = { "XAmzContentSHA256Mismatch", "InvalidSignatureException" },
	};
	size_t i;
	const json_t *code;

	json_array_foreach (codes, i, code) {
		const char *z = json_string_value(code);

		if (presigned && fault == SIG_INCOMPLETE && strcmp(z, "AuthorizationQueryParametersError") == 0)
			return true;
		for (size_t k = 0; k < 3 && names[fault][k]; k++)
			if (strcmp(names[fault][k], z) == 0)
				return true;
	}
	return false;
}

static json_t *load(void)
{
	json_error_t je;
	json_t *all = json_load_file("test/golden/sigv4.json", 0, &je);

	must(json_is_array(all));
	return all;
}

TEST(vectors_are_accepted_and_refused)
{
	json_t *all = load();
	unsigned accepted = 0, refused = 0;
	const json_t *v;
	size_t i;

	json_array_foreach (all, i, v) {
		struct vector vec;
		enum sig_fault fault;
		/* A body in signed chunks is judged when it is decoded, in blob/; here only its head is. */
		bool chunked = str_is(text(v, "kind"), "chunked");
		bool accept = str_is(text(v, "expect"), "accept") || chunked;

		read_vector(v, &vec);
		fault = serve(&vec);
		if (accept && fault)
			test_failed(__FILE__, __LINE__, PRIstr ": refused with fault %d", ARGstr(text(v, "name")),
			            fault);
		if (!accept && !fault)
			test_failed(__FILE__, __LINE__, PRIstr ": accepted", ARGstr(text(v, "name")));
		if (!accept && fault &&
		    !fault_fits(fault, str_is(text(v, "kind"), "query"), json_object_get(v, "error")))
			test_failed(__FILE__, __LINE__, PRIstr ": fault %d is another error", ARGstr(text(v, "name")),
			            fault);
		accepted += accept;
		refused += !accept;
	}
	CHECK_INT(accepted, 87);
	CHECK_INT(refused, 40);
	json_decref(all);
}

TEST(vectors_canonical_requests)
{
	json_t *all = load();
	unsigned count = 0;
	const json_t *v;
	size_t i;

	json_array_foreach (all, i, v) {
		_cleanup_buf_ struct buf scratch = { 0 }, got = { 0 };
		struct str want = text(v, "canonical_request");
		struct vector vec;
		struct sig_claim c;
		const char *why;

		/* A token added after signing stands in the query but not in what was signed. */
		if (!want.n || str_is(text(v, "name"), "awscauth/post-sts-header-after/query"))
			continue;
		read_vector(v, &vec);
		CHECK_INT(sigv4_claim(&vec.request, &scratch, &c, &why), SIG_OK);
		sigv4_canonical(&vec.request, c.signed_headers, text(v, "payload_hash"),
		                json_is_false(json_object_get(v, "normalize_path")), c.presigned, &got);
		if (!str_eq(buf_view(&got), want))
			test_failed(__FILE__, __LINE__, PRIstr "\n  got:  %s\n  want: " PRIstr, ARGstr(text(v, "name")),
			            got.p, ARGstr(want));
		count++;
	}
	CHECK(count > 75);
	json_decref(all);
}

/* Every single-byte change of a signed request's head must be refused. */
TEST(dots_in_a_path_never_lead_above_the_root)
{
	static const char *const paths[][2] = {
		{ "//./../b", "/b" }, { "/..", "/" },         { "/../", "/" },       { "..", "/" },
		{ "/a/../..", "/" },  { "/a/../../b", "/b" }, { "/a/./b/..", "/a" }, { "/a/b/../", "/a/" },
	};

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		struct sig_request r = { .method = STR("GET"), .path = str_of(paths[i][0]) };
		_cleanup_buf_ struct buf text = { 0 };
		struct str rest;

		sigv4_canonical(&r, STR("host"), STR("UNSIGNED-PAYLOAD"), false, false, &text);
		rest = buf_view(&text);
		str_cut(&rest, '\n');
		if (!str_is(str_cut(&rest, '\n'), paths[i][1]))
			test_failed(__FILE__, __LINE__, "%s: %s", paths[i][0], text.p);
	}
}

TEST(every_changed_byte_is_noticed)
{
	json_t *all = load();
	struct vector vec;
	const json_t *v = NULL;
	size_t i;

	json_array_foreach (all, i, v)
		if (str_is(text(v, "name"), "s3doc/list-objects"))
			break;
	read_vector(v, &vec);
	CHECK_INT(serve(&vec), SIG_OK);
	for (size_t h = 0; h < vec.request.header_count; h++) {
		struct str value = vec.headers[h].value;
		_cleanup_free_ char *copy = str_dup(value);

		vec.headers[h].value.p = copy;
		for (size_t k = 0; k < value.n; k++) {
			if (copy[k] == ' ')
				continue;
			copy[k] ^= 1;
			if (serve(&vec) == SIG_OK)
				test_failed(__FILE__, __LINE__, "byte %zu of '%s' does not matter", k, copy);
			copy[k] ^= 1;
		}
		vec.headers[h].value = value;
	}
	json_decref(all);
}

static struct wall at(const char *basic)
{
	struct wall t = { 0 };

	CHECK(wall_from_basic(str_of(basic), &t));
	return t;
}

struct signed_request {
	struct buf lines;
	struct sig_header headers[8];
	struct sig_request r;
};

static void sign_request(struct signed_request *s, const char *service, const char *path, const char *query,
                         const char *token, const char *payload)
{
	struct str rest;

	*s = (struct signed_request){ 0 };
	s->headers[0] = (struct sig_header){ STR("Host"), STR("127.0.0.1:8770") };
	s->headers[1] = (struct sig_header){ STR("x-amz-meta-b"), STR("  two   words ") };
	s->headers[2] = (struct sig_header){ STR("Content-Type"), STR("text/plain") };
	s->r = (struct sig_request){ STR("PUT"), str_of(path), str_of(query), s->headers, 3 };
	sigv4_sign(&s->r, STR("AKID/WITH/SLASHES"), STR("secret"), str_of(token), STR("us-east-1"), str_of(service),
	           str_of(payload), at("20261121T084658Z"), &s->lines);
	rest = buf_view(&s->lines);
	while (rest.n) {
		struct str value = str_cut(&rest, '\n'), name = str_cut(&value, ':');

		s->headers[s->r.header_count++] = (struct sig_header){ name, str_trim(value) };
	}
}

static enum sig_fault verify(const struct signed_request *s, const char *now, const char *payload, bool s3)
{
	_cleanup_buf_ struct buf scratch = { 0 };
	struct sig_claim c;
	const char *why;
	enum sig_fault fault = sigv4_claim(&s->r, &scratch, &c, &why);

	if (fault)
		return fault;
	CHECK(str_is(c.access_key, "AKID/WITH/SLASHES"));
	return sigv4_verify(&s->r, &c, STR("secret"), str_of(payload), s3, at(now));
}

TEST(what_we_sign_we_accept)
{
	static const struct {
		const char *service, *path, *query, *token;
	} cases[] = {
		{ "s3", "/bucket/a%20b//../%E1%88%B4", "prefix=a%2Fb&list-type=2&delete", "" },
		{ "s3", "/bucket/a", "", "tok/en+=" },
		{ "s3", "", "a=1&a=0&b", "" },
		{ "sagemaker", "/", "", "" },
		{ "sagemaker", "/x/../%2F", "b=%zz&&=", "t" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		bool s3 = strcmp(cases[i].service, "s3") == 0;
		struct signed_request s;

		sign_request(&s, cases[i].service, cases[i].path, cases[i].query, cases[i].token, "UNSIGNED-PAYLOAD");
		CHECK_INT(s.r.header_count, 5 + s3 + (cases[i].token[0] != 0));
		CHECK_INT(verify(&s, "20261121T084658Z", "UNSIGNED-PAYLOAD", s3), SIG_OK);
		CHECK_INT(verify(&s, "20261121T084658Z", "unsigned-payload", s3), SIG_MISMATCH);
		CHECK_INT(verify(&s, "20261121T090158Z", "UNSIGNED-PAYLOAD", s3), SIG_OK);
		CHECK_INT(verify(&s, "20261121T090159Z", "UNSIGNED-PAYLOAD", s3), SIG_SKEWED);
		CHECK_INT(verify(&s, "20261121T083157Z", "UNSIGNED-PAYLOAD", s3), SIG_SKEWED);
		s.headers[s.r.header_count++] = (struct sig_header){ STR("X-Amz-Acl"), STR("public-read") };
		CHECK_INT(verify(&s, "20261121T084658Z", "UNSIGNED-PAYLOAD", s3), SIG_UNSIGNED_HEADER);
		s.headers[--s.r.header_count] = (struct sig_header){ 0 };
		s.headers[s.r.header_count++] = s.headers[3]; /* Authorization twice */
		CHECK_INT(verify(&s, "20261121T084658Z", "UNSIGNED-PAYLOAD", s3), SIG_INCOMPLETE);
		buf_fini(&s.lines);
	}
}

TEST(a_date_header_will_do)
{
	_cleanup_buf_ struct buf scratch = { 0 };
	struct sig_header h[] = {
		{ STR("Date"), STR("Sat, 21 Nov 2026 08:46:58 GMT") },
		{ STR("Authorization"),
		  STR("AWS4-HMAC-SHA256 Credential=A/20261121/r/s/aws4_request,SignedHeaders=date;host,Signature=00") },
	};
	struct sig_request r = { STR("GET"), STR("/"), STR(""), h, 2 };
	struct sig_claim c;
	const char *why;

	CHECK_INT(sigv4_claim(&r, &scratch, &c, &why), SIG_OK);
	CHECK(str_is(c.amz_date, "20261121T084658Z") && str_is(c.signed_headers, "date;host") && !c.presigned);
	h[0].value = STR("yesterday");
	CHECK_INT(sigv4_claim(&r, &scratch, &c, &why), SIG_INCOMPLETE);
	CHECK(why && strstr(why, "Date"));
}

TEST(malformed_authorization_says_what_is_wrong)
{
	static const struct {
		const char *value, *say;
	} cases[] = {
		{ "", "Unsupported" },
		{ "Bearer abc", "Unsupported" },
		{ "AWS AKID:signature", "Unsupported" },
		{ "AWS4-HMAC-SHA256", "Credential" },
		{ "AWS4-HMAC-SHA256 Credential=A/20261121/r/s/aws4_request", "Signature" },
		{ "AWS4-HMAC-SHA256 Credential=A/20261121/r/s/aws4_request, Signature=00", "SignedHeaders" },
		{ "AWS4-HMAC-SHA256 Credential=A/20261121/r/s/aws4_request, Signature=0, Signature=1", "twice" },
		{ "AWS4-HMAC-SHA256 Credential=A/20261121/r/s/aws4_request, Signature=0, Extra=1", "not understood" },
		{ "AWS4-HMAC-SHA256 Credential=A/2026-11-21/r/s/aws4_request, SignedHeaders=h, Signature=0",
		  "YYYYMMDD" },
		{ "AWS4-HMAC-SHA256 Credential=A/2026112/r/s/aws4_request, SignedHeaders=h, Signature=0", "YYYYMMDD" },
		{ "AWS4-HMAC-SHA256 Credential=/20261121/r/s/aws4_request, SignedHeaders=h, Signature=0",
		  "five parts" },
		{ "AWS4-HMAC-SHA256 Credential=A/20261121/r/s/aws5_request, SignedHeaders=h, Signature=0",
		  "terminator" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		_cleanup_buf_ struct buf scratch = { 0 };
		struct sig_header h[] = {
			{ STR("x-amz-date"), STR("20261121T084658Z") },
			{ STR("authorization"), str_of(cases[i].value) },
		};
		struct sig_request r = { STR("GET"), STR("/"), STR(""), h, 2 };
		struct sig_claim c;
		const char *why;

		CHECK_INT(sigv4_claim(&r, &scratch, &c, &why), SIG_INCOMPLETE);
		if (!why || !strstr(why, cases[i].say))
			test_failed(__FILE__, __LINE__, "'%s' gives '%s'", cases[i].value, why ? why : "nothing");
	}
}

/* Old clients presign S3 URLs so unless told otherwise. */
TEST(version_2_urls_are_named)
{
	_cleanup_buf_ struct buf scratch = { 0 };
	struct sig_request r = { STR("GET"), STR("/b/k"), STR("AWSAccessKeyId=A&Signature=x%3D&Expires=1"), NULL, 0 };
	struct sig_claim c;
	const char *why;

	CHECK_INT(sigv4_claim(&r, &scratch, &c, &why), SIG_INCOMPLETE);
	CHECK(c.presigned && strstr(why, "s3v4"));
}

TEST(cached_keys_are_the_keys)
{
	_cleanup_(sig_cache_freep) struct sig_cache *cache = sig_cache_new();

	for (int round = 0; round < 3; round++)
		for (int i = 0; i < 40; i++) {
			_cleanup_free_ char *secret = strf("secret-%d", i % 20);
			unsigned char want[32], got[32], none[32];

			sigv4_signing_key(str_of(secret), STR("20261121"), STR("us-east-1"), STR("s3"), want);
			sig_cache_key(cache, str_of(secret), STR("20261121"), STR("us-east-1"), STR("s3"), got);
			sig_cache_key(NULL, str_of(secret), STR("20261121"), STR("us-east-1"), STR("s3"), none);
			CHECK(memcmp(want, got, 32) == 0 && memcmp(want, none, 32) == 0);
		}
}

TEST(a_path_may_begin_by_going_up)
{
	static const char *const paths[][2] = {
		{ "/..", "/" }, { "//./../b", "/b" }, { "/../../a/../..", "/" }, { "/a/../b/./c//", "/b/c/" }
	};
	const struct sig_header host = { STR("host"), STR("h") };

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		struct sig_request r = {
			.method = STR("GET"), .path = str_of(paths[i][0]), .headers = &host, .header_count = 1
		};
		_cleanup_buf_ struct buf out = { 0 };
		struct str rest;

		sigv4_canonical(&r, STR("host"), STR("x"), false, false, &out);
		rest = buf_view(&out);
		str_cut(&rest, '\n');
		CHECK(str_is(str_cut(&rest, '\n'), paths[i][1]));
	}
}
