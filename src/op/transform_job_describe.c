/* DescribeTransformJob and ListTransformJobs. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "op/page.h"
#include "op/training_job.h"
#include "op/transform_job.h"
#include "store/store.h"

/* ---- the echo ---- */

char *transform_job_echo(const json_t *request)
{
	/* NULL: the next piece. In the order of DescribeTransformJobResponse. */
	static const char *const order[] = {
		"ModelName",
		"MaxConcurrentTransforms",
		"ModelClientConfig",
		"MaxPayloadInMB",
		"BatchStrategy",
		"Environment",
		"TransformInput",
		"TransformOutput",
		"DataCaptureConfig",
		"TransformResources",
		NULL,
		"DataProcessing",
		"ExperimentConfig",
	};
	_cleanup_buf_ struct buf out = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(order); i++)
		if (order[i])
			reply_echo(&out, request, order[i]);
		else
			buf_c(&out, '\n');
	return buf_take(&out);
}

/* ---- the reply ---- */

static void describe(const struct store_description *d, struct buf *out)
{
	const struct stored_job *j = &d->job;
	struct str echo = str_of(d->echo);

	buf_need(out, echo.n + 1024);
	buf_c(out, '{');
	reply_text(out, "TransformJobName", j->name);
	reply_text(out, "TransformJobArn", j->arn);
	reply_text(out, "TransformJobStatus", job_state_info[j->state].status);
	if (j->state == JOB_FAILED && j->failure_reason)
		reply_text(out, "FailureReason", j->failure_reason);
	buf_str(out, str_cut(&echo, '\n'));
	reply_time(out, "CreationTime", j->created);
	reply_time(out, "TransformStartTime", j->started);
	reply_time(out, "TransformEndTime", j->ended);
	buf_str(out, echo);
	out->p[out->n - 1] = '}'; /* every member ended with a comma */
}

int op_describe_transform_job(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	struct store_description d;

	(void)ret_out;
	if (store_describe(call->api->store, KIND_TRANSFORM, in_str(in, "TransformJobName"), &d, e) < 0)
		return not_found_is_invalid(e);
	describe(&d, call->raw);
	store_description_fini(&d);
	return 0;
}

/* ---- the list ---- */

static void add_summary(const struct store_summary *j, void *arg)
{
	struct buf *out = arg;

	page_comma(out);
	buf_z(out, "{\"TransformJobName\":");
	add_json_string(out, j->name);
	buf_z(out, ",\"TransformJobArn\":");
	add_json_string(out, j->arn);
	buf_z(out, ",\"CreationTime\":");
	add_seconds(out, j->created);
	if (j->ended.ms) {
		buf_z(out, ",\"TransformEndTime\":");
		add_seconds(out, j->ended);
	}
	buf_z(out, ",\"LastModifiedTime\":");
	add_seconds(out, j->modified);
	buf_f(out, ",\"TransformJobStatus\":\"%s\"", job_state_info[j->state].status);
	if (j->state == JOB_FAILED && j->failure_reason.n) {
		buf_z(out, ",\"FailureReason\":");
		add_json_string(out, j->failure_reason);
	}
	buf_c(out, '}');
}

int op_list_transform_jobs(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	struct store_list q = page_query(in, true);
	_cleanup_free_ char *token = NULL;
	struct buf *out = call->raw;

	(void)ret_out;
	buf_z(out, "{\"TransformJobSummaries\":[");
	if (store_job_list(call->api->store, KIND_TRANSFORM, &q, add_summary, out, &token, e) < 0)
		return -1;
	page_end(out, token);
	return 0;
}
