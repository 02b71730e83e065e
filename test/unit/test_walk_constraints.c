/* test_walk_constraints.c - breaks every constraint of every operation's request, one at a time.
 *
 * Nothing here is a list of the API's members: a valid request with every member set is built from the shape tables,
 * then at each place of it each constraint that the shape there has is broken and the answer compared, word for word,
 * with what contract 9.3 prescribes for exactly that place and constraint. Only sample strings for the patterns are
 * kept by hand, and a pattern that none of them fits fails the test.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "aws/walk.h"
#include "harness.h"

enum { MAX_DEPTH = 12 };

/* Strings of which each pattern must like one, if need be with a tail. */
static const char *const samples[] = {
	"a",
	"7",
	"s3://bucket/key",
	"arn:aws:iam::123456789012:role/r",
	"arn:aws:lambda:us-east-1:123456789012:function:f",
	"arn:aws:sagemaker:us-east-1:123456789012:training-job/j",
	"arn:aws:sagemaker:us-east-1:123456789012:hub-content/h/Model/m",
	"arn:aws:sagemaker:us-east-1:123456789012:hub-content/h/DataSet/d",
	"arn:aws:sns:us-east-1:123456789012:topic",
	"arn:aws:sagemaker:us-east-1:123456789012:mlflow-app/m",
	"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
	"fs-0123456789",
	"application/json",
	"text/csv; q=1",
	"1.0",
	"1.0.0",
	"4K",
	"/metrics",
	"PT1H",
	"P1D",
	"https://host/path",
	"123456789012",
	"123456",
	"0123456789-/",
	"accept-eula=true",
};
/* ARNs whose resource part is named by the pattern itself: "arn:...:12digits:" + up to the pattern's '/' + "/x1". */
static const char arn_start[] = "arn:aws:sagemaker:us-east-1:123456789012:";

static struct pattern_scratch *scratch;

static bool fits(const struct shape *s, const char *text)
{
	double n = (double)utf8_count(str_of(text));

	return (!s->has_min || n >= s->min) && (!s->has_max || n <= s->max) &&
	       (s->pattern_index < 0 || pattern_matches(s->pattern_index, str_of(text), &scratch));
}

/* malloc'd: text with tails of c until the shape likes it; NULL: it never does. */
static char *stretched(const struct shape *s, const char *text, char c)
{
	size_t n = strlen(text), max = n > s->min ? n : (size_t)s->min;
	char *t = xcalloc(max + 1, 1);

	memcpy(t, text, n);
	memset(t + n, c, max - n);
	if (fits(s, t))
		return t;
	free(t);
	return NULL;
}

static char *sample_arn(const struct shape *s)
{
	const char *from = s->pattern ? strstr(s->pattern, "[0-9]{12}:") : NULL;
	char text[256];
	size_t n;

	if (!from)
		return NULL;
	from += strlen("[0-9]{12}:");
	n = strcspn(from, "/\\");
	snprintf(text, sizeof(text), "%s%.*s/x1", arn_start, (int)n, from);
	return stretched(s, text, 'x');
}

static char *sample_text(const struct shape *s)
{
	char *t = NULL;

	if (s->enums)
		return xstrdup(s->enums[0]);
	for (size_t i = 0; !t && i < ARRAY_LEN(samples); i++)
		t = stretched(s, samples[i], 'a');
	if (!t)
		t = stretched(s, "", 'a');
	if (!t)
		t = sample_arn(s);
	if (!t)
		test_failed(__FILE__, __LINE__, "no sample fits %s: %s", s->name, s->pattern ? s->pattern : "");
	return t ? t : xstrdup("");
}

/* A valid value with everything set; below MAX_DEPTH only what is required. */
static json_t *sample(const struct shape *s, unsigned depth)
{
	size_t n = s->has_min && s->min > 1 ? (size_t)s->min : 1;
	_cleanup_free_ char *text = NULL;
	json_t *x;

	switch (s->kind) {
	case SHAPE_STRUCTURE:
	case SHAPE_UNION:
		x = json_object();
		for (size_t i = 0; i < s->member_count; i++)
			if (depth < MAX_DEPTH || s->members[i].required)
				json_object_set_new(x, s->members[i].name, sample(s->members[i].shape, depth + 1));
		return x;
	case SHAPE_LIST:
		x = json_array();
		for (size_t i = 0; i < n; i++)
			json_array_append_new(x, sample(s->item, depth + 1));
		return x;
	case SHAPE_MAP:
		x = json_object();
		text = sample_text(s->key);
		for (size_t i = 0; i < n; i++) {
			_cleanup_free_ char *key = i ? strf("%s%zu", text, i) : xstrdup(text);

			json_object_set_new(x, key, sample(s->item, depth + 1));
		}
		return x;
	case SHAPE_STRING: text = sample_text(s); return json_string(text);
	case SHAPE_INTEGER:
	case SHAPE_LONG: return json_integer(s->has_min ? (json_int_t)s->min : 1);
	case SHAPE_FLOAT:
	case SHAPE_DOUBLE: return json_real(s->has_min ? s->min : 0.5);
	case SHAPE_BOOLEAN: return json_true();
	case SHAPE_TIMESTAMP: return json_real(1704067200.5);
	case SHAPE_BLOB: return json_string("AAAA");
	}
	return NULL;
}

