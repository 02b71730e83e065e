/* The functions. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>

#include "series/math_line.h"

struct call {
	const struct math_env *env;
	const char *name;
	struct math_value *args;
	size_t n;
	struct math_value *ret;
	struct err *e;
};

static int wrong(const struct call *c, const char *wants)
{
	return err_set(c->e, ERR_INVALID, "%s wants %s", c->name, wants);
}

static bool is_lines(const struct math_value *v)
{
	return v->kind == MATH_LINE || v->kind == MATH_LINES;
}

/* The argument becomes the result. */
static int pass(struct call *c, struct math_value *v)
{
	*c->ret = *v;
	*v = (struct math_value){ 0 };
	return 0;
}

/* ---- each point or line by itself ---- */

static void apply(struct math_line *l, double (*fn)(double))
{
	size_t n = l->n;

	l->n = 0;
	for (size_t i = 0; i < n; i++)
		line_add(l, l->t[i], fn(l->v[i]));
}

static int each(struct call *c, double (*fn)(double))
{
	if (c->args[0].kind == MATH_SCALAR) {
		*c->ret = (struct math_value){ .kind = MATH_SCALAR, .scalar = fn(c->args[0].scalar) };
		return 0;
	}
	if (!is_lines(&c->args[0]))
		return wrong(c, "a time series");
	for (size_t i = 0; i < c->args[0].n; i++)
		apply(&c->args[0].lines[i], fn);
	return pass(c, &c->args[0]);
}

static int call_abs(struct call *c)
{
	return each(c, fabs);
}
static int call_ceil(struct call *c)
{
	return each(c, ceil);
}
static int call_floor(struct call *c)
{
	return each(c, floor);
}
static int call_log(struct call *c)
{
	return each(c, log);
}
static int call_log10(struct call *c)
{
	return each(c, log10);
}

/* What a point becomes of itself and the one before. */
static int pairs(struct call *c, double (*fn)(double v, double before, double seconds))
{
	if (!is_lines(&c->args[0]))
		return wrong(c, "a time series");
	for (size_t k = 0; k < c->args[0].n; k++) {
		struct math_line *l = &c->args[0].lines[k];
		size_t n = l->n;
		double before = n ? l->v[0] : 0;
		int64_t at = n ? l->t[0] : 0;

		l->n = 0;
		for (size_t i = 1; i < n; i++) {
			double v = l->v[i];
			int64_t t = l->t[i];

			line_add(l, t, fn(v, before, (double)(t - at)));
			before = v;
			at = t;
		}
	}
	return pass(c, &c->args[0]);
}

static double rate(double v, double before, double seconds)
{
	return (v - before) / seconds;
}
static double difference(double v, double before, double seconds)
{
	(void)seconds;
	return v - before;
}
static double time_difference(double v, double before, double seconds)
{
	(void)v, (void)before;
	return seconds;
}
static int call_rate(struct call *c)
{
	return pairs(c, rate);
}
static int call_diff(struct call *c)
{
	return pairs(c, difference);
}
static int call_diff_time(struct call *c)
{
	return pairs(c, time_difference);
}

static int call_running_sum(struct call *c)
{
	if (!is_lines(&c->args[0]))
		return wrong(c, "a time series");
	for (size_t k = 0; k < c->args[0].n; k++) {
		struct math_line *l = &c->args[0].lines[k];

		for (size_t i = 1; i < l->n; i++)
			l->v[i] = fmin(fmax(l->v[i] + l->v[i - 1], -1.7e308), 1.7e308);
	}
	return pass(c, &c->args[0]);
}

/* ---- many values to one ---- */

static double fold_sum(const double *v, size_t n)
{
	double all = 0;

	for (size_t i = 0; i < n; i++)
		all += v[i];
	return all;
}
static double fold_avg(const double *v, size_t n)
{
	return fold_sum(v, n) / (double)n;
}
static double fold_min(const double *v, size_t n)
{
	double least = v[0];

	for (size_t i = 1; i < n; i++)
		least = fmin(least, v[i]);
	return least;
}
static double fold_max(const double *v, size_t n)
{
	double most = v[0];

	for (size_t i = 1; i < n; i++)
		most = fmax(most, v[i]);
	return most;
}
static double fold_stddev(const double *v, size_t n)
{
	double mean = fold_avg(v, n), all = 0;

	for (size_t i = 0; i < n; i++)
		all += (v[i] - mean) * (v[i] - mean);
	return sqrt(all / (double)n);
}

