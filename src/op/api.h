/* api.h - from an HTTP request to an operation's handler and back, for the services that are not S3.
 *
 * api.c owns: routing by credential scope, SigV4, X-Amz-Target / Action, model_check and model_refuse, error envelopes
 * of each protocol. Handlers own only their operation: they get a checked request and return a reply or an error. They
 * run on HTTP pool threads; whatever changes a job goes through job/jobs.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "aws/model.h"
#include "base/clock.h"

struct algorithm_cache; /* op/algorithm.h */
struct blob_store;
struct iam; /* iam/iam.h: roles and sessions */
struct iam_session;
struct series_store; /* series/series.h */
struct jobs;         /* job/jobs.h: the control of all training jobs */
struct logstore;     /* logstore/logstore.h */
struct store;        /* store/store.h */

struct access_key {
	char *id, *secret, *token, *arn; /* token NULL: long-lived. arn: who it is, for GetCallerIdentity */
};

/* What every handler may use; set up by bloomeryd before the server starts, constant afterwards. */
struct api {
	const char *data_dir, *account, *region;
	struct blob_store *blobs;
	struct store *store;
	struct logstore *logs;
	struct jobs *jobs;
	struct series_store *series;
	const struct access_key *keys;
	size_t key_count;
	struct sig_cache *signing_keys;     /* aws/sigv4.h, thread-safe; NULL: every request derives its own */
	struct answers *answers;            /* op/answers.h, thread-safe; NULL: none are kept */
	struct again *again;                /* op/again.h, thread-safe; NULL: no logs are looked at again */
	struct desk *desk;                  /* job/desk.h: of hosts that are started by hand; NULL: there are none */
	struct iam *iam;                    /* NULL: there are no sessions */
	struct algorithm_cache *algorithms; /* op/algorithm.h, thread-safe; NULL: none are kept */
};

struct api_call {
	const struct api *api;
	const struct service *service;
	const struct operation *op;
	const struct access_key *caller;
	const struct iam_session *session; /* the caller's, who may what its role may; NULL: the server's own key */
	const struct validating
	        *validating; /* op/validation.h: who calls is the validation of an algorithm; else NULL */
	struct wall now;
	const char *request_id;
	struct buf *raw;   /* a handler that has its reply as text appends it here and leaves *ret_out NULL (Describe,
	                      List) */
	struct buf *words; /* a handler that fails with more to say than an err holds appends all of it here, besides */
	json_t *each;      /* an array that gets each of an algorithm's faults; NULL: nobody wants them so */
};

/* in: checked, owned by the caller, may be changed. *ret_out: new reference, or left NULL for an empty 200. */
typedef int api_fn(const struct api_call *call, json_t *in, json_t **ret_out, struct err *e);

/* API_MUTATES: changes something, so it is logged, and may wait for a disk: it runs on a worker thread (adr 7).
 * API_KEPT: its answer depends on nothing but the body and the store, so it may be given again (op/answers.h).
 * API_LONG: changes nothing, but walks all jobs there are; on a worker too. */
enum { API_MUTATES = 1, API_KEPT = 2, API_LONG = 4 };

/* What an operation is done to, as policies name it (op/authorise.h). */
enum api_resource {
	ON_ANYTHING,
	ON_TRAINING_JOB,
	ON_ALGORITHM,
	ON_MODEL,
	ON_MODEL_PACKAGE,
	ON_MODEL_PACKAGE_GROUP,
	ON_TRANSFORM_JOB,
	ON_RESOURCE_ARN,
	ON_LOGS,
	ON_ROLE,
	ON_EACH, /* of several: the handler asks */
	ON_ONESELF
};

/* The rows: ops.c. The router, `doc/generated/api.md` and the audit log read them. */
struct api_op {
	const char *service, *name;
	api_fn *run;
	unsigned flags;
	enum api_resource on;
};
extern const struct api_op api_ops[];
extern const size_t api_op_count;

/* Who a key is, as GetCallerIdentity and messages name it; the caller frees. */
char *api_caller_arn(const struct api *api, const struct access_key *key);

struct http_request;
struct http_route;
/* The router given to http_server_start; arg is a struct api. S3 requests are handed to blob/front.h. */
void api_route(void *arg, struct http_request *r, struct http_route *ret);

/* One handler file per resource. */
api_fn op_create_training_job, op_describe_training_job, op_list_training_jobs, op_stop_training_job,
        op_update_training_job, op_delete_training_job;
api_fn op_create_algorithm, op_describe_algorithm, op_list_algorithms, op_delete_algorithm;
api_fn op_create_model, op_describe_model, op_list_models, op_delete_model;
api_fn op_create_model_package_group, op_describe_model_package_group, op_list_model_package_groups,
        op_delete_model_package_group;
api_fn op_create_model_package, op_describe_model_package, op_list_model_packages, op_update_model_package,
        op_delete_model_package, op_batch_describe_model_package;
api_fn op_create_transform_job, op_describe_transform_job, op_list_transform_jobs, op_stop_transform_job;
api_fn op_add_tags, op_list_tags, op_delete_tags;
api_fn op_get_caller_identity, op_assume_role;
api_fn op_get_metric_data, op_get_metric_statistics, op_list_metrics, op_put_metric_data;
api_fn op_batch_get_metrics, op_batch_put_metrics;
api_fn op_describe_log_groups, op_describe_log_streams, op_get_log_events, op_filter_log_events;
api_fn op_create_log_group, op_delete_log_group, op_create_log_stream, op_delete_log_stream, op_put_log_events,
        op_put_retention_policy, op_delete_retention_policy, op_tag_log_group, op_list_log_group_tags;
