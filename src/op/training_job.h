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
#include "op/reply.h"

/* Fills in what the service would (contract 2.1, 5.5, 5.10), so that what is acted on is what is echoed. `in` has
 * passed training_job_check_form. */
void training_job_defaults(json_t *in);

/* What a check has found, told to who wants all of it (op/preflight.h). where: the member it is about, "" the request;
 * here: a rule of this server, or of what it has; the service has it not. */
typedef void job_fault_fn(void *arg, const char *where, bool here, const struct err *e);

/* Whether the members are there and go together (contract 2, 5.9); looks at the request only. ERR_INVALID, in the
 * service's words where it has some. */
int training_job_check_form(const json_t *in, struct err *e) must_check;
/* The same without stopping at the first fault: found is told of each. -1 when there was any; *e then says nothing. */
int training_job_each_form(const json_t *in, job_fault_fn *found, void *arg, struct err *e) must_check;
/* The part of it that is about InputDataConfig: one channel, seen with those before it; all. */
int training_job_check_channel(const json_t *in, size_t item, struct err *e) must_check;
int training_job_check_channels(const json_t *in, struct err *e) must_check;

/* Whether the bucket, the data or the file system, and the credentials are there (contract 2.2). May wait some seconds
 * for another S3, for all channels together counted from `since`. ERR_INVALID, also when that cannot be reached. */
int training_job_check_provider(const struct api_call *call, const json_t *in, struct err *e) must_check;
int training_job_check_channel_data(const struct api_call *call, const json_t *in, const json_t *channel,
                                    struct mono since, struct err *e) must_check;
int training_job_check_output(const struct api_call *call, const json_t *in, struct err *e) must_check;

/* ---- all that CreateTrainingJob checks (training_job_rules.c) ---- */

struct job_check {
	const struct api_call *call;
	json_t *in; /* checked by the model; gets what an algorithm says, and defaults */
	/* For a job that is not created: of what will be there by then no absence is a fault. NULL: nothing will. */
	const json_t *uploads; /* an object, whose keys are channels */
	const json_t *buckets; /* an array of names */
	job_fault_fn *found;   /* NULL: the first fault ends it */
	void *arg;
};
/* In this order: the form, the algorithm, rights, networks, data, defaults, GPUs. *ret is to be finished by the caller,
 * also on failure. ERR_INVALID, ERR_DENIED, ERR_LIMIT; with `found` *e says nothing. */
int training_job_check(const struct job_check *c, struct capacity_needs *ret, struct err *e) must_check;
unsigned training_job_hosts(const json_t *in);

/* The needs of a checked request with its defaults; the caller finishes *ret. */
int training_job_needs(const json_t *in, struct capacity_needs *ret, struct err *e) must_check;

/* So that a resource is no way to what its creator may not get at: JOBS_CREATOR, where a policy of the creator's role
 * has not been asked already; and JOBS_VALIDATES. For requests that are about to be kept. */
void mark_creator(const struct api_call *call, json_t *in);

char *training_job_echo(const json_t *request); /* the caller frees */

/* Splits s3://bucket/key; false for anything else (https://, an empty bucket). */
bool s3_uri_split(struct str uri, struct str *ret_bucket, struct str *ret_key);

/* A channel's InputMode, which may be that of the job. */
struct str channel_mode(const json_t *in, const json_t *channel);

/* Whether a job can be called so, as the model has it for TrainingJobName; whether hyphens stand right does not matter.
 */
bool can_be_job(struct str name);

/* A member of a request as a view; empty when absent. */
struct str in_str(const json_t *in, const char *member);
/* An error of the store on its way out: ERR_NOT_FOUND becomes what the live service answers, ValidationException with
 * the store's text (contract 9.4). Returns -1. */
int not_found_is_invalid(struct err *e);
