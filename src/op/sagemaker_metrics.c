/* BatchPutMetrics and BatchGetMetrics of sagemaker-metrics. SPDX-License-Identifier: Apache-2.0
 *
 * The service keeps these of trial components; here every training job is one, by the name the service gives it
 * (JOB-aws-training-job), by its own name, and by the ARN of either. What was put is beside what the job's log gave. */
#include <math.h>
#include <stdlib.h>

#include "aws/arn.h"
#include "op/cloudwatch.h"
#include "op/training_job.h"
#include "store/store.h"

#define COMPONENT_SUFFIX STR("-aws-training-job")

/* ERR_NOT_FOUND. The caller frees *ret. */
static int find_job(const struct api_call *call, struct str name, char **ret_id, struct err *e)
{
	struct store_brief job;
	struct err why = { 0 };
	struct str own = name;

	if (str_ends(name, COMPONENT_SUFFIX))
		own.n -= COMPONENT_SUFFIX.n;
	if (store_job_brief_any_case(call->api->store, KIND_TRAINING, own, &job, &why) < 0 &&
	    (why.kind != ERR_NOT_FOUND || str_eq(own, name) ||
	     store_job_brief_any_case(call->api->store, KIND_TRAINING, name, &job, &why) < 0)) {
		if (why.kind == ERR_NOT_FOUND)
			return err_set(e, ERR_NOT_FOUND, "Trial component '" PRIstr "' does not exist.", ARGstr(name));
		if (e)
			*e = why;
		return -1;
	}
	*ret_id = xstrdup(job.id);
	store_brief_fini(&job);
	return 0;
}

/* ---- put ---- */

static const char *put_fault(const json_t *x, struct wall now, struct series_value *v)
{
	const json_t *value = json_object_get(x, "Value"), *step = json_object_get(x, "Step");

	v->metric = in_str(x, "MetricName");
	v->at = cw_time(json_object_get(x, "Timestamp"));
	v->value = json_number_value(value);
	v->has_step = step != NULL;
	v->step = json_integer_value(step);
	if (!json_is_number(value) || !isfinite(v->value) || memchr(v->metric.p, 0, v->metric.n) ||
	    v->at.ms < now.ms - SERIES_PAST_S * 1000LL || v->at.ms > now.ms + SERIES_FUTURE_S * 1000LL)
		return "VALIDATION_ERROR";
	return NULL;
}

static int commit_one(const struct api_call *call, struct series_batch *b, const struct series_value *v,
                      const char **ret_fault, struct err *e)
{
	struct err why = { 0 };

	series_batch_be_strict(b);
	series_batch_value(b, v);
	if (series_commit(call->api->series, b, call->now, true, &why) == 0)
		return 0;
	if (why.kind == ERR_LIMIT) {
		*ret_fault = "METRIC_LIMIT_EXCEEDED";
		return 0;
	}
	if (e)
		*e = why;
	return -1;
}

/* Each by itself: one that is refused does not keep the others out, and the answer says which it was. */
int op_batch_put_metrics(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	const json_t *data = json_object_get(in, "MetricData"), *x;
	_cleanup_free_ char *job = NULL;
	json_t *errors = json_array();
	size_t i;

	if (find_job(call, in_str(in, "TrialComponentName"), &job, e) < 0) {
		json_decref(errors);
		return -1;
	}
	json_array_foreach (data, i, x) {
		_cleanup_(series_batch_freep) struct series_batch *b = series_batch_new();
		struct series_value v = { .job = str_of(job), .source = SERIES_FROM_API };
		const char *fault = put_fault(x, call->now, &v);

		if (!fault && commit_one(call, b, &v, &fault, e) < 0) {
			json_decref(errors);
			return -1;
		}
		if (fault)
			json_array_append_new(errors, json_pack("{s:s, s:i}", "Code", fault, "MetricIndex", (int)i));
	}
	*ret_out = json_object();
	if (json_array_size(errors))
		json_object_set(*ret_out, "Errors", errors);
	json_decref(errors);
	return 0;
}

/* ---- get ---- */

enum { RESULTS_MAX = 100000 /* of one query */ };

/* A value, at the beginning of the interval it falls into. */
struct sample {
	int64_t x;
	size_t order; /* as it was reported */
	double v;
};
struct samples {
	bool steps;       /* x is the step, else the time in seconds */
	int64_t width;    /* of an interval */
	int64_t from, to; /* both in it */
	struct sample *v;
	size_t n, room;
};

static void add_sample(void *arg, const struct series_value *value)
{
	struct samples *s = arg;
	int64_t x = s->steps ? value->step : value->at.ms / 1000;

	if ((s->steps && !value->has_step) || x < s->from || x > s->to)
		return;
	if (s->n == s->room) {
		s->room = s->room ? 2 * s->room : 64;
		s->v = xrealloc(s->v, s->room * sizeof(*s->v));
	}
	s->v[s->n] = (struct sample){ x - x % s->width, s->n, value->value };
	s->n++;
}

