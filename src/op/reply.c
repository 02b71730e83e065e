/* The members of answers that are written as text. SPDX-License-Identifier: Apache-2.0 */
#include "op/reply.h"

#include <stdlib.h>

void add_seconds(struct buf *out, struct wall at)
{
	buf_f(out, "%lld.%03d", (long long)(at.ms / 1000), (int)(at.ms % 1000));
}

/* Bytes of UTF-8 go out as they are; what came in was checked. */
void add_json_string(struct buf *out, struct str s)
{
	size_t from = 0;

	buf_c(out, '"');
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		buf_add(out, s.p + from, i - from);
		from = i + 1;
		if (c == '"' || c == '\\')
			buf_f(out, "\\%c", c);
		else if (c == '\n')
			buf_z(out, "\\n");
		else
			buf_f(out, "\\u%04x", c);
	}
	buf_add(out, s.p + from, s.n - from);
	buf_c(out, '"');
}

void reply_echo(struct buf *out, const json_t *request, const char *name)
{
	const json_t *v = json_object_get(request, name);
	_cleanup_free_ char *text = NULL;

	if (!v || (json_is_object(v) && !json_object_size(v) && strcmp(name, "HyperParameters") != 0))
		return;
	text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
	must(text);
	buf_f(out, "\"%s\":", name);
	buf_z(out, text);
	buf_c(out, ',');
}

void reply_text(struct buf *out, const char *name, const char *value)
{
	buf_f(out, "\"%s\":", name);
	add_json_string(out, str_of(value));
	buf_c(out, ',');
}

void reply_time(struct buf *out, const char *name, struct wall at)
{
	if (!at.ms)
		return;
	buf_f(out, "\"%s\":", name);
	add_seconds(out, at);
	buf_c(out, ',');
}
