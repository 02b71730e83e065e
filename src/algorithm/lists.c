/* SPDX-License-Identifier: Apache-2.0 */
#include "algorithm/lists.h"

#include <stdlib.h>

struct str json_text(const json_t *j)
{
	return json_is_string(j) ? (struct str){ json_string_value(j), json_string_length(j) } : (struct str){ "", 0 };
}

struct str json_view(const json_t *o, const char *member)
{
	return json_text(json_object_get(o, member));
}

/* "'a', 'b'", at most FAULT_VALUE_BYTES and a little. */
static void add_names(const json_t *list, struct buf *out)
{
	size_t i, from = out->n;
	const json_t *v;

	json_array_foreach (list, i, v) {
		_cleanup_free_ char *shown = fault_value(json_text(v));

		if (out->n - from > FAULT_VALUE_BYTES) {
			buf_f(out, " and %zu more", json_array_size(list) - i);
			return;
		}
		buf_f(out, "%s'%s'", i ? ", " : "", shown);
	}
}

void fault_invalid(struct faults *f, const char *where, struct str value, const char *rule, const json_t *list)
{
	_cleanup_free_ char *shown = fault_value(value);
	_cleanup_buf_ struct buf names = { 0 };

	add_names(list, &names);
	fault(f, "%s: Invalid value: '%s' %s %s", where, shown, rule, names.n ? names.p : "none");
}

bool list_has(const json_t *list, struct str s)
{
	size_t i;
	const json_t *v;

	json_array_foreach (list, i, v)
		if (str_eq(json_text(v), s))
			return true;
	return false;
}

bool list_has_type(const json_t *list, struct str given)
{
	struct str bare = given, type = str_trim(str_cut(&bare, ';'));
	size_t i;
	const json_t *v;

	json_array_foreach (list, i, v) {
		struct str declared = str_trim(json_text(v));

		if (str_eq_nocase(declared, str_trim(given)) || str_eq_nocase(declared, type))
			return true;
	}
	return false;
}
