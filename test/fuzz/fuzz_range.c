/* A range of hyperparameters and a value, each from the bytes: "TYPE MIN MAX VALUE", separated by line feeds. What
 * range_parse takes holds its own bounds; and whether a value is in it is what the machine's own numbers say, where
 * they can say it.  SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "algorithm/range.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct {
	const char *type, *member;
} kinds[] = { { "Integer", "IntegerParameterRangeSpecification" },
	      { "Continuous", "ContinuousParameterRangeSpecification" } };

/* Whether the whole text is digits with a sign or without, and small enough for a long long. */
static bool small_integer(struct str s, long long *ret)
{
	_cleanup_free_ char *z = str_dup(s);
	size_t digits = 0;
	char *end;

	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] >= '0' && s.p[i] <= '9')
			digits++;
		else if (i || (s.p[i] != '-' && s.p[i] != '+'))
			return false;
	}
	if (!digits)
		return false;
	errno = 0;
	*ret = strtoll(z, &end, 10);
	return !errno && !*end;
}

static void check_integer(const struct range *r, struct str min, struct str max, struct str value)
{
	long long low, high, v;

	if (!small_integer(min, &low) || !small_integer(max, &high))
		return;
	must(low <= high); /* else range_parse had something to say */
	if (small_integer(value, &v))
		must(range_has(r, value) == (v >= low && v <= high));
}

static void check_continuous(const struct range *r, struct str value)
{
	_cleanup_free_ char *z = str_dup(value);
	char *end;
	double v = strtod(z, &end);

	must(isfinite(r->dmin) && isfinite(r->dmax) && r->dmin <= r->dmax);
	if (!range_has(r, value))
		return;
	must(end == z + value.n && value.n && v >= r->dmin && v <= r->dmax);
}

static void check_values(struct str a, struct str b, struct str value)
{
	json_t *spec = json_pack("{s:s, s:{s:{s:[s%, s%]}}}", "Type", "Categorical", "Range",
	                         "CategoricalParameterRangeSpecification", "Values", a.p, a.n, b.p, b.n);
	struct range r = { 0 };
	_cleanup_free_ char *wrong = NULL;

	if (!spec) /* not UTF-8 */
		return;
	wrong = range_parse(spec, &r);
	json_decref(spec);
	must(!wrong == !str_eq(a, b));
	if (!wrong)
		must(range_has(&r, value) == (str_eq(value, a) || str_eq(value, b)) && range_has(&r, a) &&
		     range_has(&r, b));
	range_fini(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str rest = { (const char *)data, size }, type = str_cut(&rest, '\n'), min = str_cut(&rest, '\n'),
	           max = str_cut(&rest, '\n'), value = rest;
	size_t kind = type.n & 1;
	json_t *spec = json_pack("{s:s, s:{s:{s:s%, s:s%}}}", "Type", kinds[kind].type, "Range", kinds[kind].member,
	                         "MinValue", min.p, min.n, "MaxValue", max.p, max.n);
	struct range r = { 0 };
	char *wrong;

	check_values(min, max, value);
	if (!spec)
		return 0;
	wrong = range_parse(spec, &r);
	json_decref(spec);
	if (wrong) {
		must(*wrong && !r.text);
		free(wrong);
		return 0;
	}
	must(r.text && range_has(&r, min) && range_has(&r, max));
	if (kind == 0)
		check_integer(&r, min, max, value);
	else
		check_continuous(&r, value);
	range_fini(&r);
	return 0;
}
