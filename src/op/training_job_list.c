/* ListTrainingJobs (contract 5.11). SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "op/training_job.h"
#include "store/store.h"

enum { PAGE_DEFAULT = 10 };

static void add_summary(const struct store_summary *j, void *arg)
{
	const struct job_state_info *state = &job_state_info[j->state];
	struct buf *out = arg;

	if (out->p[out->n - 1] == '}')
		buf_c(out, ',');
	buf_z(out, "{\"TrainingJobName\":");
	add_json_string(out, j->name);
	buf_z(out, ",\"TrainingJobArn\":");
	add_json_string(out, j->arn);
	buf_z(out, ",\"CreationTime\":");
	add_seconds(out, j->created);
	if (j->ended.ms) {
		buf_z(out, ",\"TrainingEndTime\":");
		add_seconds(out, j->ended);
	}
	buf_z(out, ",\"LastModifiedTime\":");
	add_seconds(out, j->modified);
	buf_f(out, ",\"TrainingJobStatus\":\"%s\",\"SecondaryStatus\":\"%s\"", state->status, state->secondary);
	if (j->training_plan.n) {
		buf_z(out, ",\"TrainingPlanArn\":");
		add_json_string(out, j->training_plan);
	}
	buf_c(out, '}');
}

/* 0 stands for "none" in the store, and what is before 1970 or far away bounds the same as the nearest number. */
struct wall list_bound(const json_t *in, const char *member)
{
	const json_t *v = json_object_get(in, member);
	double ms = v ? json_number_value(v) * 1000 + 0.5 : 0;

	if (!v)
		return (struct wall){ 0 };
	return (struct wall){ ms < 1 ? 1 : ms > 9e15 ? (int64_t)9e15 : (int64_t)ms };
}

int op_list_training_jobs(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	struct str sort = in_str(in, "SortBy");
	const json_t *max = json_object_get(in, "MaxResults");
	struct store_list q = {
		.sort = str_is(sort, "Name")     ? SORT_NAME
		        : str_is(sort, "Status") ? SORT_STATUS
		                                 : SORT_CREATION_TIME,
		.descending = str_is(in_str(in, "SortOrder"), "Descending"), /* ascending when absent: contract 15 */
		.created_after = list_bound(in, "CreationTimeAfter"),
		.created_before = list_bound(in, "CreationTimeBefore"),
		.modified_after = list_bound(in, "LastModifiedTimeAfter"),
		.modified_before = list_bound(in, "LastModifiedTimeBefore"),
		.name_contains = in_str(in, "NameContains"),
		.status = in_str(in, "StatusEquals"),
		.training_plan = in_str(in, "TrainingPlanArnEquals"),
		.max = max ? (unsigned)json_integer_value(max) : PAGE_DEFAULT,
		.token = in_str(in, "NextToken"),
	};
	_cleanup_free_ char *token = NULL;
	struct buf *out = call->raw;

	(void)ret_out;
	buf_z(out, "{\"TrainingJobSummaries\":[");
	/* No job here has a warm pool, so one with a certain status of its pool there is not. */
	if (!json_object_get(in, "WarmPoolStatusEquals") &&
	    store_job_list(call->api->store, KIND_TRAINING, &q, add_summary, out, &token, e) < 0)
		return -1;
	buf_c(out, ']');
	if (token)
		buf_f(out, ",\"NextToken\":\"%s\"", token);
	buf_c(out, '}');
	return 0;
}
