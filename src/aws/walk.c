/* SPDX-License-Identifier: Apache-2.0 */
#include "aws/walk.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

/* One walk over one request. */
struct walk {
	struct violations found;
	struct pattern_scratch *scratch;
	struct buf *text; /* the message, on failure */
	struct err *e;
};

/* What AWS's JSON services call a type in "can not be converted to ...". */
static const char *const type_names[] = {
	[SHAPE_STRING] = "a String",   [SHAPE_INTEGER] = "an Integer", [SHAPE_LONG] = "a Long",
	[SHAPE_FLOAT] = "a Float",     [SHAPE_DOUBLE] = "a Double",    [SHAPE_TIMESTAMP] = "milliseconds since epoch",
	[SHAPE_BOOLEAN] = "a Boolean", [SHAPE_BLOB] = "a ByteBuffer",
};

static bool is_plain(const struct shape *s)
{
	return s->kind != SHAPE_STRUCTURE && s->kind != SHAPE_UNION && s->kind != SHAPE_LIST && s->kind != SHAPE_MAP;
}

/* Ends the walk: the message is `what` and where. */
static int syntax(struct walk *w, const struct at *at, const char *what)
{
	size_t from = w->text->n, path;

	buf_z(w->text, what);
	path = w->text->n;
	buf_z(w->text, " (at '");
	at_say(at, w->text);
	if (w->text->p[w->text->n - 1] == '\'') { /* the request itself */
		w->text->n = path;
		w->text->p[path] = 0;
	} else {
		buf_z(w->text, "')");
	}
	return err_set(w->e, ERR_SYNTAX, "%s", w->text->p + from);
}

/* x has a JSON type that s cannot be. */
static int wrong_type(struct walk *w, const struct at *at, const struct shape *s, const json_t *x)
{
	static const char *const tokens[] = { [JSON_STRING] = "STRING_VALUE",
		                              [JSON_INTEGER] = "NUMBER_VALUE",
		                              [JSON_REAL] = "NUMBER_VALUE",
		                              [JSON_TRUE] = "TRUE_VALUE",
		                              [JSON_FALSE] = "FALSE_VALUE" };
	char text[128];

	if (json_is_array(x))
		return syntax(w, at, "Start of list found where not expected");
	if (json_is_object(x))
		return syntax(w, at, "Start of structure or map found where not expected.");
	if (s->kind == SHAPE_LIST)
		return syntax(w, at, "Expected list or null");
	if (!is_plain(s))
		return syntax(w, at, "Expected null");
	snprintf(text, sizeof(text), "%s can not be converted to %s", tokens[json_typeof(x)], type_names[s->kind]);
	return syntax(w, at, text);
}

/* x is a number, but not one that s can hold. */
static int wrong_number(struct walk *w, const struct at *at, const struct shape *s, const json_t *x)
{
	_cleanup_buf_ struct buf text = { 0 };

	say_value(x, &text);
	buf_f(&text, " can not be converted to %s", type_names[s->kind]);
	return syntax(w, at, text.p);
}

static unsigned size_broken(const struct shape *s, double n)
{
	return (s->has_max && n > s->max ? BROKEN_MAX : 0) | (s->has_min && n < s->min ? BROKEN_MIN : 0);
}

static unsigned string_broken(struct walk *w, const struct shape *s, struct str v)
{
	unsigned broken = 0;

	if (s->has_min || s->has_max)
		broken |= size_broken(s, (double)utf8_count(v));
	if (s->pattern && !pattern_matches(s->pattern_index, v, &w->scratch))
		broken |= BROKEN_PATTERN;
	if (s->enums) {
		const char *const *known = s->enums;

		while (*known && !str_is(v, *known))
			known++;
		if (!*known)
			broken |= BROKEN_ENUM;
	}
	return broken;
}

/* The bytes that base64 text stands for; false: it is none. */
static bool base64_size(struct str v, size_t *ret)
{
	size_t pad = 0;

	if (v.n % 4)
		return false;
	while (pad < 2 && pad < v.n && v.p[v.n - 1 - pad] == '=')
		pad++;
	for (size_t i = 0; i < v.n - pad; i++) {
		char c = v.p[i];

		if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' ||
		      c == '/'))
			return false;
	}
	*ret = v.n / 4 * 3 - pad;
	return true;
}

/* Whole numbers. One written as 3.0 or 1e3 is replaced by an integer. */
static int whole_number(struct walk *w, const struct at *at, const struct shape *s, const json_t *x, json_t **ret_new,
                        unsigned *ret_broken)
{
	const double most = s->kind == SHAPE_INTEGER ? INT32_MAX : 9007199254740992.0; /* reals are exact below 2^53 */
	json_int_t n;

	if (json_is_real(x)) {
		double d = json_real_value(x);

		if (d > most || d < -most || d != (double)(json_int_t)d)
			return wrong_number(w, at, s, x);
		n = (json_int_t)d;
		*ret_new = json_integer(n);
	} else {
		n = json_integer_value(x);
		if (s->kind == SHAPE_INTEGER && (n > INT32_MAX || n < INT32_MIN))
			return wrong_number(w, at, s, x);
	}
	*ret_broken = size_broken(s, (double)n);
	return 0;
}

