/* What CreateTrainingJob checks before it answers, and what it fills in. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "metric/metric.h"
#include "op/tags.h"
#include "op/training_job.h"

enum { MAX_RUNTIME_DEFAULT_S = 86400, VOLUME_DEFAULT_GB = 30 };

struct str in_str(const json_t *in, const char *member)
{
	const json_t *v = json_object_get(in, member);

	return json_is_string(v) ? (struct str){ json_string_value(v), json_string_length(v) } : (struct str){ "", 0 };
}

bool s3_uri_split(struct str uri, struct str *ret_bucket, struct str *ret_key)
{
	if (!str_skip(&uri, STR("s3://")))
		return false;
	*ret_bucket = str_cut(&uri, '/');
	*ret_key = uri;
	return ret_bucket->n > 0;
}

/* ---- the form ---- */

/* Not required by the model, because of serverless jobs, but by every job that runs here; worded as contract 9.3. */
static int check_present(const json_t *in, size_t item, struct err *e)
{
	static const char *const wanted[][2] = { { "AlgorithmSpecification", "algorithmSpecification" },
		                                 { "ResourceConfig", "resourceConfig" },
		                                 { "StoppingCondition", "stoppingCondition" } };
	_cleanup_buf_ struct buf text = { 0 };
	unsigned missing = 0;

	(void)item;
	for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
		if (!json_object_get(in, wanted[i][0]))
			buf_f(&text, "%sValue null at '%s' failed to satisfy constraint: Member must not be null",
			      missing++ ? "; " : "", wanted[i][1]);
	if (!missing)
		return 0;
	return err_set(e, ERR_INVALID, "%u validation error%s detected: %s", missing, missing > 1 ? "s" : "", text.p);
}

static int check_algorithm(const json_t *in, size_t item, struct err *e)
{
	const json_t *a = json_object_get(in, "AlgorithmSpecification");

	(void)item;
	if (json_object_get(a, "TrainingImage") && json_object_get(a, "AlgorithmName"))
		return err_set(e, ERR_INVALID,
		               "AlgorithmSpecification: TrainingImage and AlgorithmName exclude each other; "
		               "give one of them");
	if (!in_str(a, "TrainingImage").n && !in_str(a, "AlgorithmName").n)
		return err_set(e, ERR_INVALID,
		               "AlgorithmSpecification: neither TrainingImage nor AlgorithmName is given; "
		               "give one of them");
	return 0;
}

static int check_type(struct str type, struct err *e)
{
	if (instance_type_find(type))
		return 0;
	return err_set(e, ERR_INVALID, "ResourceConfig: the size of instance type " PRIstr " is not known here",
	               ARGstr(type));
}

static int check_hosts(json_int_t hosts, struct err *e)
{
	if (hosts <= CAPACITY_HOSTS_MAX)
		return 0;
	return err_set(e, ERR_INVALID,
	               "ResourceConfig: %lld hosts are too many for one machine; a job can have at most %d here",
	               (long long)hosts, CAPACITY_HOSTS_MAX);
}

/* contract 2.12 */
static int check_groups(const json_t *r, const json_t *groups, struct err *e)
{
	bool hosts = false;

	if (json_object_get(r, "InstanceType") || json_object_get(r, "InstanceCount"))
		return err_set(
		        e, ERR_INVALID,
		        "ResourceConfig: InstanceGroups exclude InstanceType and InstanceCount, which each group "
		        "has of its own");
	for (size_t i = 0; i < json_array_size(groups); i++) {
		const json_t *g = json_array_get(groups, i);

		for (size_t k = 0; k < i; k++)
			if (str_eq(in_str(g, "InstanceGroupName"),
			           in_str(json_array_get(groups, k), "InstanceGroupName")))
				return err_set(e, ERR_INVALID,
				               "ResourceConfig: duplicate instance group name '" PRIstr "'",
				               ARGstr(in_str(g, "InstanceGroupName")));
		if (json_integer_value(json_object_get(g, "InstanceCount")) > 0)
			hosts = true;
	}
	if (!hosts)
		return err_set(e, ERR_INVALID,
		               "ResourceConfig: the InstanceCounts of InstanceGroups must be at least 1 "
		               "together");
	return 0;
}

static int check_resources(const json_t *in, size_t item, struct err *e)
{
	const json_t *r = json_object_get(in, "ResourceConfig"), *volume = json_object_get(r, "VolumeSizeInGB");
	const json_t *groups = json_object_get(r, "InstanceGroups");
	struct str type = in_str(r, "InstanceType");

	if (volume && json_integer_value(volume) < 1)
		return err_set(e, ERR_INVALID, "ResourceConfig: VolumeSizeInGB must be at least 1");
	if (json_integer_value(volume) > 65536)
		return err_set(e, ERR_INVALID, "ResourceConfig: VolumeSizeInGB must be at most 65536");
	if (json_array_size(groups))
		return check_groups(r, groups, e);
	if (!type.n)
		return err_set(e, ERR_INVALID,
		               "ResourceConfig: InstanceType is missing; name an instance type, or `local` "
		               "for the whole machine");
	if (json_integer_value(json_object_get(r, "InstanceCount")) < 1)
		return err_set(e, ERR_INVALID, "ResourceConfig: InstanceCount must be at least 1");
	(void)item;
	return 0;
}

