/* SPDX-License-Identifier: Apache-2.0 */
#include "algorithm/range.h"

#include <stdlib.h>

#include "algorithm/algorithm.h"
#include "metric/number.h"

enum { TEXT_BYTES = 400 };

static struct str view(const json_t *j)
{
	return json_is_string(j) ? (struct str){ json_string_value(j), json_string_length(j) } : (struct str){ "", 0 };
}

/* ---- values ---- */

bool integer_parse(struct str text, struct integer *ret)
{
	struct integer n = { 0 };

	if (text.n && (*text.p == '+' || *text.p == '-')) {
		n.negative = *text.p == '-';
		text.p++;
		text.n--;
	}
	if (!text.n)
		return false;
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] < '0' || text.p[i] > '9')
			return false;
	while (text.n && *text.p == '0') {
		text.p++;
		text.n--;
	}
	n.digits = text;
	n.negative = n.negative && text.n;
	*ret = n;
	return true;
}

int integer_cmp(struct integer a, struct integer b)
{
	int size = 0;

	if (a.negative != b.negative)
		return a.negative ? -1 : 1;
	if (a.digits.n != b.digits.n)
		size = a.digits.n < b.digits.n ? -1 : 1;
	else if (a.digits.n)
		size = memcmp(a.digits.p, b.digits.p, a.digits.n);
	if (!size)
		return 0;
	return (size > 0) != a.negative ? 1 : -1;
}

bool continuous_parse(struct str text, double *ret)
{
	return str_trim(text).n == text.n && number_parse(text, ret) == NUMBER_OK;
}

enum range_type range_type_of(struct str name)
{
	return str_is(name, "Integer")       ? RANGE_INTEGER
	       : str_is(name, "Continuous")  ? RANGE_CONTINUOUS
	       : str_is(name, "Categorical") ? RANGE_CATEGORICAL
	                                     : RANGE_FREE_TEXT;
}

static bool is_one_of(const struct range *r, struct str value)
{
	for (size_t i = 0; i < r->value_count; i++)
		if (str_eq(r->values[i], value))
			return true;
	return false;
}

bool range_has(const struct range *r, struct str value)
{
	struct integer n;
	double d;

	switch (r->type) {
	case RANGE_INTEGER:
		return integer_parse(value, &n) &&
		       (!r->bounded || (integer_cmp(n, r->imin) >= 0 && integer_cmp(n, r->imax) <= 0));
	case RANGE_CONTINUOUS: return continuous_parse(value, &d) && (!r->bounded || (d >= r->dmin && d <= r->dmax));
	case RANGE_CATEGORICAL: return is_one_of(r, value);
	case RANGE_FREE_TEXT: break;
	}
	return true;
}

/* ---- ranges ---- */

static const struct kind {
	const char *type, *member, *what;
} kinds[] = {
	[RANGE_INTEGER] = { "Integer", "IntegerParameterRangeSpecification", "integers" },
	[RANGE_CONTINUOUS] = { "Continuous", "ContinuousParameterRangeSpecification", "numbers" },
	[RANGE_CATEGORICAL] = { "Categorical", "CategoricalParameterRangeSpecification", "one of" },
	[RANGE_FREE_TEXT] = { "FreeText", NULL, "any text" },
};

void range_fini(struct range *r)
{
	free(r->min);
	free(r->max);
	free(r->values);
	free(r->text);
	*r = (struct range){ 0 };
}

/* One bound; NULL or what is wrong with it. */
static char *parse_bound(struct range *r, const char *name, struct str text, struct integer *ret, double *ret_double)
{
	_cleanup_free_ char *shown = NULL;

	if (r->type == RANGE_INTEGER ? integer_parse(text, ret) : continuous_parse(text, ret_double))
		return NULL;
	shown = fault_value(text);
	return strf("%s.%s: Invalid value: '%s' is not %s", kinds[r->type].member, name, shown,
	            r->type == RANGE_INTEGER ? "an integer" : "a finite decimal number");
}