struct pair {
	int64_t t;
	double v;
};

static int by_time(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;

	return x->t < y->t ? -1 : x->t > y->t;
}

/* At each time the values that any line has become one. */
static int across(struct call *c, const struct math_value *many, double (*fn)(const double *v, size_t n))
{
	_cleanup_free_ struct pair *all = NULL;
	_cleanup_free_ double *same = xcalloc(many->n + 1, sizeof(*same));
	struct math_line line;
	size_t total = 0, n = 0;

	for (size_t i = 0; i < many->n; i++)
		total += many->lines[i].n;
	if (line_new(c->env, total, many->n ? many->lines[0].period : c->env->period, &line, c->e) < 0)
		return -1;
	all = xcalloc(total + 1, sizeof(*all));
	for (size_t i = 0; i < many->n; i++)
		for (size_t k = 0; k < many->lines[i].n; k++)
			all[n++] = (struct pair){ many->lines[i].t[k], many->lines[i].v[k] };
	qsort(all, n, sizeof(*all), by_time);
	for (size_t i = 0, k; i < n; i += k) {
		for (k = 0; i + k < n && all[i + k].t == all[i].t; k++)
			same[k] = all[i + k].v;
		line_add(&line, all[i].t, fn(same, k));
	}
	c->ret->kind = MATH_LINE;
	c->ret->lines = xcalloc(1, sizeof(line));
	c->ret->lines[0] = line;
	c->ret->n = 1;
	return 0;
}

static int fold(struct call *c, double (*fn)(const double *v, size_t n))
{
	const struct math_value *v = &c->args[0];

	if (v->kind == MATH_LINES)
		return across(c, v, fn);
	if (v->kind != MATH_LINE)
		return wrong(c, "a time series, or several");
	*c->ret = (struct math_value){ .kind = MATH_SCALAR,
		                       .scalar = v->lines[0].n ? fn(v->lines[0].v, v->lines[0].n) : NAN };
	return 0;
}

static int call_sum(struct call *c)
{
	return fold(c, fold_sum);
}
static int call_avg(struct call *c)
{
	return fold(c, fold_avg);
}
static int call_min(struct call *c)
{
	return fold(c, fold_min);
}
static int call_max(struct call *c)
{
	return fold(c, fold_max);
}
static int call_stddev(struct call *c)
{
	return fold(c, fold_stddev);
}

static int call_metric_count(struct call *c)
{
	if (!is_lines(&c->args[0]))
		return wrong(c, "time series");
	*c->ret = (struct math_value){ .kind = MATH_SCALAR, .scalar = (double)c->args[0].n };
	return 0;
}

static int call_period(struct call *c)
{
	if (c->args[0].kind != MATH_LINE)
		return wrong(c, "one time series");
	*c->ret = (struct math_value){ .kind = MATH_SCALAR, .scalar = (double)c->args[0].lines[0].period };
	return 0;
}

/* ---- points where there are none ---- */

static int time_series(struct call *c, double v, struct math_value *ret)
{
	struct math_line line;

	if (line_new(c->env, (size_t)((c->env->end - c->env->start) / c->env->period + 1), c->env->period, &line,
	             c->e) < 0)
		return -1;
	for (int64_t t = c->env->start; t < c->env->end; t += c->env->period)
		line_add(&line, t, v);
	*ret = (struct math_value){ .kind = MATH_LINE, .lines = xcalloc(1, sizeof(line)), .n = 1 };
	ret->lines[0] = line;
	return 0;
}

static int call_time_series(struct call *c)
{
	if (c->args[0].kind != MATH_SCALAR)
		return wrong(c, "a number");
	return time_series(c, c->args[0].scalar, c->ret);
}

enum fill { FILL_NUMBER, FILL_REPEAT, FILL_LINEAR };

static double fill_at(const struct math_line *l, size_t next, int64_t t, enum fill how, double number)
{
	double share;

	if (how == FILL_NUMBER)
		return number;
	if (!next)
		return NAN;
	if (how == FILL_REPEAT)
		return l->v[next - 1];
	if (next == l->n)
		return NAN;
	share = (double)(t - l->t[next - 1]) / (double)(l->t[next] - l->t[next - 1]);
	return l->v[next - 1] + share * (l->v[next] - l->v[next - 1]);
}

