/* The pure parts of the S3 front: checksums, aws-chunked bodies, documents, ranges.  SPDX-License-Identifier:
 * Apache-2.0 */
#include <stdlib.h>

#include "aws/sigv4.h"
#include "aws/xml.h"
#include "blob/checksum.h"
#include "blob/chunked.h"
#include "blob/listed.h"
#include "blob/request.h"
#include "harness.h"

static struct err error;

static char *sum_of(enum checksum_kind kind, struct str bytes, size_t step)
{
	struct checksum c;
	struct buf out = { 0 };

	checksum_begin(&c, kind);
	for (size_t at = 0; at < bytes.n; at += step)
		checksum_add(&c, bytes.p + at, bytes.n - at < step ? bytes.n - at : step);
	buf_init(&out);
	checksum_end(&c, &out);
	return buf_take(&out);
}

TEST(checksums_of_the_usual_digits)
{
	/* The check values of the CRC catalogue, in base64: cbf43926, e3069283, ae8b14860a799888. */
	static const char *const want[CHECKSUM_COUNT] = {
		[CHECKSUM_CRC32] = "y/Q5Jg==",
		[CHECKSUM_CRC32C] = "4waSgw==",
		[CHECKSUM_CRC64NVME] = "rosUhgp5mIg=",
		[CHECKSUM_SHA1] = "98O8HYCOBHMq32eZZczDTKeuNEE=",
		[CHECKSUM_SHA256] = "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="
	};

	for (int kind = 0; kind < CHECKSUM_COUNT; kind++)
		for (size_t step = 1; step < 10; step += 4) {
			_cleanup_free_ char *got = sum_of((enum checksum_kind)kind, STR("123456789"), step);

			CHECK_STR(got, want[kind]);
			CHECK(checksum_text_ok((enum checksum_kind)kind, str_of(got)));
		}
	CHECK(!checksum_text_ok(CHECKSUM_CRC32, STR("AAAAAAAA")));
	CHECK(!checksum_text_ok(CHECKSUM_CRC32, STR("AAAA*A==")));
	CHECK_INT(checksum_by_name(STR("crc64nvme")), CHECKSUM_CRC64NVME);
	CHECK_INT(checksum_by_header(STR("X-Amz-Checksum-Sha1")), CHECKSUM_SHA1);
	CHECK_INT(checksum_by_header(STR("x-amz-checksum-mode")), CHECKSUM_NONE);
}

TEST(checksums_of_halves_join)
{
	static char bytes[5000];
	static const size_t cuts[] = { 0, 1, 7, 8, 4096, 4999, 5000 };

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i * i % 251);
	for (int k = CHECKSUM_CRC32; k <= CHECKSUM_CRC64NVME; k++)
		for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
			enum checksum_kind kind = (enum checksum_kind)k;
			struct str first = { bytes, cuts[i] }, second = { bytes + cuts[i], sizeof(bytes) - cuts[i] };
			_cleanup_free_ char *a = sum_of(kind, first, 999), *b = sum_of(kind, second, 13),
			                    *whole = sum_of(kind, (struct str){ bytes, sizeof(bytes) }, 5000);
			_cleanup_buf_ struct buf joined = { 0 };

			CHECK(checksum_join(kind, str_of(a), str_of(b), second.n, &joined));
			CHECK_STR(joined.p, whole);
		}
	CHECK(!checksum_join(CHECKSUM_SHA1, STR(""), STR(""), 0, NULL));
	CHECK(!checksum_join(CHECKSUM_CRC32, STR("x"), STR("AAAAAA=="), 0, NULL));
}

/* ---- aws-chunked ---- */

static enum s3_code keep(struct str piece, void *arg, struct err *e)
{
	(void)e;
	buf_str(arg, piece);
	return S3_OK;
}

/* The example of the API reference: 66560 times 'a', in chunks of 64 KiB and 1 KiB. */
static void example_body(struct buf *out)
{
	static const struct {
		const char *size, *signature;
		size_t n;
	} chunks[] = { { "10000", "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648", 65536 },
		       { "400", "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497", 1024 },
		       { "0", "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9", 0 } };

	for (size_t i = 0; i < ARRAY_LEN(chunks); i++) {
		buf_f(out, "%s;chunk-signature=%s\r\n", chunks[i].size, chunks[i].signature);
		for (size_t k = 0; k < chunks[i].n; k++)
			buf_c(out, 'a');
		buf_z(out, "\r\n");
	}
}

