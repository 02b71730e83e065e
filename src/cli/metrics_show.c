/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "cli/metrics.h"

enum { SPARK_LEAST = 8, SPARK_MOST = 60, PLOT_HEIGHT = 12, PLOT_MOST = 160, MARGIN = 14, GAP = 2 };

static const char *text_at(const json_t *j, const char *member)
{
	const char *text = json_string_value(json_object_get(j, member));

	return text ? text : "";
}

static uint64_t count_at(const json_t *j, const char *member)
{
	json_int_t n = json_integer_value(json_object_get(j, member));

	return n < 0 ? 0 : (uint64_t)n;
}

void metrics_count(uint64_t n, struct buf *out)
{
	_cleanup_free_ char *digits = strf("%llu", (unsigned long long)n);
	size_t length = strlen(digits);

	for (size_t i = 0; i < length; i++) {
		if (i && (length - i) % 3 == 0)
			buf_c(out, ',');
		buf_c(out, digits[i]);
	}
}

/* ---- cells ---- */

enum { NAME, HOST, LAST, MIN, MAX, COUNT, FIRST, UNTIL, CELLS };
static const char *const titles[CELLS] = { "metric", "host", "last", "min", "max", "count", "first", "until" };
static bool is_number(size_t cell)
{
	return cell >= LAST && cell <= COUNT;
}

struct line {
	struct buf cell[CELLS];
	size_t columns[CELLS];
};

static void line_fini(struct line *l)
{
	for (size_t i = 0; i < CELLS; i++)
		buf_fini(&l->cell[i]);
}

static void line_of(const json_t *m, struct line *l)
{
	static const char *const numbers[] = { [LAST] = "Last", [MIN] = "Min", [MAX] = "Max" };
	static const char *const times[] = { [FIRST] = "First", [UNTIL] = "LastTime" };
	char text[CLI_TIME_BYTES];

	plot_text(str_of(text_at(m, "Name")), &l->cell[NAME]);
	plot_text(str_of(text_at(m, "Host")), &l->cell[HOST]);
	for (size_t i = LAST; i <= MAX; i++)
		plot_number(json_number_value(json_object_get(m, numbers[i])), &l->cell[i]);
	metrics_count(count_at(m, "Count"), &l->cell[COUNT]);
	for (size_t i = FIRST; i <= UNTIL; i++)
		buf_z(&l->cell[i], access_time(json_object_get(m, times[i]), text));
	for (size_t i = 0; i < CELLS; i++)
		l->columns[i] = utf8_count(buf_view(&l->cell[i]));
}

/* The date of the end, where it is the same as that of the beginning, is left out. */
static void shorten(struct line *l)
{
	struct str first = buf_view(&l->cell[FIRST]), until = buf_view(&l->cell[UNTIL]);

	if (first.n < 19 || until.n < 19 || memcmp(first.p, until.p, 11) != 0)
		return;
	memmove(l->cell[UNTIL].p, until.p + 11, until.n - 11 + 1);
	l->cell[UNTIL].n -= 11;
	l->columns[UNTIL] = l->cell[UNTIL].n;
}

static void put_cell(const struct buf *text, size_t columns, size_t width, bool right, struct buf *out)
{
	size_t pad = width > columns ? width - columns : 0;

	buf_f(out, "%*s", right ? (int)pad : 0, "");
	buf_str(out, buf_view(text));
	buf_f(out, "%*s", (right ? 0 : (int)pad) + GAP, "");
}

static void trim_end(struct buf *out)
{
	while (out->n && out->p[out->n - 1] == ' ')
		out->p[--out->n] = 0;
	buf_c(out, '\n');
}

static void put_line(const struct line *l, const size_t width[CELLS], struct buf *out)
{
	for (size_t i = 0; i < CELLS; i++)
		if (width[i])
			put_cell(&l->cell[i], l->columns[i], width[i], is_number(i), out);
}

static void put_titles(const size_t width[CELLS], struct buf *out)
{
	struct line l = { 0 };

	for (size_t i = 0; i < CELLS; i++) {
		buf_z(&l.cell[i], titles[i]);
		l.columns[i] = strlen(titles[i]);
	}
	put_line(&l, width, out);
	trim_end(out);
	line_fini(&l);
}

static void put_table(const json_t *metrics, size_t columns, struct buf *out)
{
	size_t n = json_array_size(metrics), width[CELLS] = { 0 }, used = 0, spark;
	struct line *lines = xcalloc(n + 1, sizeof(*lines));

	for (size_t i = 0; i < n; i++) {
		line_of(json_array_get(metrics, i), &lines[i]);
		shorten(&lines[i]);
		for (size_t k = 0; k < CELLS; k++)
			width[k] = lines[i].columns[k] > width[k] ? lines[i].columns[k] : width[k];
	}
	for (size_t k = 0; k < CELLS; k++) {
		if (width[k] && width[k] < strlen(titles[k])) /* nothing there: no column */
			width[k] = strlen(titles[k]);
		used += width[k] ? width[k] + GAP : 0;
	}
	spark = columns > used + SPARK_LEAST ? columns - used : SPARK_LEAST;
	put_titles(width, out);
	for (size_t i = 0; i < n; i++) {
		size_t count;
		_cleanup_free_ struct plot_point *p = metrics_points(json_array_get(metrics, i), &count);

		put_line(&lines[i], width, out);
		plot_sparkline(p, count, spark < SPARK_MOST ? spark : SPARK_MOST, out);
		trim_end(out);
		line_fini(&lines[i]);
	}
	free(lines);
}

