/* validation.h - the validation of an algorithm by its ValidationSpecification (contract 8.3), inside op/ only.
 *
 * For the one profile: a training job by the algorithm, a model from its artifacts, a transform job by the model. All
 * three are ordinary resources of one name, made by the handlers of the API as a client of theirs that is in the same
 * process and passes ValidationRole. A thread does this, step by step, and the step is in the store before it is taken:
 *
 *     image         the algorithm's image is not found yet (job/algorithms.c)
 *     begin         a name is chosen
 *     scan          the images of one that is to be certified are scanned
 *     train         the training job is made      training       ... has not ended
 *     model         the model is made             made           ... is there
 *     transform     the transform job is made     transforming   ... has not ended
 *     ended         the algorithm is Completed or Failed
 *
 * A step may be taken twice, when bloomeryd was killed in it: what is there already, and is what was asked
 * for, is not made again.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "op/api.h"

struct algorithm; /* algorithm/algorithm.h */
struct faults;

/* The algorithm that a call is made for: struct api_call. All borrowed. */
struct validating {
	const char *algorithm, *algorithm_arn;
	const char *image;       /* by digest */
	struct algorithm *rules; /* whatever the algorithm's status is */
	json_t *creator;         /* JOBS_CREATOR of who made the algorithm; NULL: nobody to be asked again */
};

/* What CreateAlgorithm checks of a ValidationSpecification, which there may be none of: the jobs that it will make, by
 * all the rules of their own operations and by the algorithm's, and with the caller's rights. in has no other faults.
 * What is wrong is added to f; -1: something else is. */
int validation_check(const struct api_call *call, const json_t *in, struct faults *f, struct err *e) must_check;

/* The requests of the three operations for a CreateAlgorithm that was accepted, and the name they share; new
 * references. */
json_t *validation_training_job(const json_t *algorithm, const char *algorithm_arn, const char *name);
/* artifacts: S3ModelArtifacts of the training job. */
json_t *validation_model(const json_t *algorithm, const char *name, struct str artifacts);
json_t *validation_transform_job(const json_t *algorithm, const char *name);
/* ALGORITHM-PROFILE-EPOCH, the first two cut so that it can be a job's name; the caller frees. */
char *validation_name(const json_t *algorithm, int64_t epoch);

/* AlgorithmStatusDetails with the profile in this status; failure may be NULL. scans: ImageScanStatuses; NULL: none.
 * JSON, the caller frees. */
char *validation_details(const json_t *algorithm, const char *status, const char *failure, json_t *scans);

/* Calls an operation of SageMaker as the API does, all its checks included, but for the caller's rights. in: taken
 * over. *ret: the answer, a new reference. words may be NULL; else, on failure, the whole message where e has only its
 * beginning. */
int validation_call(const struct api *api, const struct validating *v, const char *operation, json_t *in, json_t **ret,
                    struct buf *words, struct err *e) must_check;

/* The thread. Started when the loop is about to run, and stopped while it does. api is borrowed. */
struct validator;
struct validator *validator_start(const struct api *api);
void validator_stop(struct validator *v); /* NULL is fine; waits for the step that it takes */
