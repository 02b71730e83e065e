/* logs.h - what the operations of the logs service share; inside op/ only.
 *
 * The log of a job is <data>/jobs/<id>/log/algo-1 (joblog/); as a stream it is called JOB/algo-1-EPOCH, EPOCH being the
 * second of the job's creation, in the one group there is. ERR_NOT_FOUND is ResourceNotFoundException in this service,
 * ERR_INVALID is InvalidParameterException (api.c).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "joblog/joblog.h"
#include "op/api.h"

#define LOG_GROUP "/aws/sagemaker/TrainingJobs"

/* The group of a request, by name or by ARN. ERR_NOT_FOUND, ERR_INVALID. */
int log_group_check(const json_t *in, struct err *e) must_check;
char *log_path(const struct api_call *call, const char *job_id); /* the caller frees */
char *log_stream_name(struct str job, struct wall created);      /* the caller frees */
