/* SPDX-License-Identifier: Apache-2.0 */
#include "op/api.h"

/* Every operation that has a handler. One of the model without a row here is answered NotImplementedException. */
const struct api_op api_ops[] = {
	{ "sagemaker", "CreateTrainingJob", op_create_training_job, API_MUTATES },
	{ "sagemaker", "DescribeTrainingJob", op_describe_training_job, API_KEPT },
	{ "sagemaker", "ListTrainingJobs", op_list_training_jobs, 0 },
	{ "sagemaker", "StopTrainingJob", op_stop_training_job, API_MUTATES },
	{ "sagemaker", "UpdateTrainingJob", op_update_training_job, API_MUTATES },
	{ "sagemaker", "DeleteTrainingJob", op_delete_training_job, API_MUTATES },
	{ "sagemaker", "AddTags", op_add_tags, API_MUTATES },
	{ "sagemaker", "ListTags", op_list_tags, 0 },
	{ "sagemaker", "DeleteTags", op_delete_tags, API_MUTATES },
	{ "logs", "DescribeLogGroups", op_describe_log_groups, 0 },
	{ "logs", "DescribeLogStreams", op_describe_log_streams, API_LONG },
	{ "logs", "GetLogEvents", op_get_log_events, 0 },
	{ "sts", "GetCallerIdentity", op_get_caller_identity, 0 },
};
const size_t api_op_count = ARRAY_LEN(api_ops);