/* A place in the request: how to get there from the root. */
struct step {
	const char *key; /* NULL: index */
	size_t index;
};
struct place {
	const struct operation *op;
	json_t *valid;
	struct step steps[4 * MAX_DEPTH];
	size_t depth;
	struct buf path; /* as messages spell it */
	size_t broken;   /* requests tried, over all */
};

static json_t *down(json_t *x, const struct step *s)
{
	return s->key ? json_object_get(x, s->key) : json_array_get(x, s->index);
}

static json_t *here(const struct place *p)
{
	json_t *x = p->valid;

	for (size_t i = 0; i < p->depth; i++)
		x = down(x, &p->steps[i]);
	return x;
}

/* The valid request with `mutant` (stolen) at the place; NULL: with nothing there. */
static json_t *with(const struct place *p, json_t *mutant)
{
	json_t *root = json_deep_copy(p->valid), *x = root;
	const struct step *last;

	if (!p->depth) {
		json_decref(root);
		return mutant;
	}
	last = &p->steps[p->depth - 1];
	for (size_t i = 0; i + 1 < p->depth; i++)
		x = down(x, &p->steps[i]);
	if (!last->key)
		json_array_set_new(x, last->index, mutant);
	else if (mutant)
		json_object_set_new(x, last->key, mutant);
	else
		json_object_del(x, last->key);
	return root;
}

/* Sends the mutant; the answer must be of the kind and begin and end with these. */
static void expect(struct place *p, json_t *mutant, enum err_kind kind, const char *begin, const char *end)
{
	_cleanup_buf_ struct buf text = { 0 };
	struct err e = { 0 };
	json_t *in = with(p, mutant);
	int rc = model_check_text(p->op, in, &text, &e);
	struct str got = buf_view(&text);

	p->broken++;
	if (rc != -1 || e.kind != kind || !str_starts(got, str_of(begin)) || !str_ends(got, str_of(end)))
		test_failed(__FILE__, __LINE__, "%s at '%s': %d\n  got:  %.600s\n  want: %.300s...%.600s", p->op->name,
		            p->path.p, rc, text.p ? text.p : "(accepted)", begin, end);
	json_decref(in);
}

/* Exactly one violation, of the value that ends in `end`. */
static void expect_one(struct place *p, json_t *mutant, const char *begin, const char *constraint)
{
	_cleanup_free_ char *start = strf("1 validation error detected: Value %s", begin);
	_cleanup_free_ char *end = strf("at '%s' failed to satisfy constraint: %s", p->path.p, constraint);

	expect(p, mutant, ERR_INVALID, start, end);
}

static const char *joined(const struct shape *s, struct buf *out)
{
	for (const char *const *v = s->enums; *v; v++)
		buf_f(out, "%s%s", v == s->enums ? "" : ", ", *v);
	return out->p;
}

/* "Member must ...; Value 'x' at 'p' failed ... Member must ..." for a plain value on its own. */
static void expect_text(struct place *p, const struct shape *s, const char *text)
{
	_cleanup_buf_ struct buf want = { 0 }, enums = { 0 };
	double n = (double)utf8_count(str_of(text));
	bool pattern = s->pattern_index >= 0 && !pattern_matches(s->pattern_index, str_of(text), &scratch);
	bool max = s->has_max && n > s->max, min = s->has_min && n < s->min, known = !s->enums;
	unsigned count;
	_cleanup_free_ char *value = NULL;

	value = s->secret ? strf("at '%s' failed to satisfy constraint: Member must ", p->path.p)
	                  : strf("'%.1024s%s' at '%s' failed to satisfy constraint: Member must ", text,
	                         strlen(text) > 1024 ? "..." : "", p->path.p);
	for (const char *const *v = s->enums; !known && *v; v++)
		known = strcmp(*v, text) == 0;
	count = (unsigned)(pattern + max + min + !known);
	buf_f(&want, "%u validation error%s detected: ", count, count == 1 ? "" : "s");
	if (pattern)
		buf_f(&want, "Value %ssatisfy regular expression pattern: %s; ", value, s->pattern);
	if (max)
		buf_f(&want, "Value %shave length less than or equal to %.0f; ", value, s->max);
	if (min)
		buf_f(&want, "Value %shave length greater than or equal to %.0f; ", value, s->min);
	if (!known)
		buf_f(&want, "Value %ssatisfy enum value set: [%s]; ", value, joined(s, &enums));
	want.n -= 2;
	want.p[want.n] = 0;
	expect(p, json_string(text), ERR_INVALID, want.p, want.p);
}

