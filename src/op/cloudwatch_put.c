/* PutMetricData. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "op/cloudwatch.h"
#include "op/training_job.h"

enum { DATA_MAX = 1000, VALUES_MAX = 150 };
static const double LARGEST = 0x1p360;

/* One datum, and how messages name it. */
struct datum {
	const json_t *in;
	size_t number;
	struct wall at;
	bool fine;
	unsigned key;
};

static int invalid_value(const struct datum *d, const char *member, const json_t *x, struct err *e)
{
	if (json_is_string(x))
		return err_set(e, ERR_PARAMETER, "The value %s for parameter MetricData.member.%zu.%s is invalid.",
		               json_string_value(x), d->number, member);
	return err_set(e, ERR_PARAMETER, "The value %.17g for parameter MetricData.member.%zu.%s is invalid.",
	               json_number_value(x), d->number, member);
}

/* The model lets NaN and infinities through, as texts. */
static int number(const struct datum *d, const char *member, const json_t *x, double *ret, struct err *e)
{
	if (!json_is_number(x) || fabs(json_number_value(x)) > LARGEST)
		return invalid_value(d, member, x, e);
	*ret = json_number_value(x);
	return 0;
}

/* ---- values ---- */

static int put_values(struct series_batch *b, const struct datum *d, const json_t *values, const json_t *counts,
                      struct err *e)
{
	size_t n = json_array_size(values);
	double value = 0, count = 1;

	if (n > VALUES_MAX)
		return err_set(e, ERR_PARAMETER,
		               "The collection MetricData.member.%zu.Values must not have a size greater than %d.",
		               d->number, VALUES_MAX);
	if (counts && json_array_size(counts) != n)
		return err_set(e, ERR_PARAMETER,
		               "The parameters MetricData.member.%zu.Values and MetricData.member.%zu.Counts must be "
		               "of the same size.",
		               d->number, d->number);
	for (size_t i = 0; i < n; i++) {
		char at[64];

		snprintf(at, sizeof(at), "Values.member.%zu", i + 1);
		if (number(d, at, json_array_get(values, i), &value, e) < 0)
			return -1;
		snprintf(at, sizeof(at), "Counts.member.%zu", i + 1);
		if (counts && number(d, at, json_array_get(counts, i), &count, e) < 0)
			return -1;
		if (count < 0)
			return invalid_value(d, at, json_array_get(counts, i), e);
		if (count > 0)
			series_batch_add(b, d->key, d->at, value, count, d->fine);
	}
	return 0;
}

static int put_set(struct series_batch *b, const struct datum *d, const json_t *set, struct err *e)
{
	double count = 0, sum = 0, min = 0, max = 0;

	if (number(d, "StatisticValues.SampleCount", json_object_get(set, "SampleCount"), &count, e) < 0 ||
	    number(d, "StatisticValues.Sum", json_object_get(set, "Sum"), &sum, e) < 0 ||
	    number(d, "StatisticValues.Minimum", json_object_get(set, "Minimum"), &min, e) < 0 ||
	    number(d, "StatisticValues.Maximum", json_object_get(set, "Maximum"), &max, e) < 0)
		return -1;
	if (count <= 0)
		return invalid_value(d, "StatisticValues.SampleCount", json_object_get(set, "SampleCount"), e);
	if (min > max)
		return err_set(e, ERR_COMBINATION,
		               "The parameter MetricData.member.%zu.StatisticValues.Minimum must be less than or equal "
		               "to MetricData.member.%zu.StatisticValues.Maximum.",
		               d->number, d->number);
	series_batch_set(b, d->key, d->at, count, sum, min, max, d->fine);
	return 0;
}

