/* Filter patterns: terms, and what is common to all kinds. SPDX-License-Identifier: Apache-2.0 */
#include "logstore/filter.h"

#include <stdlib.h>

#include "logstore/filter_inside.h"

struct term {
	enum { TERM_REQUIRED, TERM_OPTIONAL, TERM_EXCLUDED } kind;
	char *text; /* NULL: a regular expression */
	struct regex *regex;
};
struct field {
	bool rest;         /* ... */
	struct expr *expr; /* NULL: whatever it is */
};

struct log_filter {
	enum { FILTER_TERMS, FILTER_JSON, FILTER_FIELDS } kind;
	struct term *terms; /* none: everything */
	size_t term_count;
	struct expr *json;
	struct field *fields;
	size_t field_count;
	unsigned regexes; /* in the fields */
};

void log_filter_free(struct log_filter *f)
{
	if (!f)
		return;
	for (size_t i = 0; i < f->term_count; i++) {
		free(f->terms[i].text);
		regex_free(f->terms[i].regex);
	}
	for (size_t i = 0; i < f->field_count; i++)
		expr_free(f->fields[i].expr);
	free(f->terms);
	free(f->fields);
	expr_free(f->json);
	free(f);
}

/* ---- terms ---- */

static int read_word(struct str *s, char **ret, struct err *e)
{
	struct str word = { s->p, 0 };
	bool plain = true;

	for (; word.n < s->n && !strchr(" \t\r\n", word.p[word.n]); word.n++) {
		char c = word.p[word.n];

		plain &= (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
		         (unsigned char)c >= 0x80;
	}
	if (!word.n || !plain)
		return err_set(e, ERR_INVALID, "Invalid character(s) in term '%.*s'",
		               (int)(word.n < 200 ? word.n : 200), word.p);
	*ret = str_dup(word);
	s->p += word.n;
	s->n -= word.n;
	return 0;
}

static int read_terms(struct log_filter *f, struct str s, struct err *e)
{
	for (filter_blanks(&s); s.n; filter_blanks(&s)) {
		struct term t = { 0 };
		int rc;

		if (str_skip(&s, STR("?")))
			t.kind = TERM_OPTIONAL;
		else if (str_skip(&s, STR("-")))
			t.kind = TERM_EXCLUDED;
		if (s.n && *s.p == '"')
			rc = filter_quoted_read(&s, &t.text, e);
		else if (s.n && *s.p == '%')
			rc = regex_read(&s, &t.regex, e);
		else
			rc = read_word(&s, &t.text, e);
		if (rc < 0)
			return -1;
		f->terms = xrealloc(f->terms, (f->term_count + 1) * sizeof(*f->terms));
		f->terms[f->term_count++] = t;
	}
	return 0;
}

static bool term_is_in(struct term *t, struct str message)
{
	return t->text ? str_find(message, str_of(t->text)) >= 0 : regex_finds(t->regex, message);
}

static bool terms_match(struct log_filter *f, struct str message)
{
	bool optional = false, other = false, any = false;

	for (size_t i = 0; i < f->term_count; i++) {
		struct term *t = &f->terms[i];

		if (t->kind == TERM_OPTIONAL) {
			optional = true;
			continue;
		}
		other = true;
		if (term_is_in(t, message) != (t->kind == TERM_REQUIRED))
			return false;
	}
	if (other || !optional)
		return true;
	for (size_t i = 0; i < f->term_count && !any; i++)
		any = term_is_in(&f->terms[i], message);
	return any;
}

/* ---- JSON ---- */

static int read_json(struct log_filter *f, struct str s, struct err *e)
{
	str_skip(&s, STR("{"));
	f->kind = FILTER_JSON;
	if (expr_read_json(&s, &f->json, e) < 0)
		return -1;
	filter_blanks(&s);
	if (!str_skip(&s, STR("}")) || str_trim(s).n)
		return err_set(e, ERR_INVALID, "Invalid filter pattern: there is more than an expression: '%.*s'",
		               (int)(s.n < 40 ? s.n : 40), s.p);
	return 0;
}

static bool json_matches(struct log_filter *f, struct str message)
{
	json_t *root;
	bool yes;

	filter_blanks(&message);
	if (!message.n || (*message.p != '{' && *message.p != '['))
		return false;
	root = json_loadb(message.p, message.n, JSON_ALLOW_NUL, NULL);
	yes = root && expr_holds_json(f->json, root);
	json_decref(root);
	return yes;
}

/* ---- fields ---- */

static int read_field(struct log_filter *f, struct str *s, struct err *e)
{
	struct str name = { s->p, 0 }, inner;
	struct field field = { 0 };

	filter_blanks(s);
	if (str_skip(s, STR("..."))) {
		field.rest = true;
		for (size_t i = 0; i < f->field_count; i++)
			if (f->fields[i].rest)
				return err_set(e, ERR_INVALID, "Invalid filter pattern: more than one '...'");
	} else {
		inner = *s;
		while (inner.n && strchr("( \t\r\n", *inner.p)) {
			inner.p++;
			inner.n--;
		}
		name = (struct str){ inner.p, 0 };
		while (name.n < inner.n && !strchr(" \t\r\n=!<>&|(){}[],\"%", name.p[name.n]))
			name.n++;
		if (!name.n)
			return err_set(e, ERR_INVALID, "Invalid filter pattern: the name of a field is missing");
		if (*s->p != '(') {
			s->p += name.n;
			s->n -= name.n;
			filter_blanks(s);
		}
		if (s->n && *s->p != ',' && *s->p != ']' && expr_read_field(s, name, &f->regexes, &field.expr, e) < 0)
			return -1;
	}
	f->fields = xrealloc(f->fields, (f->field_count + 1) * sizeof(*f->fields));
	f->fields[f->field_count++] = field;
	return 0;
}

static int read_fields(struct log_filter *f, struct str s, struct err *e)
{
	str_skip(&s, STR("["));
	f->kind = FILTER_FIELDS;
	do {
		if (read_field(f, &s, e) < 0)
			return -1;
		filter_blanks(&s);
	} while (str_skip(&s, STR(",")));
	if (!str_skip(&s, STR("]")) || str_trim(s).n)
		return err_set(e, ERR_INVALID,
		               "Invalid filter pattern: ',' or the ']' at its end is missing before '%.*s'",
		               (int)(s.n < 40 ? s.n : 40), s.p);
	return 0;
}

/* Not by strchr, which finds a zero byte too. */
static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The next field of an event, what encloses it taken away. False: there is none. */
static bool next_field(struct str *s, struct str *ret)
{
	char end;
	const char *at;

	filter_blanks(s);
	if (!s->n)
		return false;
	end = *s->p == '"' ? '"' : *s->p == '[' ? ']' : '\0';
	at = end ? memchr(s->p + 1, end, s->n - 1) : NULL;
	if (at) {
		*ret = (struct str){ s->p + 1, (size_t)(at - s->p) - 1 };
		at++;
	} else {
		for (at = s->p; at < s->p + s->n && !is_blank(*at); at++)
			;
		*ret = (struct str){ s->p, (size_t)(at - s->p) };
	}
	s->n -= (size_t)(at - s->p);
	s->p = at;
	return true;
}

/* Fields before "..." are counted from the front, those behind it from the end. */
static bool fields_match(struct log_filter *f, struct str message)
{
	size_t count = 0, rest = f->field_count, at = 0;
	struct str s = message, text;

	while (next_field(&s, &text))
		count++;
	for (size_t i = 0; i < f->field_count; i++)
		if (f->fields[i].rest)
			rest = i;
	if (rest == f->field_count ? count != f->field_count : count < f->field_count - 1)
		return false;
	s = message;
	for (size_t i = 0; next_field(&s, &text); i++) {
		if (i >= rest && i < rest + count + 1 - f->field_count)
			continue;
		at = i < rest ? i : f->field_count - (count - i);
		if (f->fields[at].expr && !expr_holds_text(f->fields[at].expr, text))
			return false;
	}
	return true;
}

/* ---- all ---- */

int log_filter_new(struct str pattern, struct log_filter **ret, struct err *e)
{
	_cleanup_(log_filter_freep) struct log_filter *f = xcalloc(1, sizeof(*f));
	struct str s = str_trim(pattern);
	int rc;

	if (str_has_byte(s, '\0'))
		return err_set(e, ERR_INVALID, "Invalid filter pattern: it has a zero byte");
	if (s.n && *s.p == '{')
		rc = read_json(f, s, e);
	else if (s.n && *s.p == '[')
		rc = read_fields(f, s, e);
	else
		rc = read_terms(f, s, e);
	if (rc < 0)
		return -1;
	*ret = take_ptr(f);
	return 0;
}

bool log_filter_matches(struct log_filter *f, struct str message)
{
	switch (f->kind) {
	case FILTER_JSON: return json_matches(f, message);
	case FILTER_FIELDS: return fields_match(f, message);
	case FILTER_TERMS: break;
	}
	return terms_match(f, message);
}
