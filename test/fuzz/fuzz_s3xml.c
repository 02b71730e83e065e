/* The documents S3 clients send, and aws-chunked bodies. The first byte says what the rest is.
 *
 * Refused input carries a reason; what is accepted is within the limits; and an aws-chunked body means the same however
 * it is cut into pieces.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#include "blob/chunked.h"
#include "blob/listed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_listed(struct str in)
{
	struct listed l = { 0 };
	struct err e = { 0 };

	if (listed_read(in, &l, &e) < 0) {
		must(e.depth > 0 && e.frame[0][0] && !l.n);
		return;
	}
	must(l.n > 0 && l.n <= 10000);
	for (size_t i = 0; i < l.n; i++)
		must(l.v[i].etag);
	listed_fini(&l);
}

static void try_deletion(struct str in)
{
	static struct deletion d;
	struct err e = { 0 };
	size_t total = 0;

	if (deletion_read(in, &d, &e) < 0) {
		must(e.depth > 0 && e.frame[0][0]);
		deletion_fini(&d);
		return;
	}
	must(d.n > 0 && d.n <= DELETE_MAX);
	for (size_t i = 0; i < d.n; i++) {
		total += deletion_key(&d, i).n;
		must(utf8_valid(deletion_key(&d, i)));
	}
	must(total == d.bytes.n);
	deletion_fini(&d);
}

static void try_configuration(struct str in)
{
	struct err e = { 0 };

	must(bucket_configuration_read(in, &e) == 0 || (e.depth > 0 && e.frame[0][0]));
}

static enum s3_code keep(struct str piece, void *arg, struct err *e)
{
	(void)e;
	buf_str(arg, piece);
	return S3_OK;
}

/* Decodes in pieces of `step` bytes; the code it ended with. */
static enum s3_code decode(struct str kind, struct str in, size_t step, struct buf *out)
{
	struct chunked_keys keys = { .scope = STR("20260101/us-east-1/s3/aws4_request"),
		                     .amz_date = STR("20260101T000000Z"),
		                     .seed = STR("0000000000000000000000000000000000000000000000000000000000000000") };
	struct chunked *c = chunked_new(kind, &keys, keep, out);
	enum s3_code code = S3_OK;

	must(c);
	while (in.n && code == S3_OK) {
		struct str piece = { in.p, in.n < step ? in.n : step };

		code = chunked_feed(c, piece, NULL);
		in.p += piece.n;
		in.n -= piece.n;
	}
	if (code == S3_OK)
		code = chunked_end(c, NULL);
	if (code == S3_OK)
		buf_str(out, chunked_trailer(c, STR("x-amz-checksum-crc32")));
	chunked_free(c);
	return code;
}

static void try_chunked(struct str kind, struct str in)
{
	static const size_t steps[] = { 1, 3, 64 };
	_cleanup_buf_ struct buf whole = { 0 };
	enum s3_code code = decode(kind, in, in.n ? in.n : 1, &whole);

	must(whole.n <= in.n);
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		_cleanup_buf_ struct buf pieces = { 0 };

		must(decode(kind, in, steps[i], &pieces) == code);
		must(code != S3_OK || str_eq(buf_view(&pieces), buf_view(&whole)));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = { (const char *)data + 1, size - 1 };

	if (!size)
		return 0;
	switch (data[0]) {
	case 'C': try_listed(in); break;
	case 'D': try_deletion(in); break;
	case 'B': try_configuration(in); break;
	case 'U': try_chunked(STR("STREAMING-UNSIGNED-PAYLOAD-TRAILER"), in); break;
	case 'S': try_chunked(STR("STREAMING-AWS4-HMAC-SHA256-PAYLOAD"), in); break;
	case 'T': try_chunked(STR("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"), in); break;
	default: break;
	}
	return 0;
}
