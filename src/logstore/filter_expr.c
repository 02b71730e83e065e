/* Conditions of filter patterns, about JSON and about fields. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "logstore/filter_inside.h"

/* What is being read. */
struct reading {
	struct str *s;
	struct str field; /* the field's name; empty: JSON */
	bool named;       /* the field's name has been read already */
	unsigned depth, *regexes;
};

void expr_free(struct expr *x)
{
	while (x) {
		struct expr *next = x->a;

		expr_free(x->b);
		for (size_t i = 0; i < x->step_count; i++)
			free(x->steps[i].name);
		free(x->steps);
		filter_value_fini(&x->value);
		free(x);
		x = next;
	}
}

static int wrong(const struct reading *r, const char *what, struct err *e)
{
	return err_set(e, ERR_INVALID, "Invalid filter pattern: %s before '%.*s'", what,
	               (int)(r->s->n < 40 ? r->s->n : 40), r->s->p);
}

static bool skip(struct reading *r, const char *sign)
{
	filter_blanks(r->s);
	return str_skip(r->s, str_of(sign));
}

/* A word of the language, without case, that ends where it ends. */
static bool skip_word(struct reading *r, const char *word)
{
	size_t n = strlen(word);
	struct str *s = r->s;

	filter_blanks(s);
	if (s->n < n || !str_eq_nocase((struct str){ s->p, n }, str_of(word)))
		return false;
	if (s->n > n && !strchr(" \t\r\n&|(){}[],", s->p[n]))
		return false;
	s->p += n;
	s->n -= n;
	return true;
}

/* ---- selectors ---- */

static struct step *add_step(struct expr *x)
{
	x->steps = xrealloc(x->steps, (x->step_count + 1) * sizeof(*x->steps));
	x->steps[x->step_count] = (struct step){ 0 };
	return &x->steps[x->step_count++];
}

/* Behind a '[': a number, '*' or a name in quotes, and ']'. */
static int read_bracket(struct reading *r, struct expr *x, struct err *e)
{
	struct step *step = add_step(x);
	struct str *s = r->s, digits = { s->p, 0 };
	uint64_t n;

	if (s->n && *s->p == '"') {
		if (filter_quoted_read(s, &step->name, e) < 0)
			return -1;
	} else if (s->n && *s->p == '\'') {
		struct str rest = { s->p + 1, s->n - 1 }, name = str_cut(&rest, '\'');

		if (name.n + 1 >= s->n)
			return wrong(r, "a name in quotes does not end", e);
		step->name = str_dup(name);
		*s = rest;
	} else if (str_skip(s, STR("*"))) {
		step->any = true;
	} else {
		while (digits.n < s->n && digits.p[digits.n] >= '0' && digits.p[digits.n] <= '9')
			digits.n++;
		if (!str_to_u64(digits, &n))
			return wrong(r, "an index is missing", e);
		step->index = n;
		s->p += digits.n;
		s->n -= digits.n;
	}
	return str_skip(s, STR("]")) ? 0 : wrong(r, "']' is missing", e);
}

static int read_name(struct reading *r, struct expr *x, struct err *e)
{
	struct str *s = r->s, name = { s->p, 0 };
	struct step *step;

	while (name.n < s->n && name.p[name.n] && !strchr(" \t\r\n.[]=!<>&|(){}\",%", name.p[name.n]))
		name.n++;
	if (!name.n)
		return wrong(r, "the name of a property is missing", e);
	step = add_step(x);
	step->any = str_is(name, "*");
	step->name = step->any ? NULL : str_dup(name);
	s->p += name.n;
	s->n -= name.n;
	return 0;
}

static int read_selector(struct reading *r, struct expr *x, struct err *e)
{
	if (!skip(r, "$"))
		return wrong(r, "a property, which begins with '$.', is missing", e);
	for (;;) {
		bool bracket;

		if (x->step_count == FILTER_STEPS)
			return wrong(r, "a property is too deep", e);
		if (str_skip(r->s, STR("[")))
			bracket = true;
		else if (str_skip(r->s, STR(".")))
			bracket = str_skip(r->s, STR("["));
		else
			return 0;
		if ((bracket ? read_bracket(r, x, e) : read_name(r, x, e)) < 0)
			return -1;
	}
}

