/* SPDX-License-Identifier: Apache-2.0 */
#include "op/job_metrics.h"

#include <stdlib.h>

#include "base/log.h"
#include "http/server.h"
#include "metric/metric.h"
#include "metric/order.h"
#include "op/again.h"
#include "op/curve.h"
#include "op/training_job.h"
#include "series/anew.h"
#include "series/series.h"
#include "store/store.h"

enum { POINTS_MAX = 2000, PAGE_VALUES = 10000, DEFINITIONS_MAX = 40 /* contract 6.2 */, NAME_MAX_BYTES = 255 };

/* ---- what is asked for ---- */

bool job_metrics_path(struct str path, struct job_metrics_path *ret)
{
	static const struct {
		const char *rest;
		enum job_metrics_what what;
		bool posted;
	} known[] = { { "metrics", JOB_METRICS_ALL, false },
		      { "metrics/values", JOB_METRICS_VALUES, false },
		      { "metrics/try", JOB_METRICS_TRY, true },
		      { "metrics/refit", JOB_METRICS_REFIT, true } };
	struct str name;

	if (!str_skip(&path, STR("/bloomery/jobs/")))
		return false;
	name = str_cut(&path, '/');
	if (!buf_uri_decode(&ret->name, name, false) || !can_be_job(buf_view(&ret->name)))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (str_is(path, known[i].rest)) {
			ret->what = known[i].what;
			ret->posted = known[i].posted;
		}
	if (str_skip(&path, STR("metrics/tasks/"))) {
		ret->what = JOB_METRICS_TASK;
		ret->task = path;
	}
	return ret->what != JOB_METRICS_NONE;
}

void job_metrics_path_fini(struct job_metrics_path *p)
{
	buf_fini(&p->name);
}

const char *job_metrics_action(const struct job_metrics_path *p)
{
	switch (p->what) {
	case JOB_METRICS_TRY:
	case JOB_METRICS_TASK: return "bloomery:TryMetrics";
	case JOB_METRICS_REFIT: return "bloomery:RefitMetrics";
	default: return "bloomery:GetJobMetrics";
	}
}

/* The parameter, decoded; false: it is not there, or badly written. */
static bool parameter(struct str query, const char *name, struct buf *ret)
{
	while (query.n) {
		struct str value = str_cut(&query, '&');

		if (str_is(str_cut(&value, '='), name)) {
			buf_reset(ret);
			return buf_uri_decode(ret, value, true);
		}
	}
	return false;
}

/* ---- the job ---- */

struct job {
	struct store_description d;
	json_t *request; /* NULL: it is not understood */
	char (*host_ids)[JOB_ID_BYTES];
	size_t hosts;
};

static void add_host(const struct store_place *p, void *arg)
{
	struct job *j = arg;

	j->host_ids = xrealloc(j->host_ids, (j->hosts + 1) * sizeof(*j->host_ids));
	snprintf(j->host_ids[j->hosts++], JOB_ID_BYTES, "%s", p->id);
}

static void job_fini(struct job *j)
{
	store_description_fini(&j->d);
	json_decref(j->request);
	free(j->host_ids);
}

static int read_request(const struct api *api, struct job *j, struct err *e)
{
	_cleanup_free_ char *text = NULL;

	if (store_job_request(api->store, j->d.job.n, &text, e) < 0)
		return -1;
	j->request = json_loads(text, 0, NULL);
	return 0;
}

static int job_open(const struct api *api, struct str name, struct job *j, struct err *e)
{
	if (store_describe(api->store, KIND_TRAINING, name, &j->d, e) < 0)
		return -1;
	if (store_job_each_host(api->store, KIND_TRAINING, str_of(j->d.job.name), add_host, j, e) < 0)
		return -1;
	return read_request(api, j, e);
}

static json_t *created_definitions(const struct job *j)
{
	json_t *list = json_object_get(json_object_get(j->request, "AlgorithmSpecification"), "MetricDefinitions");

	return json_is_array(list) ? json_incref(list) : json_array();
}

/* What the job's values are from now: of the last refit, else of Create. A new reference. */
static int definitions_now(const struct api *api, const struct job *j, json_t **ret, bool *ret_refitted, struct err *e)
{
	_cleanup_free_ char *text = NULL;

	if (series_job_definitions(api->series, str_of(j->d.job.id), &text, e) < 0)
		return -1;
	*ret = text ? json_loads(text, 0, NULL) : NULL;
	*ret_refitted = *ret != NULL;
	if (!*ret)
		*ret = created_definitions(j);
	return 0;
}