static int put(struct series_batch *b, const struct datum *d, struct err *e)
{
	static const char *const members[] = { "Value", "Values", "StatisticValues" };
	const json_t *first = NULL, *x;
	size_t which = 0;
	double value = 0;

	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		if (!(x = json_object_get(d->in, members[i])))
			continue;
		if (first)
			return err_set(e, ERR_COMBINATION,
			               "The parameters MetricData.member.%zu.%s and MetricData.member.%zu.%s are "
			               "mutually exclusive and you have specified both.",
			               d->number, members[which], d->number, members[i]);
		first = x;
		which = i;
	}
	if (!first)
		return err_set(e, ERR_MISSING, "The parameter MetricData.member.%zu.Value is required.", d->number);
	if (which == 1)
		return put_values(b, d, first, json_object_get(d->in, "Counts"), e);
	if (which == 2)
		return put_set(b, d, first, e);
	if (number(d, "Value", first, &value, e) < 0)
		return -1;
	series_batch_add(b, d->key, d->at, value, 1, d->fine);
	return 0;
}

/* ---- what it is a value of ---- */

static int check_time(struct datum *d, struct wall now, struct err *e)
{
	const json_t *at = json_object_get(d->in, "Timestamp");

	d->at = at ? cw_time(at) : now;
	if (d->at.ms < now.ms - SERIES_PAST_S * 1000LL)
		return err_set(e, ERR_PARAMETER,
		               "The parameter MetricData.member.%zu.Timestamp must specify a time no more than two "
		               "weeks in the past.",
		               d->number);
	if (d->at.ms > now.ms + SERIES_FUTURE_S * 1000LL)
		return err_set(e, ERR_PARAMETER,
		               "The parameter MetricData.member.%zu.Timestamp must specify a time no more than two "
		               "hours in the future.",
		               d->number);
	return 0;
}

static int check_resolution(struct datum *d, struct err *e)
{
	const json_t *x = json_object_get(d->in, "StorageResolution");
	json_int_t seconds = x ? json_integer_value(x) : 60;

	if (seconds != 1 && seconds != 60)
		return err_set(
		        e, ERR_PARAMETER,
		        "The value %lld for parameter MetricData.member.%zu.StorageResolution is invalid; it is 1 "
		        "or 60.",
		        (long long)seconds, d->number);
	d->fine = seconds == 1;
	return 0;
}

static int check_dimensions(const struct datum *d, const struct cw_metric *m, struct err *e)
{
	for (size_t i = 0; i < m->key.dim_count; i++)
		for (size_t k = 0; k < i; k++)
			if (str_eq(m->dims[i].name, m->dims[k].name))
				return err_set(e, ERR_PARAMETER,
				               "The parameter MetricData.member.%zu.Dimensions has the name '" PRIstr
				               "' more than once.",
				               d->number, ARGstr(m->dims[i].name));
	return 0;
}

static int put_datum(struct series_batch *b, struct str ns, struct datum *d, struct wall now, struct err *e)
{
	struct cw_metric m;

	cw_metric_read(d->in, ns, &m);
	if (!m.key.unit.n)
		m.key.unit = STR("None");
	if (check_dimensions(d, &m, e) < 0 || check_time(d, now, e) < 0 || check_resolution(d, e) < 0)
		return -1;
	d->key = series_batch_key(b, &m.key);
	return put(b, d, e);
}

int op_put_metric_data(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	_cleanup_(series_batch_freep) struct series_batch *b = series_batch_new();
	const json_t *data = json_object_get(in, "MetricData");
	struct str ns = in_str(in, "Namespace");
	struct datum d = { 0 };
	size_t i;

	(void)ret_out;
	if (str_starts(ns, STR("AWS/")))
		return err_set(e, ERR_PARAMETER, "The value " PRIstr " for parameter Namespace is invalid.",
		               ARGstr(ns));
	if (!json_array_size(data))
		return err_set(e, ERR_MISSING, "The parameter MetricData is required.");
	if (json_array_size(data) > DATA_MAX)
		return err_set(e, ERR_PARAMETER, "The collection MetricData must not have a size greater than %d.",
		               DATA_MAX);
	json_array_foreach (data, i, d.in) {
		d.number = i + 1;
		if (put_datum(b, ns, &d, call->now, e) < 0)
			return -1;
	}
	return series_commit(call->api->series, b, call->now, true, e);
}
