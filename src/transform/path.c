/* SPDX-License-Identifier: Apache-2.0 */
#include "transform/path.h"

#include <stdlib.h>

#include "transform/jsontext.h"

enum { PICKS_MAX = PATH_BYTES_MAX / 2, INDEX_DIGITS_MAX = 9 };

enum step_kind { STEP_NAMES, STEP_INDICES, STEP_SLICE, STEP_ALL };

struct step {
	enum step_kind kind;
	unsigned count;             /* of names or indices */
	struct str name[PICKS_MAX]; /* views into the text */
	long index[PICKS_MAX];
	long start, end; /* of a slice */
	bool open;       /* it has no end */
};

struct path {
	char *text;
	unsigned count;
	struct step step[PATH_BYTES_MAX];
};

/* ---- parsing ---- */

struct parse {
	struct str text, rest;
	struct err *e;
};

static int refuse(const struct parse *p, const char *what)
{
	return err_set(p->e, ERR_INVALID, "the path '" PRIstr "' %s at its character %zu", ARGstr(p->text), what,
	               p->text.n - p->rest.n + 1);
}

static bool skip(struct parse *p, char c)
{
	return str_skip(&p->rest, (struct str){ &c, 1 });
}

static void blanks(struct parse *p)
{
	while (skip(p, ' '))
		;
}

static bool is_bare(char c)
{
	return c && !strchr(".[]()*'\"?@,:$ ", c) && (unsigned char)c >= 0x20;
}

static int parse_name(struct parse *p, struct step *s)
{
	size_t n = 0;

	if (skip(p, '*')) {
		s->kind = STEP_ALL;
		return 0;
	}
	while (n < p->rest.n && is_bare(p->rest.p[n]))
		n++;
	if (!n)
		return refuse(p, p->rest.n && p->rest.p[0] == '.' ? "looks deeper with '..', which is not supported,"
		                                                  : "has no name");
	*s = (struct step){ .kind = STEP_NAMES, .count = 1, .name = { { p->rest.p, n } } };
	p->rest.p += n;
	p->rest.n -= n;
	return 0;
}

static int parse_quoted(struct parse *p, struct step *s)
{
	s->kind = STEP_NAMES;
	do {
		char quote;
		size_t n;

		blanks(p);
		quote = p->rest.n ? p->rest.p[0] : 0;
		if ((quote != '\'' && quote != '"') || s->count == PICKS_MAX)
			return refuse(p, "has no quoted name");
		skip(p, quote);
		for (n = 0; n < p->rest.n && p->rest.p[n] != quote; n++)
			if (p->rest.p[n] == '\\')
				return refuse(p, "has an escape in a name, which is not supported,");
		if (n == p->rest.n)
			return refuse(p, "has a name without a closing quote");
		s->name[s->count++] = (struct str){ p->rest.p, n };
		p->rest.p += n;
		p->rest.n -= n;
		skip(p, quote);
		blanks(p);
	} while (skip(p, ','));
	return 0;
}

/* 1: a number; 0: there is none. */
static int parse_index(struct parse *p, long *ret)
{
	size_t n = p->rest.n && p->rest.p[0] == '-' ? 1 : 0, digits = n;
	int64_t v;

	while (n < p->rest.n && p->rest.p[n] >= '0' && p->rest.p[n] <= '9')
		n++;
	if (n == digits)
		return 0;
	if (n - digits > INDEX_DIGITS_MAX || !str_to_i64((struct str){ p->rest.p, n }, &v))
		return refuse(p, "has an index that is too large");
	*ret = (long)v;
	p->rest.p += n;
	p->rest.n -= n;
	return 1;
}

static int parse_slice(struct parse *p, struct step *s)
{
	int rc;

	s->kind = STEP_SLICE;
	s->start = s->count ? s->index[0] : 0;
	blanks(p);
	rc = parse_index(p, &s->end);
	if (rc < 0)
		return -1;
	s->open = rc == 0;
	if (s->open && !s->count)
		return refuse(p, "has a slice without a start and an end");
	blanks(p);
	if (p->rest.n && p->rest.p[0] == ':')
		return refuse(p, "has a slice with a step, which is not supported,");
	return 0;
}

static int parse_indices(struct parse *p, struct step *s)
{
	int rc;

	s->kind = STEP_INDICES;
	do {
		blanks(p);
		if (s->count == PICKS_MAX)
			return refuse(p, "has too many indices");
		rc = parse_index(p, &s->index[s->count]);
		if (rc < 0)
			return -1;
		s->count += (unsigned)rc;
		blanks(p);
		if (s->count <= 1 && skip(p, ':'))
			return parse_slice(p, s);
		if (rc == 0)
			return refuse(p, "has brackets around what is no name, index or slice");
	} while (skip(p, ','));
	return 0;
}

