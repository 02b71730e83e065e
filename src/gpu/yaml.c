/* SPDX-License-Identifier: Apache-2.0 */
#include "gpu/yaml.h"

#include <yaml.h>

enum { DEPTH_MAX = 32, NODES_MAX = 100000 };

struct reader {
	yaml_parser_t parser;
	unsigned depth, nodes;
	struct err *e;
};

static json_t *bad(struct reader *r, const yaml_mark_t *at, const char *what)
{
	err_set(r->e, ERR_SYNTAX, "line %zu, column %zu: %s", at->line + 1, at->column + 1, what);
	return NULL;
}

static bool next(struct reader *r, yaml_event_t *ret)
{
	if (yaml_parser_parse(&r->parser, ret))
		return true;
	bad(r, &r->parser.problem_mark, r->parser.problem ? r->parser.problem : "not YAML");
	return false;
}

/* What it stands for without quotes (the core schema, as far as JSON goes). */
static json_t *plain_value(struct str s)
{
	static const char *const words[] = { "", "~", "null", "Null", "NULL" };
	int64_t n;

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (str_is(s, words[i]))
			return json_null();
	if (str_is(s, "true") || str_is(s, "True") || str_is(s, "TRUE"))
		return json_true();
	if (str_is(s, "false") || str_is(s, "False") || str_is(s, "FALSE"))
		return json_false();
	if (s.n > 1 &&
	    s.p[s.p[0] == '-' || s.p[0] == '+'] == '0') /* octal to some readers of YAML, and not to others */
		return json_stringn(s.p, s.n);
	return str_to_i64(s, &n) ? json_integer(n) : json_stringn(s.p, s.n);
}

static json_t *scalar(struct reader *r, const yaml_event_t *ev)
{
	struct str s = { (const char *)ev->data.scalar.value, ev->data.scalar.length };
	json_t *j;

	if (ev->data.scalar.anchor || ev->data.scalar.tag)
		return bad(r, &ev->start_mark, "anchors and tags are not read here");
	if (str_has_byte(s, 0))
		return bad(r, &ev->start_mark, "a text with a zero byte");
	j = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE ? plain_value(s) : json_stringn(s.p, s.n);
	return j ? j : bad(r, &ev->start_mark, "a text that is not UTF-8");
}

static json_t *node(struct reader *r, const yaml_event_t *ev);

static json_t *next_node(struct reader *r)
{
	yaml_event_t ev;
	json_t *j;

	if (!next(r, &ev))
		return NULL;
	j = node(r, &ev);
	yaml_event_delete(&ev);
	return j;
}

static json_t *sequence(struct reader *r)
{
	json_t *all = json_array(), *one;
	yaml_event_t ev;
	bool end;

	while (next(r, &ev)) {
		end = ev.type == YAML_SEQUENCE_END_EVENT;
		one = end ? NULL : node(r, &ev);
		yaml_event_delete(&ev);
		if (end)
			return all;
		if (!one)
			break;
		json_array_append_new(all, one);
	}
	json_decref(all);
	return NULL;
}

/* The pair that begins with ev, its key. */
static bool pair(struct reader *r, const yaml_event_t *ev, json_t *into)
{
	const char *key = (const char *)ev->data.scalar.value;
	json_t *value;

	if (ev->type != YAML_SCALAR_EVENT || ev->data.scalar.anchor || ev->data.scalar.tag ||
	    strlen(key) != ev->data.scalar.length)
		return bad(r, &ev->start_mark, "a key that is not a plain word") != NULL;
	if (json_object_get(into, key))
		return bad(r, &ev->start_mark, "a key that is there twice") != NULL;
	value = next_node(r);
	if (!value)
		return false;
	return json_object_set_new(into, key, value) == 0 || bad(r, &ev->start_mark, "a key that is not UTF-8");
}

static json_t *mapping(struct reader *r)
{
	json_t *all = json_object();
	yaml_event_t ev;
	bool end, good;

	while (next(r, &ev)) {
		end = ev.type == YAML_MAPPING_END_EVENT;
		good = end || pair(r, &ev, all);
		yaml_event_delete(&ev);
		if (end)
			return all;
		if (!good)
			break;
	}
	json_decref(all);
	return NULL;
}

static json_t *node(struct reader *r, const yaml_event_t *ev)
{
	json_t *j;

	if (++r->nodes > NODES_MAX || r->depth >= DEPTH_MAX)
		return bad(r, &ev->start_mark, "more, or deeper, than is read here");
	r->depth++;
	switch (ev->type) {
	case YAML_SCALAR_EVENT: j = scalar(r, ev); break;
	case YAML_SEQUENCE_START_EVENT:
		j = ev->data.sequence_start.anchor || ev->data.sequence_start.tag
		            ? bad(r, &ev->start_mark, "anchors and tags are not read here")
		            : sequence(r);
		break;
	case YAML_MAPPING_START_EVENT:
		j = ev->data.mapping_start.anchor || ev->data.mapping_start.tag
		            ? bad(r, &ev->start_mark, "anchors and tags are not read here")
		            : mapping(r);
		break;
	case YAML_ALIAS_EVENT: j = bad(r, &ev->start_mark, "aliases are not read here"); break;
	default: j = bad(r, &ev->start_mark, "not a value"); break;
	}
	r->depth--;
	return j;
}

/* Steps over the next event, which is to be of this type. */
static bool expect(struct reader *r, yaml_event_type_t type, const char *otherwise)
{
	yaml_event_t ev;
	bool is;

	if (!next(r, &ev))
		return false;
	is = ev.type == type;
	if (!is)
		bad(r, &ev.start_mark, otherwise);
	yaml_event_delete(&ev);
	return is;
}

json_t *yaml_to_json(struct str text, struct err *e)
{
	struct reader r = { .e = e };
	json_t *j = NULL;

	must(yaml_parser_initialize(&r.parser));
	yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&r.parser, (const unsigned char *)(text.p ? text.p : ""), text.n);
	if (expect(&r, YAML_STREAM_START_EVENT, "no beginning") &&
	    expect(&r, YAML_DOCUMENT_START_EVENT, "there is nothing in it"))
		j = next_node(&r);
	if (j && (!expect(&r, YAML_DOCUMENT_END_EVENT, "no end") ||
	          !expect(&r, YAML_STREAM_END_EVENT, "a second document"))) {
		json_decref(j);
		j = NULL;
	}
	yaml_parser_delete(&r.parser);
	return j;
}
