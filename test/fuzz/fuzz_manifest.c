/* A ManifestFile. It means the same however it is cut into pieces; a refusal carries a sentence; and what is accepted
 * is what jansson reads: an array of an object and strings, with these texts.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <stdint.h>

#include "jobdir/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int note(void *arg, const struct manifest_unit *u, struct err *e)
{
	struct buf *out = arg;

	(void)e;
	must(u->count == 1 && !u->parts[0].literal && u->parts[0].bucket.n);
	must(u->parts[0].key.n > 0 && u->parts[0].key.n <= MANIFEST_KEY_MAX);
	buf_z(out, "s3://");
	buf_str(out, u->parts[0].bucket);
	buf_c(out, '/');
	buf_str(out, u->parts[0].key);
	buf_c(out, '\n');
	return 0;
}

static int read_in(struct str in, size_t step, struct buf *out, struct err *e)
{
	struct manifest_options o = { .uri = "s3://m/x", .unit = note, .arg = out };
	_cleanup_(manifest_freep) struct manifest *m = manifest_new(&o);

	while (in.n) {
		struct str piece = { in.p, in.n < step ? in.n : step };

		if (manifest_feed(m, piece, e) < 0)
			return -1;
		in.p += piece.n;
		in.n -= piece.n;
	}
	return manifest_end(m, e);
}

static void compare(struct str in, struct str got)
{
	struct str text = in;
	json_t *j, *v;
	const json_t *prefix;
	size_t i;

	str_skip(&text, STR("\xef\xbb\xbf"));
	j = json_loadb(text.p, text.n, JSON_ALLOW_NUL, NULL);
	must(json_is_array(j));
	prefix = json_object_get(json_array_get(j, 0), "prefix");
	must(json_is_string(prefix));
	json_array_foreach (j, i, v) {
		if (i == 0)
			continue;
		must(str_skip(&got, (struct str){ json_string_value(prefix), json_string_length(prefix) }));
		must(str_skip(&got, (struct str){ json_string_value(v), json_string_length(v) }));
		must(str_skip(&got, STR("\n")));
	}
	must(!got.n);
	json_decref(j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t steps[] = { 1, 2, 7, 64 };
	struct str in = { (const char *)data, size };
	_cleanup_buf_ struct buf whole = { 0 };
	struct err e = { 0 };
	int rc = read_in(in, size ? size : 1, &whole, &e);

	must(rc == 0 || (e.kind == ERR_CLIENT && e.depth == 1));
	if (rc == 0)
		compare(in, buf_view(&whole));
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		_cleanup_buf_ struct buf pieces = { 0 };
		struct err again = { 0 };

		must(read_in(in, steps[i], &pieces, &again) == rc);
		must(str_eq(buf_view(&pieces), buf_view(&whole)));
		must(rc == 0 || str_is(str_of(again.frame[0]), e.frame[0]));
	}
	return 0;
}