/* What this server takes of what the service has. */
static int check_machine(const json_t *in, size_t item, struct err *e)
{
	const json_t *r = json_object_get(in, "ResourceConfig"), *groups = json_object_get(r, "InstanceGroups"), *g;
	json_int_t hosts = 0;
	size_t i;

	(void)item;
	if (!json_array_size(groups))
		return in_str(r, "InstanceType").n ? check_type(in_str(r, "InstanceType"), e) : 0;
	json_array_foreach (groups, i, g) {
		json_int_t some = json_integer_value(json_object_get(g, "InstanceCount"));

		if (check_type(in_str(g, "InstanceType"), e) < 0 || check_hosts(some, e) < 0)
			return -1;
		hosts += some;
	}
	return check_hosts(hosts, e);
}

static int check_stopping(const json_t *in, size_t item, struct err *e)
{
	const json_t *s = json_object_get(in, "StoppingCondition"), *run = json_object_get(s, "MaxRuntimeInSeconds");
	const json_t *wait = json_object_get(s, "MaxWaitTimeInSeconds");
	json_int_t max_run = run ? json_integer_value(run) : MAX_RUNTIME_DEFAULT_S;

	(void)item;
	if (max_run > 28 * 86400) /* contract 5.5 */
		return err_set(e, ERR_INVALID, "Invalid MaxRuntimeInSeconds. It must be at most 2419200 (28 days)");
	if (!wait)
		return 0;
	if (!json_is_true(json_object_get(in, "EnableManagedSpotTraining")))
		return err_set(e, ERR_INVALID,
		               "Invalid MaxWaitTimeInSeconds. It is only supported when "
		               "EnableManagedSpotTraining is set to true"); /* contract 5.5 */
	if (json_integer_value(wait) < max_run)
		return err_set(e, ERR_INVALID,
		               "Invalid MaxWaitTimeInSeconds. It must be at least MaxRuntimeInSeconds (%lld)",
		               (long long)max_run);
	return 0;
}

/* A definition that cannot match is better told now than after a night without metrics. One without a capture group is
 * taken, as the service does, and its matches are told to have no value. */
static int check_metric(const json_t *in, size_t item, struct err *e)
{
	const json_t *all = json_object_get(json_object_get(in, "AlgorithmSpecification"), "MetricDefinitions");
	const json_t *d = json_array_get(all, item);
	struct err why = { 0 };
	char text[2048];

	if (metric_check(in_str(d, "Regex"), NULL, &why) == 0)
		return 0;
	return err_set(e, ERR_INVALID, "AlgorithmSpecification: MetricDefinitions: '%s': %s", in_str(d, "Name").p,
	               err_text(&why, text, sizeof(text)));
}

static int check_tags(const json_t *in, size_t item, struct err *e)
{
	(void)item;
	return tags_check(json_object_get(in, "Tags"), e);
}

static int check_output(const json_t *in, size_t item, struct err *e)
{
	struct str bucket, key;

	(void)item;
	if (s3_uri_split(in_str(json_object_get(in, "OutputDataConfig"), "S3OutputPath"), &bucket, &key))
		return 0;
	return err_set(e, ERR_INVALID, "OutputDataConfig: S3OutputPath is to have the form s3://bucket/prefix");
}

static const struct {
	const char *where;
	const char *member, *list; /* one check for each item of this list, in this member (NULL: the request) */
	bool here;                 /* the service has no such rule */
	int (*check)(const json_t *in, size_t item, struct err *e);
} forms[] = {
	{ "AlgorithmSpecification", NULL, NULL, false, check_algorithm },
	{ "ResourceConfig", NULL, NULL, false, check_resources },
	{ "ResourceConfig", NULL, NULL, true, check_machine },
	{ "StoppingCondition", NULL, NULL, false, check_stopping },
	{ "InputDataConfig", NULL, "InputDataConfig", false, training_job_check_channel },
	{ "AlgorithmSpecification.MetricDefinitions", "AlgorithmSpecification", "MetricDefinitions", false,
	  check_metric },
	{ "Tags", NULL, NULL, false, check_tags },
	{ "OutputDataConfig.S3OutputPath", NULL, NULL, false, check_output },
};

static void tell(job_fault_fn *found, void *arg, size_t form, size_t item, const struct err *e)
{
	_cleanup_free_ char *where = forms[form].list ? strf("%s[%zu]", forms[form].where, item)
	                                              : xstrdup(forms[form].where);

	found(arg, where, forms[form].here, e);
}