static int fill(struct call *c, struct math_line *l, enum fill how, double number)
{
	int64_t period = l->period > 0 ? l->period : c->env->period;
	struct math_line full;
	size_t next = 0;

	if (line_new(c->env, (size_t)((c->env->end - c->env->start) / period + 1) + l->n, period, &full, c->e) < 0)
		return -1;
	line_name(&full, l);
	for (int64_t t = c->env->start; t < c->env->end; t += period) {
		while (next < l->n && l->t[next] < t)
			next++;
		if (next < l->n && l->t[next] == t)
			line_add(&full, t, l->v[next++]);
		else
			line_add(&full, t, fill_at(l, next, t, how, number));
	}
	math_line_fini(l);
	*l = full;
	return 0;
}

static int call_fill(struct call *c)
{
	const struct math_value *with = &c->args[1];
	enum fill how = FILL_NUMBER;

	if (with->kind == MATH_WORD && !strcmp(with->text, "REPEAT"))
		how = FILL_REPEAT;
	else if (with->kind == MATH_WORD && !strcmp(with->text, "LINEAR"))
		how = FILL_LINEAR;
	else if (with->kind != MATH_SCALAR)
		return wrong(c, "a number, REPEAT or LINEAR as its second value");
	if (!is_lines(&c->args[0]))
		return wrong(c, "a time series");
	for (size_t i = 0; i < c->args[0].n; i++)
		if (fill(c, &c->args[0].lines[i], how, with->scalar) < 0)
			return -1;
	return pass(c, &c->args[0]);
}

/* ---- lists ---- */

/* Lines [from, to) of the first argument. */
static int slice(struct call *c, size_t from, size_t to, enum math_kind kind)
{
	struct math_value *v = &c->args[0], part = { .kind = kind };

	if (!is_lines(v))
		return wrong(c, "time series");
	to = to < v->n ? to : v->n;
	part.lines = xcalloc(v->n + 1, sizeof(*part.lines));
	for (size_t i = 0; i < v->n; i++)
		if (i >= from && i < to)
			part.lines[part.n++] = v->lines[i];
		else
			math_line_fini(&v->lines[i]);
	v->n = 0;
	if (kind == MATH_LINE && !part.n)
		part.n = 1; /* an empty series */
	*c->ret = part;
	return 0;
}

static int call_first(struct call *c)
{
	return slice(c, 0, 1, MATH_LINE);
}

static int call_last(struct call *c)
{
	return slice(c, c->args[0].n ? c->args[0].n - 1 : 0, SIZE_MAX, MATH_LINE);
}

static bool index_of(const struct math_value *v, size_t *ret)
{
	if (v->kind != MATH_SCALAR || !(v->scalar >= 0 && v->scalar <= 1e6) || v->scalar != floor(v->scalar))
		return false;
	*ret = (size_t)v->scalar;
	return true;
}

static int call_slice(struct call *c)
{
	size_t from, to = SIZE_MAX;

	if (!index_of(&c->args[1], &from) || (c->n == 3 && !index_of(&c->args[2], &to)))
		return wrong(c, "whole numbers for what it cuts out");
	return slice(c, from, to, MATH_LINES);
}

static int call_remove_empty(struct call *c)
{
	struct math_value *v = &c->args[0];
	size_t n = v->n;

	if (!is_lines(v))
		return wrong(c, "time series");
	v->kind = MATH_LINES;
	v->n = 0;
	for (size_t i = 0; i < n; i++)
		if (v->lines[i].n)
			v->lines[v->n++] = v->lines[i];
		else
			math_line_fini(&v->lines[i]);
	return pass(c, v);
}

/* A line and what it is sorted by. */
struct sorted {
	struct math_line line;
	double key;
	size_t was;
};

static int by_key(const void *a, const void *b)
{
	const struct sorted *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return x->was < y->was ? -1 : x->was > y->was;
}

