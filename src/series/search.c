/* SPDX-License-Identifier: Apache-2.0 */
#include "series/search.h"

#include <ctype.h>

/* ---- texts ---- */

/* The next token of *s: letters or digits in a row; CPUUtilization is two. */
static bool next_token(struct str *s, struct str *ret)
{
	size_t from = 0, to;

	while (from < s->n && !isalnum((unsigned char)s->p[from]) && (unsigned char)s->p[from] < 0x80)
		from++;
	if (from == s->n)
		return false;
	for (to = from + 1; to < s->n; to++) {
		unsigned char a = (unsigned char)s->p[to - 1], b = (unsigned char)s->p[to];
		bool other = b < 0x80 && !isalnum(b);

		bool word = isupper(b) && to + 1 < s->n && islower((unsigned char)s->p[to + 1]);

		if (other || (isdigit(a) != 0) != (isdigit(b) != 0) || (isupper(b) && islower(a)) ||
		    (isupper(a) && word))
			break;
	}
	*ret = (struct str){ s->p + from, to - from };
	*s = (struct str){ s->p + to, s->n - to };
	return true;
}

/* Whether the tokens of `what` are in `text`, one behind the other. */
static bool has_tokens(struct str text, struct str what)
{
	struct str start = text, token;

	do {
		struct str a = start, b = what, wanted;
		bool same = true;

		while (same && next_token(&b, &wanted))
			same = next_token(&a, &token) && str_eq_nocase(token, wanted);
		if (same)
			return true;
	} while (next_token(&start, &token));
	return false;
}

static bool fits(struct str text, struct str what, bool exact)
{
	return exact ? str_eq_nocase(text, what) : has_tokens(text, what);
}

static bool fits_somewhere(const struct series_metric *m, struct str where, struct str what, bool exact)
{
	if (!where.n || str_is(where, "MetricName"))
		if (fits(str_of(m->name), what, exact))
			return true;
	if (!where.n || str_is(where, "Namespace"))
		if (fits(str_of(m->ns), what, exact))
			return true;
	for (size_t i = 0; i < m->dim_count; i++) {
		if (where.n && !str_eq(where, m->dims[i].name))
			continue;
		if (fits(m->dims[i].value, what, exact) || (!where.n && fits(m->dims[i].name, what, exact)))
			return true;
	}
	return false;
}

/* ---- terms ---- */

struct reader {
	struct str rest;
	const struct series_metric *m;
	unsigned depth;
	struct err *e;
};

static void skip_blanks(struct reader *r)
{
	while (r->rest.n && isspace((unsigned char)*r->rest.p)) {
		r->rest.p++;
		r->rest.n--;
	}
}

static bool at(struct reader *r, char c)
{
	skip_blanks(r);
	return r->rest.n && *r->rest.p == c;
}

/* The word, when it stands alone. */
static bool take_word(struct reader *r, const char *word)
{
	size_t n = strlen(word);

	skip_blanks(r);
	if (!str_starts(r->rest, str_of(word)) ||
	    (r->rest.n > n && !isspace((unsigned char)r->rest.p[n]) && r->rest.p[n] != '(' && r->rest.p[n] != ')'))
		return false;
	r->rest.p += n;
	r->rest.n -= n;
	return true;
}

static int text(struct reader *r, const char *ends, struct str *ret, bool *ret_exact)
{
	size_t n = 0;

	*ret_exact = r->rest.n && *r->rest.p == '"';
	if (*ret_exact) {
		const char *end = memchr(r->rest.p + 1, '"', r->rest.n - 1);

		if (!end)
			return err_set(r->e, ERR_INVALID, "a quotation mark of the search has no partner");
		*ret = (struct str){ r->rest.p + 1, (size_t)(end - r->rest.p) - 1 };
		n = ret->n + 2;
	} else {
		while (n < r->rest.n && !isspace((unsigned char)r->rest.p[n]) && !strchr(ends, r->rest.p[n]))
			n++;
		*ret = (struct str){ r->rest.p, n };
	}
	r->rest.p += n;
	r->rest.n -= n;
	return 0;
}

/* 1 or 0: whether it matches. */
static int any_of(struct reader *r);

