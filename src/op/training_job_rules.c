/* The checks of CreateTrainingJob in their order: the same ones whether it is created, and the first fault is the
 * answer, or only looked at, and all are (op/preflight.h). SPDX-License-Identifier: Apache-2.0 */
#include "job/jobs.h"
#include "op/algorithm.h"
#include "op/authorise.h"
#include "op/training_job.h"

unsigned training_job_hosts(const json_t *in)
{
	const json_t *r = json_object_get(in, "ResourceConfig"), *groups = json_object_get(r, "InstanceGroups"), *g;
	json_int_t hosts = json_integer_value(json_object_get(r, "InstanceCount"));
	size_t i;

	json_array_foreach (groups, i, g)
		hosts += json_integer_value(json_object_get(g, "InstanceCount"));
	return (unsigned)hosts;
}

struct checking {
	const struct job_check *c;
	struct mono since;
	struct capacity_needs *needs;
};

static int check_algorithm(struct checking *k, size_t item, struct err *e)
{
	(void)item;
	return algorithm_apply(k->c->call, k->c->in, e);
}

static int check_rights(struct checking *k, size_t item, struct err *e)
{
	(void)item;
	return authorise_training_job(k->c->call, k->c->in, e);
}

static int check_network(struct checking *k, size_t item, struct err *e)
{
	(void)item;
	return jobs_check_network(k->c->call->api->jobs, k->c->in, training_job_hosts(k->c->in), e);
}

static int check_provider(struct checking *k, size_t item, struct err *e)
{
	(void)item;
	return training_job_check_provider(k->c->call, k->c->in, e);
}

static int check_channel(struct checking *k, size_t item, struct err *e)
{
	const json_t *channel = json_array_get(json_object_get(k->c->in, "InputDataConfig"), item);

	if (json_object_get(k->c->uploads, in_str(channel, "ChannelName").p))
		return 0;
	return training_job_check_channel_data(k->c->call, k->c->in, channel, k->since, e);
}

static int check_output(struct checking *k, size_t item, struct err *e)
{
	const json_t *output = json_object_get(k->c->in, "OutputDataConfig"), *b;
	struct str bucket, prefix;
	size_t i;

	(void)item;
	json_array_foreach (k->c->buckets, i, b)
		if (s3_uri_split(in_str(output, "S3OutputPath"), &bucket, &prefix) &&
		    str_is(bucket, json_string_value(b)))
			return 0;
	return training_job_check_output(k->c->call, k->c->in, e);
}

static int check_gpus(struct checking *k, size_t item, struct err *e)
{
	(void)item;
	training_job_defaults(k->c->in);
	return training_job_needs(k->c->in, k->needs, e) < 0 ? -1 : jobs_check_gpus(k->c->call->api->jobs, k->needs, e);
}

static const struct {
	const char *where;
	bool channels; /* for each of them */
	int (*check)(struct checking *k, size_t item, struct err *e);
} rules[] = {
	{ "AlgorithmSpecification.AlgorithmName", false, check_algorithm },
	{ "RoleArn", false, check_rights },
	{ "VpcConfig", false, check_network },
	{ "AlgorithmSpecification.TrainingImageConfig", false, check_provider },
	{ "InputDataConfig", true, check_channel },
	{ "OutputDataConfig.S3OutputPath", false, check_output },
	{ "ResourceConfig", false, check_gpus },
};

static void tell(const struct job_check *c, size_t rule, size_t item, const struct err *e)
{
	_cleanup_free_ char *where = rules[rule].channels ? strf("%s[%zu]", rules[rule].where, item)
	                                                  : xstrdup(rules[rule].where);

	c->found(c->arg, where, true, e);
}

int training_job_check(const struct job_check *c, struct capacity_needs *ret, struct err *e)
{
	struct checking k = { .c = c, .since = mono_now(), .needs = ret };
	size_t faults = 0;

	if (training_job_each_form(c->in, c->found, c->arg, e) < 0)
		return -1;
	for (size_t r = 0; r < ARRAY_LEN(rules); r++) {
		size_t n = rules[r].channels ? json_array_size(json_object_get(c->in, "InputDataConfig")) : 1;

		for (size_t i = 0; i < n; i++) {
			if (rules[r].check(&k, i, e) == 0)
				continue;
			if (!c->found)
				return -1;
			tell(c, r, i, e);
			*e = (struct err){ 0 };
			faults++;
		}
	}
	return faults ? -1 : 0;
}