int training_job_each_form(const json_t *in, job_fault_fn *found, void *arg, struct err *e)
{
	int rc = check_present(in, 0, e);
	size_t faults = 0;

	if (rc < 0 && found)
		found(arg, "", false, e);
	for (size_t f = 0; f < ARRAY_LEN(forms) && rc == 0; f++) {
		const json_t *of = forms[f].member ? json_object_get(in, forms[f].member) : in;
		size_t n = forms[f].list ? json_array_size(json_object_get(of, forms[f].list)) : 1;

		for (size_t i = 0; i < n; i++) {
			if (forms[f].check(in, i, e) == 0)
				continue;
			if (!found)
				return -1;
			tell(found, arg, f, i, e);
			*e = (struct err){ 0 };
			faults++;
		}
	}
	return rc < 0 || faults ? -1 : 0;
}

int training_job_check_form(const json_t *in, struct err *e)
{
	return training_job_each_form(in, NULL, NULL, e);
}

static int needs_of(struct str type_name, json_int_t hosts, struct capacity_needs *ret, struct err *e)
{
	const struct instance_type *type = instance_type_find(type_name);

	if (!type)
		return err_set(e, ERR_INVALID, "ResourceConfig: an instance type of unknown size");
	*ret = (struct capacity_needs){
		.instance_type = xstrdup(type->name),
		.cpus = type->vcpus,
		.memory_bytes = type->memory_bytes,
		.gpus = type->gpus,
		.whole_machine = !strcmp(type->name, "local"),
		.hosts = hosts > 1 ? (unsigned)hosts : 0,
	};
	return 0;
}

/* One after the other; groups may be empty, though not all. */
static int needs_of_groups(const json_t *groups, struct capacity_needs *ret, struct err *e)
{
	struct capacity_needs *last = NULL, one;
	const json_t *g;
	size_t i;

	json_array_foreach (groups, i, g) {
		json_int_t hosts = json_integer_value(json_object_get(g, "InstanceCount"));

		if (hosts < 1)
			continue;
		if (needs_of(in_str(g, "InstanceType"), hosts, &one, e) < 0) {
			if (last)
				capacity_needs_fini(ret);
			return -1;
		}
		last = last ? (last->next = xcalloc(1, sizeof(*last))) : ret;
		*last = one;
	}
	return 0;
}

int training_job_needs(const json_t *in, struct capacity_needs *ret, struct err *e)
{
	const json_t *r = json_object_get(in, "ResourceConfig"), *groups = json_object_get(r, "InstanceGroups");
	const json_t *pending = json_object_get(json_object_get(in, "StoppingCondition"), "MaxPendingTimeInSeconds");
	int rc = json_array_size(groups) ? needs_of_groups(groups, ret, e)
	                                 : needs_of(in_str(r, "InstanceType"),
	                                            json_integer_value(json_object_get(r, "InstanceCount")), ret, e);

	if (rc < 0)
		return -1;
	ret->volume_bytes = (uint64_t)json_integer_value(json_object_get(r, "VolumeSizeInGB")) << 30;
	ret->max_pending_s = json_integer_value(pending);
	return 0;
}

/* ---- defaults ---- */

static void fill(json_t *o, const char *member, json_t *value)
{
	if (json_object_get(o, member))
		json_decref(value);
	else
		json_object_set_new(o, member, value);
}

void training_job_defaults(json_t *in)
{
	json_t *channels = json_object_get(in, "InputDataConfig"), *output = json_object_get(in, "OutputDataConfig");
	json_t *algorithm = json_object_get(in, "AlgorithmSpecification");

	for (size_t i = 0; i < json_array_size(channels); i++) {
		json_t *c = json_array_get(channels, i),
		       *s3 = json_object_get(json_object_get(c, "DataSource"), "S3DataSource");

		if (s3)
			fill(s3, "S3DataDistributionType", json_string("FullyReplicated"));
		fill(c, "CompressionType", json_string("None"));
		fill(c, "RecordWrapperType", json_string("None"));
	}
	fill(output, "KmsKeyId", json_string(""));
	fill(output, "CompressionType", json_string("GZIP"));
	fill(algorithm, "EnableSageMakerMetricsTimeSeries",
	     json_boolean(json_array_size(json_object_get(algorithm, "MetricDefinitions"))));
	fill(json_object_get(in, "StoppingCondition"), "MaxRuntimeInSeconds", json_integer(MAX_RUNTIME_DEFAULT_S));
	fill(json_object_get(in, "ResourceConfig"), "VolumeSizeInGB", json_integer(VOLUME_DEFAULT_GB));
	fill(in, "EnableNetworkIsolation", json_false());
	fill(in, "EnableInterContainerTrafficEncryption", json_false());
	fill(in, "EnableManagedSpotTraining", json_false());
}