/* "[Member must ..., ...]" that lists every constraint of a list's plain items or a map's keys or values. */
static char *all_constraints(const struct shape *s, bool null)
{
	const char *what = s->kind == SHAPE_STRING || s->kind == SHAPE_BLOB ? "length" : "value";
	_cleanup_buf_ struct buf out = { 0 }, enums = { 0 };

	if (s->has_max)
		buf_f(&out, ", Member must have %s less than or equal to %.15g", what, s->max);
	if (s->has_min)
		buf_f(&out, ", Member must have %s greater than or equal to %.15g", what, s->min);
	if (s->pattern)
		buf_f(&out, ", Member must satisfy regular expression pattern: %s", s->pattern);
	if (s->enums)
		buf_f(&out, ", Member must satisfy enum value set: [%s]", joined(s, &enums));
	if (null)
		buf_z(&out, ", Member must not be null");
	return strf("[%s]", out.n ? out.p + 2 : "");
}

/* malloc'd texts that break s; the caller's list ends with NULL. */
static size_t bad_texts(const struct shape *s, char *out[8])
{
	static const char *const strange[] = { "!", "\n", " ", "a\nb", "_%_", "\xf0\x9f\x94\xa5 a", "{}[]\\\"'" };
	size_t n = 0;

	if (s->has_max && !s->enums) {
		_cleanup_free_ char *ok = sample_text(s);
		size_t have = strlen(ok), want = (size_t)s->max + 1;
		char *t = xcalloc(want + 1, 1);

		memcpy(t, ok, have);
		memset(t + have, ok[have ? have - 1 : 0] == '/' || !have ? 'a' : ok[have - 1], want - have);
		out[n++] = t;
	}
	if (s->has_min && s->min > 0 && !s->enums) {
		_cleanup_free_ char *ok = sample_text(s);

		out[n++] = strf("%.*s", (int)s->min - 1, ok);
	}
	for (size_t i = 0, found = 0; s->pattern && i < ARRAY_LEN(strange) && found < 2; i++) {
		char *t = xstrdup(strange[i]);

		if (!pattern_matches(s->pattern_index, str_of(t), &scratch)) {
			out[n++] = t;
			found++;
		} else {
			free(t);
		}
	}
	if (s->enums)
		out[n++] = strf("not-%s", s->enums[0]);
	return n;
}

static void wrong_types(struct place *p, const struct shape *s)
{
	static const char *const names[] = {
		"a String",    "an Integer", "a Long", "a Float", "a Double", "a Boolean", "milliseconds since epoch",
		"a ByteBuffer"
	};
	static const enum shape_kind kinds[] = { SHAPE_STRING, SHAPE_INTEGER, SHAPE_LONG,      SHAPE_FLOAT,
		                                 SHAPE_DOUBLE, SHAPE_BOOLEAN, SHAPE_TIMESTAMP, SHAPE_BLOB };
	static const char *const values[] = { "\"x\"", "1", "1.5", "true", "false", "[]", "{}" };
	const bool text = s->kind == SHAPE_STRING || s->kind == SHAPE_BLOB, map = s->kind == SHAPE_MAP;
	const bool structure = s->kind == SHAPE_STRUCTURE || s->kind == SHAPE_UNION;
	const char *type = NULL;

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		type = kinds[i] == s->kind ? names[i] : type;
	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		json_t *x = json_loads(values[i], JSON_DECODE_ANY, NULL);
		bool number = json_is_number(x), list = s->kind == SHAPE_LIST;
		_cleanup_free_ char *want = NULL, *end = strf("(at '%s')", p->path.p);

		if ((text && json_is_string(x)) || (s->kind == SHAPE_BOOLEAN && json_is_boolean(x)) ||
		    (list && json_is_array(x)) || ((map || structure) && json_is_object(x)) ||
		    (type && !text && s->kind != SHAPE_BOOLEAN && number &&
		     (json_is_integer(x) || (s->kind != SHAPE_INTEGER && s->kind != SHAPE_LONG)))) {
			json_decref(x);
			continue;
		}
		if (json_is_array(x))
			want = strf("Start of list found where not expected");
		else if (json_is_object(x))
			want = strf("Start of structure or map found where not expected.");
		else if (!type)
			want = strf("Expected %snull", list ? "list or " : "");
		else if (json_is_real(x) && !text && s->kind != SHAPE_BOOLEAN)
			want = strf("1.5 can not be converted to %s", type);
		else
			want = strf("%s_VALUE can not be converted to %s",
			            json_is_string(x) ? "STRING"
			            : number          ? "NUMBER"
			            : json_is_true(x) ? "TRUE"
			                              : "FALSE",
			            type);
		expect(p, x, ERR_SYNTAX, want, p->depth ? end : want);
	}
}