static int call_sort(struct call *c)
{
	static const struct {
		const char *word;
		double (*fn)(const double *v, size_t n);
	} keys[] = { { "AVG", fold_avg },
		     { "MAX", fold_max },
		     { "MIN", fold_min },
		     { "SUM", fold_sum },
		     { "STDDEV", fold_stddev } };
	struct math_value *v = &c->args[0];
	_cleanup_free_ struct sorted *all = NULL;
	double (*fn)(const double *v, size_t n) = NULL;
	size_t most = SIZE_MAX;
	double sign;

	for (size_t i = 0; i < ARRAY_LEN(keys) && c->args[1].kind == MATH_WORD; i++)
		if (!strcmp(c->args[1].text, keys[i].word))
			fn = keys[i].fn;
	if (!is_lines(v) || !fn || c->args[2].kind != MATH_WORD || (c->n == 4 && !index_of(&c->args[3], &most)))
		return wrong(c,
		             "time series, one of AVG, MAX, MIN, SUM, STDDEV, then ASC or DESC, and perhaps a number");
	sign = strcmp(c->args[2].text, "DESC") ? 1 : -1;
	all = xcalloc(v->n + 1, sizeof(*all));
	for (size_t i = 0; i < v->n; i++)
		all[i] = (struct sorted){ v->lines[i],
			                  v->lines[i].n ? sign * fn(v->lines[i].v, v->lines[i].n) : INFINITY, i };
	qsort(all, v->n, sizeof(*all), by_key);
	for (size_t i = 0; i < v->n; i++)
		v->lines[i] = all[i].line;
	return slice(c, 0, most, MATH_LINES);
}

/* ---- where lines come from ---- */

static int call_metrics(struct call *c)
{
	if (c->n && c->args[0].kind != MATH_TEXT)
		return wrong(c, "a string, or nothing");
	return c->env->metrics(c->env->arg, str_of(c->n ? c->args[0].text : ""), c->ret, c->e);
}

static int call_search(struct call *c)
{
	size_t period = (size_t)c->env->period;

	if (c->args[0].kind != MATH_TEXT || c->args[1].kind != MATH_TEXT ||
	    (c->n == 3 && !index_of(&c->args[2], &period)))
		return wrong(c, "two strings and a period");
	return c->env->search(c->env->arg, str_of(c->args[0].text), str_of(c->args[1].text), (int64_t)period, c->ret,
	                      c->e);
}

static const struct {
	const char *name;
	size_t least, most;
	int (*fn)(struct call *c);
} functions[] = {
	{ "ABS", 1, 1, call_abs },
	{ "AVG", 1, 1, call_avg },
	{ "CEIL", 1, 1, call_ceil },
	{ "DIFF", 1, 1, call_diff },
	{ "DIFF_TIME", 1, 1, call_diff_time },
	{ "FILL", 2, 2, call_fill },
	{ "FIRST", 1, 1, call_first },
	{ "FLOOR", 1, 1, call_floor },
	{ "LAST", 1, 1, call_last },
	{ "LOG", 1, 1, call_log },
	{ "LOG10", 1, 1, call_log10 },
	{ "MAX", 1, 1, call_max },
	{ "METRIC_COUNT", 1, 1, call_metric_count },
	{ "METRICS", 0, 1, call_metrics },
	{ "MIN", 1, 1, call_min },
	{ "PERIOD", 1, 1, call_period },
	{ "RATE", 1, 1, call_rate },
	{ "REMOVE_EMPTY", 1, 1, call_remove_empty },
	{ "RUNNING_SUM", 1, 1, call_running_sum },
	{ "SEARCH", 2, 3, call_search },
	{ "SLICE", 2, 3, call_slice },
	{ "SORT", 3, 4, call_sort },
	{ "STDDEV", 1, 1, call_stddev },
	{ "SUM", 1, 1, call_sum },
	{ "TIME_SERIES", 1, 1, call_time_series },
};

int math_call(const struct math_env *env, struct str name, struct math_value *args, size_t n, struct math_value *ret,
              struct err *e)
{
	for (size_t i = 0; i < ARRAY_LEN(functions); i++) {
		struct call c = { env, functions[i].name, args, n, ret, e };

		if (!str_eq_nocase(name, str_of(functions[i].name)))
			continue;
		if (n < functions[i].least || n > functions[i].most)
			return err_set(e, ERR_INVALID, "Wrong number of arguments for the function %s",
			               functions[i].name);
		*ret = (struct math_value){ 0 };
		return functions[i].fn(&c);
	}
	return err_set(e, ERR_INVALID, "The function '%.*s' is not supported by this server",
	               (int)(name.n < 60 ? name.n : 60), name.p);
}
