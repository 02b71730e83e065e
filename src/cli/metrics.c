/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/metrics.h"

#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/commands.h"
#include "loop/loop.h"

enum { COLUMNS = 100, POINTS = 200, POINTS_PNG = 1000, WATCH_MS = 1000, PATIENCE_MS = 30000 };

char *metrics_path(const char *job, const char *rest)
{
	_cleanup_buf_ struct buf path = { 0 };

	buf_z(&path, "/bloomery/jobs/");
	buf_uri(&path, str_of(job), false);
	buf_f(&path, "/metrics%s", rest);
	return buf_take(&path);
}

int metrics_ask(struct access *s, const struct metrics_options *o, json_t **ret, struct err *e)
{
	_cleanup_buf_ struct buf rest = { 0 }, text = { 0 };
	_cleanup_free_ char *path = NULL;

	buf_f(&rest, "?points=%u", o->points);
	if (o->instance)
		buf_z(&rest, "&instance=1");
	if (o->metric) {
		buf_z(&rest, "&metric=");
		buf_uri(&rest, str_of(o->metric), false);
	}
	path = metrics_path(o->job, rest.p);
	if (access_get(s, path, &text, e) < 0)
		return -1;
	*ret = json_loadb(text.p, text.n, 0, NULL);
	return *ret ? 0 : err_set(e, ERR_IO, "the server's answer is not JSON");
}

struct plot_point *metrics_points(const json_t *metric, size_t *ret_n)
{
	const json_t *list = json_object_get(metric, "Points"), *p;
	struct plot_point *points = xcalloc(json_array_size(list) + 1, sizeof(*points));
	size_t i;

	json_array_foreach (list, i, p)
		points[i] = (struct plot_point){ json_number_value(json_array_get(p, 0)),
			                         json_number_value(json_array_get(p, 1)),
			                         json_number_value(json_array_get(p, 2)),
			                         json_number_value(json_array_get(p, 3)) };
	*ret_n = json_array_size(list);
	return points;
}

/* ---- the table, once or as long as the job runs ---- */

static size_t columns(void)
{
	const char *env = getenv("COLUMNS");
	struct winsize w;
	uint64_t n;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col >= 20)
		return w.ws_col;
	return env && str_to_u64(str_of(env), &n) && n >= 20 && n <= 1000 ? n : COLUMNS;
}

struct watch {
	struct access *access;
	struct metrics_options options;
	struct metrics_look look;
	bool terminal;
	struct loop *loop;
	struct loop_source *timer;
	struct mono answered;
	struct err *e;
	int rc;
};

static int put(const struct buf *b, struct err *e)
{
	if (fwrite(b->p ? b->p : "", 1, b->n, stdout) != b->n || fflush(stdout) != 0)
		return err_sys(e, "writing");
	return 0;
}

static int show(struct watch *w, bool again, bool *ret_ended, struct err *e)
{
	_cleanup_buf_ struct buf out = { 0 };
	json_t *answer;

	if (metrics_ask(w->access, &w->options, &answer, e) < 0)
		return -1;
	*ret_ended = json_is_true(json_object_get(answer, "Ended"));
	w->look.columns = columns();
	if (again && w->terminal)
		buf_z(&out, "\x1b[H\x1b[2J");
	metrics_show(answer, &w->look, &out);
	json_decref(answer);
	/* Into a pipe only what is final. */
	return again && !w->terminal && !*ret_ended ? 0 : put(&out, e);
}

static void on_time(void *arg)
{
	struct watch *w = arg;
	struct mono began = mono_now();
	struct err e = { 0 };
	bool ended = false;

	if (show(w, true, &ended, &e) == 0) {
		w->answered = mono_now();
		if (ended)
			loop_stop(w->loop);
	} else if (e.kind != ERR_IO || mono_ms_since(w->answered) > PATIENCE_MS) {
		*w->e = e; /* else the server may be coming back */
		w->rc = -1;
		loop_stop(w->loop);
	}
	/* what takes long is not asked for all the time */
	loop_timer_set(w->timer, WATCH_MS + 5 * mono_ms_since(began), 0);
}

