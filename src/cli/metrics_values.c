/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>

#include "aws/wire.h"
#include "base/clock.h"
#include "cli/metrics.h"

/* ---- pages ---- */

/* Calls each for every value of the metric: [seconds, host, step, source, value]. */
static int each_value(struct access *s, const char *job, const char *metric,
                      int (*each)(void *arg, const json_t *value, struct err *e), void *arg, struct err *e)
{
	_cleanup_free_ char *after = NULL;

	do {
		_cleanup_buf_ struct buf rest = { 0 }, text = { 0 };
		_cleanup_free_ char *path = NULL;
		const json_t *v;
		json_t *page;
		size_t i;
		int rc = 0;

		buf_z(&rest, "/values?");
		if (after)
			buf_f(&rest, "after=%s&", after);
		buf_z(&rest, "metric=");
		buf_uri(&rest, str_of(metric), false);
		path = metrics_path(job, rest.p);
		if (access_get(s, path, &text, e) < 0)
			return -1;
		page = json_loadb(text.p, text.n, 0, NULL);
		free(after);
		after = NULL;
		if (json_is_string(json_object_get(page, "Next")))
			after = xstrdup(json_string_value(json_object_get(page, "Next")));
		json_array_foreach (json_object_get(page, "Values"), i, v)
			if (rc == 0)
				rc = each(arg, v, e);
		json_decref(page);
		if (rc < 0)
			return -1;
	} while (after);
	return 0;
}

/* The names, each once: of a metric of several hosts there are several entries. */
static json_t *names_of(const json_t *answer)
{
	json_t *names = json_array();
	const json_t *m;
	const char *last = "";
	size_t i;

	json_array_foreach (json_object_get(answer, "Metrics"), i, m) {
		const char *name = json_string_value(json_object_get(m, "Name"));

		if (name && (!i || strcmp(name, last) != 0))
			json_array_append_new(names, json_string(name));
		last = name ? name : last;
	}
	return names;
}

/* ---- CSV ---- */

/* RFC 4180; and a spreadsheet shall not take a name for a formula. */
static void csv_text(struct buf *out, const char *text)
{
	bool quoted = strpbrk(text, "\",\r\n") != NULL;
	bool formula = strchr("=+-@\t", *text) && *text;

	if (quoted || formula)
		buf_c(out, '"');
	if (formula)
		buf_c(out, '\'');
	for (; *text; text++) {
		if (*text == '"')
			buf_c(out, '"');
		buf_c(out, *text);
	}
	if (quoted || formula)
		buf_c(out, '"');
}

struct csv {
	const char *metric;
	FILE *to;
};

static int csv_row(void *arg, const json_t *v, struct err *e)
{
	struct csv *c = arg;
	const json_t *step = json_array_get(v, 2);
	const char *source = json_string_value(json_array_get(v, 3));
	json_int_t host = json_integer_value(json_array_get(v, 1));
	_cleanup_buf_ struct buf row = { 0 };
	char at[CLOCK_TEXT_BYTES];

	buf_f(&row, "%s,", wall_iso8601((struct wall){ llround(json_number_value(json_array_get(v, 0)) * 1000) }, at));
	csv_text(&row, c->metric);
	buf_c(&row, ',');
	if (host)
		buf_f(&row, "algo-%lld", (long long)host);
	buf_c(&row, ',');
	if (json_is_integer(step))
		buf_f(&row, "%lld", (long long)json_integer_value(step));
	buf_c(&row, ',');
	buf_double(&row, json_number_value(json_array_get(v, 4)));
	buf_f(&row, ",%s\n", source ? source : "");
	return fwrite(row.p, 1, row.n, c->to) == row.n ? 0 : err_sys(e, "writing");
}

int metrics_csv(struct access *s, const struct metrics_options *o, FILE *to, struct err *e)
{
	struct metrics_options all = *o;
	json_t *answer, *names, *n;
	size_t i;
	int rc = 0;

	all.points = 0;
	if (metrics_ask(s, &all, &answer, e) < 0)
		return -1;
	names = names_of(answer);
	json_decref(answer);
	fputs("time,metric,host,step,value,source\n", to);
	json_array_foreach (names, i, n) {
		struct csv c = { json_string_value(n), to };

		if (rc == 0)
			rc = each_value(s, o->job, c.metric, csv_row, &c, e);
	}
	json_decref(names);
	if (rc == 0 && fflush(to) != 0)
		rc = err_sys(e, "writing");
	return rc;
}

/* ---- JSON ---- */

static int json_row(void *arg, const json_t *v, struct err *e)
{
	json_t *j = json_pack("{s:O, s:O}", "Time", json_array_get(v, 0), "Value", json_array_get(v, 4));
	json_int_t host = json_integer_value(json_array_get(v, 1));

	if (!j)
		return err_set(e, ERR_IO, "the server's answer is not understood");
	if (host) {
		_cleanup_free_ char *name = strf("algo-%lld", (long long)host);

		json_object_set_new(j, "Host", json_string(name));
	}
	if (json_is_integer(json_array_get(v, 2)))
		json_object_set(j, "Step", json_array_get(v, 2));
	json_object_set(j, "Source", json_array_get(v, 3));
	json_array_append_new(arg, j);
	return 0;
}

int metrics_json(struct access *s, const struct metrics_options *o, struct err *e)
{
	struct metrics_options all = *o;
	json_t *answer, *values;
	int rc = 0;

	all.points = 0;
	if (metrics_ask(s, &all, &answer, e) < 0)
		return -1;
	if (o->metric && !o->instance) {
		values = json_array();
		rc = each_value(s, o->job, o->metric, json_row, values, e);
		json_object_set_new(answer, "Values", values);
	}
	if (rc == 0)
		print_json(answer);
	json_decref(answer);
	return rc;
}
