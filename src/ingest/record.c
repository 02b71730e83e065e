/* SPDX-License-Identifier: Apache-2.0 */
#include "ingest/record.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

/* contract 6.3 */
#define NAMESPACE STR("/aws/sagemaker/TrainingJobs")
#define OF_TRANSFORM STR("/aws/sagemaker/TransformJobs")

static bool text(const json_t *line, const char *member, struct str *ret)
{
	const json_t *x = json_object_get(line, member);

	*ret = (struct str){ json_string_value(x), json_string_length(x) };
	return x && ret->p && ret->n && ret->n <= RECORD_NAME_MAX && !memchr(ret->p, 0, ret->n);
}

/* Old and future ones are kept as values of the job, but no series would tell of them. */
static bool in_series(struct wall at, struct wall now)
{
	return at.ms >= now.ms - SERIES_PAST_S * 1000LL && at.ms <= now.ms + SERIES_FUTURE_S * 1000LL;
}

static void put(struct series_batch *b, struct str ns, struct str metric, struct str unit,
                const struct series_dimension *d, struct wall at, double value)
{
	const struct series_key key = { .ns = ns, .name = metric, .dims = d, .dim_count = 1, .unit = unit };

	series_batch_add(b, series_batch_key(b, &key), at, value, 1, true);
}

static unsigned number_of(struct str host_name)
{
	uint64_t n;

	return str_skip(&host_name, STR("algo-")) && str_to_u64(host_name, &n) && n <= 1000 ? (unsigned)n : 0;
}

static bool take_value(struct series_batch *b, const struct record_host *h, const json_t *line, struct wall at,
                       double v, struct wall now)
{
	const struct series_dimension job = { STR("TrainingJobName"), h->job_name };
	const json_t *step = json_object_get(line, "s");
	struct series_value value = { .job = h->job_id, .at = at, .value = v, .host = number_of(h->host_name) };
	struct str source;

	if (!text(line, "n", &value.metric))
		return false;
	value.has_step = json_is_integer(step) && json_integer_value(step) >= 0;
	value.step = value.has_step ? json_integer_value(step) : 0;
	if (text(line, "src", &source) && str_is(source, "file"))
		value.source = SERIES_FROM_FILE;
	series_batch_value(b, &value);
	if (in_series(at, now))
		put(b, NAMESPACE, value.metric, STR("None"), &job, at, v);
	return true;
}

static bool take_sample(struct series_batch *b, const struct record_host *h, const json_t *line, struct wall at,
                        double v, struct wall now)
{
	const struct str own = h->instance.n ? h->instance : h->host_name;
	_cleanup_free_ char *host = strf(PRIstr "/" PRIstr, ARGstr(h->job_name), ARGstr(own));
	const struct series_dimension d = { STR("Host"), str_of(host) };
	struct str name, unit;

	if (!text(line, "i", &name))
		return false;
	if (!text(line, "u", &unit))
		unit = STR("None");
	if (h->instance.n && str_is(name, "DiskUtilization")) /* the service has none either */
		return true;
	series_batch_sample(b, h->job_id, h->host_name, name, at, v);
	if (in_series(at, now))
		put(b, h->instance.n ? OF_TRANSFORM : NAMESPACE, name, unit, &d, at, v);
	return true;
}

static bool take(struct series_batch *b, const struct record_host *h, const json_t *line, struct wall now,
                 struct str *ret_counts)
{
	const json_t *t = json_object_get(line, "t"), *v = json_object_get(line, "v");
	const json_t *counts = json_object_get(line, "counts");
	struct wall at = { json_integer_value(t) };
	double value = json_number_value(v);
	char *dumped;

	if (json_is_array(counts)) {
		dumped = json_dumps(counts, JSON_COMPACT);
		must(dumped);
		*ret_counts = str_of(dumped);
		return true;
	}
	if (json_is_integer(json_object_get(line, "at")))
		return true;
	if (!json_is_integer(t) || !json_is_number(v) || !isfinite(value) || at.ms < 0)
		return false;
	return json_object_get(line, "i") ? take_sample(b, h, line, at, value, now)
	                                  : take_value(b, h, line, at, value, now);
}

bool record_take(struct series_batch *b, const struct record_host *h, struct str line, uint64_t offset, struct wall now)
{
	json_t *x = line.n <= RECORD_LINE_MAX ? json_loadb(line.p, line.n, 0, NULL) : NULL;
	struct str counts = { 0 };
	bool fits = json_is_object(x) && take(b, h, x, now, &counts);

	series_batch_cursor(b, h->id, h->job_id, offset, counts);
	free((char *)counts.p);
	json_decref(x);
	return fits;
}