static void take_counts(void *arg, struct str host_id, struct str counts)
{
	_cleanup_free_ char *id = str_dup(host_id);
	json_t *list = json_loadb(counts.p, counts.n, 0, NULL);

	if (list)
		json_object_set_new(arg, id, list);
}

static int counts_of(const struct api *api, const struct job *j, json_t **ret, struct err *e)
{
	json_t *all = json_object();

	if (series_job_counts(api->series, str_of(j->d.job.id), take_counts, all, e) < 0) {
		json_decref(all);
		return -1;
	}
	*ret = all;
	return 0;
}

/* ---- definitions with what they have matched ---- */

static void add_number(json_t *to, const char *name, const json_t *from, const char *member)
{
	json_int_t n = json_integer_value(json_object_get(from, member)) +
	               json_integer_value(json_object_get(to, name));

	json_object_set_new(to, name, json_integer(n));
}

static void add_text(json_t *to, const char *name, const json_t *from, const char *member)
{
	json_t *text = json_object_get(from, member);

	if (json_is_string(text))
		json_object_set(to, name, text);
}

/* Over all hosts; of several the last one's texts. */
static json_t *definition_to_json(const json_t *d, size_t number, json_t *counts)
{
	json_t *j = json_object(), *list;
	const char *host;

	add_text(j, "Name", d, "Name");
	add_text(j, "Regex", d, "Regex");
	json_object_foreach (counts, host, list) {
		const json_t *c = json_array_get(list, number);

		add_number(j, "Lines", c, "lines");
		add_number(j, "Matched", c, "matched");
		add_number(j, "Refused", c, "refused");
		add_number(j, "Limited", c, "limited");
		add_text(j, "LastRefused", c, "last");
		add_text(j, "Why", c, "why");
		add_text(j, "Nearest", c, "nearest");
	}
	if (json_integer_value(json_object_get(j, "Matched")) > 0)
		json_object_del(j, "Nearest");
	return j;
}

static int add_definitions(const struct api *api, const struct job *j, json_t *out, struct err *e)
{
	json_t *definitions = NULL, *counts = NULL, *list = json_array(), *created, *d;
	bool refitted = false;
	size_t i;
	int rc = definitions_now(api, j, &definitions, &refitted, e);

	if (rc == 0)
		rc = counts_of(api, j, &counts, e);
	if (rc == 0)
		json_array_foreach (definitions, i, d)
			json_array_append_new(list, definition_to_json(d, i, counts));
	created = created_definitions(j);
	json_object_set_new(out, "Definitions", list);
	json_object_set_new(out, "Refitted", json_boolean(refitted && !json_equal(definitions, created)));
	json_decref(created);
	json_decref(definitions);
	json_decref(counts);
	return rc;
}

/* ---- metrics ---- */

struct names {
	char **v;
	size_t n;
};

static void names_fini(struct names *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i]);
	free(l->v);
}

struct listing {
	struct names reported, sampled; /* sampled: host, name, host, name, ... */
};

static void add_name(struct names *l, struct str name)
{
	l->v = xrealloc(l->v, (l->n + 1) * sizeof(*l->v));
	l->v[l->n++] = str_dup(name);
}

static void take_metric(void *arg, const struct series_job_metric *m)
{
	struct listing *l = arg;

	if (!m->host.n) {
		add_name(&l->reported, m->metric);
		return;
	}
	add_name(&l->sampled, m->host);
	add_name(&l->sampled, m->metric);
}

/* A metric of which several hosts report is one curve a host. */
struct by_host {
	struct curve *v;
	size_t n, wanted;
};

static void take_value(void *arg, const struct series_value *v)
{
	struct by_host *b = arg;

	if (v->host >= b->n) {
		b->v = xrealloc(b->v, (v->host + 1) * sizeof(*b->v));
		for (; b->n <= v->host; b->n++)
			b->v[b->n] = (struct curve){ .wanted = b->wanted };
	}
	curve_add(&b->v[v->host], v->at, v->value);
}

static void append_curve(json_t *list, const char *name, const char *host, const struct curve *c)
{
	json_t *j = curve_to_json(c), *text = json_string(name);

	json_object_set_new(j, "Name", text ? text : json_string("?"));
	if (host)
		json_object_set_new(j, "Host", json_string(host));
	json_array_append_new(list, j);
}

static int add_reported(const struct api *api, const struct job *j, const char *name, size_t points, json_t *list,
                        struct err *e)
{
	struct by_host b = { .wanted = points };
	size_t hosts = 0;
	int rc = series_job_values(api->series, str_of(j->d.job.id), str_of(name), take_value, &b, e);

