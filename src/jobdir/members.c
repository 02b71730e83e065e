/* SPDX-License-Identifier: Apache-2.0 */
#include "jobdir/members.h"

#include <stdlib.h>

bool member_leaf_ok(struct str s)
{
	return s.n > 0 && s.n <= 255 && !str_has_byte(s, '/') && !str_is(s, ".") && !str_is(s, "..");
}

bool member_only(struct str s, const char *bytes)
{
	for (size_t i = 0; i < s.n; i++)
		if (!s.p[i] || !strchr(bytes, s.p[i]))
			return false;
	return true;
}

bool member_bucket_ok(struct str s)
{
	return member_leaf_ok(s) && s.n >= 3 && member_only(s, DIGITS LOWER UPPER ".-_");
}

static const char *const places[] = {
	[PLACE_EMBEDDED] = "embedded", [PLACE_REMOTE] = "remote", [PLACE_FILE_SYSTEM] = "file-system", NULL
};

/* ---- writing ---- */

static json_t *member_to_json(const struct member *m, const void *at)
{
	switch (m->form) {
	case FORM_TEXT: return json_string(*(char *const *)at);
	case FORM_U64: return json_integer((json_int_t) * (const uint64_t *)at);
	case FORM_I64: return json_integer(*(const int64_t *)at);
	case FORM_UINT: return json_integer(*(const unsigned *)at);
	case FORM_REAL: return json_real(*(const double *)at);
	case FORM_BOOL: return json_boolean(*(const bool *)at);
	case FORM_PLACE: return json_string(places[*(const enum place *)at]);
	}
	return NULL;
}

static bool is_absent(const struct member *m, const void *at)
{
	switch (m->form) {
	case FORM_TEXT: return !*(char *const *)at;
	case FORM_BOOL: return !*(const bool *)at;
	case FORM_I64: return *(const int64_t *)at == 0;
	default: return false;
	}
}

json_t *members_to_json(const struct member *m, size_t n, const void *base)
{
	json_t *j = json_object();

	for (size_t i = 0; i < n; i++) {
		const void *at = (const char *)base + m[i].offset;

		if (m[i].optional && is_absent(&m[i], at))
			continue;
		/* A text that is missing or not UTF-8 is left out, and then refused by name by the reader. */
		json_object_set_new(j, m[i].name, member_to_json(&m[i], at));
	}
	return j;
}

/* ---- reading ---- */

int member_refuse(const char *where, const char *name, const char *why, struct err *e)
{
	return err_set(e, ERR_INVALID, "%s%s: %s", where, name, why);
}

static int text_from_json(const struct member *m, const char *where, const json_t *v, char **at, struct err *e)
{
	struct str s = { json_string_value(v), json_string_length(v) };
	bool chosen = !m->choices;

	if (!json_is_string(v))
		return member_refuse(where, m->name, "not a string", e);
	if ((double)s.n > m->max)
		return member_refuse(where, m->name, "too long", e);
	for (size_t i = 0; i < s.n; i++)
		if (!s.p[i] || (!m->free && ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f)))
			return member_refuse(where, m->name, "holds a control character", e);
	for (size_t i = 0; m->choices && m->choices[i]; i++)
		chosen |= str_is(s, m->choices[i]);
	if (!chosen || !utf8_valid(s) || (m->check && !m->check(s)))
		return member_refuse(where, m->name, "not a value it can have", e);
	*at = str_dup(s);
	return 0;
}

static int number_from_json(const struct member *m, const char *where, const json_t *v, void *at, struct err *e)
{
	double d = json_number_value(v);

	if (m->form == FORM_REAL ? !json_is_number(v) : !json_is_integer(v))
		return member_refuse(where, m->name, m->form == FORM_REAL ? "not a number" : "not an integer", e);
	if ((m->min != 0 || m->max != 0) && !(d >= m->min && d <= m->max))
		return err_set(e, ERR_INVALID, "%s%s: %g is not from %g to %g", where, m->name, d, m->min, m->max);
	if (m->form == FORM_REAL)
		*(double *)at = d;
	else if (m->form == FORM_U64)
		*(uint64_t *)at = (uint64_t)json_integer_value(v);
	else if (m->form == FORM_UINT)
		*(unsigned *)at = (unsigned)json_integer_value(v);
	else
		*(int64_t *)at = json_integer_value(v);
	return 0;
}

static int bool_from_json(const struct member *m, const char *where, const json_t *v, bool *at, struct err *e)
{
	if (!json_is_boolean(v))
		return member_refuse(where, m->name, "neither true nor false", e);
	*at = json_is_true(v);
	return 0;
}

static int place_from_json(const struct member *m, const char *where, const json_t *v, enum place *at, struct err *e)
{
	for (size_t i = 0; places[i]; i++)
		if (json_is_string(v) && strcmp(json_string_value(v), places[i]) == 0) {
			*at = (enum place)i;
			return 0;
		}
	return member_refuse(where, m->name, "not \"embedded\", \"remote\" or \"file-system\"", e);
}

int members_from_json(const struct member *m, size_t n, const char *where, const char *const *also, const json_t *j,
                      void *base, struct err *e)
{
	const char *key;
	json_t *v;

	if (!json_is_object(j))
		return err_set(e, ERR_INVALID, "%s not an object", *where ? where : "the specification is");
	json_object_foreach ((json_t *)j, key, v) {
		bool known = false;

		for (size_t i = 0; i < n && !known; i++)
			known = strcmp(key, m[i].name) == 0;
		for (size_t i = 0; also && also[i] && !known; i++)
			known = strcmp(key, also[i]) == 0;
		if (!known)
			return err_set(e, ERR_INVALID, "%s'%.64s' is not a member that there is", where, key);
	}
	for (size_t i = 0; i < n; i++) {
		void *at = (char *)base + m[i].offset;
		int rc;

		v = json_object_get(j, m[i].name);
		if (!v && m[i].optional)
			continue;
		if (!v)
			return member_refuse(where, m[i].name, "missing", e);
		if (m[i].form == FORM_TEXT)
			rc = text_from_json(&m[i], where, v, at, e);
		else if (m[i].form == FORM_BOOL)
			rc = bool_from_json(&m[i], where, v, at, e);
		else if (m[i].form == FORM_PLACE)
			rc = place_from_json(&m[i], where, v, at, e);
		else
			rc = number_from_json(&m[i], where, v, at, e);
		if (rc < 0)
			return -1;
	}
	return 0;
}

/* ---- freeing ---- */

void members_free(const struct member *m, size_t n, void *base)
{
	for (size_t i = 0; i < n; i++)
		if (m[i].form == FORM_TEXT)
			free(*(char **)((char *)base + m[i].offset));
}