static enum s3_code decode_example(struct str body, size_t step, struct buf *out)
{
	struct chunked_keys keys = {
		.scope = STR("20130524/us-east-1/s3/aws4_request"),
		.amz_date = STR("20130524T000000Z"),
		.seed = STR("4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"),
	};
	enum s3_code code = S3_OK;
	struct chunked *c;

	sigv4_signing_key(STR("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"), STR("20130524"), STR("us-east-1"), STR("s3"),
	                  keys.signing_key);
	c = chunked_new(STR("STREAMING-AWS4-HMAC-SHA256-PAYLOAD"), &keys, keep, out);
	for (size_t at = 0; at < body.n && code == S3_OK; at += step)
		code = chunked_feed(c, (struct str){ body.p + at, body.n - at < step ? body.n - at : step }, &error);
	if (code == S3_OK)
		code = chunked_end(c, &error);
	chunked_free(c);
	return code;
}

TEST(signed_chunks_of_the_api_reference)
{
	static const size_t steps[] = { 1, 7, 1000, 100000 };
	_cleanup_buf_ struct buf body = { 0 };

	example_body(&body);
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		_cleanup_buf_ struct buf out = { 0 };

		CHECK_INT(decode_example(buf_view(&body), steps[i], &out), S3_OK);
		CHECK_INT(out.n, 66560);
	}
	for (size_t at = 100; at < body.n; at += 9973) { /* any byte of the data or of a signature */
		_cleanup_buf_ struct buf out = { 0 };

		body.p[at] ^= 1;
		CHECK(decode_example(buf_view(&body), 4096, &out) != S3_OK);
		body.p[at] ^= 1;
	}
	{
		_cleanup_buf_ struct buf out = { 0 };

		CHECK_INT(decode_example((struct str){ body.p, body.n - 90 }, 4096, &out), S3_IncompleteBody);
	}
}

static enum s3_code decode_unsigned(const char *body, struct buf *out, struct buf *trailer)
{
	struct chunked *c = chunked_new(STR("STREAMING-UNSIGNED-PAYLOAD-TRAILER"), NULL, keep, out);
	enum s3_code code = chunked_feed(c, str_of(body), &error);

	if (code == S3_OK)
		code = chunked_end(c, &error);
	if (code == S3_OK)
		buf_str(trailer, chunked_trailer(c, STR("X-Amz-Checksum-Crc32")));
	chunked_free(c);
	return code;
}

TEST(unsigned_chunks)
{
	static const struct {
		const char *body, *out, *trailer;
		enum s3_code code;
	} cases[] = {
		{ "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n", "hello", "NhCmhg==", S3_OK },
		{ "0\r\n\r\n", "", "", S3_OK },
		{ "A\r\n0123456789\r\n0\r\n a : b \r\n\r\n", "0123456789", "", S3_OK },
		{ "5\r\nhello\r\n0\r\n", "hello", "", S3_IncompleteBody },
		{ "5\r\nhel", "hel", "", S3_IncompleteBody },
		{ "5\r\nhello!\r\n0\r\n\r\n", "hello", "", S3_InvalidRequest },
		{ "5\nhello\r\n0\r\n\r\n", "", "", S3_InvalidRequest },
		{ "-5\r\nhello", "", "", S3_InvalidRequest },
		{ "\r\n", "", "", S3_InvalidRequest },
		{ "00000000000000005\r\n", "", "", S3_InvalidRequest },
		{ "0\r\nno colon\r\n\r\n", "", "", S3_InvalidRequest },
		{ "0\r\n\r\nmore", "", "", S3_InvalidRequest },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		_cleanup_buf_ struct buf out = { 0 };
		_cleanup_buf_ struct buf trailer = { 0 };

		buf_init(&out);
		buf_init(&trailer);
		CHECK_INT(decode_unsigned(cases[i].body, &out, &trailer), cases[i].code);
		CHECK_STR(out.p, cases[i].out);
		CHECK_STR(trailer.p, cases[i].trailer);
	}
	CHECK(!chunked_new(STR("UNSIGNED-PAYLOAD"), NULL, keep, NULL));
	CHECK(!chunked_new(STR("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"), NULL, keep, NULL));
}

/* ---- documents ---- */

static int show_element(struct str path, struct str text, void *arg, struct err *e)
{
	if (str_eq(text, STR("stop")))
		return err_set(e, ERR_CLIENT, "stopped at " PRIstr, ARGstr(path));
	buf_f(arg, "=" PRIstr ";", ARGstr(text));
	buf_str(arg, path);
	buf_c(arg, ' ');
	return 0;
}

