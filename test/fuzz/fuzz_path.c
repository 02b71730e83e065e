/* A path, a line feed, then a value: what is JSON here is what jansson takes for it; what a path picks is JSON again;
 * fields of CSV are part of the row.  SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>

#include "transform/jsontext.h"
#include "transform/path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* jansson has limits of its own: numbers that fit into its types, names without NUL; and a NUL behind a value it takes
 * for the end. */
static bool comparable(struct str s)
{
	for (size_t i = 0, run = 0; i < s.n; i++) {
		run = s.p[i] >= '0' && s.p[i] <= '9' ? run + 1 : 0;
		if (run > 15 || s.p[i] == 'e' || s.p[i] == 'E' || s.p[i] == '\\' || !s.p[i])
			return false;
	}
	return true;
}

static void check_json(const struct path *p, struct str text)
{
	_cleanup_buf_ struct buf out = { 0 };
	struct str value, again;
	bool ok = jsontext_check(text, &value, NULL) == 0;

	if (comparable(text)) {
		json_t *j = json_loadb(text.p, text.n, JSON_DECODE_ANY, NULL);

		must(ok == (j != NULL));
		json_decref(j);
	}
	if (!ok)
		return;
	must(jsontext_check(value, &again, NULL) == 0 && str_eq(value, again));
	if (path_json(p, value, &out, NULL) == 0)
		must(jsontext_check(buf_view(&out), &again, NULL) == 0);
	else
		must(out.n == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str rest = { (const char *)data, size }, text = str_cut(&rest, '\n');
	_cleanup_(path_freep) struct path *p = NULL;
	_cleanup_buf_ struct buf out = { 0 };

	if (path_parse(text, &p, NULL) < 0)
		return 0;
	check_json(p, rest);
	if (path_check_csv(p, NULL) == 0 && path_csv(p, rest, &out, NULL) < 0)
		must(out.n == 0);
	return 0;
}