	for (size_t i = 0; i < b.n; i++)
		hosts += b.v[i].count > 0;
	for (size_t i = 0; i < b.n; i++) {
		_cleanup_free_ char *host = hosts > 1 && i ? strf("algo-%zu", i) : NULL;

		if (b.v[i].count > 0)
			append_curve(list, name, host, &b.v[i]);
		curve_fini(&b.v[i]);
	}
	free(b.v);
	return rc;
}

/* The finest resolution that is kept since then, and no finer than makes some thousands of points. */
static int64_t period_for(int64_t start, int64_t end, int64_t now)
{
	for (size_t i = 0; i < ARRAY_LEN(series_tiers); i++) {
		const struct series_tier *t = &series_tiers[i];

		if (start > now - t->keep_s && (end - start) / t->seconds <= 20000)
			return t->seconds;
	}
	return series_tiers[ARRAY_LEN(series_tiers) - 1].seconds;
}

static int add_sampled(const struct api *api, const struct job *j, const char *host, const char *name, size_t points,
                       json_t *list, struct err *e)
{
	_cleanup_free_ char *of = strf("%s/%s", j->d.job.name, host);
	const struct series_dimension d = { STR("Host"), str_of(of) };
	const struct series_key key = {
		.ns = STR("/aws/sagemaker/TrainingJobs"), .name = str_of(name), .dims = &d, .dim_count = 1
	};
	struct wall now = wall_now(), end = j->d.job.ended.ms ? j->d.job.ended : now;
	struct series_window w = { .start = j->d.job.created.ms / 1000, .end = end.ms / 1000 + 1 };
	struct curve c = { .wanted = points };
	struct series_points p = { 0 };

	w.period = period_for(w.start, w.end, now.ms / 1000);
	w.start -= w.start % w.period;
	if (series_read_points(api->series, &key, &w, now, &p, e) < 0)
		return -1;
	for (size_t i = 0; i < p.n; i++)
		curve_add_many(&c, (struct wall){ p.v[i].t * 1000 }, p.v[i].count, p.v[i].sum, p.v[i].min, p.v[i].max);
	if (c.count > 0)
		append_curve(list, name, host, &c);
	series_points_fini(&p);
	curve_fini(&c);
	return 0;
}

static int add_metrics(const struct api *api, const struct job *j, struct str query, json_t *list, struct err *e)
{
	_cleanup_buf_ struct buf text = { 0 }, only = { 0 };
	struct listing l = { 0 };
	uint64_t points = 0;
	bool instance = parameter(query, "instance", &text) && str_is(buf_view(&text), "1");
	bool one = parameter(query, "metric", &only);
	int rc = 0;

	if (parameter(query, "points", &text) && (!str_to_u64(buf_view(&text), &points) || points > POINTS_MAX))
		return err_set(e, ERR_INVALID, "points is a whole number of at most %d.", POINTS_MAX);
	if (series_job_metrics(api->series, str_of(j->d.job.id), take_metric, &l, e) < 0)
		rc = -1;
	for (size_t i = 0; rc == 0 && !instance && i < l.reported.n; i++)
		if (!one || str_is(buf_view(&only), l.reported.v[i]))
			rc = add_reported(api, j, l.reported.v[i], points, list, e);
	for (size_t i = 0; rc == 0 && instance && i + 1 < l.sampled.n; i += 2)
		if (!one || str_is(buf_view(&only), l.sampled.v[i + 1]))
			rc = add_sampled(api, j, l.sampled.v[i], l.sampled.v[i + 1], points, list, e);
	names_fini(&l.reported);
	names_fini(&l.sampled);
	return rc;
}

static int answer_all(const struct api *api, const struct job *j, struct str query, json_t **ret, struct err *e)
{
	const struct job_state_info *state = &job_state_info[j->d.job.state];
	json_t *list = json_array(), *out;

	out = json_pack("{s:s, s:s, s:b, s:i, s:o}", "TrainingJobName", j->d.job.name, "TrainingJobStatus",
	                state->status, "Ended", state->final, "Hosts", (int)j->hosts, "Metrics", list);
	must(out);
	if (add_metrics(api, j, query, list, e) < 0 || add_definitions(api, j, out, e) < 0) {
		json_decref(out);
		return -1;
	}
	*ret = out;
	return 0;
}

/* ---- values ---- */

struct page {
	json_t *list;
	struct wall last;
	uint64_t last_n;
};

