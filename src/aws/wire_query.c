/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>

#include "aws/wire.h"
#include "base/clock.h"

/* The parameters as a tree of objects: "A.member.1.B" is A > member > 1 > B, and the text of a name is under "" there,
 * where no part of a name can be. */
static json_t *nest(const json_t *flat)
{
	json_t *root = json_object(), *text;
	const char *name;

	json_object_foreach ((json_t *)flat, name, text) {
		struct str rest = str_of(name);
		json_t *at = root;
		unsigned parts = 0;

		if (*name == '.' || strstr(name, ".."))
			continue; /* no member is called "" */
		while (rest.n && parts++ < WIRE_NAME_PARTS) {
			_cleanup_free_ char *part = str_dup(str_cut(&rest, '.'));
			json_t *sub = json_object_get(at, part);

			if (!sub) {
				sub = json_object();
				must(json_object_set_new(at, part, sub) == 0);
			}
			at = sub;
		}
		if (!rest.n && *name)
			must(json_object_set(at, "", text) == 0);
	}
	return root;
}

/* ---- texts ---- */

/* What strtod takes and JSON's numbers are, more or less: no blanks, no hex, no names. */
static bool real_of(struct str s, double *ret)
{
	char text[64], *end;

	if (!s.n || s.n >= sizeof(text))
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!((s.p[i] >= '0' && s.p[i] <= '9') || memchr("+-.eE", s.p[i], 5)))
			return false;
	memcpy(text, s.p, s.n);
	text[s.n] = 0;
	*ret = strtod(text, &end);
	return !*end && isfinite(*ret);
}

/* What is no number has as many spellings as there are languages that send it. */
static const char *no_number(struct str s)
{
	bool minus = str_skip(&s, STR("-"));

	if (!minus && str_eq_nocase(s, STR("nan")))
		return "NaN";
	if (!str_eq_nocase(s, STR("inf")) && !str_eq_nocase(s, STR("infinity")))
		return NULL;
	return minus ? "-Infinity" : "Infinity";
}

static json_t *leaf(const struct shape *s, json_t *text)
{
	struct str z = { json_string_value(text), json_string_length(text) };
	struct wall at;
	const char *name;
	int64_t number;
	double real;

	switch (s->kind) {
	case SHAPE_INTEGER:
	case SHAPE_LONG:
		if (str_to_i64(z, &number))
			return json_integer(number);
		break;
	case SHAPE_FLOAT:
	case SHAPE_DOUBLE:
		if (real_of(z, &real))
			return json_real(real);
		if ((name = no_number(z)))
			return json_string(name);
		break;
	case SHAPE_TIMESTAMP:
		if (wall_from_iso8601(z, &at))
			return json_real((double)at.ms / 1000);
		if (real_of(z, &real))
			return json_real(real);
		break;
	case SHAPE_BOOLEAN:
		if (str_is(z, "true") || str_is(z, "false"))
			return json_boolean(str_is(z, "true"));
		break;
	default: break;
	}
	return json_incref(text); /* should it be no text, model_check says so */
}

/* ---- the shape's way through the tree ---- */

static json_t *build(const struct shape *s, const json_t *at);

struct numbered {
	uint64_t number;
	json_t *value;
};

static int by_number(const void *a, const void *b)
{
	const struct numbered *x = a, *y = b;

	return x->number < y->number ? -1 : x->number > y->number;
}

/* The children whose names are numbers, in their order; the caller frees. */
static struct numbered *numbered(const json_t *at, size_t *ret_count)
{
	struct numbered *all = xcalloc(json_object_size(at) + 1, sizeof(*all));
	const char *name;
	json_t *value;
	size_t n = 0;

	json_object_foreach ((json_t *)at, name, value)
		if (str_to_u64(str_of(name), &all[n].number))
			all[n++].value = value;
	qsort(all, n, sizeof(*all), by_number);
	*ret_count = n;
	return all;
}

/* NAME.member.1, ...; or NAME.1, ... when it is flattened. "NAME=": an empty list. */
static json_t *list(const struct shape *s, const json_t *at)
{
	_cleanup_free_ struct numbered *items = NULL;
	json_t *all = json_array(), *item, *members = json_object_get(at, "member");
	size_t n;

	items = numbered(members ? members : at, &n);
	for (size_t i = 0; i < n; i++)
		if ((item = build(s->item, items[i].value)))
			json_array_append_new(all, item);
	if (json_array_size(all) || json_object_get(at, ""))
		return all;
	json_decref(all);
	return NULL;
}

/* NAME.entry.1.key and .value */
static json_t *map(const struct shape *s, const json_t *at)
{
	_cleanup_free_ struct numbered *entries = NULL;
	json_t *all = json_object(), *inside = json_object_get(at, "entry");
	size_t n;

	entries = numbered(inside ? inside : at, &n);
	for (size_t i = 0; i < n; i++) {
		const json_t *key = json_object_get(json_object_get(entries[i].value, "key"), "");
		const json_t *value = json_object_get(entries[i].value, "value");
		const char *name = json_string_value(key);

		if (name && strlen(name) == json_string_length(key) && value)
			json_object_set_new(all, name, build(s->item, value));
	}
	if (json_object_size(all) || json_object_get(at, ""))
		return all;
	json_decref(all);
	return NULL;
}

static json_t *structure(const struct shape *s, const json_t *at)
{
	json_t *all = json_object(), *value;

	for (size_t i = 0; i < s->member_count; i++) {
		const json_t *sub = json_object_get(at, s->members[i].name);

		if (sub && (value = build(s->members[i].shape, sub)))
			json_object_set_new(all, s->members[i].name, value);
	}
	return all;
}

static json_t *build(const struct shape *s, const json_t *at)
{
	json_t *text;

	switch (s->kind) {
	case SHAPE_STRUCTURE:
	case SHAPE_UNION: return structure(s, at);
	case SHAPE_LIST: return list(s, at);
	case SHAPE_MAP: return map(s, at);
	default: text = json_object_get(at, ""); return text ? leaf(s, text) : NULL;
	}
}

json_t *wire_read_query(const struct shape *s, const json_t *flat)
{
	json_t *tree, *in;

	if (!s)
		return json_object();
	tree = nest(flat);
	in = structure(s, tree);
	json_decref(tree);
	return in;
}
