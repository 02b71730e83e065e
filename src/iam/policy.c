/* SPDX-License-Identifier: Apache-2.0 */
#include "iam/policy.h"

#include <jansson.h>
#include <stdlib.h>

#include "base/fd.h"

struct texts {
	char **v;
	size_t n;
};

struct statement {
	bool deny;
	struct texts actions, resources;
};

struct policy {
	struct statement *v;
	size_t n;
};

/* ---- matching ---- */

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

/* After a '*' that has to take more, only the last one is ever tried again: what the earlier ones took stays good. */
bool policy_match(struct str pattern, struct str text, bool nocase)
{
	size_t p = 0, t = 0, star = 0, from = 0;
	bool starred = false;

	while (t < text.n) {
		if (p < pattern.n && pattern.p[p] == '*') {
			starred = true;
			star = p++;
			from = t;
		} else if (p < pattern.n && (pattern.p[p] == '?' || pattern.p[p] == text.p[t] ||
		                             (nocase && lower(pattern.p[p]) == lower(text.p[t])))) {
			p++;
			t++;
		} else if (starred) {
			p = star + 1;
			t = ++from;
		} else {
			return false;
		}
	}
	while (p < pattern.n && pattern.p[p] == '*')
		p++;
	return p == pattern.n;
}

static bool any_matches(const struct texts *patterns, struct str text, bool nocase)
{
	for (size_t i = 0; i < patterns->n; i++)
		if (policy_match(str_of(patterns->v[i]), text, nocase))
			return true;
	return false;
}

enum policy_verdict policy_ask(const struct policy *p, struct str action, struct str resource)
{
	enum policy_verdict verdict = POLICY_SILENT;

	for (size_t i = 0; i < p->n; i++) {
		const struct statement *s = &p->v[i];

		if (!any_matches(&s->actions, action, true) || !any_matches(&s->resources, resource, false))
			continue;
		if (s->deny)
			return POLICY_DENIES;
		verdict = POLICY_ALLOWS;
	}
	return verdict;
}

/* ---- parsing ---- */

/* Where we are, for sentences. */
struct place {
	const char *file;
	size_t statement; /* from 1; 0: outside of any */
};

static int bad(const struct place *at, const char *member, struct err *e, const char *fmt, ...) printf_like(4, 5);
static int bad(const struct place *at, const char *member, struct err *e, const char *fmt, ...)
{
	_cleanup_buf_ struct buf text = { 0 };
	va_list ap;

	va_start(ap, fmt);
	buf_vf(&text, fmt, ap);
	va_end(ap);
	if (!at->statement)
		return err_set(e, ERR_INVALID, "%s: %s: %s", at->file, member, text.p);
	return err_set(e, ERR_INVALID, "%s: statement %zu: %s: %s", at->file, at->statement, member, text.p);
}

/* "*", or SERVICE:NAME of letters, digits and wildcards; a service may also have a '-'. */
static const char *bad_action(struct str s)
{
	struct str name = s, service = str_cut(&name, ':');

	if (str_is(s, "*"))
		return NULL;
	if (!service.n || !name.n)
		return "is no action; write it as SERVICE:NAME, such as s3:GetObject, or * for all";
	for (size_t i = 0; i < s.n; i++) {
		char c = lower(s.p[i]);

		if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '*' || c == '?')
			continue;
		if (i < service.n ? c != '-' : i > service.n)
			return "has a character that is in no action's name";
	}
	return NULL;
}

/* A denial of what no ARN looks like would be none. */
static bool is_job_not_lower(struct str s)
{
	ptrdiff_t at = str_find(s, STR(":training-job/"));

	for (size_t i = at < 0 ? s.n : (size_t)at; i < s.n; i++)
		if (s.p[i] != lower(s.p[i]))
			return true;
	return false;
}

static const char *bad_resource(struct str s)
{
	if (str_find(s, STR("${")) >= 0)
		return "has a variable (${...}); policy variables are not understood here";
	if (is_job_not_lower(s))
		return "names training jobs in capital letters; their ARNs are in lower case, so it would never match";
	if (str_is(s, "*") || str_starts(s, STR("arn:")))
		return NULL;
	return "is no resource; give an ARN, such as arn:aws:s3:::bucket/prefix/*, or * for all";
}

static int add_text(const struct place *at, const char *member, const json_t *v, const char *(*check)(struct str),
                    struct texts *to, struct err *e)
{
	struct str s = { json_string_value(v), json_string_length(v) };
	const char *why;

	if (!json_is_string(v))
		return bad(at, member, e, "is to be a text or a list of texts");
	why = check(s);
	if (why)
		return bad(at, member, e, "'" PRIstr "' %s", ARGstr(s), why);
	to->v[to->n++] = str_dup(s);
	return 0;
}

