/* SPDX-License-Identifier: Apache-2.0 */
#include "metric/words.h"

#include <inttypes.h>
#include <stdio.h>

void metric_words_number(uint64_t n, struct buf *out)
{
	char digits[24];
	int len = snprintf(digits, sizeof(digits), "%" PRIu64, n);

	for (int i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			buf_c(out, ',');
		buf_c(out, digits[i]);
	}
}

static void begin(const struct metric_set *s, size_t i, struct buf *out)
{
	struct str name = metric_set_name(s, i);

	buf_f(out, "metric '" PRIstr "': ", ARGstr(name));
}

static void add_last(const struct metric_counts *c, struct buf *out)
{
	if (c->last.n)
		buf_f(out, "'%s' ", c->last.p);
	else
		buf_z(out, "the text ");
	buf_z(out, c->why ? c->why : number_why(NUMBER_TEXT));
}

void metric_words_never(struct metric_set *s, size_t i, struct buf *out)
{
	const struct metric_counts *c = metric_set_counts(s, i);
	struct str regex = metric_set_regex(s, i);

	buf_z(out, "0 of ");
	metric_words_number(c->lines, out);
	if (c->refused) {
		buf_z(out, " lines gave a value: ");
		metric_words_number(c->refused, out);
		buf_f(out, " matched `" PRIstr "`, but ", ARGstr(regex));
		add_last(c, out);
		return;
	}
	buf_f(out, " lines matched `" PRIstr "`", ARGstr(regex));
	if (c->nearest.n)
		buf_f(out, "; nearest line: %s", c->nearest.p);
	else
		buf_z(out, "; no line resembles it");
	if (str_has_byte(regex, '\t') || str_find(regex, STR("\\t")) >= 0)
		buf_z(out, " (it has a TAB, which is #011 in the log)");
}

void metric_words_now(struct metric_set *s, size_t i, bool late, struct buf *out)
{
	struct metric_counts *c = metric_set_counts(s, i);
	struct str regex = metric_set_regex(s, i);

	if (c->refused && !(c->told & TOLD_REFUSED)) {
		c->told |= TOLD_REFUSED;
		begin(s, i, out);
		add_last(c, out);
		buf_z(out, ": such lines are counted, and have no value.\n");
	}
	if (c->limited && !(c->told & TOLD_LIMITED)) {
		c->told |= TOLD_LIMITED;
		begin(s, i, out);
		buf_f(out, "`" PRIstr "` takes too long on a line; such lines are counted, and have no value.\n",
		      ARGstr(regex));
	}
	if (c->limited >= METRIC_GIVE_UP_AFTER && !(c->told & TOLD_GIVEN_UP)) {
		c->told |= TOLD_GIVEN_UP;
		begin(s, i, out);
		buf_f(out, "`" PRIstr "` has taken too long on %d lines, and is not tried any more.\n", ARGstr(regex),
		      METRIC_GIVE_UP_AFTER);
	}
	if (late && !c->matched && c->lines && !(c->told & TOLD_NEVER)) {
		c->told |= TOLD_NEVER;
		begin(s, i, out);
		metric_words_never(s, i, out);
		buf_c(out, '\n');
	}
}

void metric_words_end(struct metric_set *s, size_t i, struct buf *out)
{
	const struct metric_counts *c = metric_set_counts(s, i);

	metric_words_now(s, i, false, out);
	if (!c->lines || (c->matched && !c->refused))
		return;
	begin(s, i, out);
	if (!c->matched) {
		metric_words_never(s, i, out);
	} else {
		metric_words_number(c->matched, out);
		buf_z(out, " lines gave a value, ");
		metric_words_number(c->refused, out);
		buf_z(out, " that matched did not; the last: ");
		add_last(c, out);
	}
	buf_z(out, ".\n");
}