/* ---- pictures ---- */

/* What was printed in bursts has few times for many values: those are drawn by their number. */
static bool all_at_once(const struct plot_point *p, size_t n)
{
	size_t times = n > 0;

	for (size_t i = 1; i < n; i++)
		times += p[i].t > p[i - 1].t;
	return n > 2 && times < 1 + n / 4;
}

static void put_plot(const json_t *m, size_t columns, struct buf *out)
{
	char from[CLI_TIME_BYTES], to[CLI_TIME_BYTES];
	struct plot_box box = { .width = columns > MARGIN + 40 ? columns - MARGIN : 40, .height = PLOT_HEIGHT };
	size_t n;
	_cleanup_free_ struct plot_point *p = metrics_points(m, &n);

	if (box.width > PLOT_MOST)
		box.width = PLOT_MOST;
	box.from = from;
	box.to = to;
	access_time(json_object_get(m, "First"), from);
	access_time(json_object_get(m, "LastTime"), to);
	if (all_at_once(p, n)) {
		for (size_t i = 0; i < n; i++)
			p[i].t = (double)i;
		snprintf(from, sizeof(from), "first");
		snprintf(to, sizeof(to), "last of %llu", (unsigned long long)count_at(m, "Count"));
	}
	buf_c(out, '\n');
	plot_text(str_of(text_at(m, "Name")), out);
	if (*text_at(m, "Host")) {
		buf_z(out, " of ");
		plot_text(str_of(text_at(m, "Host")), out);
	}
	buf_c(out, '\n');
	plot_braille(p, n, &box, out);
}

/* ---- definitions ---- */

void metrics_show_definition(const json_t *d, struct buf *out)
{
	uint64_t matched = count_at(d, "Matched"), refused = count_at(d, "Refused"), limited = count_at(d, "Limited");

	plot_text(str_of(text_at(d, "Name")), out);
	buf_z(out, ": ");
	metrics_count(matched, out);
	buf_z(out, " of ");
	metrics_count(count_at(d, "Lines"), out);
	buf_z(out, " lines");
	if (!matched && !refused) {
		buf_z(out, " matched `");
		plot_text(str_of(text_at(d, "Regex")), out);
		buf_c(out, '`');
	}
	if (refused) {
		buf_z(out, "; ");
		metrics_count(refused, out);
		buf_z(out, " refused (last: '");
		plot_text(str_of(text_at(d, "LastRefused")), out);
		buf_z(out, "' ");
		plot_text(str_of(text_at(d, "Why")), out);
		buf_c(out, ')');
	}
	if (limited) {
		buf_z(out, "; on ");
		metrics_count(limited, out);
		buf_z(out, " the expression took too long");
	}
	if (!matched && !refused && *text_at(d, "Nearest")) {
		buf_z(out, "; nearest line: ");
		plot_text(str_of(text_at(d, "Nearest")), out);
	}
	buf_c(out, '\n');
}

static void put_definitions(const json_t *answer, struct buf *out)
{
	const json_t *list = json_object_get(answer, "Definitions"), *d;
	size_t i;

	if (!json_array_size(list))
		return;
	buf_z(out, json_is_true(json_object_get(answer, "Refitted"))
	                   ? "\ndefinitions (extracted again: these need not be those of CreateTrainingJob)\n"
	                   : "\ndefinitions\n");
	json_array_foreach (list, i, d) {
		buf_z(out, "  ");
		metrics_show_definition(d, out);
	}
}

void metrics_show(const json_t *answer, const struct metrics_look *look, struct buf *out)
{
	const json_t *metrics = json_object_get(answer, "Metrics"), *m;
	size_t i;

	plot_text(str_of(text_at(answer, "TrainingJobName")), out);
	buf_z(out, ": ");
	plot_text(str_of(text_at(answer, "TrainingJobStatus")), out);
	buf_z(out, "\n\n");
	if (json_array_size(metrics))
		put_table(metrics, look->columns, out);
	else
		buf_z(out, json_is_true(json_object_get(answer, "Ended")) ? "There are no values.\n"
		                                                          : "There are no values yet.\n");
	if (look->plot)
		json_array_foreach (metrics, i, m)
			put_plot(m, look->columns, out);
	put_definitions(answer, out);
}