static int term(struct reader *r)
{
	struct str where = { 0 }, what;
	const char *from = r->rest.p;
	bool exact;

	if (text(r, "()=", &what, &exact) < 0)
		return -1;
	if (r->rest.n && *r->rest.p == '=') {
		where = what;
		r->rest.p++;
		r->rest.n--;
		if (r->rest.n && *r->rest.p == '(') /* Host=(a OR b) */
			return err_set(r->e, ERR_INVALID,
			               "parentheses behind a designator are not supported by this server; repeat "
			               "the designator");
		if (text(r, "()", &what, &exact) < 0)
			return -1;
	}
	if (!what.n || (r->rest.p > from && *from == '='))
		return err_set(r->e, ERR_INVALID, "the search has an empty term at '%.*s'",
		               (int)(r->rest.n < 30 ? r->rest.n : 30), r->rest.p ? r->rest.p : "");
	return !r->m || fits_somewhere(r->m, where, what, exact);
}

static int one(struct reader *r)
{
	int found;

	if (++r->depth > SEARCH_DEPTH)
		return err_set(r->e, ERR_INVALID, "the search is nested too deeply");
	if (take_word(r, "NOT")) {
		found = one(r);
		found = found < 0 ? -1 : !found;
	} else if (at(r, '(')) {
		r->rest.p++;
		r->rest.n--;
		found = any_of(r);
		if (found >= 0 && !at(r, ')'))
			return err_set(r->e, ERR_INVALID, "a parenthesis of the search has no partner");
		if (found >= 0) {
			r->rest.p++;
			r->rest.n--;
		}
	} else {
		found = term(r);
	}
	r->depth--;
	return found;
}

static int all_of(struct reader *r)
{
	int all = one(r), next;

	for (;;) {
		struct reader before = *r;

		skip_blanks(r);
		if (all < 0 || !r->rest.n || at(r, ')') || take_word(r, "OR")) {
			*r = before;
			return all;
		}
		take_word(r, "AND");
		next = one(r);
		all = next < 0 ? -1 : all && next;
	}
}

static int any_of(struct reader *r)
{
	int any = all_of(r), next;

	while (any >= 0 && take_word(r, "OR")) {
		next = all_of(r);
		any = next < 0 ? -1 : any || next;
	}
	return any;
}

static int terms(const struct search *s, const struct series_metric *m, struct err *e)
{
	struct reader r = { .rest = s->terms, .m = m, .e = e };
	int found;

	if (!str_trim(s->terms).n)
		return 1;
	found = any_of(&r);
	skip_blanks(&r);
	if (found >= 0 && r.rest.n)
		return err_set(e, ERR_INVALID, "a parenthesis of the search has no partner");
	return found;
}

/* ---- the schema ---- */

static int schema(struct str *text, struct search *s, struct err *e)
{
	struct str inside = *text;
	ptrdiff_t end = str_find(*text, STR("}"));

	if (end < 0)
		return err_set(e, ERR_INVALID, "the search has a { without a }");
	inside = (struct str){ text->p + 1, (size_t)end - 1 };
	*text = (struct str){ text->p + end + 1, text->n - (size_t)end - 1 };
	s->schema = true;
	for (bool first = true, more = true; more; first = false) {
		struct str name;

		more = str_has_byte(inside, ',');
		name = str_trim(str_cut(&inside, ','));
		if (name.n >= 2 && name.p[0] == '"' && name.p[name.n - 1] == '"')
			name = (struct str){ name.p + 1, name.n - 2 };
		if (!name.n || (!first && s->dim_count == SEARCH_DIMENSIONS_MAX))
			return err_set(e, ERR_INVALID,
			               "the braces of the search hold a namespace and the names of dimensions");
		if (first)
			s->ns = name;
		else
			s->dims[s->dim_count++] = name;
	}
	return 0;
}

int search_parse(struct str text, struct search *ret, struct err *e)
{
	struct search s = { 0 };

	text = str_trim(text);
	if (str_starts(text, STR("{")) && schema(&text, &s, e) < 0)
		return -1;
	s.terms = text;
	if (!s.schema && !str_trim(text).n)
		return err_set(e, ERR_INVALID, "the search is empty");
	if (terms(&s, NULL, e) < 0)
		return -1;
	*ret = s;
	return 0;
}

bool search_matches(const struct search *s, const struct series_metric *m)
{
	if (s->schema) {
		if (!str_is(s->ns, m->ns) || m->dim_count != s->dim_count)
			return false;
		for (size_t i = 0; i < s->dim_count; i++) {
			bool found = false;

			for (size_t k = 0; k < m->dim_count; k++)
				found |= str_eq(s->dims[i], m->dims[k].name);
			if (!found)
				return false;
		}
	}
	return terms(s, m, NULL) > 0;
}
