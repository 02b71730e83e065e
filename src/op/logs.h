/* logs.h - what the operations of the logs service share; inside op/ only.
 *
 * The log of a job is <data>/jobs/<id>/log/algo-N (joblog/), one a training host; as a stream it is called
 * JOB/algo-N-EPOCH, EPOCH being the second of the job's creation, in the one group there is. ERR_NOT_FOUND is
 * ResourceNotFoundException in this service, ERR_INVALID is InvalidParameterException (api.c).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "joblog/joblog.h"
#include "op/api.h"
#include "store/store.h"

#define LOG_GROUP "/aws/sagemaker/TrainingJobs"

/* The group of a request, by name or by ARN. ERR_NOT_FOUND, ERR_INVALID. */
int log_group_check(const json_t *in, struct err *e) must_check;
char *log_path(const struct api_call *call, const struct store_place *host); /* the caller frees */
char *log_stream_name(const struct store_place *host);                       /* the caller frees */
/* The number of the host whose stream it is, by its name's end; 0: nobody's. */
unsigned log_stream_host(struct str stream);
