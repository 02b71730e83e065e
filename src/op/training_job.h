/* training_job.h - what the files about training jobs share; inside op/ only.
 *
 * A request is kept twice: as the request, whole and with defaults (for the container, for UpdateTrainingJob), and as
 * the echo, the pieces of JSON text that Describe prints around what changes while a job lives, one a line:
 *
 *     "ModelArtifacts":{...},
 *     "HyperParameters":{...}, ... "StoppingCondition":{...},
 *     "EnableNetworkIsolation":false, ...
 *     "DebugHookConfig":{...}, ... "ProfilingStatus":"Disabled", ...
 *
 * Compact JSON has no line feeds, every member ends with a comma, and members stand in the model's order.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "job/capacity.h"
#include "op/api.h"

/* Fills in what the service would (contract 2.1, 5.5, 5.10), so that what is acted on is what is echoed. `in` has
 * passed training_job_check_form. */
void training_job_defaults(json_t *in);

/* Whether the members are there and go together (contract 2, 5.9); looks at the request only. ERR_INVALID, in the
 * service's words where it has some. */
int training_job_check_form(const json_t *in, struct err *e) must_check;
/* The part of it that is about InputDataConfig. */
int training_job_check_channels(const json_t *in, struct err *e) must_check;
/* Whether the buckets, the data and the file systems are there (contract 2.2). May wait some seconds for another S3.
 * ERR_INVALID, also when that cannot be reached. */
int training_job_check_data(const struct api_call *call, const json_t *in, struct err *e) must_check;
/* The needs of a checked request with its defaults; the caller finishes *ret. */
int training_job_needs(const json_t *in, struct capacity_needs *ret, struct err *e) must_check;

char *training_job_echo(const json_t *request); /* the caller frees */

/* Appends ms as JSON seconds with a fraction (contract 5.4): 1704067200.123 */
void add_seconds(struct buf *out, struct wall at);
/* Appends z as a JSON string. */
void add_json_string(struct buf *out, struct str s);

/* Splits s3://bucket/key; false for anything else (https://, an empty bucket). */
bool s3_uri_split(struct str uri, struct str *ret_bucket, struct str *ret_key);

/* A channel's InputMode, which may be that of the job. */
struct str channel_mode(const json_t *in, const json_t *channel);

/* Whether a job can be called so, as the model has it for TrainingJobName; whether hyphens stand right does not matter.
 */
bool can_be_job(struct str name);

/* A member of a request as a view; empty when absent. */
struct str in_str(const json_t *in, const char *member);
/* A bound of a list's filter, as the store has it. */
struct wall list_bound(const json_t *in, const char *member);
/* An error of the store on its way out: ERR_NOT_FOUND becomes what the live service answers, ValidationException with
 * the store's text (contract 9.4). Returns -1. */
int not_found_is_invalid(struct err *e);