/* How AWS's JSON writes what JSON has no numbers for; a handler that takes floating-point numbers looks for it. */
static bool is_no_number(struct str v)
{
	return str_is(v, "NaN") || str_is(v, "Infinity") || str_is(v, "-Infinity");
}

/* Strings, numbers, booleans, timestamps and blobs. *ret_new: what to put in x's place, or left alone. */
static int check_plain(struct walk *w, const struct at *at, const struct shape *s, const json_t *x, json_t **ret_new,
                       unsigned *ret_broken)
{
	struct str v = { json_string_value(x), json_string_length(x) };
	double number = json_number_value(x);
	size_t n;

	switch (s->kind) {
	case SHAPE_STRING:
		if (!json_is_string(x))
			return wrong_type(w, at, s, x);
		*ret_broken = string_broken(w, s, v);
		return 0;
	case SHAPE_BLOB:
		if (!json_is_string(x))
			return wrong_type(w, at, s, x);
		if (!base64_size(v, &n))
			return syntax(w, at, "STRING_VALUE is not base64");
		*ret_broken = size_broken(s, (double)n);
		return 0;
	case SHAPE_BOOLEAN:
		if (!json_is_boolean(x))
			return wrong_type(w, at, s, x);
		*ret_broken = 0;
		return 0;
	case SHAPE_INTEGER:
	case SHAPE_LONG:
		if (!json_is_number(x))
			return wrong_type(w, at, s, x);
		return whole_number(w, at, s, x, ret_new, ret_broken);
	case SHAPE_TIMESTAMP: /* seconds since 1970; up to the year 9999, so that milliseconds always fit */
		if (!json_is_number(x))
			return wrong_type(w, at, s, x);
		if (fabs(number) > 253402300799.0)
			return wrong_number(w, at, s, x);
		*ret_broken = 0;
		return 0;
	default:
		*ret_broken = 0;
		if (is_no_number(v))
			return 0;
		if (!json_is_number(x))
			return wrong_type(w, at, s, x);
		if (s->kind == SHAPE_FLOAT && fabs(number) > FLT_MAX)
			return wrong_number(w, at, s, x);
		*ret_broken = size_broken(s, number);
		return 0;
	}
}

static int check(struct walk *w, const struct at *at, const struct shape *s, json_t *x, unsigned depth,
                 json_t **ret_new);

static void remove_unknown(const struct shape *s, json_t *x)
{
	const char *key;
	json_t *v;
	void *next;

	json_object_foreach_safe(x, next, key, v)
	{
		size_t i = 0;

		while (i < s->member_count && strcmp(s->members[i].name, key) != 0)
			i++;
		if (i == s->member_count)
			json_object_del(x, key);
	}
}

static int check_structure(struct walk *w, const struct at *at, const struct shape *s, json_t *x, unsigned depth)
{
	size_t there = 0;

	for (size_t i = 0; i < s->member_count; i++) {
		const struct member *m = &s->members[i];
		struct at here = { .up = at, .name = m->name };
		json_t *v = json_object_get(x, m->name), *replaced = NULL;

		if (json_is_null(v)) {
			json_object_del(x, m->name);
			v = NULL;
		}
		if (!v) {
			if (m->required)
				say_broken(&w->found, &here, m->shape, NULL, BROKEN_NULL);
			continue;
		}
		there++;
		if (check(w, &here, m->shape, v, depth, &replaced) < 0)
			return -1;
		if (replaced)
			json_object_set_new(x, m->name, replaced);
	}
	if (there < json_object_size(x))
		remove_unknown(s, x);
	if (s->kind == SHAPE_UNION && there != 1)
		say_broken(&w->found, at, s, x, BROKEN_UNION);
	return 0;
}

/* Items that are plain are reported at the list, together: contract 9.3 has no path for them. */
static int check_plain_items(struct walk *w, const struct at *at, const struct shape *s, json_t *x)
{
	json_t *bad = NULL, *v;
	unsigned all = 0;
	size_t i;
	int rc = 0;

	json_array_foreach (x, i, v) {
		struct at here = { .up = at, .index = i + 1 };
		unsigned broken = BROKEN_NULL;
		json_t *replaced = NULL;

		if (!json_is_null(v) && (rc = check_plain(w, &here, s->item, v, &replaced, &broken)) < 0)
			break;
		if (broken) {
			bad = bad ? bad : json_array();
			json_array_append(bad, v);
			all |= broken;
		}
		if (replaced)
			json_array_set_new(x, i, replaced);
	}
	if (rc == 0 && all)
		say_items(&w->found, at, s->item, "Member", bad, all);
	json_decref(bad);
	return rc;
}