static int by_x(const void *a, const void *b)
{
	const struct sample *p = a, *q = b;

	if (p->x != q->x)
		return p->x < q->x ? -1 : 1;
	return p->order < q->order ? -1 : p->order > q->order;
}

/* What the n values of one interval come to. */
static double statistic(struct str name, const struct sample *s, size_t n)
{
	double sum = 0, min = s[0].v, max = s[0].v, squares = 0;

	for (size_t i = 0; i < n; i++) {
		sum += s[i].v;
		min = fmin(min, s[i].v);
		max = fmax(max, s[i].v);
	}
	for (size_t i = 0; i < n; i++)
		squares += (s[i].v - sum / (double)n) * (s[i].v - sum / (double)n);
	if (str_is(name, "Min"))
		return min;
	if (str_is(name, "Max"))
		return max;
	if (str_is(name, "Count"))
		return (double)n;
	if (str_is(name, "Last"))
		return s[n - 1].v;
	return str_is(name, "Avg") ? sum / (double)n : sqrt(squares / (double)n);
}

static void add_intervals(const struct samples *s, struct str name, json_t *xs, json_t *values, bool *ret_cut)
{
	for (size_t i = 0, n; i < s->n; i += n) {
		double v;

		for (n = 1; i + n < s->n && s->v[i + n].x == s->v[i].x; n++)
			;
		if (json_array_size(xs) == RESULTS_MAX) {
			*ret_cut = true;
			return;
		}
		v = statistic(name, &s->v[i], n);
		json_array_append_new(xs, json_integer(s->v[i].x));
		json_array_append_new(values, json_real(isfinite(v) ? v : copysign(1.7976931348623157e308, v)));
	}
}

/* The name of the component in arn:aws:sagemaker:...:training-job/NAME; empty: it is of something else. */
static struct str component(const struct api *api, struct str text)
{
	struct str type, name;
	struct arn arn;

	if (!arn_parse(text, &arn) || !str_is(arn.service, "sagemaker") || !str_is(arn.region, api->region) ||
	    !str_is(arn.account, api->account) || !arn_resource(&arn, &type, &name) ||
	    (!str_is(type, "training-job") && !str_is(type, "experiment-trial-component")))
		return (struct str){ 0 };
	return name;
}

static json_t *query_result(const char *status, const char *message, json_t *xs, json_t *values)
{
	json_t *r = json_pack("{s:s, s:o, s:o}", "Status", status, "XAxisValues", xs ? xs : json_array(),
	                      "MetricValues", values ? values : json_array());

	must(r);
	if (message)
		json_object_set_new(r, "Message", json_string(message));
	return r;
}

static bool read_axis(const json_t *q, struct samples *s)
{
	struct str period = in_str(q, "Period");
	const json_t *from = json_object_get(q, "Start"), *to = json_object_get(q, "End");

	s->steps = str_is(in_str(q, "XAxisType"), "IterationNumber");
	s->width = str_is(period, "OneMinute")    ? 60
	           : str_is(period, "FiveMinute") ? 300
	           : str_is(period, "OneHour")    ? 3600
	                                          : 1;
	s->from = from && json_integer_value(from) > 0 ? json_integer_value(from) : 0;
	s->to = to ? json_integer_value(to) : INT64_MAX;
	return s->steps == str_is(period, "IterationNumber"); /* steps have no minutes */
}

static int run_query(const struct api_call *call, const json_t *q, json_t **ret, struct err *e)
{
	struct str name = component(call->api, in_str(q, "ResourceArn"));
	_cleanup_free_ char *job = NULL;
	struct samples s = { 0 };
	struct err why = { 0 };
	json_t *xs, *values;
	bool cut = false;

	if (!read_axis(q, &s)) {
		*ret = query_result(
		        "ValidationError",
		        "Period and XAxisType do not go together: IterationNumber goes with IterationNumber.", NULL,
		        NULL);
		return 0;
	}
	if (!name.n || find_job(call, name, &job, &why) < 0) {
		if (name.n && why.kind != ERR_NOT_FOUND) {
			if (e)
				*e = why;
			return -1;
		}
		*ret = query_result("ValidationError", "ResourceArn names no training job of this server.", NULL, NULL);
		return 0;
	}
	if (series_job_values(call->api->series, str_of(job), in_str(q, "MetricName"), add_sample, &s, e) < 0) {
		free(s.v);
		return -1;
	}
	qsort(s.v, s.n, sizeof(*s.v), by_x);
	xs = json_array();
	values = json_array();
	add_intervals(&s, in_str(q, "MetricStat"), xs, values, &cut);
	free(s.v);
	*ret = query_result(cut ? "Truncated" : "Complete", NULL, xs, values);
	return 0;
}

int op_batch_get_metrics(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	const json_t *queries = json_object_get(in, "MetricQueries"), *q;
	json_t *results = json_array(), *one;
	size_t i;

	json_array_foreach (queries, i, q) {
		if (run_query(call, q, &one, e) < 0) {
			json_decref(results);
			return -1;
		}
		json_array_append_new(results, one);
	}
	*ret_out = json_pack("{s:o}", "MetricQueryResults", results);
	must(*ret_out);
	return 0;
}
