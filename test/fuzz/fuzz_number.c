/* A text is a number of ours exactly when strtod() takes all of it and it is none of the forms that we refuse; and then
 * both say the same, to the last bit.  SPDX-License-Identifier: Apache-2.0 */
#include "metric/number.h"

#include <math.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What strtod() takes besides: hexadecimal, nan(...), other blanks in front. */
static bool is_decimal(struct str s)
{
	bool digit = false;

	for (size_t i = 0; i < s.n; i++) {
		digit |= s.p[i] >= '0' && s.p[i] <= '9';
		if (!s.p[i] || !strchr("0123456789+-.eE", s.p[i]))
			return false;
	}
	return digit;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str text = { (const char *)data, size }, s = str_trim(text);
	_cleanup_free_ char *copy = str_dup(s);
	_cleanup_buf_ struct buf json = { 0 };
	double got = NAN, want, back;
	enum number_kind kind = number_parse(text, &got);
	char *end;

	if (size > 4096)
		return 0;
	want = strtod(copy, &end);
	if (!is_decimal(s) || end != copy + s.n || !s.n) {
		must(kind != NUMBER_OK && kind != NUMBER_RANGE);
		return 0;
	}
	if (!isfinite(want)) {
		must(kind == NUMBER_RANGE);
		return 0;
	}
	must(kind == NUMBER_OK && memcmp(&got, &want, sizeof(got)) == 0);
	number_json(got, text, &json);
	back = strtod(json.p, &end);
	must(!*end && memcmp(&back, &got, sizeof(got)) == 0);
	return 0;
}