static int parse_bracket(struct parse *p, struct step *s)
{
	int rc = 0;

	blanks(p);
	if (skip(p, '*'))
		s->kind = STEP_ALL;
	else if (p->rest.n && (p->rest.p[0] == '\'' || p->rest.p[0] == '"'))
		rc = parse_quoted(p, s);
	else
		rc = parse_indices(p, s);
	if (rc < 0)
		return -1;
	blanks(p);
	return skip(p, ']') ? 0 : refuse(p, "has something other than a closing bracket");
}

static int parse_steps(struct parse *p, struct path *path)
{
	if (!skip(p, '$'))
		return refuse(p, "does not begin with '$'");
	while (p->rest.n) {
		struct step *s = &path->step[path->count++];
		int rc = skip(p, '.')   ? parse_name(p, s)
		         : skip(p, '[') ? parse_bracket(p, s)
		                        : refuse(p, "has neither '.' nor '['");

		if (rc < 0)
			return -1;
	}
	return 0;
}

int path_parse(struct str text, struct path **ret, struct err *e)
{
	_cleanup_(path_freep) struct path *path = xcalloc(1, sizeof(*path));
	struct parse p = { .e = e };

	if (!text.n)
		text = STR("$");
	if (text.n > PATH_BYTES_MAX)
		return err_set(e, ERR_INVALID, "the path '" PRIstr "' is longer than %d bytes", ARGstr(text),
		               PATH_BYTES_MAX);
	path->text = str_dup(text);
	p.text = p.rest = (struct str){ path->text, text.n };
	if (parse_steps(&p, path) < 0)
		return -1;
	*ret = take_ptr(path);
	return 0;
}

void path_free(struct path *p)
{
	if (!p)
		return;
	free(p->text);
	free(p);
}

bool path_is_all(const struct path *p)
{
	return p->count == 0;
}

int path_check_csv(const struct path *p, struct err *e)
{
	if (p->count > 1)
		return err_set(e, ERR_INVALID, "the path '%s' has more than one step; a row of CSV is a list of fields",
		               p->text);
	if (p->count && p->step[0].kind == STEP_NAMES)
		return err_set(e, ERR_INVALID,
		               "the path '%s' has names; fields of CSV are picked by index, as in '$[0]'", p->text);
	return 0;
}

/* ---- what a step picks of a list ---- */

/* Where index i of a list of n is; -1: it is not. */
static long place(long i, long n)
{
	if (i < 0)
		i += n;
	return i >= 0 && i < n ? i : -1;
}

static void slice_bounds(const struct step *s, long n, long *ret_from, long *ret_to)
{
	long from = s->start < 0 ? s->start + n : s->start, to = s->open ? n : s->end < 0 ? s->end + n : s->end;

	*ret_from = from < 0 ? 0 : from;
	*ret_to = to > n ? n : to;
}

/* ---- JSON ---- */

struct pick {
	const struct path *path;
	struct buf *out;
	bool many;  /* results are elements of a list */
	bool first; /* nothing has been written of it */
	struct err *e;
};

static int pick(struct pick *k, unsigned at, struct str value);

static const char *kind_of(struct str value)
{
	switch (value.p[0]) {
	case '{': return "an object";
	case '[': return "a list";
	case '"': return "a string";
	default: return "a single value";
	}
}

static void emit(struct pick *k, struct str value)
{
	if (k->many && !k->first)
		buf_c(k->out, ',');
	k->first = false;
	buf_str(k->out, value);
}

/* Of several members of one name the last counts. */
static bool member(struct str value, struct str name, struct str *ret_quoted, struct str *ret)
{
	struct jsontext_walk w;
	struct str quoted, v;
	bool found = false;

	if (!jsontext_begin(value, &w) || !w.object)
		return false;
	while (jsontext_next(&w, &quoted, &v))
		if (jsontext_is_name(quoted, name)) {
			*ret_quoted = quoted;
			*ret = v;
			found = true;
		}
	return found;
}

static int pick_names(struct pick *k, unsigned at, struct str value)
{
	const struct step *s = &k->path->step[at];
	_cleanup_buf_ struct buf object = { 0 };
	struct str quoted, v;

	if (value.p[0] != '{')
		return err_set(k->e, ERR_CLIENT, "'%s' looks for '" PRIstr "' in %s", k->path->text, ARGstr(s->name[0]),
		               kind_of(value));
	if (s->count == 1) {
		if (!member(value, s->name[0], &quoted, &v))
			return err_set(k->e, ERR_CLIENT, "'%s' looks for '" PRIstr "', which is not there",
			               k->path->text, ARGstr(s->name[0]));
		return pick(k, at + 1, v);
	}
	buf_c(&object, '{');
	for (unsigned i = 0; i < s->count; i++)
		if (member(value, s->name[i], &quoted, &v)) {
			if (object.n > 1)
				buf_c(&object, ',');
			buf_str(&object, quoted);
			buf_c(&object, ':');
			buf_str(&object, v);
		}
	buf_c(&object, '}');
	return pick(k, at + 1, buf_view(&object));
}

