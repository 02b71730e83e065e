/* jobs.h - the control of all training jobs, as the handlers of the API see it.
 *
 * bloomeryd has one. It lives on the loop's thread: it schedules, launches, takes the supervisors' facts and writes the
 * store, and nobody else writes the store. The functions under "any thread" hand their work to the loop (loop_call) and
 * wait for it: a database commit, never for a job. What they change is on disk when they return 0.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "base/conf.h"
#include "blob/blob.h"
#include "job/capacity.h"
#include "job/launcher.h"
#include "loop/loop.h"
#include "store/store.h"

struct iam; /* iam/iam.h */
struct series_store;
struct jobs;

/* All borrowed, for as long as the jobs live. */
struct jobs_options {
	struct loop *loop;
	struct store *store;
	struct blob_store *blobs;
	const struct conf *conf;
	const struct iam
	        *iam; /* roles, and the tokens of hosts; NULL: every role may everything, and there are no tokens */
	struct series_store *series; /* where the metrics of jobs go; NULL: nowhere */
	const char *data_dir;        /* absolute */
	const struct launcher_ops *launcher;
	struct desk *desk;         /* job/desk.h: launcher is launcher_hand; NULL: it is the local one */
	const char *fetch_program; /* path of bloomery-fetch, for another S3 */
};

/* ---- the loop's thread ---- */

/* Reads the jobs that have not ended. ERR_INVALID: bloomery.conf. */
int jobs_new(const struct jobs_options *o, struct jobs **ret, struct err *e) must_check;
/* From now on jobs are launched and followed. api_url goes into the containers; may be NULL. */
void jobs_start(struct jobs *js, const char *api_url);
/* The server is ending: nobody waits for what is in an image (jobs_look_into) from now on. */
void jobs_end_looks(struct jobs *js);
/* Lets go of everything; running jobs run on. After the threads that call have ended. NULL is fine. */
void jobs_free(struct jobs *js);
DEFINE_CLEANUP(struct jobs, jobs_free)

/* ---- any thread ---- */

/* fn is called, on the loop's thread, whenever a job has ended or an algorithm begins to be validated. It must not
 * block. NULL: nothing is; it is not called any more when this returns. */
void jobs_on_news(struct jobs *js, void (*fn)(void *arg), void *arg);

/* Whether channels and artifacts live in the embedded store (else in the S3 that bloomery.conf names). */
bool jobs_data_is_embedded(const struct jobs *js);

/* Whether there is anything in another S3: an object under the prefix, or the manifest that it names. Blocks for
 * timeout_ms at most. ERR_IO: it cannot be reached or understood. */
int jobs_remote_exists(const struct jobs *js, const char *bucket, const char *prefix, const char *s3_data_type,
                       int64_t timeout_ms, bool *ret, struct err *e) must_check;
/* ERR_LIMIT: it wants more GPUs than there are, and bloomery.conf has such jobs refused. Of any thread. */
int jobs_check_gpus(const struct jobs *js, const struct capacity_needs *n, struct err *e) must_check;
/* Whether bloomery.conf says what FileSystemId stands for. */
bool jobs_know_file_system(const struct jobs *js, struct str id);
/* Whether bloomery.conf has credentials for registries by this TrainingRepositoryCredentialsProviderArn. */
bool jobs_know_provider(const struct jobs *js, struct str arn);

/* A member of the request that is kept, beside those of the API: {"Arn", "JobId" (null: of none)} of the session that
 * created the job and that nothing but the built-in default policy limited. It is asked again for what the request
 * names (iam_hooks.others_output). */
#define JOBS_CREATOR "bloomery:Creator"
/* Another: the image of a job by AlgorithmName, by its digest. */
#define JOBS_IMAGE "bloomery:Image"
/* Another: the containers of a transform job, as struct stored_model has them, with the job's Environment over theirs.
 */
#define JOBS_CONTAINERS "bloomery:Containers"
/* Another: that algorithm's AdditionalS3DataSource. */
#define JOBS_ADDITIONAL "bloomery:AdditionalS3DataSource"
/* Another: the ARN of the algorithm whose validation made this job, model or transform job. */
#define JOBS_VALIDATES "bloomery:Validates"
/* Whether transform jobs can be run: their hosts are this machine's. ERR_INVALID says why not. */
int jobs_check_transform(const struct jobs *js, struct err *e) must_check;
/* What a request for so many hosts wants of networks can be had here. ERR_INVALID names what cannot: ids of its
 * VpcConfig, encryption. */
int jobs_check_network(const struct jobs *js, const json_t *request, unsigned hosts, struct err *e) must_check;

struct jobs_create {
	enum job_kind kind;
	const char *name, *arn, *request, *echo; /* as in struct store_new_job */
	const struct capacity_needs *needs;
	struct wall created;
	const struct store_tag *tags;
	size_t tag_count;
};
/* ERR_IN_USE: the name is taken. */
int jobs_create(struct jobs *js, const struct jobs_create *c, struct err *e) must_check;
/* ERR_INVALID, in the service's words: no such job, or it is not running (contract 5.5). */
int jobs_stop(struct jobs *js, enum job_kind kind, struct str name, struct err *e) must_check;
/* A training job. ERR_INVALID: no such job. ERR_IN_USE: it has not ended. */
int jobs_delete(struct jobs *js, struct str name, struct err *e) must_check;
/* Changes the kept request of a training job. edit() gets the row and the request and gives the new texts (owned by us
 * then), or fails, and nothing has changed; it runs on the loop's thread and must not block. ERR_INVALID: no such job.
 */
