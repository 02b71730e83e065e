/* CreateTransformJob, StopTransformJob (contract 7.4). SPDX-License-Identifier: Apache-2.0 */
#include "op/transform_job.h"

#include <stdlib.h>

#include "job/jobs.h"
#include "op/model.h"
#include "op/tags.h"
#include "op/training_job.h"

int op_create_transform_job(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	_cleanup_free_ char *arn = sagemaker_arn(call->api, "transform-job", in_str(in, "TransformJobName"));
	_cleanup_free_ char *request = NULL, *echo = NULL;
	_cleanup_(capacity_needs_fini) struct capacity_needs needs = { 0 };
	_cleanup_free_ struct store_tag *tags = NULL;
	struct jobs_create c = { .kind = KIND_TRANSFORM, .arn = arn, .needs = &needs, .created = call->now };

	if (transform_job_check_form(in, e) < 0 || tags_check(json_object_get(in, "Tags"), e) < 0)
		return -1;
	transform_job_defaults(in);
	c.echo = echo = transform_job_echo(in);
	if (transform_job_take_model(call, in, e) < 0 || transform_job_check_there(call, in, e) < 0 ||
	    transform_job_needs(in, &needs, e) < 0 || jobs_check_gpus(call->api->jobs, &needs, e) < 0)
		return -1;
	mark_creator(call, in);
	c.request = request = json_dumps(in, JSON_COMPACT);
	must(request);
	c.name = json_string_value(json_object_get(in, "TransformJobName"));
	c.tags = tags = tags_from(json_object_get(in, "Tags"), &c.tag_count);
	if (jobs_create(call->api->jobs, &c, e) < 0)
		return -1;
	*ret_out = json_pack("{s:s}", "TransformJobArn", arn);
	return 0;
}

int op_stop_transform_job(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e)
{
	(void)ret_out;
	return jobs_stop(call->api->jobs, KIND_TRANSFORM, in_str(in, "TransformJobName"), e);
}
