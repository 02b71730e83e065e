/* `bloomery metrics try` and `bloomery metrics refit`. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <unistd.h>

#include "cli/metrics.h"
#include "loop/loop.h"

enum { SHOWN = 10, FIRST_MS = 20, MOST_MS = 500 };

/* ---- a task of the server ---- */

struct wait {
	struct access *access;
	char *path;
	bool progress; /* on a terminal */
	struct loop *loop;
	struct loop_source *timer;
	int64_t every_ms;
	json_t *result;
	struct err *e;
	int rc;
};

static void show_progress(const struct wait *w, const json_t *j)
{
	uint64_t done = (uint64_t)json_integer_value(json_object_get(j, "Bytes")),
	         of = (uint64_t)json_integer_value(json_object_get(j, "Of"));
	_cleanup_buf_ struct buf text = { 0 };

	if (!w->progress || !of)
		return;
	buf_bytes(&text, done);
	buf_z(&text, " of ");
	buf_bytes(&text, of);
	fprintf(stderr, "\r\x1b[Kreading the log: %s", text.p);
}

static void hide_progress(const struct wait *w)
{
	if (w->progress)
		fputs("\r\x1b[K", stderr);
}

static int look(struct wait *w, struct err *e)
{
	_cleanup_buf_ struct buf text = { 0 };
	json_t *j;

	if (access_get(w->access, w->path, &text, e) < 0)
		return -1;
	j = json_loadb(text.p, text.n, 0, NULL);
	if (json_is_true(json_object_get(j, "Done")))
		w->result = json_incref(json_object_get(j, "Result"));
	else
		show_progress(w, j);
	json_decref(j);
	return 0;
}

static void on_time(void *arg)
{
	struct wait *w = arg;

	w->rc = look(w, w->e);
	if (w->rc < 0 || w->result) {
		loop_stop(w->loop);
		return;
	}
	w->every_ms = 2 * w->every_ms < MOST_MS ? 2 * w->every_ms : MOST_MS;
	loop_timer_set(w->timer, w->every_ms, 0);
}

/* Starts it, and waits. in is stolen. */
static int run_task(struct access *s, const char *job, const char *verb, json_t *in, json_t **ret, struct err *e)
{
	struct wait w = { .access = s, .progress = isatty(2), .every_ms = FIRST_MS, .e = e };
	_cleanup_free_ char *start = metrics_path(job, verb), *rest = NULL;
	json_t *j;

	if (access_post(s, start, in, &j, e) < 0)
		return -1;
	rest = strf("/tasks/%s",
	            json_is_string(json_object_get(j, "Task")) ? json_string_value(json_object_get(j, "Task")) : "");
	json_decref(j);
	w.path = metrics_path(job, rest);
	w.loop = loop_new();
	w.timer = loop_timer(w.loop, FIRST_MS, 0, on_time, &w);
	if (loop_run(w.loop, e) < 0)
		w.rc = -1;
	loop_source_free(w.timer);
	loop_free(w.loop);
	hide_progress(&w);
	free(w.path);
	if (w.rc == 0)
		*ret = w.result;
	return w.rc;
}

/* ---- try ---- */

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

static void add_count(struct buf *out, const json_t *j, const char *member, const char *word)
{
	metrics_count(count_at(j, member), out);
	buf_f(out, " %s", word);
}

static void add_values(const json_t *list, uint64_t all, struct buf *out)
{
	const json_t *v;
	char at[CLI_TIME_BYTES];
	size_t i;

	if (json_array_size(list))
		buf_z(out, "\nvalues\n");
	json_array_foreach (list, i, v) {
		if (i == SHOWN)
			break;
		buf_f(out, "  %s  ", access_time(json_object_get(v, "Time"), at));
		plot_number(json_number_value(json_object_get(v, "Value")), out);
		buf_z(out, "  from: ");
		plot_text(str_of(text_at(v, "Line")), out);
		buf_c(out, '\n');
	}
	if (all > SHOWN) {
		buf_z(out, "  and ");
		metrics_count(all - SHOWN, out);
		buf_z(out, " more\n");
	}
}

