/* SPDX-License-Identifier: Apache-2.0 */
#include "aws/walk.h"

#include <math.h>

/* Where to cut text of n bytes so that at most `most` are left and no character is halved. */
static size_t border(const char *p, size_t n, size_t most)
{
	if (n <= most)
		return n;
	while (most > 0 && ((unsigned char)p[most] & 0xc0) == 0x80)
		most--;
	return most;
}

void at_say(const struct at *at, struct buf *out)
{
	if (!at || (!at->name && !at->index && !at->key.p))
		return;
	at_say(at->up, out);
	if (out->n && out->p[out->n - 1] != '\'') /* the caller has opened a quote */
		buf_c(out, '.');
	if (at->name) {
		buf_c(out, at->name[0] >= 'A' && at->name[0] <= 'Z' ? (char)(at->name[0] - 'A' + 'a') : at->name[0]);
		buf_z(out, at->name + 1);
	} else if (at->index) {
		buf_f(out, "%zu.member", at->index);
	} else {
		buf_add(out, at->key.p, border(at->key.p, at->key.n, WALK_KEY_BYTES));
		buf_z(out, ".member");
	}
}

static void value_at(const json_t *x, struct buf *out, size_t from, unsigned depth)
{
	const char *key, *separator = "";
	json_t *sub;
	size_t i;

	if (out->n - from > WALK_VALUE_BYTES) /* already more than will be shown */
		return;
	switch (json_typeof(x)) {
	case JSON_STRING: {
		size_t n = json_string_length(x);

		/* a little more than is shown, so that say_value() sees it */
		buf_add(out, json_string_value(x), n > WALK_VALUE_BYTES + 8 ? WALK_VALUE_BYTES + 8 : n);
		return;
	}
	case JSON_INTEGER: buf_f(out, "%" JSON_INTEGER_FORMAT, json_integer_value(x)); return;
	case JSON_REAL: buf_f(out, "%.15g", json_real_value(x)); return;
	case JSON_TRUE: buf_z(out, "true"); return;
	case JSON_FALSE: buf_z(out, "false"); return;
	case JSON_NULL: buf_z(out, "null"); return;
	case JSON_ARRAY:
		buf_c(out, '[');
		json_array_foreach (x, i, sub) {
			buf_z(out, separator);
			separator = ", ";
			if (depth >= WALK_DEPTH || out->n - from > WALK_VALUE_BYTES)
				break;
			value_at(sub, out, from, depth + 1);
		}
		buf_c(out, ']');
		return;
	case JSON_OBJECT:
		buf_c(out, '{');
		json_object_foreach ((json_t *)x, key, sub) {
			buf_z(out, separator);
			separator = ", ";
			if (depth >= WALK_DEPTH || out->n - from > WALK_VALUE_BYTES)
				break;
			buf_z(out, key);
			buf_c(out, '=');
			value_at(sub, out, from, depth + 1);
		}
		buf_c(out, '}');
		return;
	}
}

void say_value(const json_t *x, struct buf *out)
{
	size_t from = out->n, n;

	buf_z(out, "");
	value_at(x, out, from, 0);
	n = border(out->p + from, out->n - from, WALK_VALUE_BYTES);
	if (n < out->n - from) {
		out->n = from + n;
		out->p[out->n] = 0;
		buf_z(out, "...");
	}
}

static bool has_length(const struct shape *s)
{
	return s->kind == SHAPE_STRING || s->kind == SHAPE_BLOB || s->kind == SHAPE_LIST || s->kind == SHAPE_MAP;
}

/* A limit as Java prints it: 63; 0.5. */
static void say_limit(double x, struct buf *out)
{
	if (fabs(x) < 1e15 && x == (double)(int64_t)x)
		buf_f(out, "%.0f", x);
	else
		buf_f(out, "%.15g", x);
}