static int check_list(struct walk *w, const struct at *at, const struct shape *s, json_t *x, unsigned depth)
{
	json_t *v;
	size_t i;

	say_broken(&w->found, at, s, x, size_broken(s, (double)json_array_size(x)));
	if (is_plain(s->item))
		return check_plain_items(w, at, s, x);
	json_array_foreach (x, i, v) {
		struct at here = { .up = at, .index = i + 1 };
		json_t *replaced = NULL;

		if (json_is_null(v))
			say_broken(&w->found, &here, s->item, NULL, BROKEN_NULL);
		else if (check(w, &here, s->item, v, depth, &replaced) < 0)
			return -1;
	}
	return 0;
}

/* The entries of a map whose keys, or plain values, break their shape. */
struct bad_entries {
	json_t *entries;
	unsigned broken;
};

static void bad_entry(struct bad_entries *b, const char *key, json_t *v, unsigned broken)
{
	if (!broken)
		return;
	if (!b->entries)
		b->entries = json_object();
	json_object_set(b->entries, key, v);
	b->broken |= broken;
}

static int check_entries(struct walk *w, const struct at *at, const struct shape *s, json_t *x, unsigned depth,
                         struct bad_entries *keys, struct bad_entries *values)
{
	const bool plain = is_plain(s->item);
	const char *key;
	json_t *v;
	void *next;

	json_object_foreach_safe(x, next, key, v)
	{
		struct at here = { .up = at, .key = str_of(key) };
		json_t *replaced = NULL;
		unsigned broken = 0;

		if (json_is_null(v)) {
			json_object_del(x, key);
			continue;
		}
		bad_entry(keys, key, v, string_broken(w, s->key, here.key));
		if (plain ? check_plain(w, &here, s->item, v, &replaced, &broken) < 0
		          : check(w, &here, s->item, v, depth, &replaced) < 0)
			return -1;
		bad_entry(values, key, v, broken);
		if (replaced)
			json_object_set_new(x, key, replaced);
	}
	return 0;
}

static int check_map(struct walk *w, const struct at *at, const struct shape *s, json_t *x, unsigned depth)
{
	struct bad_entries keys = { 0 }, values = { 0 };
	int rc = check_entries(w, at, s, x, depth, &keys, &values);

	if (rc == 0) {
		say_broken(&w->found, at, s, x, size_broken(s, (double)json_object_size(x)));
		if (keys.broken)
			say_items(&w->found, at, s->key, "Map keys", keys.entries, keys.broken);
		if (values.broken)
			say_items(&w->found, at, s->item, "Map value", values.entries, values.broken);
	}
	json_decref(keys.entries);
	json_decref(values.entries);
	return rc;
}

/* x is never null. -1: a wrong JSON type; violations are collected. */
static int check(struct walk *w, const struct at *at, const struct shape *s, json_t *x, unsigned depth,
                 json_t **ret_new)
{
	unsigned broken = 0;

	if (depth >= WALK_DEPTH)
		return syntax(w, at, "Nested too deeply");
	switch (s->kind) {
	case SHAPE_STRUCTURE:
	case SHAPE_UNION: return json_is_object(x) ? check_structure(w, at, s, x, depth + 1) : wrong_type(w, at, s, x);
	case SHAPE_MAP: return json_is_object(x) ? check_map(w, at, s, x, depth + 1) : wrong_type(w, at, s, x);
	case SHAPE_LIST: return json_is_array(x) ? check_list(w, at, s, x, depth + 1) : wrong_type(w, at, s, x);
	default:
		if (check_plain(w, at, s, x, ret_new, &broken) < 0)
			return -1;
		say_broken(&w->found, at, s, x, broken);
		return 0;
	}
}

int model_check_text(const struct operation *op, json_t *in, struct buf *ret_text, struct err *e)
{
	static const struct shape nothing = { .name = "Nothing", .kind = SHAPE_STRUCTURE };
	struct walk w = { .text = ret_text, .e = e };
	size_t from = ret_text->n;
	json_t *unused = NULL;
	int rc = check(&w, NULL, op->input ? op->input : &nothing, in, 0, &unused);

	if (rc == 0 && w.found.count) {
		say_all(&w.found, ret_text);
		rc = err_set(e, ERR_INVALID, "%s", ret_text->p + from);
	}
	buf_fini(&w.found.text);
	pattern_scratch_free(w.scratch);
	return rc;
}

int model_check_each(const struct operation *op, json_t *in, json_t *each, struct err *e)
{
	struct walk w = { .e = e, .found.each = each };
	_cleanup_buf_ struct buf text = { 0 };
	json_t *unused = NULL;
	int rc;

	w.text = &text;
	rc = check(&w, NULL, op->input, in, 0, &unused);
	if (rc == 0 && w.found.count)
		rc = err_set(e, ERR_INVALID, "%zu violations of the model", w.found.count);
	buf_fini(&w.found.text);
	pattern_scratch_free(w.scratch);
	return rc;
}

int model_check(const struct operation *op, json_t *in, struct err *e)
{
	_cleanup_buf_ struct buf text = { 0 };

	return model_check_text(op, in, &text, e);
}
