/* Lines of an augmented manifest, for the attributes "a-ref", "b" and "". They mean the same however they are cut into
 * pieces; a refusal carries a sentence; a value that jansson can read too is the same value, and has no blanks to
 * spare.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <stdint.h>

#include "jobdir/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const attributes[] = { "a-ref", "b", "" };

static int note(void *arg, const struct manifest_unit *u, struct err *e)
{
	struct buf *out = arg;

	(void)e;
	must(u->count == ARRAY_LEN(attributes) && u->number == u->line && u->line > 0);
	must(!u->parts[0].literal && u->parts[1].literal && u->parts[2].literal);
	must(u->parts[0].bucket.n && u->parts[0].key.n && u->parts[0].key.n <= MANIFEST_KEY_MAX);
	buf_f(out, "%llu", (unsigned long long)u->line);
	for (size_t i = 0; i < u->count; i++) {
		must(u->parts[i].attribute == attributes[i]);
		must(utf8_valid(u->parts[i].bytes));
		buf_c(out, '\0');
		buf_str(out, u->parts[i].bytes);
	}
	buf_c(out, '\n');
	return 0;
}

static int read_in(struct str in, size_t step, struct buf *out, struct err *e)
{
	struct manifest_options o = { .uri = "s3://m/x",
		                      .attributes = attributes,
		                      .attribute_count = ARRAY_LEN(attributes),
		                      .unit = note,
		                      .arg = out };
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

struct check {
	const json_t *line;
};

static int check(void *arg, const struct manifest_unit *u, struct err *e)
{
	const struct check *c = arg;

	(void)e;
	for (size_t i = 0; i < u->count; i++) {
		const json_t *want = json_object_get(c->line, attributes[i]);
		struct str got = u->parts[i].bytes;
		json_t *back;

		must(want);
		if (json_is_string(want)) {
			must(str_eq(got, (struct str){ json_string_value(want), json_string_length(want) }));
			continue;
		}
		back = json_loadb(got.p, got.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
		must(back && json_equal(back, want));
		json_decref(back);
	}
	return 0;
}

/* One line alone, against jansson, where that can read it (it refuses large numbers, and keys with a NUL). */
static void compare(struct str in)
{
	struct check c = { .line = json_loadb(in.p, in.n, JSON_ALLOW_NUL, NULL) };
	struct manifest_options o = { .uri = "s3://m/x",
		                      .attributes = attributes,
		                      .attribute_count = ARRAY_LEN(attributes),
		                      .unit = check,
		                      .arg = &c };
	_cleanup_(manifest_freep) struct manifest *m = manifest_new(&o);

	if (json_is_object(c.line) && manifest_feed(m, in, NULL) == 0)
		(void)!manifest_end(m, NULL);
	json_decref((json_t *)c.line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t steps[] = { 1, 2, 7, 64 };
	struct str in = { (const char *)data, size };
	_cleanup_buf_ struct buf whole = { 0 };
	struct err e = { 0 };
	int rc = read_in(in, size ? size : 1, &whole, &e);

	must(rc == 0 || (e.kind == ERR_CLIENT && e.depth == 1));
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		_cleanup_buf_ struct buf pieces = { 0 };
		struct err again = { 0 };

		must(read_in(in, steps[i], &pieces, &again) == rc);
		must(str_eq(buf_view(&pieces), buf_view(&whole)));
		must(rc == 0 || str_is(str_of(again.frame[0]), e.frame[0]));
	}
	if (!str_has_byte(in, '\n'))
		compare(in);
	return 0;
}
