/* SPDX-License-Identifier: Apache-2.0 */
#include "op/api.h"

/* Every operation that has a handler. One of the model without a row here is answered NotImplementedException. */
const struct api_op api_ops[] = {
	{ "sagemaker", "CreateTrainingJob", op_create_training_job, API_MUTATES, ON_TRAINING_JOB },
	{ "sagemaker", "DescribeTrainingJob", op_describe_training_job, API_KEPT, ON_TRAINING_JOB },
	{ "sagemaker", "ListTrainingJobs", op_list_training_jobs, 0, ON_ANYTHING },
	{ "sagemaker", "StopTrainingJob", op_stop_training_job, API_MUTATES, ON_TRAINING_JOB },
	{ "sagemaker", "UpdateTrainingJob", op_update_training_job, API_MUTATES, ON_TRAINING_JOB },
	{ "sagemaker", "DeleteTrainingJob", op_delete_training_job, API_MUTATES, ON_TRAINING_JOB },
	{ "sagemaker", "AddTags", op_add_tags, API_MUTATES, ON_RESOURCE_ARN },
	{ "sagemaker", "ListTags", op_list_tags, 0, ON_RESOURCE_ARN },
	{ "sagemaker", "DeleteTags", op_delete_tags, API_MUTATES, ON_RESOURCE_ARN },
	{ "logs", "DescribeLogGroups", op_describe_log_groups, 0, ON_LOGS },
	{ "logs", "DescribeLogStreams", op_describe_log_streams, API_LONG, ON_LOGS },
	{ "logs", "GetLogEvents", op_get_log_events, 0, ON_LOGS },
	{ "cloudwatch", "GetMetricStatistics", op_get_metric_statistics, API_LONG, ON_ANYTHING },
	{ "cloudwatch", "PutMetricData", op_put_metric_data, API_MUTATES, ON_ANYTHING },
	{ "logs", "FilterLogEvents", op_filter_log_events, API_LONG, ON_LOGS },
	{ "logs", "CreateLogGroup", op_create_log_group, API_MUTATES, ON_LOGS },
	{ "logs", "DeleteLogGroup", op_delete_log_group, API_MUTATES, ON_LOGS },
	{ "logs", "CreateLogStream", op_create_log_stream, API_MUTATES, ON_LOGS },
	{ "logs", "DeleteLogStream", op_delete_log_stream, API_MUTATES, ON_LOGS },
	{ "logs", "PutLogEvents", op_put_log_events, API_MUTATES, ON_LOGS },
	{ "logs", "PutRetentionPolicy", op_put_retention_policy, API_MUTATES, ON_LOGS },
	{ "logs", "DeleteRetentionPolicy", op_delete_retention_policy, API_MUTATES, ON_LOGS },
	{ "logs", "TagResource", op_tag_log_group, API_MUTATES, ON_RESOURCE_ARN },
	{ "logs", "UntagResource", op_tag_log_group, API_MUTATES, ON_RESOURCE_ARN },
	{ "logs", "ListTagsForResource", op_list_log_group_tags, API_LONG, ON_RESOURCE_ARN },
	{ "logs", "TagLogGroup", op_tag_log_group, API_MUTATES, ON_LOGS },
	{ "logs", "UntagLogGroup", op_tag_log_group, API_MUTATES, ON_LOGS },
	{ "logs", "ListTagsLogGroup", op_list_log_group_tags, API_LONG, ON_LOGS },
	{ "sts", "GetCallerIdentity", op_get_caller_identity, 0, ON_ONESELF },
	{ "sts", "AssumeRole", op_assume_role, 0, ON_ROLE },
};
const size_t api_op_count = ARRAY_LEN(api_ops);