static void add_value(void *arg, const struct series_value *v, uint64_t n)
{
	static const char *const sources[] = { "log", "file", "api", "?" };
	struct page *p = arg;

	json_array_append_new(p->list, json_pack("[f, i, o, s, f]", (double)v->at.ms / 1000, (int)v->host,
	                                         v->has_step ? json_integer(v->step) : json_null(),
	                                         sources[v->source & 3], v->value));
	p->last = v->at;
	p->last_n = n;
}

static int answer_values(const struct api *api, const struct job *j, struct str query, json_t **ret, struct err *e)
{
	_cleanup_buf_ struct buf metric = { 0 }, after = { 0 };
	struct page p = { .last = { INT64_MIN } };

	if (!parameter(query, "metric", &metric))
		return err_set(e, ERR_INVALID, "metric is missing: the name of one.");
	if (parameter(query, "after", &after)) {
		struct str number = buf_view(&after), ms = str_cut(&number, '.');

		if (!str_to_i64(ms, &p.last.ms) || !str_to_u64(number, &p.last_n))
			return err_set(e, ERR_INVALID, "after is no place of values.");
	}
	p.list = json_array();
	if (series_job_values_page(api->series, str_of(j->d.job.id), buf_view(&metric), p.last, p.last_n, PAGE_VALUES,
	                           add_value, &p, e) < 0) {
		json_decref(p.list);
		return -1;
	}
	*ret = json_pack("{s:o}", "Values", p.list);
	must(*ret);
	if (json_array_size(p.list) == PAGE_VALUES) {
		_cleanup_free_ char *next = strf("%lld.%llu", (long long)p.last.ms, (unsigned long long)p.last_n);

		json_object_set_new(*ret, "Next", json_string(next));
	}
	return 0;
}

/* ---- tasks ---- */

static struct again_job again_job_of(const struct job *j)
{
	return (struct again_job){ .id = j->d.job.id,
		                   .name = j->d.job.name,
		                   .created = j->d.job.created,
		                   .host_count = j->hosts,
		                   .host_ids = j->host_ids };
}

static int check_regex(const char *name, const json_t *regex, struct err *e)
{
	if (!json_is_string(regex) || !json_string_length(regex))
		return err_set(e, ERR_INVALID, "Regex is missing.");
	if (metric_check((struct str){ json_string_value(regex), json_string_length(regex) }, NULL, e) == 0)
		return 0;
	return name ? err_in(e, "metric '%s'", name) : -1;
}

static int start_try(const struct api *api, const struct job *j, const json_t *in, char id[AGAIN_ID_BYTES],
                     struct err *e)
{
	const struct again_job job = again_job_of(j);
	const json_t *regex = json_object_get(in, "Regex");

	if (check_regex(NULL, regex, e) < 0)
		return -1;
	return again_try(api->again, &job, (struct str){ json_string_value(regex), json_string_length(regex) }, id, e);
}

static bool has_name(const json_t *names, const char *name)
{
	const json_t *n;
	size_t i;

	json_array_foreach (names, i, n)
		if (strcmp(json_string_value(n), name) == 0)
			return true;
	return false;
}

static int check_definitions(const json_t *list, struct err *e)
{
	const json_t *d;
	size_t i;

	if (!json_is_array(list) || json_array_size(list) > DEFINITIONS_MAX)
		return err_set(e, ERR_INVALID, "There are at most %d definitions.", DEFINITIONS_MAX);
	json_array_foreach (list, i, d) {
		const json_t *name = json_object_get(d, "Name");

		if (!json_is_string(name) || !json_string_length(name) || json_string_length(name) > NAME_MAX_BYTES ||
		    strlen(json_string_value(name)) != json_string_length(name))
			return err_set(e, ERR_INVALID, "The name of a metric is a text of 1 to %d bytes.",
			               NAME_MAX_BYTES);
		if (check_regex(json_string_value(name), json_object_get(d, "Regex"), e) < 0)
			return -1;
	}
	return 0;
}

static void add_names(json_t *names, const json_t *definitions)
{
	const json_t *d;
	size_t i;

	json_array_foreach (definitions, i, d) {
		json_t *name = json_object_get(d, "Name");

		if (json_is_string(name) && !has_name(names, json_string_value(name)))
			json_array_append(names, name);
	}
}

static void append_of(json_t *to, const json_t *from, const json_t *names, bool named)
{
	const json_t *d;
	size_t i;

	json_array_foreach (from, i, d)
		if (has_name(names, json_string_value(json_object_get(d, "Name"))) == named)
			json_array_append_new(to, json_pack("{s:O, s:O}", "Name", json_object_get(d, "Name"), "Regex",
			                                    json_object_get(d, "Regex")));
}

