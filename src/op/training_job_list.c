/* ListTrainingJobs (contract 5.11). SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "op/page.h"
#include "op/training_job.h"
#include "store/store.h"

static void add_summary(const struct store_summary *j, void *arg)
{
	const struct job_state_info *state = &job_state_info[j->state];
	struct buf *out = arg;

	page_comma(out);
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

int op_list_training_jobs(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	struct store_list q = page_query(in, false);
	_cleanup_free_ char *token = NULL;
	struct buf *out = call->raw;

	(void)ret_out;
	buf_z(out, "{\"TrainingJobSummaries\":[");
	/* No job here has a warm pool, so one with a certain status of its pool there is not. */
	if (!json_object_get(in, "WarmPoolStatusEquals") &&
	    store_job_list(call->api->store, KIND_TRAINING, &q, add_summary, out, &token, e) < 0)
		return -1;
	page_end(out, token);
	return 0;
}
