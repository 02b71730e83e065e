/* CreateTrainingJob, StopTrainingJob, UpdateTrainingJob, DeleteTrainingJob. SPDX-License-Identifier: Apache-2.0 */
#include "op/training_job.h"

#include <stdlib.h>

#include "aws/arn.h"
#include "iam/iam.h"
#include "job/jobs.h"
#include "op/products.h"
#include "op/tags.h"
#include "op/validation.h"

int not_found_is_invalid(struct err *e)
{
	if (e->kind == ERR_NOT_FOUND)
		e->kind = ERR_INVALID;
	return -1;
}

static json_t *reply_arn(const char *arn)
{
	return json_pack("{s:s}", "TrainingJobArn", arn);
}

static char *arn_of(const struct api_call *call, struct str name)
{
	_cleanup_free_ char *low = str_dup(name);

	for (char *p = low; *p; p++)
		*p = (char)(*p >= 'A' && *p <= 'Z' ? *p - 'A' + 'a' : *p);
	return arn_make("sagemaker", call->api->region, call->api->account, "training-job", str_of(low));
}

void mark_creator(const struct api_call *call, json_t *in)
{
	const struct iam_session *by = call->session;

	if (call->validating && call->validating->creator)
		json_object_set(in, JOBS_CREATOR, call->validating->creator);
	if (call->validating)
		json_object_set_new(in, JOBS_VALIDATES, json_string(call->validating->algorithm_arn));
	if (by && !iam_has_policy(call->api->iam, str_of(by->role)))
		json_object_set_new(in, JOBS_CREATOR, json_pack("{s:s, s:s?}", "Arn", by->arn, "JobId", by->job_id));
}

int op_create_training_job(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	_cleanup_free_ char *arn = arn_of(call, in_str(in, "TrainingJobName"));
	_cleanup_free_ char *request = NULL, *echo = NULL;
	_cleanup_(capacity_needs_fini) struct capacity_needs needs = { 0 };
	_cleanup_free_ struct store_tag *tags = NULL;
	struct jobs_create c = { .kind = KIND_TRAINING, .arn = arn, .needs = &needs, .created = call->now };
	const struct job_check check = { .call = call, .in = in };

	if (products_check_images(call->api, in, e) < 0 || training_job_check(&check, &needs, e) < 0)
		return -1;
	c.echo = echo = training_job_echo(in);
	mark_creator(call, in);
	c.request = request = json_dumps(in, JSON_COMPACT);
	must(request);
	c.name = json_string_value(json_object_get(in, "TrainingJobName"));
	c.tags = tags = tags_from(json_object_get(in, "Tags"), &c.tag_count);
	if (jobs_create(call->api->jobs, &c, e) < 0)
		return -1;
	*ret_out = reply_arn(arn);
	return 0;
}

int op_stop_training_job(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	(void)ret_out;
	return jobs_stop(call->api->jobs, KIND_TRAINING, in_str(in, "TrainingJobName"), e);
}

int op_delete_training_job(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	(void)ret_out;
	return jobs_delete(call->api->jobs, in_str(in, "TrainingJobName"), e);
}

/* ---- UpdateTrainingJob ---- */

struct update {
	const json_t *in;
	char *arn; /* of the job that was found */
};

/* Only what the profiler is told can change, and only while the job runs (contract 5.8). */
static int check_update(const struct stored_job *job, const json_t *in, struct err *e)
{
	if (json_object_get(in, "ResourceConfig"))
		return err_set(
		        e, ERR_INVALID,
		        "The request was rejected because the training job %s has no warm pool in status Available; "
		        "this server keeps none",
		        job->name);
	if (json_object_get(in, "RemoteDebugConfig"))
		return err_set(e, ERR_INVALID,
		               "RemoteDebugConfig is refused: remote debugging goes through AWS Systems "
		               "Manager, which is not here");
	if (strcmp(job_state_info[job->state].status, "InProgress") != 0)
		return err_set(e, ERR_INVALID, "The request was rejected because the training job is in status %s.",
		               job_state_info[job->state].status);
	return 0;
}

static int edit(void *arg, const struct stored_job *job, const char *request, char **ret_request, char **ret_echo,
                struct err *e)
{
	struct update *u = arg;
	json_t *rules = json_object_get(u->in, "ProfilerRuleConfigurations");
	json_t *profiler = json_object_get(u->in, "ProfilerConfig"), *j, *kept;

	if (check_update(job, u->in, e) < 0)
		return -1;
	j = json_loads(request, JSON_ALLOW_NUL, NULL);
	if (!j)
		return err_set(e, ERR_BUG, "the request kept for training job %s is damaged", job->name);
	if (profiler) {
		kept = json_object_get(j, "ProfilerConfig");
		if (!kept)
			json_object_set_new(j, "ProfilerConfig", kept = json_object());
		json_object_update(kept, profiler);
	}
	if (rules)
		json_object_set(j, "ProfilerRuleConfigurations", rules);
	*ret_request = json_dumps(j, JSON_COMPACT);
	*ret_echo = training_job_echo(j);
	json_decref(j);
	u->arn = xstrdup(job->arn);
	return 0;
}

int op_update_training_job(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	struct update u = { .in = in };

	if (json_object_size(in) <= 1)
		return err_set(e, ERR_INVALID, "Invalid UpdateTrainingJobRequest, the request cannot be empty");
	if (jobs_update(call->api->jobs, in_str(in, "TrainingJobName"), edit, &u, e) < 0) {
		free(u.arn);
		return -1;
	}
	*ret_out = reply_arn(u.arn);
	free(u.arn);
	return 0;
}