static int read_texts(const struct place *at, const json_t *statement, const char *member,
                      const char *(*check)(struct str), struct texts *to, struct err *e)
{
	const json_t *v = json_object_get(statement, member);
	size_t n = json_is_array(v) ? json_array_size(v) : 1;

	if (!v)
		return bad(at, member, e, "is missing");
	if (!n)
		return bad(at, member, e, "is an empty list");
	to->v = xcalloc(n, sizeof(*to->v));
	for (size_t i = 0; i < n; i++)
		if (add_text(at, member, json_is_array(v) ? json_array_get(v, i) : v, check, to, e) < 0)
			return -1;
	return 0;
}

static int read_effect(const struct place *at, const json_t *statement, bool *ret_deny, struct err *e)
{
	const json_t *v = json_object_get(statement, "Effect");
	const char *z = json_string_value(v);

	if (!v)
		return bad(at, "Effect", e, "is missing");
	if (!z || (strcmp(z, "Allow") != 0 && strcmp(z, "Deny") != 0))
		return bad(at, "Effect", e, "is to be \"Allow\" or \"Deny\"");
	*ret_deny = *z == 'D';
	return 0;
}

/* Members that are allowed, separated by blanks. */
static int check_members(const struct place *at, const json_t *object, const char *allowed, struct err *e)
{
	const char *key;
	json_t *v;

	json_object_foreach ((json_t *)object, key, v) {
		struct str rest = str_of(allowed);
		bool known = false;

		while (rest.n && !known)
			known = str_is(str_cut(&rest, ' '), key);
		if (!known)
			return bad(at, key, e, "is not understood here; there are %s", allowed);
		if ((!strcmp(key, "Sid") || !strcmp(key, "Id")) && !json_is_string(v))
			return bad(at, key, e, "is to be a text");
	}
	return 0;
}

static int read_statement(const struct place *at, const json_t *j, struct statement *s, struct err *e)
{
	if (!json_is_object(j))
		return bad(at, "Statement", e, "is to be an object");
	if (check_members(at, j, "Sid Effect Action Resource", e) < 0 || read_effect(at, j, &s->deny, e) < 0 ||
	    read_texts(at, j, "Action", bad_action, &s->actions, e) < 0)
		return -1;
	return read_texts(at, j, "Resource", bad_resource, &s->resources, e);
}

static int read_document(const json_t *j, const char *name, struct policy *p, struct err *e)
{
	struct place at = { .file = name };
	const json_t *version = json_object_get(j, "Version"), *list = json_object_get(j, "Statement");
	const char *date = json_string_value(version);
	size_t n = json_is_array(list) ? json_array_size(list) : 1;

	if (!json_is_object(j))
		return bad(&at, "the document", e, "is to be an object with a Statement");
	if (check_members(&at, j, "Version Id Statement", e) < 0)
		return -1;
	if (version && (!date || (strcmp(date, "2012-10-17") != 0 && strcmp(date, "2008-10-17") != 0)))
		return bad(&at, "Version", e, "is to be \"2012-10-17\" (or \"2008-10-17\")");
	if (!list)
		return bad(&at, "Statement", e, "is missing");
	p->v = xcalloc(n, sizeof(*p->v));
	while (p->n < n) {
		const json_t *one = json_is_array(list) ? json_array_get(list, p->n) : list;

		at.statement = ++p->n;
		if (read_statement(&at, one, &p->v[at.statement - 1], e) < 0)
			return -1;
	}
	return 0;
}

int policy_parse(struct str text, const char *name, struct policy **ret, struct err *e)
{
	_cleanup_(policy_freep) struct policy *p = NULL;
	json_error_t why;
	json_t *j;
	int rc;

	if (text.n > POLICY_MAX_BYTES)
		return err_set(e, ERR_LIMIT, "%s: a policy has at most %d bytes", name, POLICY_MAX_BYTES);
	j = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, &why);
	if (!j)
		return err_set(e, ERR_INVALID, "%s:%d:%d: %s", name, why.line, why.column, why.text);
	p = xcalloc(1, sizeof(*p));
	rc = read_document(j, name, p, e);
	json_decref(j);
	if (rc == 0)
		*ret = take_ptr(p);
	return rc;
}

int policy_read(const char *path, struct policy **ret, struct err *e)
{
	_cleanup_buf_ struct buf text = { 0 };

	if (file_read(path, POLICY_MAX_BYTES, &text, e) < 0)
		return err_in(e, "reading the policy");
	return policy_parse(buf_view(&text), path, ret, e);
}

static void texts_fini(struct texts *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->v[i]);
	free(t->v);
}

void policy_free(struct policy *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->n; i++) {
		texts_fini(&p->v[i].actions);
		texts_fini(&p->v[i].resources);
	}
	free(p->v);
	free(p);
}