static char *parse_bounds(struct range *r, const json_t *spec)
{
	struct str min = view(json_object_get(spec, "MinValue")), max = view(json_object_get(spec, "MaxValue"));
	char *wrong;

	/* With a NUL in the middle they are no numbers, so what passes is a string. */
	min.p = r->min = str_dup(min);
	max.p = r->max = str_dup(max);
	wrong = parse_bound(r, "MinValue", min, &r->imin, &r->dmin);
	if (!wrong)
		wrong = parse_bound(r, "MaxValue", max, &r->imax, &r->dmax);
	if (wrong)
		return wrong;
	r->bounded = true;
	if (r->type == RANGE_INTEGER ? integer_cmp(r->imin, r->imax) > 0 : r->dmin > r->dmax)
		return strf("%s: MinValue '%s' is larger than MaxValue '%s'", kinds[r->type].member, r->min, r->max);
	r->text = strf("%s from %s to %s", kinds[r->type].what, r->min, r->max);
	return NULL;
}

static char *values_text(const struct range *r)
{
	struct buf out = { 0 };

	buf_z(&out, "one of ");
	for (size_t i = 0; i < r->value_count; i++) {
		_cleanup_free_ char *shown = fault_value(r->values[i]);

		if (out.n > TEXT_BYTES) {
			buf_f(&out, " and %zu more", r->value_count - i);
			break;
		}
		buf_f(&out, "%s'%s'", i ? ", " : "", shown);
	}
	return buf_take(&out);
}

static char *parse_values(struct range *r, const json_t *spec)
{
	const json_t *values = json_object_get(spec, "Values"), *v;
	size_t i, bytes = 0;
	char *at;

	json_array_foreach (values, i, v)
		bytes += json_string_length(v);
	r->values = xcalloc(1, json_array_size(values) * sizeof(*r->values) + bytes + 1);
	at = (char *)(r->values + json_array_size(values));
	json_array_foreach (values, i, v) {
		struct str s = view(v);

		if (is_one_of(r, s)) {
			_cleanup_free_ char *shown = fault_value(s);

			return strf("%s.Values: '%s' is given twice", kinds[r->type].member, shown);
		}
		memcpy(at, s.p, s.n);
		r->values[r->value_count++] = (struct str){ at, s.n };
		at += s.n;
	}
	r->text = values_text(r);
	return NULL;
}

/* The kind of Range that is not the Type's; NULL: none is there. */
static const char *other_kind(const json_t *range, enum range_type type)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (i != type && kinds[i].member && json_object_get(range, kinds[i].member))
			return kinds[i].member;
	return NULL;
}

static char *parse(const json_t *spec, struct range *r)
{
	const json_t *range = json_object_get(spec, "Range"), *mine;
	const struct kind *k;
	const char *other;

	r->type = range_type_of(view(json_object_get(spec, "Type")));
	k = &kinds[r->type];
	other = other_kind(range, r->type);
	if (r->type == RANGE_FREE_TEXT && range)
		return strf("Range: a hyperparameter of Type FreeText has no Range%s%s",
		            other ? ", and this one has " : "", other ? other : "");
	if (other)
		return strf("Range: %s does not belong to Type %s, which takes %s", other, k->type, k->member);
	mine = k->member ? json_object_get(range, k->member) : NULL;
	if (range && !mine)
		return strf("Range: it is empty; Type %s takes %s", k->type, k->member);
	if (r->type == RANGE_CATEGORICAL)
		return mine ? parse_values(r, mine)
		            : strf("Range: Type Categorical needs %s, with the values that it can have", k->member);
	if (mine)
		return parse_bounds(r, mine);
	r->text = r->type == RANGE_FREE_TEXT ? strf("%s", k->what) : strf("any of the %s", k->what);
	return NULL;
}

char *range_parse(const json_t *spec, struct range *ret)
{
	char *wrong = parse(spec, ret);

	if (wrong)
		range_fini(ret);
	return wrong;
}