static void break_numbers(struct place *p, const struct shape *s)
{
	_cleanup_free_ char *big = strf("2147483648 can not be converted to an Integer (at '%s')", p->path.p);

	if (s->kind == SHAPE_INTEGER)
		expect(p, json_integer(2147483648), ERR_SYNTAX, big, big);
	for (int up = 0; up < 2; up++) {
		double limit = up ? s->max : s->min, bad = up ? limit + 1 : limit - 1;
		_cleanup_free_ char *begin = strf("'%.0f' at", bad);
		_cleanup_free_ char *end = strf("Member must have value %s than or equal to %.0f",
		                                up ? "less" : "greater", limit);
		bool whole = s->kind == SHAPE_INTEGER || s->kind == SHAPE_LONG;

		if (up ? s->has_max : s->has_min)
			expect_one(p, whole ? json_integer((json_int_t)bad) : json_real(bad), begin, end);
	}
}

/* Too few and too many items or entries. */
static void break_sizes(struct place *p, const struct shape *s)
{
	const char *open = s->kind == SHAPE_LIST ? "'[" : "'{";

	if (s->has_max) {
		_cleanup_free_ char *end = strf("Member must have length less than or equal to %.0f", s->max);
		json_t *x = json_copy(here(p));
		_cleanup_free_ char *key = s->kind == SHAPE_MAP ? sample_text(s->key) : NULL;

		for (size_t i = 0; s->kind == SHAPE_LIST && json_array_size(x) <= s->max; i++)
			json_array_append(x, json_array_get(x, 0));
		for (size_t i = 0; s->kind == SHAPE_MAP && json_object_size(x) <= s->max; i++) {
			_cleanup_free_ char *more = strf("%s%zu", key, i);

			json_object_set(x, more, json_object_iter_value(json_object_iter(x)));
		}
		expect_one(p, x, open, end);
	}
	if (s->has_min && s->min > 0) {
		_cleanup_free_ char *end = strf("Member must have length greater than or equal to %.0f", s->min);
		json_t *x = json_copy(here(p));

		json_array_remove(x, 0);
		json_object_clear(x);
		expect_one(p, x, open, end);
	}
}

static void break_place(struct place *p, const struct shape *s);

static void enter(struct place *p, struct step step, const struct shape *s)
{
	size_t n = p->path.n;

	if (step.key)
		buf_f(&p->path, "%s%c%s", n ? "." : "",
		      step.key[0] >= 'A' && step.key[0] <= 'Z' ? step.key[0] + 32 : step.key[0], step.key + 1);
	else
		buf_f(&p->path, "%s%zu.member", n ? "." : "", step.index + 1);
	must(p->depth < ARRAY_LEN(p->steps));
	p->steps[p->depth++] = step;
	break_place(p, s);
	p->depth--;
	p->path.n = n;
	p->path.p[n] = 0;
}

static bool plain(const struct shape *s)
{
	return s->kind > SHAPE_MAP;
}

/* A list's or map's plain items are reported where the list or map is, all constraints together. */
static void break_plain_items(struct place *p, const struct shape *s, const struct shape *item, const char *role,
                              bool keys)
{
	_cleanup_free_ char *all = all_constraints(item, false);
	_cleanup_free_ char *end = strf("%s must satisfy constraint: %s", role, all);
	const char *shown = item->secret ? "at" : s->kind == SHAPE_LIST ? "'[" : "'{";
	char *bad[8];
	size_t n = item->kind == SHAPE_STRING ? bad_texts(item, bad) : 0;

	for (size_t i = 0; i < n; i++) {
		json_t *x = json_copy(here(p));

		if (s->kind == SHAPE_LIST)
			json_array_set_new(x, 0, json_string(bad[i]));
		else if (keys)
			json_object_set(x, bad[i], json_object_iter_value(json_object_iter(x)));
		else
			json_object_set_new(x, json_object_iter_key(json_object_iter(x)), json_string(bad[i]));
		if (!keys || json_object_size(x) == 2) /* jansson takes any UTF-8 key */
			expect_one(p, x, shown, end);
		else
			json_decref(x);
		free(bad[i]);
	}
	if (item->kind == SHAPE_INTEGER && item->has_max && s->kind == SHAPE_LIST) {
		json_t *x = json_copy(here(p));

		json_array_set_new(x, 0, json_integer((json_int_t)item->max + 1));
		expect_one(p, x, "'[", end);
	}
	if (s->kind == SHAPE_LIST) {
		_cleanup_free_ char *and_null = all_constraints(item, true);
		_cleanup_free_ char *null_end = strf("Member must satisfy constraint: %s", and_null);
		json_t *x = json_copy(here(p));

		json_array_set_new(x, 0, json_null());
		expect_one(p, x, item->secret ? "at" : "'[null", null_end);
	}
}

