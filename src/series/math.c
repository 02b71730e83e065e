/* Reading expressions, and what operators do. SPDX-License-Identifier: Apache-2.0 */
#include "series/math.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>

#include "series/math_line.h"

enum { ARGUMENTS_MAX = 500 };

void math_line_fini(struct math_line *l)
{
	free(l->t);
	free(l->v);
	free(l->ns);
	free(l->name);
	free(l->dims);
	free(l->stat);
	*l = (struct math_line){ 0 };
}

void math_value_fini(struct math_value *v)
{
	for (size_t i = 0; i < v->n; i++)
		math_line_fini(&v->lines[i]);
	free(v->lines);
	free(v->text);
	*v = (struct math_value){ 0 };
}

/* ---- lines ---- */

int line_new(const struct math_env *env, size_t n, int64_t period, struct math_line *ret, struct err *e)
{
	if (n > MATH_POINTS_MAX - *env->points)
		return err_set(e, ERR_INVALID, "it makes more than %d points", MATH_POINTS_MAX);
	*env->points += n;
	*ret = (struct math_line){ .t = xcalloc(n + 1, sizeof(*ret->t)),
		                   .v = xcalloc(n + 1, sizeof(*ret->v)),
		                   .period = period };
	return 0;
}

void line_add(struct math_line *l, int64_t t, double v)
{
	if (!isfinite(v))
		return;
	l->t[l->n] = t;
	l->v[l->n++] = v;
}

void line_name(struct math_line *l, const struct math_line *like)
{
	l->ns = like->ns ? xstrdup(like->ns) : NULL;
	l->name = like->name ? xstrdup(like->name) : NULL;
	l->dims = like->dims ? xstrdup(like->dims) : NULL;
	l->stat = like->stat ? xstrdup(like->stat) : NULL;
}

int line_copy(const struct math_env *env, const struct math_line *l, struct math_line *ret, struct err *e)
{
	if (line_new(env, l->n, l->period, ret, e) < 0)
		return -1;
	line_name(ret, l);
	for (size_t i = 0; i < l->n; i++)
		line_add(ret, l->t[i], l->v[i]);
	return 0;
}

int math_copy(const struct math_value *v, const struct math_env *env, struct math_value *ret, struct err *e)
{
	struct math_value copy = { .kind = v->kind, .scalar = v->scalar };

	copy.lines = xcalloc(v->n + 1, sizeof(*copy.lines));
	for (; copy.n < v->n; copy.n++)
		if (line_copy(env, &v->lines[copy.n], &copy.lines[copy.n], e) < 0) {
			math_value_fini(&copy);
			return -1;
		}
	*ret = copy;
	return 0;
}

/* ---- operators ---- */

const char *math_kind_name(const struct math_value *v)
{
	static const char *const names[] = { "Scalar", "Time Series", "Array", "String", "Keyword" };

	return names[v->kind];
}

static double operate(char op, double a, double b)
{
	switch (op) {
	case '+': return a + b;
	case '-': return a - b;
	case '*': return a * b;
	case '/': return a / b;
	default: return pow(a, b);
	}
}

/* In place: each point with the number on one of its sides. */
static void with_scalar(struct math_line *l, char op, double s, bool left)
{
	size_t n = l->n;

	l->n = 0;
	for (size_t i = 0; i < n; i++)
		line_add(l, l->t[i], left ? operate(op, s, l->v[i]) : operate(op, l->v[i], s));
}

/* In place: the points that both have. */
static void with_line(struct math_line *l, char op, const struct math_line *b, bool left)
{
	size_t n = l->n, k = 0;

	l->n = 0;
	for (size_t i = 0; i < n; i++) {
		while (k < b->n && b->t[k] < l->t[i])
			k++;
		if (k < b->n && b->t[k] == l->t[i])
			line_add(l, l->t[i], left ? operate(op, b->v[k], l->v[i]) : operate(op, l->v[i], b->v[k]));
	}
}

int math_binary(const struct math_env *env, char op, struct math_value *a, struct math_value *b, struct math_value *ret,
                struct err *e)
{
	bool left = a->kind == MATH_SCALAR || (a->kind == MATH_LINE && b->kind == MATH_LINES);
	struct math_value *many = left ? b : a, *one = left ? a : b;
	int rc = 0;