static void add_refused(const json_t *list, uint64_t all, struct buf *out)
{
	const json_t *v;
	size_t i;

	if (json_array_size(list))
		buf_z(out, "\nrefused\n");
	json_array_foreach (list, i, v) {
		if (i == SHOWN)
			break;
		buf_z(out, "  '");
		plot_text(str_of(text_at(v, "Text")), out);
		buf_z(out, "' ");
		plot_text(str_of(text_at(v, "Why")), out);
		buf_z(out, ", from: ");
		plot_text(str_of(text_at(v, "Line")), out);
		buf_c(out, '\n');
	}
	if (all > SHOWN) {
		buf_z(out, "  and ");
		metrics_count(all - SHOWN, out);
		buf_z(out, " more\n");
	}
}

static void show_tried(const json_t *j, const char *regex, struct buf *out)
{
	uint64_t matched = count_at(j, "Matched"), refused = count_at(j, "Refused");

	add_count(out, j, "Lines", "lines: ");
	add_count(out, j, "Matched", "gave a value, ");
	add_count(out, j, "Refused", "matched and were refused");
	if (count_at(j, "Limited")) {
		buf_z(out, ", on ");
		add_count(out, j, "Limited", "the expression took too long");
	}
	buf_c(out, '\n');
	add_values(json_object_get(j, "Values"), matched, out);
	add_refused(json_object_get(j, "RefusedLines"), refused, out);
	if (matched || refused)
		return;
	buf_z(out, "No line matched `");
	plot_text(str_of(regex), out);
	buf_z(out, "`.\n");
	if (*text_at(j, "Nearest")) {
		buf_z(out, "nearest line: ");
		plot_text(str_of(text_at(j, "Nearest")), out);
		buf_c(out, '\n');
	}
}

int metrics_try(struct access *s, const struct cli_args *a, struct err *e)
{
	_cleanup_buf_ struct buf out = { 0 };
	json_t *in = json_pack("{s:s}", "Regex", a->rest[2]), *result;

	if (!in)
		return err_set(e, ERR_INVALID, "the expression is not UTF-8");
	if (run_task(s, a->rest[1], "/try", in, &result, e) < 0)
		return -1;
	if (cli_flag(a, "json"))
		print_json(result);
	else
		show_tried(result, a->rest[2], &out);
	json_decref(result);
	if (fwrite(out.p ? out.p : "", 1, out.n, stdout) != out.n || fflush(stdout) != 0)
		return err_sys(e, "writing");
	return EXIT_DONE;
}

/* ---- refit ---- */

static int definitions_of(const struct cli_args *a, json_t **ret, struct err *e)
{
	json_t *list = json_array();
	const char *text, *regex;
	int rc = 0;

	for (size_t i = 0; rc == 0 && (text = cli_nth(a, "definition", i)); i++) {
		_cleanup_free_ char *name = NULL;
		json_t *d;

		rc = cli_pair("definition", text, &name, &regex, e);
		if (rc < 0)
			break;
		d = json_pack("{s:s, s:s}", "Name", name, "Regex", regex);
		if (!d)
			rc = err_set(e, ERR_INVALID, "--definition %zu is not UTF-8", i + 1);
		else
			json_array_append_new(list, d);
	}
	if (rc < 0)
		json_decref(list);
	else
		*ret = json_pack("{s:o}", "Definitions", list);
	return rc;
}

int metrics_refit(struct access *s, const struct cli_args *a, struct err *e)
{
	const struct metrics_options o = { .job = a->rest[1] };
	_cleanup_buf_ struct buf out = { 0 };
	json_t *in, *result, *answer, *d;
	size_t i;

	if (definitions_of(a, &in, e) < 0 || run_task(s, a->rest[1], "/refit", in, &result, e) < 0)
		return -1;
	if (cli_flag(a, "json")) {
		print_json(result);
		json_decref(result);
		return EXIT_DONE;
	}
	add_count(&out, result, "Values", "values\n");
	json_decref(result);
	if (metrics_ask(s, &o, &answer, e) < 0)
		return -1;
	json_array_foreach (json_object_get(answer, "Definitions"), i, d)
		metrics_show_definition(d, &out);
	json_decref(answer);
	if (fwrite(out.p, 1, out.n, stdout) != out.n || fflush(stdout) != 0)
		return err_sys(e, "writing");
	return EXIT_DONE;
}
