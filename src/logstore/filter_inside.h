/* filter_inside.h - what the files of the filter patterns share.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "logstore/filter.h"

enum { FILTER_DEPTH = 50, FILTER_REGEXES = 2, FILTER_STEPS = 64 };

/* ---- values ---- */

enum value_kind { VALUE_TEXT, VALUE_NUMBER, VALUE_REGEX };
struct regex;
struct filter_value {
	enum value_kind kind;
	bool quoted;
	char *text; /* as it was written, without quotes; '*' is anything */
	double number;
	struct regex *regex;
};
void filter_value_fini(struct filter_value *v);
/* Reads a value at the start of *s, up to a blank or a sign of the surrounding expression. */
int filter_value_read(struct str *s, struct filter_value *ret, struct err *e) must_check;
bool filter_value_is(struct filter_value *v, struct str text); /* wildcards, regex, and equal numbers */

/* %...% at the start of *s. */
int regex_read(struct str *s, struct regex **ret, struct err *e) must_check;
void regex_free(struct regex *r);
bool regex_finds(struct regex *r, struct str text);

/* "..." at the start of *s, with \" and \\ in it. */
int filter_quoted_read(struct str *s, char **ret, struct err *e) must_check;
void filter_blanks(struct str *s);
bool filter_number(struct str s, double *ret); /* all of s is a number */

/* ---- expressions: conditions with && || ( ) ---- */

enum compare {
	IS_EQUAL,
	IS_UNEQUAL,
	IS_LESS,
	IS_GREATER,
	IS_LESS_EQUAL,
	IS_GREATER_EQUAL,
	IS_NULL,
	IS_TRUE,
	IS_FALSE,
	IS_THERE,
	IS_NOT_THERE
};

struct step {       /* of a selector */
	char *name; /* NULL: an index */
	bool any;   /* .* or [*] */
	size_t index;
};
struct expr {
	enum { EXPR_AND, EXPR_OR, EXPR_CONDITION } kind;
	struct expr *a, *b;
	struct step *steps; /* of JSON */
	size_t step_count;
	enum compare compare;
	struct filter_value value;
};
void expr_free(struct expr *x);
/* Reads an expression about JSON, up to what cannot belong to it. */
int expr_read_json(struct str *s, struct expr **ret, struct err *e) must_check;
/* The same about one field of that name; the first condition's name has been read, unless there is a '('. *regexes
 * counts those of the whole pattern. */
int expr_read_field(struct str *s, struct str name, unsigned *regexes, struct expr **ret, struct err *e) must_check;
bool expr_holds_json(struct expr *x, const json_t *root);
bool expr_holds_text(struct expr *x, struct str field);
bool filter_number_compares(double a, enum compare c, double b);