/* What a refit makes of the definitions: `given` instead of those of the same names and behind the others; without any,
 * those of Create. names: whose values change. Counts of the others come along, in the new order. */
static void plan(const struct job *j, const json_t *old, const json_t *given, json_t *counts, json_t *definitions,
                 json_t *names)
{
	json_t *created = created_definitions(j), *list, *kept, *d;
	const char *host;
	size_t i;

	if (json_array_size(given)) {
		add_names(names, given);
		append_of(definitions, old, names, false);
		append_of(definitions, given, names, true);
	} else {
		add_names(names, old);
		add_names(names, created);
		append_of(definitions, created, names, true);
	}
	json_decref(created);
	json_object_foreach (counts, host, list) {
		kept = json_array();
		json_array_foreach (old, i, d) {
			json_t *c = json_array_get(list, i);

			if (!has_name(names, json_string_value(json_object_get(d, "Name"))))
				json_array_append_new(kept, c ? json_incref(c) : json_object());
		}
		json_array_clear(list);
		json_array_extend(list, kept);
		json_decref(kept);
	}
}

static int start_refit(const struct api *api, const struct job *j, const json_t *in, char id[AGAIN_ID_BYTES],
                       struct err *e)
{
	const struct again_job job = again_job_of(j);
	const json_t *given = json_object_get(in, "Definitions");
	json_t *old = NULL, *counts = NULL, *definitions = json_array(), *names = json_array();
	bool refitted;
	int rc = given ? check_definitions(given, e) : 0;

	if (rc == 0 && !job_state_info[j->d.job.state].final)
		rc = err_set(e, ERR_IN_USE,
		             "The job has not ended. Its metrics can be extracted again when it has; "
		             "`bloomery metrics try` works meanwhile.");
	if (rc == 0)
		rc = definitions_now(api, j, &old, &refitted, e);
	if (rc == 0)
		rc = counts_of(api, j, &counts, e);
	if (rc == 0) {
		plan(j, old, given, counts, definitions, names);
		if (json_array_size(definitions) > DEFINITIONS_MAX)
			rc = err_set(e, ERR_INVALID, "That would be more than %d definitions.", DEFINITIONS_MAX);
		else if (!json_array_size(names))
			rc = err_set(e, ERR_INVALID, "The job has no metric definitions: name some.");
	}
	if (rc == 0)
		rc = again_refit(api->again, &job, definitions, names, counts, id, e);
	json_decref(old);
	json_decref(counts);
	json_decref(definitions);
	json_decref(names);
	return rc;
}

static int start_task(const struct api *api, const struct http_request *r, const struct job *j,
                      enum job_metrics_what what, json_t **ret, struct err *e)
{
	json_t *in = r->body.n ? json_loadb(r->body.p, r->body.n, JSON_REJECT_DUPLICATES, NULL) : json_object();
	char id[AGAIN_ID_BYTES];
	int rc;

	if (!json_is_object(in)) {
		json_decref(in);
		return err_set(e, ERR_INVALID, "The body is not a JSON object.");
	}
	rc = what == JOB_METRICS_TRY ? start_try(api, j, in, id, e) : start_refit(api, j, in, id, e);
	json_decref(in);
	if (rc == 0)
		*ret = json_pack("{s:s}", "Task", id);
	if (rc == 0 && what == JOB_METRICS_REFIT)
		log_info("request %s: the metrics of training job %s are extracted again", r->request_id,
		         j->d.job.name);
	return rc;
}

int job_metrics_answer(const struct api *api, const struct http_request *r, const struct job_metrics_path *p,
                       struct buf *out, struct err *e)
{
	_cleanup_(job_fini) struct job j = { 0 };
	_cleanup_free_ char *text = NULL;
	json_t *reply = NULL;
	int rc;

	if (!api->series || !api->again)
		return err_set(e, ERR_NOT_FOUND, "There are no metrics here.");
	if (job_open(api, buf_view(&p->name), &j, e) < 0)
		return -1;
	switch (p->what) {
	case JOB_METRICS_ALL: rc = answer_all(api, &j, r->query, &reply, e); break;
	case JOB_METRICS_VALUES: rc = answer_values(api, &j, r->query, &reply, e); break;
	case JOB_METRICS_TASK: rc = again_ask(api->again, str_of(j.d.job.id), p->task, &reply, e); break;
	default: rc = start_task(api, r, &j, p->what, &reply, e); break;
	}
	if (rc < 0)
		return -1;
	text = json_dumps(reply, JSON_COMPACT | JSON_REAL_PRECISION(17));
	json_decref(reply);
	must(text);
	buf_z(out, text);
	return 0;
}