static int watch(struct watch *w, struct err *e)
{
	w->e = e;
	w->answered = mono_now();
	w->loop = loop_new();
	w->timer = loop_timer(w->loop, 0, 0, on_time, w);
	if (loop_run(w->loop, e) < 0)
		w->rc = -1;
	loop_source_free(w->timer);
	loop_free(w->loop);
	return w->rc < 0 ? -1 : EXIT_DONE;
}

/* ---- the command ---- */

static int server_numbers(struct access *s, struct err *e)
{
	_cleanup_buf_ struct buf text = { 0 };

	if (access_get(s, "/metrics", &text, e) < 0)
		return -1;
	return put(&text, e) < 0 ? -1 : EXIT_DONE;
}

static int png(struct access *s, const struct metrics_options *o, const char *path, struct err *e)
{
	json_t *answer;
	int rc;

	if (metrics_ask(s, o, &answer, e) < 0)
		return -1;
	rc = metrics_png(answer, path, e);
	json_decref(answer);
	return rc < 0 ? -1 : EXIT_DONE;
}

static int check(const struct cli_args *a, struct err *e)
{
	static const char *const ways[] = { "csv", "json", "png", "watch" };
	const char *first = NULL;

	for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
		if (!cli_flag(a, ways[i]))
			continue;
		if (first)
			return err_set(e, ERR_INVALID, "--%s and --%s: give one of them", first, ways[i]);
		first = ways[i];
	}
	if (cli_flag(a, "csv") && cli_flag(a, "instance"))
		return err_set(e, ERR_INVALID,
		               "--csv has the values that the job reported; for --instance use --json, or CloudWatch's "
		               "GetMetricData");
	return 0;
}

static int of_job(struct access *s, const struct cli_args *a, struct err *e)
{
	struct watch w = { .access = s,
		           .options = { .job = a->rest[0],
		                        .metric = cli_text(a, "metric", NULL),
		                        .instance = cli_flag(a, "instance"),
		                        .points = cli_flag(a, "png") ? POINTS_PNG : POINTS },
		           .terminal = isatty(STDOUT_FILENO) };
	bool ended;

	if (check(a, e) < 0)
		return -1;
	w.look.plot = cli_flag(a, "plot") || (w.terminal && w.options.metric);
	if (cli_flag(a, "png"))
		return png(s, &w.options, cli_text(a, "png", NULL), e);
	if (cli_flag(a, "csv"))
		return metrics_csv(s, &w.options, stdout, e) < 0 ? -1 : EXIT_DONE;
	if (cli_flag(a, "json"))
		return metrics_json(s, &w.options, e) < 0 ? -1 : EXIT_DONE;
	if (cli_flag(a, "watch"))
		return watch(&w, e);
	return show(&w, false, &ended, e) < 0 ? -1 : EXIT_DONE;
}

int command_metrics(const struct cli_args *a, struct err *e)
{
	_cleanup_access_ struct access s = { 0 };
	const char *verb = a->rest_count > 1 ? a->rest[0] : NULL; /* a job may be called that as well */

	if (verb && !(strcmp(verb, "try") == 0 && a->rest_count == 3) &&
	    !(strcmp(verb, "refit") == 0 && a->rest_count == 2))
		return err_set(e, ERR_INVALID,
		               "give a job's name, or `try JOB REGEX`, or `refit JOB [--definition NAME=REGEX ...]`");
	if (cli_flag(a, "definition") && !(verb && strcmp(verb, "refit") == 0))
		return err_set(e, ERR_INVALID, "--definition is for `bloomery metrics refit JOB`");
	if (access_open(a, &s, e) < 0)
		return -1;
	if (!a->rest_count)
		return server_numbers(&s, e);
	if (!verb)
		return of_job(&s, a, e);
	return strcmp(verb, "try") == 0 ? metrics_try(&s, a, e) : metrics_refit(&s, a, e);
}