	(void)env;
	if (a->kind > MATH_LINES || b->kind > MATH_LINES || (a->kind == MATH_LINES && b->kind == MATH_LINES)) {
		rc = err_set(e, ERR_INVALID, "Unsupported operand type(s) for %c: '[%s, %s]'", op, math_kind_name(a),
		             math_kind_name(b));
	} else if (many->kind == MATH_SCALAR) {
		*ret = (struct math_value){ .kind = MATH_SCALAR, .scalar = operate(op, a->scalar, b->scalar) };
	} else {
		for (size_t i = 0; i < many->n; i++)
			if (one->kind == MATH_SCALAR)
				with_scalar(&many->lines[i], op, one->scalar, left);
			else
				with_line(&many->lines[i], op, &one->lines[0], left);
		*ret = *many;
		*many = (struct math_value){ 0 };
	}
	math_value_fini(a);
	math_value_fini(b);
	return rc;
}

/* ---- reading ---- */

struct reader {
	const struct math_env *env;
	struct str rest;
	unsigned depth;
	struct err *e;
};

static int sum(struct reader *r, struct math_value *ret);

static char peek(struct reader *r)
{
	while (r->rest.n && isspace((unsigned char)*r->rest.p)) {
		r->rest.p++;
		r->rest.n--;
	}
	return r->rest.n ? *r->rest.p : 0;
}

static bool take(struct reader *r, char c)
{
	if (peek(r) != c || !r->rest.n)
		return false;
	r->rest.p++;
	r->rest.n--;
	return true;
}

static int syntax(struct reader *r)
{
	if (!peek(r))
		return err_set(r->e, ERR_INVALID, "Unexpected end of the expression");
	return err_set(r->e, ERR_INVALID, "Unexpected character(s) at '%.*s'", (int)(r->rest.n < 30 ? r->rest.n : 30),
	               r->rest.p);
}

static struct str word(struct reader *r)
{
	struct str w = { r->rest.p, 0 };

	while (w.n < r->rest.n && (isalnum((unsigned char)w.p[w.n]) || w.p[w.n] == '_'))
		w.n++;
	r->rest.p += w.n;
	r->rest.n -= w.n;
	return w;
}

static int number(struct reader *r, struct math_value *ret)
{
	char text[64], *end;
	size_t n = 0;

	while (n < r->rest.n && n < sizeof(text) - 1 &&
	       (isdigit((unsigned char)r->rest.p[n]) || r->rest.p[n] == '.' || ((r->rest.p[n] | 32) == 'e' && n) ||
	        (strchr("+-", r->rest.p[n]) && n && (r->rest.p[n - 1] | 32) == 'e'))) {
		text[n] = r->rest.p[n];
		n++;
	}
	text[n] = 0;
	*ret = (struct math_value){ .kind = MATH_SCALAR, .scalar = strtod(text, &end) };
	if (!n || *end || !isfinite(ret->scalar))
		return syntax(r);
	r->rest.p += n;
	r->rest.n -= n;
	return 0;
}

/* 'text' or "text"; a backslash takes the next character as it is. */
static int text(struct reader *r, char quote, struct math_value *ret)
{
	struct buf b = { 0 };

	while (r->rest.n && *r->rest.p != quote) {
		if (*r->rest.p == '\\' && r->rest.n > 1) {
			r->rest.p++;
			r->rest.n--;
		}
		buf_c(&b, *r->rest.p++);
		r->rest.n--;
	}
	if (!r->rest.n) {
		buf_fini(&b);
		return err_set(r->e, ERR_INVALID, "A string has no end");
	}
	r->rest.p++;
	r->rest.n--;
	*ret = (struct math_value){ .kind = MATH_TEXT, .text = buf_take(&b) };
	return 0;
}

static void values_fini(struct math_value *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		math_value_fini(&v[i]);
	free(v);
}

/* Expressions up to the closing bracket; the caller finishes *ret, also on failure. */
static int values(struct reader *r, char close, struct math_value **ret, size_t *ret_n)
{
	if (take(r, close))
		return 0;
	do {
		if (*ret_n == ARGUMENTS_MAX)
			return err_set(r->e, ERR_INVALID, "There are more than %d values in brackets", ARGUMENTS_MAX);
		*ret = xrealloc(*ret, (*ret_n + 1) * sizeof(**ret));
		if (sum(r, &(*ret)[*ret_n]) < 0)
			return -1;
		++*ret_n;
	} while (take(r, ','));
	return take(r, close) ? 0 : syntax(r);
}

