/* What is unpacked from any bytes, in pieces of any size, is what zlib makes of them; and what one refuses the other
 * does. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "feed/inflate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OUT_MAX = 256 << 10 };

/* The bytes of all members. -1: refused; -2: more than is looked at here; -3: refused for an incomplete set of codes,
 * which zlib never takes and ISA-L does when nothing uses what is missing. */
static int by_zlib(const uint8_t *data, size_t size, struct buf *out)
{
	z_stream z = { .next_in = (Bytef *)data, .avail_in = (uInt)size };
	int rc = Z_STREAM_END;

	must(inflateInit2(&z, 15 + 16) == Z_OK);
	while (z.avail_in && out->n <= OUT_MAX && rc >= 0) {
		if (rc == Z_STREAM_END) {
			while (z.next_in != data && z.avail_in && *z.next_in == 0) {
				z.next_in++;
				z.avail_in--;
				rc = Z_DATA_ERROR; /* only zeros may follow */
			}
			if (rc == Z_DATA_ERROR || !z.avail_in) {
				rc = z.avail_in ? Z_DATA_ERROR : Z_STREAM_END;
				break;
			}
			inflateReset(&z);
		}
		buf_need(out, 64 << 10);
		z.next_out = (Bytef *)out->p + out->n;
		z.avail_out = 64 << 10;
		rc = inflate(&z, Z_NO_FLUSH);
		out->n += (64 << 10) - z.avail_out;
		if (rc == Z_BUF_ERROR || rc == Z_NEED_DICT)
			rc = Z_DATA_ERROR;
	}
	while (rc == Z_OK && out->n <= OUT_MAX) { /* what was there but did not fit */
		buf_need(out, 64 << 10);
		z.next_out = (Bytef *)out->p + out->n;
		z.avail_out = 64 << 10;
		rc = inflate(&z, Z_NO_FLUSH);
		out->n += (64 << 10) - z.avail_out;
	}
	if (rc == Z_DATA_ERROR && z.msg && strstr(z.msg, " set"))
		rc = Z_NEED_DICT;
	inflateEnd(&z);
	return out->n > OUT_MAX ? -2 : rc == Z_STREAM_END ? 0 : rc == Z_NEED_DICT ? -3 : -1;
}

static int by_us(const uint8_t *data, size_t size, size_t step, struct buf *out)
{
	struct inflater *z = inflater_new();
	struct err e = { 0 };
	int rc = 0;

	for (size_t at = 0; at < size && rc == 0; at += step) {
		struct str bytes;

		inflater_feed(z, (struct str){ (const char *)data + at, step < size - at ? step : size - at });
		while ((rc = inflater_next(z, &bytes, &e)) > 0 && out->n <= OUT_MAX)
			buf_str(out, bytes);
	}
	if (rc == 0)
		rc = inflater_end(z, &e);
	must(rc >= 0 || e.kind == ERR_CLIENT);
	inflater_free(z);
	return out->n > OUT_MAX ? -2 : rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf want = { 0 }, got = { 0 };
	size_t step;
	int rc, ours;

	if (size < 1)
		return 0;
	step = data[0] ? data[0] : 1 << 20;
	rc = by_zlib(data + 1, size - 1, &want);
	ours = by_us(data + 1, size - 1, step, &got);
	/* Around the limit one may see the damage and the other the limit: pieces are of different sizes. */
	must(rc == -3 || ours == rc || (ours != 0 && rc != 0 && (ours == -2 || rc == -2)));
	must(rc != 0 || str_eq(buf_view(&want), buf_view(&got)));
	buf_fini(&want);
	buf_fini(&got);
	return 0;
}
