/* authorise.h - whether a session may do what it asks for: the actions and resources of the operations of the API, and
 * what iam/ has to know of the jobs. S3's operations name theirs in blob/front.c.
 *
 * Inside op/ only; any thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "iam/iam.h"
#include "op/api.h"

struct store;
/* The hooks of struct iam; they borrow the store. */
struct iam_hooks authorise_hooks(struct store *s);

/* The operation of a checked request: "sagemaker:DescribeTrainingJob" on "arn:aws:sagemaker:...:training-job/name". The
 * server's own key may everything. ERR_DENIED with the service's sentence. */
int authorise(const struct api_call *call, const struct api_op *op, const json_t *in, struct err *e) must_check;
/* One action of another name. */
int authorise_action(const struct api *api, const struct iam_session *s, const char *action, struct str resource,
                     struct err *e) must_check;

/* As the service: to create with tags is to tag. */
int authorise_tags(const struct api_call *call, const json_t *in, const char *arn, struct err *e) must_check;
/* Whether there is such a role, where bloomery.conf wants each to be named; an empty one is none. ERR_INVALID. */
int authorise_known_role(const struct api_call *call, struct str role, struct err *e) must_check;

/* Appends arn:aws:sagemaker:REGION:ACCOUNT:training-job/name. */
void add_training_job_arn(const struct api *api, struct str name, struct buf *out);

/* Whether the role of a new job (empty: none is asked) and the caller may read the S3DataSource of a channel, or what
 * has the members of one, and write below s3://bucket/prefix, which `member` of the request names. ERR_INVALID,
 * ERR_DENIED. */
int authorise_input(const struct api_call *call, struct str role, const json_t *channel, struct err *e) must_check;
int authorise_output(const struct api_call *call, struct str role, const char *member, struct str uri,
                     struct err *e) must_check;

/* contract 2.2: whether the role of a new job is one, may list the channels' buckets or read their manifests, and may
 * write the results. A session must also be allowed to pass that role, and may itself what it lets the job do.
 * ERR_INVALID, ERR_DENIED. */
int authorise_training_job(const struct api_call *call, const json_t *in, struct err *e) must_check;
