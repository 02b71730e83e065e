/* transform_job.h - what the files about transform jobs share; inside op/ only.
 *
 * The request is kept as CreateTransformJob had it, with its defaults, and with what the job takes of its model, so
 * that a model that is deleted matters to no job: RoleArn (the model's ExecutionRoleArn), VpcConfig,
 * EnableNetworkIsolation, and JOBS_CONTAINERS. The echo is the part of Describe that does not change: members that each
 * end with a comma, in two lines.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "job/capacity.h"
#include "op/api.h"

/* Whether the members go together (contract 7.4, 7.8); looks at the request only. ERR_INVALID. */
int transform_job_check_form(const json_t *in, struct err *e) must_check;
/* Fills in what the service would. What the container may decide (contract 7.5) is left out. */
void transform_job_defaults(json_t *in);
/* What the job takes of its model. ERR_INVALID, in the service's words: there is none of that name. */
int transform_job_take_model(const struct api_call *call, json_t *in, struct err *e) must_check;
/* Whether its role and the caller may, and networks, data and the bucket of its outputs are there; after the model.
 * ERR_INVALID, ERR_DENIED. */
int transform_job_check_there(const struct api_call *call, const json_t *in, struct err *e) must_check;
/* The needs of a checked request; the caller finishes *ret. */
int transform_job_needs(const json_t *in, struct capacity_needs *ret, struct err *e) must_check;

char *transform_job_echo(const json_t *request); /* the caller frees */