int jobs_update(struct jobs *js, struct str name,
                int (*edit)(void *arg, const struct stored_job *job, const char *request, char **ret_request,
                            char **ret_echo, struct err *e),
                void *arg, struct err *e) must_check;
int jobs_tags_put(struct jobs *js, struct str arn, const struct store_tag *tags, size_t count,
                  struct err *e) must_check; /* as store_tags_put */
int jobs_tags_delete(struct jobs *js, struct str arn, const struct str *keys, size_t count,
                     struct err *e) must_check; /* as store_tags_delete */

/* ---- before there is a job (job/looks.c, job/probe.c); any thread but the loop's ---- */

/* Has an image looked into, by an order as hostlink.h's "check" has its members: "image", "command", "entrypoint",
 * "arguments", "env". *ret: a report (oci/inspect.h), a new reference. Blocks for some seconds at most. ERR_BUSY: it
 * could not be looked into, and why. */
int jobs_look_into(struct jobs *js, const json_t *order, json_t **ret, struct err *e) must_check;

/* Lists the channels of a request that has passed the checks of CreateTrainingJob, for so many hosts, in some seconds
 * at most: *ret is an array of {"ChannelName", "Shares": a host gets every so many-th object (0: no host gets any),
 * "Objects", "Bytes", "Copied": onto the volume here, too}; without the last three for a file system, with "Fault", a
 * sentence, instead of them where a job would fail, and "Unknown" where that could not be found out. but: channels that
 * are not listed, {NAME: {"Objects", "Bytes"}}; NULL: none. */
int jobs_probe(struct jobs *js, const json_t *request, unsigned hosts, const json_t *but, json_t **ret,
               struct err *e) must_check;
/* What a job's first host is told of what it does not get of its instance type; NULL: it gets all. The caller frees. */
char *jobs_clipped(const struct jobs *js, const struct capacity_needs *n);
uint64_t jobs_free_bytes(const struct jobs *js); /* on the disk where volumes are; 0: not known */

/* ---- algorithms (job/algorithms.c); any thread ---- */

/* As store_algorithm_insert and store_algorithm_delete. One that is Pending goes on by itself: its image's registry is
 * asked, and it becomes Completed with the image by digest, or Failed; with a step of its validation, that begins. */
int jobs_algorithm_create(struct jobs *js, const struct store_new_algorithm *a, struct err *e) must_check;
int jobs_algorithm_delete(struct jobs *js, struct str name, struct err *e) must_check;
int jobs_validation_move(struct jobs *js, const struct store_validation_move *m,
                         struct err *e) must_check; /* as store_ */
/* As much of a sentence as a FailureReason may have; the caller frees. */
char *jobs_reason_cut(const char *reason);
/* AlgorithmStatusDetails of one whose image is there (NULL), or is not: why. JSON, the caller frees. */
char *jobs_algorithm_details(const char *failure);
/* Whether a registry can be asked what the name means; else it is here or nowhere. */
bool jobs_can_ask(const struct jobs *js, struct str image);
/* What the name means in the local image store just now: "sha256:..."; the caller frees. ERR_NOT_FOUND. */
int jobs_image_digest(const struct jobs *js, struct str image, char **ret, struct err *e) must_check;
/* "host/path@sha256:..." (image_pinned in oci/image.h). */
int jobs_image_pinned(struct str image, struct str digest, char **ret, struct err *e) must_check;

/* ---- scans of images (job/scans.c); any thread ---- */

enum scans_outcome { SCANS_UNDER_WAY, SCANS_PASSED, SCANS_FAILED };
/* Has the images of an algorithm scanned, unless that is so or is being done: its training image, by digest, and those
 * of its InferenceSpecification; none unless request, as CreateAlgorithm was given, has CertifyForMarketplace. May be
 * called at any time, also after a restart. *ret_statuses, a new reference: ImageScanStatuses as of now. *ret_failure:
 * which image has failed and why, malloc'd; NULL unless that is so. When a scan has ended there is news (jobs_on_news).
 */
enum scans_outcome jobs_scans(struct jobs *js, const json_t *request, const char *image, json_t **ret_statuses,
                              char **ret_failure);

/* ---- models (job/models.c); any thread ---- */

/* As store_model_insert and store_model_delete. */
int jobs_model_create(struct jobs *js, const struct store_new_model *m, struct err *e) must_check;
int jobs_model_delete(struct jobs *js, struct str name, struct err *e) must_check;
/* Whether the image is here, or a registry may have it, which is not asked. ERR_INVALID: neither, or it is not the name
 * of an image. */
int jobs_check_image(const struct jobs *js, struct str image, struct err *e) must_check;

/* ---- model packages (job/packages.c); any thread ---- */

/* As store_group_insert and store_group_delete. */
int jobs_group_create(struct jobs *js, const struct store_new_group *g, struct err *e) must_check;
int jobs_group_delete(struct jobs *js, struct str name, struct err *e) must_check;
/* As store_package_insert and store_package_delete. */
int jobs_package_create(struct jobs *js, const struct store_new_package *p, char **ret_arn, struct err *e) must_check;
int jobs_package_delete(struct jobs *js, struct str arn, struct err *e) must_check;
/* Changes a package: edit() gets it as it is and says what becomes of its request and approval (NULL: none), which are
 * ours then; it runs on the loop's thread and must not block. ERR_NOT_FOUND. */
struct jobs_package_edit {
	int (*edit)(void *arg, const struct stored_package *p, char **ret_request, char **ret_approval, struct err *e);
	void *arg;
	const char *by; /* ARN of who */
	struct wall at;
};
int jobs_package_update(struct jobs *js, struct str arn, const struct jobs_package_edit *how, struct err *e) must_check;
