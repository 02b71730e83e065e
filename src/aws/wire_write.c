/* Answers as JSON and XML. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "aws/wire.h"
#include "base/clock.h"

void buf_double(struct buf *out, double v)
{
	char text[40];

	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, v);
		if (strtod(text, NULL) == v)
			break;
	}
	buf_z(out, text);
}

static const struct shape *member_shape(const struct shape *s, const char *name)
{
	if (s && s->kind == SHAPE_MAP)
		return s->item;
	for (size_t i = 0; s && i < s->member_count; i++)
		if (!strcmp(s->members[i].name, name))
			return s->members[i].shape;
	return NULL;
}

/* ---- JSON ---- */

static void json_text(struct buf *out, struct str s)
{
	bool valid = utf8_valid(s);

	buf_c(out, '"');
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c == '"' || c == '\\')
			buf_add(out, (char[]){ '\\', (char)c }, 2);
		else if (c == '\n')
			buf_z(out, "\\n");
		else if (c < 0x20)
			buf_f(out, "\\u%04x", c);
		else
			buf_c(out, c >= 0x80 && !valid ? '?' : (char)c);
	}
	buf_c(out, '"');
}

void wire_write_json(const struct shape *s, const json_t *x, struct buf *out)
{
	const char *key, *comma = "";
	json_t *sub;
	size_t i;

	switch (json_typeof(x)) {
	case JSON_OBJECT:
		buf_c(out, '{');
		json_object_foreach ((json_t *)x, key, sub) {
			buf_z(out, comma);
			comma = ",";
			json_text(out, str_of(key));
			buf_c(out, ':');
			wire_write_json(member_shape(s, key), sub, out);
		}
		buf_c(out, '}');
		break;
	case JSON_ARRAY:
		buf_c(out, '[');
		json_array_foreach (x, i, sub) {
			buf_z(out, i ? "," : "");
			wire_write_json(s ? s->item : NULL, sub, out);
		}
		buf_c(out, ']');
		break;
	case JSON_STRING: json_text(out, (struct str){ json_string_value(x), json_string_length(x) }); break;
	case JSON_INTEGER: buf_f(out, "%lld", (long long)json_integer_value(x)); break;
	case JSON_REAL: buf_double(out, json_real_value(x)); break;
	case JSON_TRUE: buf_z(out, "true"); break;
	case JSON_FALSE: buf_z(out, "false"); break;
	case JSON_NULL: buf_z(out, "null"); break;
	}
}

/* ---- XML ---- */

static void xml_number(const struct shape *s, const json_t *x, struct buf *out)
{
	char date[CLOCK_TEXT_BYTES];

	if (s && s->kind == SHAPE_TIMESTAMP)
		buf_z(out, wall_iso8601((struct wall){ llround(json_number_value(x) * 1000) }, date));
	else if (json_is_integer(x))
		buf_f(out, "%lld", (long long)json_integer_value(x));
	else
		buf_double(out, json_real_value(x));
}

static void xml_object(const struct shape *s, const json_t *x, struct buf *out)
{
	bool map = s && s->kind == SHAPE_MAP;
	const char *key;
	json_t *sub;

	json_object_foreach ((json_t *)x, key, sub) {
		if (map) {
			buf_z(out, "<entry><key>");
			buf_xml(out, str_of(key));
			buf_z(out, "</key><value>");
		} else {
			buf_f(out, "<%s>", key);
		}
		wire_write_xml(member_shape(s, key), sub, out);
		if (map)
			buf_z(out, "</value></entry>");
		else
			buf_f(out, "</%s>", key);
	}
}

void wire_write_xml(const struct shape *s, const json_t *x, struct buf *out)
{
	json_t *sub;
	size_t i;

	switch (json_typeof(x)) {
	case JSON_OBJECT: xml_object(s, x, out); break;
	case JSON_ARRAY:
		json_array_foreach (x, i, sub) {
			buf_z(out, "<member>");
			wire_write_xml(s ? s->item : NULL, sub, out);
			buf_z(out, "</member>");
		}
		break;
	case JSON_STRING: buf_xml(out, (struct str){ json_string_value(x), json_string_length(x) }); break;
	case JSON_INTEGER:
	case JSON_REAL: xml_number(s, x, out); break;
	case JSON_TRUE: buf_z(out, "true"); break;
	case JSON_FALSE: buf_z(out, "false"); break;
	case JSON_NULL: break;
	}
}