static int list(struct reader *r, struct math_value *ret)
{
	struct math_value *v = NULL, all = { .kind = MATH_LINES };
	size_t n = 0;
	int rc = values(r, ']', &v, &n);

	for (size_t i = 0; i < n && rc == 0; i++) {
		if (v[i].kind != MATH_LINE && v[i].kind != MATH_LINES) {
			rc = err_set(r->e, ERR_INVALID, "A list has a %s where a Time Series is needed",
			             math_kind_name(&v[i]));
			break;
		}
		all.lines = xrealloc(all.lines, (all.n + v[i].n + 1) * sizeof(*all.lines));
		if (v[i].n)
			memcpy(all.lines + all.n, v[i].lines, v[i].n * sizeof(*all.lines));
		all.n += v[i].n;
		v[i].n = 0;
	}
	values_fini(v, n);
	if (rc < 0)
		math_value_fini(&all);
	else
		*ret = all;
	return rc;
}

static int call_or_id(struct reader *r, struct math_value *ret)
{
	struct str name = word(r);
	struct math_value *args = NULL;
	size_t n = 0;
	int rc;

	if (take(r, '(')) {
		rc = values(r, ')', &args, &n);
		if (rc == 0)
			rc = math_call(r->env, name, args, n, ret, r->e);
		values_fini(args, n);
		return rc;
	}
	if (name.p[0] >= 'A' && name.p[0] <= 'Z') {
		*ret = (struct math_value){ .kind = MATH_WORD, .text = str_dup(name) };
		return 0;
	}
	return r->env->id(r->env->arg, name, ret, r->e);
}

static int primary(struct reader *r, struct math_value *ret)
{
	char c = peek(r);
	int rc;

	if (++r->depth > MATH_DEPTH)
		return err_set(r->e, ERR_INVALID, "It is nested too deeply");
	if (isdigit((unsigned char)c) || c == '.')
		rc = number(r, ret);
	else if (isalpha((unsigned char)c))
		rc = call_or_id(r, ret);
	else if (take(r, '\'') || take(r, '"'))
		rc = text(r, c, ret);
	else if (take(r, '['))
		rc = list(r, ret);
	else if (take(r, '(')) {
		rc = sum(r, ret);
		if (rc == 0 && !take(r, ')')) {
			math_value_fini(ret);
			rc = syntax(r);
		}
	} else {
		rc = syntax(r);
	}
	r->depth--;
	return rc;
}

static int power(struct reader *r, struct math_value *ret);

static int unary(struct reader *r, struct math_value *ret)
{
	struct math_value zero = { .kind = MATH_SCALAR, .scalar = -1 }, v;
	int rc;

	if (!take(r, '-'))
		return primary(r, ret);
	if (++r->depth > MATH_DEPTH)
		return err_set(r->e, ERR_INVALID, "It is nested too deeply");
	rc = power(r, &v);
	r->depth--;
	return rc < 0 ? -1 : math_binary(r->env, '*', &zero, &v, ret, r->e);
}

/* From the right: 2^3^2 is 2^9; and -2^2 is -4. */
static int power(struct reader *r, struct math_value *ret)
{
	struct math_value a, b;
	int rc;

	if (unary(r, &a) < 0)
		return -1;
	if (!take(r, '^')) {
		*ret = a;
		return 0;
	}
	if (++r->depth > MATH_DEPTH)
		rc = err_set(r->e, ERR_INVALID, "It is nested too deeply");
	else
		rc = power(r, &b);
	r->depth--;
	if (rc < 0) {
		math_value_fini(&a);
		return -1;
	}
	return math_binary(r->env, '^', &a, &b, ret, r->e);
}

/* One level of operators of the same rank, from the left. */
static int chain(struct reader *r, const char *operators, int (*next)(struct reader *r, struct math_value *ret),
                 struct math_value *ret)
{
	struct math_value a, b, c;
	char op;

	if (next(r, &a) < 0)
		return -1;
	while ((op = peek(r)) && strchr(operators, op)) {
		take(r, op);
		if (next(r, &b) < 0) {
			math_value_fini(&a);
			return -1;
		}
		if (math_binary(r->env, op, &a, &b, &c, r->e) < 0)
			return -1;
		a = c;
	}
	*ret = a;
	return 0;
}

static int product(struct reader *r, struct math_value *ret)
{
	return chain(r, "*/", power, ret);
}

static int sum(struct reader *r, struct math_value *ret)
{
	return chain(r, "+-", product, ret);
}

int math_evaluate(struct str expression, const struct math_env *env, struct math_value *ret, struct err *e)
{
	struct reader r = { .env = env, .rest = expression, .e = e };

	if (sum(&r, ret) < 0)
		return -1;
	if (!peek(&r) && !r.rest.n)
		return 0;
	math_value_fini(ret);
	return syntax(&r);
}
