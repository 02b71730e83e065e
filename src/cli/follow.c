/* Reading a job's log through the API, once or until the job is final.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/access.h"
#include "loop/loop.h"

#define LOG_GROUP "/aws/sagemaker/TrainingJobs"

enum { POLL_MS = 100, PATIENCE_MS = 30000 };

/* ---- the log, from where we are ---- */

/* One stream; a job has one for each training host. */
struct log_cursor {
	struct log_cursor *next;
	char *stream, *token; /* token NULL: nothing read yet */
};

void log_cursor_free(struct log_cursor *c)
{
	while (c) {
		struct log_cursor *next = c->next;

		free(c->stream);
		free(c->token);
		free(c);
		c = next;
	}
}

static struct log_cursor *stream_of(struct log_cursor **all, const char *name)
{
	while (*all && strcmp((*all)->stream, name) != 0)
		all = &(*all)->next;
	if (!*all) {
		*all = xcalloc(1, sizeof(**all));
		(*all)->stream = xstrdup(name);
	}
	return *all;
}

unsigned job_host_count(const json_t *description)
{
	const json_t *config = json_object_get(description, "ResourceConfig"), *g;
	json_int_t hosts = json_integer_value(json_object_get(config, "InstanceCount"));
	size_t i;

	json_array_foreach (json_object_get(config, "InstanceGroups"), i, g)
		hosts += json_integer_value(json_object_get(g, "InstanceCount"));
	return hosts > 1 ? (unsigned)hosts : 1;
}

/* JOB/algo-2-1700000000: algo-2 */
static struct str host_of(const char *stream)
{
	struct str host = str_of(stream);

	str_cut(&host, '/');
	str_cut_last(&host, '-');
	return host;
}

/* A colour of its own for each of the first hosts. */
static void print_host(struct str host, const struct log_view *v)
{
	static const unsigned char colours[] = { 36, 33, 32, 35, 34, 96, 93, 92, 95, 94 };
	struct str n = host;
	uint64_t number = 0;

	str_cut(&n, '-');
	if (v->colour && str_to_u64(n, &number))
		fprintf(v->to, "\033[%um" PRIstr ":\033[0m ",
		        colours[(number + ARRAY_LEN(colours) - 1) % ARRAY_LEN(colours)], ARGstr(host));
	else
		fprintf(v->to, PRIstr ": ", ARGstr(host));
}

static void print_json_line(const json_t *event, struct str host, FILE *to)
{
	json_t *line = json_pack("{s:s%, s:O, s:O}", "host", host.p, host.n, "timestamp",
	                         json_object_get(event, "timestamp"), "message", json_object_get(event, "message"));

	if (line)
		json_dumpf(line, to, JSON_COMPACT);
	json_decref(line);
	putc('\n', to);
}

/* many: the host is said before every line. */
static void print_events(const json_t *events, struct str host, bool many, const struct log_view *v)
{
	for (size_t i = 0; i < json_array_size(events); i++) {
		const json_t *event = json_array_get(events, i), *message = json_object_get(event, "message");

		if (v->matches && regexec(v->matches, json_string_value(message), 0, NULL, 0) != 0)
			continue;
		if (v->json) {
			print_json_line(event, host, v->to);
			continue;
		}
		if (many)
			print_host(host, v);
		fwrite(json_string_value(message), 1, json_string_length(message), v->to);
		putc('\n', v->to);
	}
}

/* One page. 1: there may be more; 0: that was all there is now. */
static int print_page(struct access *s, struct log_cursor *c, bool many, const struct log_view *v, bool *ret_any,
                      struct err *e)
{
	json_t *in = json_pack("{ss ss sb}", "logGroupName", LOG_GROUP, "logStreamName", c->stream, "startFromHead", 1);
	json_t *out;
	size_t n;

	if (c->token)
		json_object_set_new(in, "nextToken", json_string(c->token));
	if (v->since_ms)
		json_object_set_new(in, "startTime", json_integer(v->since_ms));
	if (access_call(s, "logs", "Logs_20140328.GetLogEvents", in, &out, e) < 0)
		return -1;
	n = json_array_size(json_object_get(out, "events"));
	print_events(json_object_get(out, "events"), host_of(c->stream), many, v);
	if (json_is_string(json_object_get(out, "nextForwardToken"))) {
		free(c->token);
		c->token = xstrdup(json_string_value(json_object_get(out, "nextForwardToken")));
	}
	json_decref(out);
	*ret_any |= n > 0;
	return n > 0;
}