TEST(xml_paths_and_refusals)
{
	_cleanup_buf_ struct buf out = { 0 };
	char text[4096];
	static const char *const bad[] = { "",           "<a>",         "<a/><b/>", "<!DOCTYPE a><a/>",
		                           "<a>&b;</a>", "<a>\xff</a>", "text" };

	CHECK_OK(xml_read(STR("<x:a xmlns:x='u'><b k='v'>1<!-- c -->2<c>&lt;&#10;</c></b>t</x:a>"), show_element, &out,
	                  e));
	CHECK_STR(out.p, "=<\n;a/b/c =12;a/b =t;a ");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		buf_reset(&out);
		CHECK(xml_read(str_of(bad[i]), show_element, &out, &error) < 0);
		CHECK_INT(error.kind, ERR_SYNTAX);
	}
	CHECK(xml_read(STR("<a><b>stop</b></a>"), show_element, &out, &error) < 0);
	CHECK_STR(err_text(&error, text, sizeof(text)), "stopped at a/b");
}

TEST(listed_parts)
{
	struct listed l = { 0 };
	static const char *const bad[] = {
		"<CompleteMultipartUpload/>", "<Other><Part/></Other>",
		"<CompleteMultipartUpload><Part><ETag>x</ETag></Part></CompleteMultipartUpload>",
		"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part>"
		"</CompleteMultipartUpload>",
		"<CompleteMultipartUpload><Part><PartNumber>-1</PartNumber><ETag>x</ETag></Part>"
		"</CompleteMultipartUpload>"
	};

	CHECK_OK(
	        listed_read(STR("<CompleteMultipartUpload><Part><ETag>&quot;aa&quot;</ETag><PartNumber> 2 </PartNumber>"
	                        "<ChecksumCRC32>jaNwvA==</ChecksumCRC32></Part><Part><PartNumber>1</PartNumber>"
	                        "<ETag>bb</ETag></Part></CompleteMultipartUpload>"),
	                    &l, e));
	CHECK_INT(l.n, 2);
	CHECK_INT(l.v[0].number, 2);
	CHECK_STR(l.v[0].etag, "aa");
	CHECK_STR(l.v[0].checksum[CHECKSUM_CRC32], "jaNwvA==");
	CHECK(!l.v[1].checksum[CHECKSUM_CRC32]);
	CHECK_STR(l.v[1].etag, "bb");
	listed_fini(&l);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		CHECK(listed_read(str_of(bad[i]), &l, &error) < 0);
}

TEST(ranges)
{
	static const struct {
		const char *header;
		int rc;
		uint64_t from, length;
	} cases[] = {
		{ "bytes=0-0", 1, 0, 1 },
		{ "bytes=3-", 1, 3, 7 },
		{ "bytes=-4", 1, 6, 4 },
		{ "bytes=-99", 1, 0, 10 },
		{ "bytes=9-18446744073709551615", 1, 9, 1 },
		{ "bytes=10-", -1, 0, 0 },
		{ "bytes=-0", -1, 0, 0 },
		{ "bytes=5-4", 0, 0, 0 },
		{ "bytes=0-1,3-4", 0, 0, 0 },
		{ "bytes=", 0, 0, 0 },
		{ "bytes=a-b", 0, 0, 0 },
		{ "bytes=-", 0, 0, 0 },
		{ "octets=0-1", 0, 0, 0 },
		{ "bytes=99999999999999999999-", 0, 0, 0 },
	};
	uint64_t from, length;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		from = length = 0;
		CHECK_INT(front_range(str_of(cases[i].header), 10, &from, &length), cases[i].rc);
		CHECK_INT(from, cases[i].from);
		CHECK_INT(length, cases[i].length);
	}
	CHECK_INT(front_range(STR("bytes=0-"), 0, &from, &length), -1);
	CHECK_INT(front_range(STR("bytes=-1"), 0, &from, &length), -1);
}

TEST(meta_lines)
{
	struct str meta = STR("Content-Type: a/b\nx-amz-meta-k: v: w\n");

	CHECK(str_eq(meta_get(meta, "content-type"), STR("a/b")));
	CHECK(str_eq(meta_get(meta, "x-amz-meta-k"), STR("v: w")));
	CHECK(!meta_get(meta, "x-amz-meta").p);
}