static void break_members(struct place *p, const struct shape *s)
{
	for (const struct member *m = s->members; m < s->members + s->member_count; m++) {
		if (!json_object_get(here(p), m->name))
			continue;
		enter(p, (struct step){ .key = m->name }, m->shape);
		if (m->required) {
			size_t n = p->path.n;

			buf_f(&p->path, "%s%c%s", n ? "." : "",
			      m->name[0] >= 'A' && m->name[0] <= 'Z' ? m->name[0] + 32 : m->name[0], m->name + 1);
			p->steps[p->depth++] = (struct step){ .key = m->name };
			expect_one(p, NULL, "null at", "Member must not be null");
			expect_one(p, json_null(), "null at", "Member must not be null");
			p->depth--;
			p->path.n = n;
			p->path.p[n] = 0;
		}
	}
}

static void break_map(struct place *p, const struct shape *s)
{
	const char *key = json_object_iter_key(json_object_iter(here(p)));

	break_sizes(p, s);
	break_plain_items(p, s, s->key, "Map keys", true);
	if (plain(s->item)) {
		break_plain_items(p, s, s->item, "Map value", false);
	} else {
		size_t n = p->path.n;

		buf_f(&p->path, ".%s.member", key);
		p->steps[p->depth++] = (struct step){ .key = key };
		break_place(p, s->item);
		p->depth--;
		p->path.n = n;
		p->path.p[n] = 0;
	}
}

static void break_place(struct place *p, const struct shape *s)
{
	char *bad[8];
	size_t n;

	wrong_types(p, s);
	switch (s->kind) {
	case SHAPE_STRUCTURE:
	case SHAPE_UNION: break_members(p, s); return;
	case SHAPE_LIST:
		break_sizes(p, s);
		if (plain(s->item))
			break_plain_items(p, s, s->item, "Member", false);
		else if (json_array_size(here(p)))
			enter(p, (struct step){ .index = json_array_size(here(p)) - 1 }, s->item);
		return;
	case SHAPE_MAP: break_map(p, s); return;
	case SHAPE_STRING:
		n = bad_texts(s, bad);
		for (size_t i = 0; i < n; i++) {
			expect_text(p, s, bad[i]);
			free(bad[i]);
		}
		return;
	case SHAPE_INTEGER:
	case SHAPE_LONG:
	case SHAPE_FLOAT:
	case SHAPE_DOUBLE: break_numbers(p, s); return;
	default: return;
	}
}

static size_t break_operation(const struct operation *op)
{
	struct place p = { .op = op };
	struct err e = { 0 };
	json_t *in;

	if (!op->input)
		return 0;
	buf_init(&p.path);
	p.valid = sample(op->input, 0);
	in = json_deep_copy(p.valid);
	if (model_check(op, in, &e) < 0)
		test_failed(__FILE__, __LINE__, "the valid request of %s: %s", op->name, e.frame[0]);
	else if (!json_equal(in, p.valid))
		test_failed(__FILE__, __LINE__, "%s: something of a valid request was lost", op->name);
	else
		break_place(&p, op->input);
	json_decref(in);
	json_decref(p.valid);
	buf_fini(&p.path);
	return p.broken;
}

TEST(every_constraint_of_create_training_job)
{
	size_t n = break_operation(model_operation(model_service("sagemaker"), STR("CreateTrainingJob")));

	CHECK(n > 1000); /* the tables are really there */
	pattern_scratch_free(scratch);
}

TEST(every_constraint_of_every_operation)
{
	for (size_t i = 0; i < model_service_count; i++)
		for (size_t k = 0; k < model_services[i].operation_count; k++)
			break_operation(&model_services[i].operations[k]);
	pattern_scratch_free(scratch);
}