/* One page of streams. 1: there is another, *token says where; 0: that was all. */
static int find_page(struct access *s, const char *job, char **token, struct log_cursor **all, struct err *e)
{
	_cleanup_free_ char *prefix = strf("%s/", job);
	const json_t *streams;
	json_t *out;
	int more;

	if (access_call(s, "logs", "Logs_20140328.DescribeLogStreams",
	                json_pack("{ss ss ss*}", "logGroupName", LOG_GROUP, "logStreamNamePrefix", prefix, "nextToken",
	                          *token),
	                &out, e) < 0)
		return -1;
	streams = json_object_get(out, "logStreams");
	for (size_t i = 0; i < json_array_size(streams); i++) {
		const char *name = json_string_value(json_object_get(json_array_get(streams, i), "logStreamName"));

		if (name)
			stream_of(all, name);
	}
	free(*token);
	more = json_is_string(json_object_get(out, "nextToken"));
	*token = more ? xstrdup(json_string_value(json_object_get(out, "nextToken"))) : NULL;
	json_decref(out);
	return more;
}

static int find_streams(struct access *s, const char *job, struct log_cursor **all, struct err *e)
{
	_cleanup_free_ char *token = NULL;
	struct err why = { 0 };
	int more;

	while ((more = find_page(s, job, &token, all, &why)) > 0)
		;
	if (more == 0 || why.kind == ERR_NOT_FOUND) /* nothing has been printed yet */
		return 0;
	*e = why;
	return -1;
}

int log_print_more(struct access *s, const char *job, unsigned hosts, struct log_cursor **cursor,
                   const struct log_view *view, bool *ret_any, struct err *e)
{
	*ret_any = false;
	if (find_streams(s, job, cursor, e) < 0)
		return -1;
	for (struct log_cursor *c = *cursor; c; c = c->next) {
		int more;

		if (view->host && !str_is(host_of(c->stream), view->host))
			continue;
		while ((more = print_page(s, c, hosts > 1 && !view->host, view, ret_any, e)) > 0)
			;
		if (more < 0)
			return -1;
	}
	return 0;
}

/* ---- until the end ---- */

struct follow {
	struct access *access;
	const struct follow_options *options;
	struct loop *loop;
	struct loop_source *timer;
	struct log_cursor *cursor;
	struct mono last_answer, start;
	bool shown; /* a progress line is on the terminal */
	json_t *description;
	int rc;
	struct err *e;
};

static void hide_progress(struct follow *f)
{
	if (f->shown)
		fputs("\r\033[K", stderr);
	f->shown = false;
}

static void show_progress(struct follow *f)
{
	const char *secondary = json_string_value(json_object_get(f->description, "SecondaryStatus"));
	char text[CLI_TIME_BYTES];

	if (!f->options->progress)
		return;
	fprintf(stderr, "\r\033[K%s: %s, %s ", f->options->name, secondary ? secondary : "?",
	        access_duration((double)mono_ms_since(f->start) / 1000, text));
	f->shown = true;
}

/* The status is asked for before the log: the log of a final job is complete, so what is read then is all. */
static int look(struct follow *f, struct err *e)
{
	json_t *description;
	bool any = false;

	if (access_call(f->access, "sagemaker", "SageMaker.DescribeTrainingJob",
	                json_pack("{ss}", "TrainingJobName", f->options->name), &description, e) < 0)
		return -1;
	json_decref(f->description);
	f->description = description;
	hide_progress(f);
	if (!f->options->quiet && log_print_more(f->access, f->options->name, job_host_count(description), &f->cursor,
	                                         &f->options->view, &any, e) < 0)
		return -1;
	fflush(f->options->view.to);
	return 0;
}

static void on_poll(void *arg)
{
	struct follow *f = arg;
	struct err e = { 0 };

	if (look(f, &e) == 0) {
		f->last_answer = mono_now();
		if (job_is_final(f->description))
			loop_stop(f->loop);
		else
			show_progress(f);
	} else if (e.kind != ERR_IO || mono_ms_since(f->last_answer) > PATIENCE_MS) {
		*f->e = e; /* else the server may be coming back: jobs go on without it */
		f->rc = -1;
		loop_stop(f->loop);
	}
}

int follow_job_log(struct access *s, const struct follow_options *o, json_t **ret, struct err *e)
{
	struct follow f = {
		.access = s, .options = o, .loop = loop_new(), .e = e, .last_answer = mono_now(), .start = mono_now()
	};

	f.timer = loop_timer(f.loop, 0, POLL_MS, on_poll, &f);
	if (loop_run(f.loop, e) < 0)
		f.rc = -1;
	hide_progress(&f);
	loop_free(f.loop);
	log_cursor_free(f.cursor);
	if (f.rc == 0)
		*ret = f.description;
	else
		json_decref(f.description);
	return f.rc;
}