/* ---- conditions ---- */

static int read_compare(struct reading *r, enum compare *ret, struct err *e)
{
	static const struct {
		const char *sign;
		enum compare c;
	} signs[] = { { "!=", IS_UNEQUAL }, { "<=", IS_LESS_EQUAL }, { ">=", IS_GREATER_EQUAL },
		      { "=", IS_EQUAL },    { "<", IS_LESS },        { ">", IS_GREATER } };

	for (size_t i = 0; i < ARRAY_LEN(signs); i++)
		if (skip(r, signs[i].sign)) {
			*ret = signs[i].c;
			return 0;
		}
	return wrong(r, "a comparison is missing", e);
}

/* IS NULL and its like. */
static bool read_state(struct reading *r, enum compare *ret)
{
	struct str was = *r->s;

	*ret = IS_THERE;
	if (skip_word(r, "EXISTS"))
		return true;
	*ret = IS_NOT_THERE;
	if (skip_word(r, "NOT") && skip_word(r, "EXISTS"))
		return true;
	*r->s = was;
	if (!skip_word(r, "IS"))
		return false;
	*ret = IS_NULL;
	if (skip_word(r, "NULL"))
		return true;
	*ret = IS_TRUE;
	if (skip_word(r, "TRUE"))
		return true;
	*ret = IS_FALSE;
	if (skip_word(r, "FALSE"))
		return true;
	*r->s = was;
	return false;
}

static int read_field_name(struct reading *r, struct err *e)
{
	struct str *s = r->s, name;

	if (r->named) {
		r->named = false;
		return 0;
	}
	filter_blanks(s);
	name = (struct str){ s->p, 0 };
	while (name.n < s->n && name.p[name.n] && !strchr(" \t\r\n=!<>&|(){}[],\"%", name.p[name.n]))
		name.n++;
	if (!str_eq(name, r->field))
		return wrong(r, "a condition about another field than this one", e);
	s->p += name.n;
	s->n -= name.n;
	return 0;
}

static int read_condition(struct reading *r, struct expr *x, struct err *e)
{
	if (r->field.n ? read_field_name(r, e) < 0 : read_selector(r, x, e) < 0)
		return -1;
	if (!r->field.n && read_state(r, &x->compare))
		return 0;
	if (read_compare(r, &x->compare, e) < 0)
		return -1;
	filter_blanks(r->s);
	if (filter_value_read(r->s, &x->value, e) < 0)
		return -1;
	if (x->value.kind == VALUE_REGEX && ++*r->regexes > FILTER_REGEXES)
		return err_set(e, ERR_INVALID, "Invalid filter pattern: more than %d regular expressions",
		               FILTER_REGEXES);
	if (x->compare > IS_UNEQUAL && x->value.kind != VALUE_NUMBER)
		return wrong(r, "a number is missing", e);
	if (x->compare > IS_UNEQUAL && x->value.quoted)
		return wrong(r, "a number without quotes is missing", e);
	return 0;
}

static int read_or(struct reading *r, struct expr **ret, struct err *e);

static int read_primary(struct reading *r, struct expr **ret, struct err *e)
{
	struct expr *x;

	if (!r->named && skip(r, "(")) {
		int rc;

		if (++r->depth > FILTER_DEPTH)
			return wrong(r, "too many parentheses", e);
		rc = read_or(r, ret, e);
		r->depth--;
		if (rc == 0 && !skip(r, ")")) {
			expr_free(take_ptr(*ret));
			return wrong(r, "')' is missing", e);
		}
		return rc;
	}
	x = xcalloc(1, sizeof(*x));
	x->kind = EXPR_CONDITION;
	if (read_condition(r, x, e) < 0) {
		expr_free(x);
		return -1;
	}
	*ret = x;
	return 0;
}