static bool element(struct str value, long i, struct str *ret)
{
	struct jsontext_walk w;

	jsontext_begin(value, &w);
	for (long at = 0; jsontext_next(&w, NULL, ret); at++)
		if (at == i)
			return true;
	return false;
}

static int pick_indices(struct pick *k, unsigned at, struct str value, long n)
{
	const struct step *s = &k->path->step[at];
	struct str v;

	for (unsigned i = 0; i < s->count; i++) {
		if (!element(value, place(s->index[i], n), &v))
			return err_set(k->e, ERR_CLIENT, "'%s' looks for element %ld of a list of %ld", k->path->text,
			               s->index[i], n);
		if (pick(k, at + 1, v) < 0)
			return -1;
	}
	return 0;
}

static int pick_range(struct pick *k, unsigned at, struct str value, long from, long to)
{
	struct jsontext_walk w;
	struct str v;

	jsontext_begin(value, &w);
	for (long i = 0; i < to && jsontext_next(&w, NULL, &v); i++)
		if (i >= from && pick(k, at + 1, v) < 0)
			return -1;
	return 0;
}

static int pick(struct pick *k, unsigned at, struct str value)
{
	const struct step *s = &k->path->step[at];
	struct jsontext_walk w;
	struct str v;
	long n = 0, from, to;

	if (at == k->path->count) {
		emit(k, value);
		return 0;
	}
	if (s->kind == STEP_NAMES)
		return pick_names(k, at, value);
	if (!jsontext_begin(value, &w) || (s->kind != STEP_ALL && w.object))
		return err_set(k->e, ERR_CLIENT, "'%s' looks for elements of %s", k->path->text, kind_of(value));
	while (jsontext_next(&w, NULL, &v))
		n++;
	if (s->kind == STEP_ALL)
		return pick_range(k, at, value, 0, n);
	if (s->kind == STEP_INDICES)
		return pick_indices(k, at, value, n);
	slice_bounds(s, n, &from, &to);
	return pick_range(k, at, value, from, to);
}

static bool picks_many(const struct path *p)
{
	for (unsigned i = 0; i < p->count; i++)
		if (p->step[i].kind == STEP_SLICE || p->step[i].kind == STEP_ALL ||
		    (p->step[i].kind == STEP_INDICES && p->step[i].count > 1))
			return true;
	return false;
}

int path_json(const struct path *p, struct str value, struct buf *out, struct err *e)
{
	struct pick k = { .path = p, .out = out, .many = picks_many(p), .first = true, .e = e };
	size_t before = out->n;

	if (k.many)
		buf_c(out, '[');
	if (pick(&k, 0, value) < 0) {
		out->n = before;
		return -1;
	}
	if (k.many)
		buf_c(out, ']');
	return 0;
}

/* ---- CSV ---- */

/* The field that rest begins with; *rest steps behind it and its comma. False: its quotes do not end. */
static bool next_field(struct str *rest, bool *more, struct str *ret)
{
	size_t n = 0;
	bool quoted = false;

	for (; n < rest->n && (quoted || rest->p[n] != ','); n++)
		quoted ^= rest->p[n] == '"';
	*ret = (struct str){ rest->p, n };
	*more = n < rest->n;
	rest->p += n + *more;
	rest->n -= n + *more;
	return !quoted;
}

static long count_fields(struct str row)
{
	struct str field;
	bool more = true;
	long n = 0;

	for (; more; n++)
		if (!next_field(&row, &more, &field))
			return -1;
	return n;
}

/* Fields [from, to) of the row. */
static void add_fields(struct str row, long from, long to, bool *first, struct buf *out)
{
	struct str field;
	bool more = true;

	for (long i = 0; i < to && more; i++) {
		next_field(&row, &more, &field);
		if (i < from)
			continue;
		if (!*first)
			buf_c(out, ',');
		*first = false;
		buf_str(out, field);
	}
}

int path_csv(const struct path *p, struct str row, struct buf *out, struct err *e)
{
	const struct step *s = &p->step[0];
	size_t before = out->n;
	bool first = true;
	long n, from, to;

	if (p->count == 0) {
		buf_str(out, row);
		return 0;
	}
	n = count_fields(row);
	if (n < 0)
		return err_set(e, ERR_CLIENT, "the row has double quotes without an end");
	if (s->kind == STEP_ALL || s->kind == STEP_SLICE) {
		slice_bounds(s->kind == STEP_ALL ? &(struct step){ .open = true } : s, n, &from, &to);
		add_fields(row, from, to, &first, out);
		return 0;
	}
	for (unsigned i = 0; i < s->count; i++) {
		long at = place(s->index[i], n);

		if (at < 0) {
			out->n = before;
			return err_set(e, ERR_CLIENT, "'%s' looks for column %ld of a row of %ld", p->text, s->index[i],
			               n);
		}
		add_fields(row, at, at + 1, &first, out);
	}
	return 0;
}