/* "Member must ..." of one bit. */
static void say_constraint(const struct shape *s, unsigned bit, struct buf *out)
{
	const char *what = has_length(s) ? "length" : "value", *separator = "";

	switch (bit) {
	case BROKEN_PATTERN: buf_f(out, "Member must satisfy regular expression pattern: %s", s->pattern); return;
	case BROKEN_MAX:
		buf_f(out, "Member must have %s less than or equal to ", what);
		say_limit(s->max, out);
		return;
	case BROKEN_MIN:
		buf_f(out, "Member must have %s greater than or equal to ", what);
		say_limit(s->min, out);
		return;
	case BROKEN_ENUM:
		buf_z(out, "Member must satisfy enum value set: [");
		for (const char *const *v = s->enums; *v; v++) {
			buf_f(out, "%s%s", separator, *v);
			separator = ", ";
		}
		buf_c(out, ']');
		return;
	case BROKEN_UNION: buf_z(out, "Member must have exactly one of its members set"); return;
	default: buf_z(out, "Member must not be null"); return;
	}
}

/* Opens a violation, "Value '..' at 'path' failed to satisfy constraint: "; false when it is only counted. */
static bool open_violation(struct violations *v, const struct at *at, const json_t *value, bool secret)
{
	v->count++;
	if (v->text.n >= WALK_TEXT_BYTES) {
		v->unsaid++;
		return false;
	}
	if (v->text.n)
		buf_z(&v->text, "; ");
	v->last = v->text.n;
	buf_z(&v->text, "Value ");
	if (!value) {
		buf_z(&v->text, "null ");
	} else if (!secret) {
		buf_c(&v->text, '\'');
		say_value(value, &v->text);
		buf_z(&v->text, "' ");
	}
	buf_z(&v->text, "at '");
	at_say(at, &v->text);
	buf_z(&v->text, "' failed to satisfy constraint: ");
	return true;
}

/* As doc/generated/api.md has it: InputDataConfig[1].ChannelName; the first item is 0. */
static void at_say_plainly(const struct at *at, struct buf *out)
{
	if (!at || (!at->name && !at->index && !at->key.p))
		return;
	at_say_plainly(at->up, out);
	if (at->index)
		buf_f(out, "[%zu]", at->index - 1);
	else
		buf_f(out, "%s", out->n ? "." : "");
	if (at->name)
		buf_z(out, at->name);
	else if (at->key.p)
		buf_add(out, at->key.p, border(at->key.p, at->key.n, WALK_KEY_BYTES));
}

static void close_violation(struct violations *v, const struct at *at)
{
	_cleanup_buf_ struct buf where = { 0 };

	if (!v->each)
		return;
	at_say_plainly(at, &where);
	json_array_append_new(v->each, json_pack("{ss# ss#}", "Where", buf_view(&where).p, (int)where.n, "What",
	                                         v->text.p + v->last, (int)(v->text.n - v->last)));
}

void say_broken(struct violations *v, const struct at *at, const struct shape *s, const json_t *value, unsigned broken)
{
	for (unsigned bit = 1; bit <= broken; bit <<= 1)
		if ((broken & bit) && open_violation(v, at, value, s->secret)) {
			say_constraint(s, bit, &v->text);
			close_violation(v, at);
		}
}

void say_items(struct violations *v, const struct at *at, const struct shape *item, const char *role,
               const json_t *offending, unsigned broken)
{
	/* The service lists every constraint of the item, whichever is broken: longest, shortest, pattern, values. */
	const unsigned order[] = { BROKEN_MAX, BROKEN_MIN, BROKEN_PATTERN, BROKEN_ENUM, BROKEN_NULL };
	const unsigned has = (item->has_max ? BROKEN_MAX : 0) | (item->has_min ? BROKEN_MIN : 0) |
	                     (item->pattern ? BROKEN_PATTERN : 0) | (item->enums ? BROKEN_ENUM : 0) |
	                     (broken & BROKEN_NULL);
	const char *separator = "";

	if (!open_violation(v, at, offending, item->secret))
		return;
	buf_f(&v->text, "%s must satisfy constraint: [", role);
	for (size_t i = 0; i < ARRAY_LEN(order); i++)
		if (has & order[i]) {
			buf_z(&v->text, separator);
			separator = ", ";
			say_constraint(item, order[i], &v->text);
		}
	buf_c(&v->text, ']');
	close_violation(v, at);
}

void say_all(const struct violations *v, struct buf *out)
{
	buf_f(out, "%zu validation error%s detected: ", v->count, v->count == 1 ? "" : "s");
	buf_str(out, buf_view(&v->text));
	if (v->unsaid)
		buf_f(out, "; and %zu more", v->unsaid);
}