/* a && b && ..., or with || what these make. */
static int read_chain(struct reading *r, bool any, struct expr **ret, struct err *e)
{
	struct expr *left = NULL;

	for (;;) {
		struct expr *right = NULL;

		if ((any ? read_chain(r, false, &right, e) : read_primary(r, &right, e)) < 0) {
			expr_free(left);
			return -1;
		}
		if (left) {
			struct expr *x = xcalloc(1, sizeof(*x));

			x->kind = any ? EXPR_OR : EXPR_AND;
			x->a = left;
			x->b = right;
			right = x;
		}
		left = right;
		if (!skip(r, any ? "||" : "&&"))
			break;
	}
	*ret = left;
	return 0;
}

static int read_or(struct reading *r, struct expr **ret, struct err *e)
{
	return read_chain(r, true, ret, e);
}

int expr_read_json(struct str *s, struct expr **ret, struct err *e)
{
	unsigned regexes = 0;
	struct reading r = { .s = s, .regexes = &regexes };

	return read_or(&r, ret, e);
}

int expr_read_field(struct str *s, struct str name, unsigned *regexes, struct expr **ret, struct err *e)
{
	struct reading r = { .s = s, .field = name, .named = *s->p != '(', .regexes = regexes };

	return read_or(&r, ret, e);
}

/* ---- whether they hold ---- */

static bool holds_value(struct expr *x, const json_t *v)
{
	struct filter_value *want = &x->value;
	bool equal = false;

	switch (x->compare) {
	case IS_NULL: return json_is_null(v);
	case IS_TRUE: return json_is_true(v);
	case IS_FALSE: return json_is_false(v);
	case IS_THERE: return true;
	case IS_NOT_THERE: return false;
	default: break;
	}
	if (json_is_number(v) && want->kind == VALUE_NUMBER)
		return filter_number_compares(json_number_value(v), x->compare, want->number);
	if (x->compare > IS_UNEQUAL)
		return false;
	if (json_is_string(v))
		equal = filter_value_is(want, (struct str){ json_string_value(v), json_string_length(v) });
	else if (want->kind == VALUE_TEXT && strcmp(want->text, "*") == 0)
		equal = true;
	else if (json_is_boolean(v) && !want->quoted && want->kind == VALUE_TEXT)
		equal = str_eq_nocase(str_of(want->text), json_is_true(v) ? STR("true") : STR("false"));
	else if (json_is_integer(v) && !want->quoted && want->kind == VALUE_TEXT) {
		_cleanup_free_ char *text = strf("%lld", (long long)json_integer_value(v)); /* 4* */

		equal = filter_value_is(want, str_of(text));
	}
	return equal == (x->compare == IS_EQUAL);
}

/* Whether it holds for what the steps from `at` on lead to from v; *seen: something was there. */
static bool holds_from(struct expr *x, size_t at, const json_t *v, bool *seen)
{
	const struct step *step = &x->steps[at];
	const char *key;
	const json_t *item;
	size_t i;

	if (!v)
		return false;
	if (at == x->step_count) {
		*seen = true;
		return holds_value(x, v);
	}
	if (step->any) {
		json_array_foreach (v, i, item)
			if (holds_from(x, at + 1, item, seen))
				return true;
		json_object_foreach ((json_t *)v, key, item)
			if (holds_from(x, at + 1, item, seen))
				return true;
		return false;
	}
	return holds_from(x, at + 1, step->name ? json_object_get(v, step->name) : json_array_get(v, step->index),
	                  seen);
}

bool expr_holds_json(struct expr *x, const json_t *root)
{
	bool seen = false, holds;

	if (x->kind == EXPR_AND)
		return expr_holds_json(x->a, root) && expr_holds_json(x->b, root);
	if (x->kind == EXPR_OR)
		return expr_holds_json(x->a, root) || expr_holds_json(x->b, root);
	holds = holds_from(x, 0, root, &seen);
	return x->compare == IS_NOT_THERE ? !seen : holds;
}

bool expr_holds_text(struct expr *x, struct str field)
{
	double n;

	if (x->kind == EXPR_AND)
		return expr_holds_text(x->a, field) && expr_holds_text(x->b, field);
	if (x->kind == EXPR_OR)
		return expr_holds_text(x->a, field) || expr_holds_text(x->b, field);
	if (x->compare <= IS_UNEQUAL)
		return filter_value_is(&x->value, field) == (x->compare == IS_EQUAL);
	return filter_number(field, &n) && filter_number_compares(n, x->compare, x->value.number);
}
