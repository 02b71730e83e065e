/* algorithm.h - the rules of an algorithm resource: what CreateAlgorithm may say, and what a training job by
 * AlgorithmName may (contract 8.1, 8.4).
 *
 * Pure: JSON in, sentences out. Nothing here knows where algorithms are kept or whether an image is there; op/ asks,
 * on any thread. A struct algorithm is parsed once from a TrainingSpecification and never changes, so that checking a
 * job is a walk over it: no JSON is read, no range is parsed again.
 *
 * All violations are gathered, in the order of contract 8.4, and said in one sentence:
 *
 *     2 validation errors detected: HyperParameters.epochs: Invalid value: '0' Supported range: integers from 1 to
 * 100; ResourceConfig.InstanceCount: Invalid value: '2' ...
 *
 * Each names the member, the value and the rule; where the Python SDK words a rule on the client's side its words are
 * used.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "base/str.h"

enum {
	FAULT_VALUE_BYTES = 200,   /* of a value in a sentence; longer ones end in "..." */
	FAULTS_TEXT_BYTES = 32768, /* of all; those that do not fit are only counted */
};

/* Violations. Zeroed: none. */
struct faults {
	size_t count, unsaid;
	struct buf text; /* joined by "; " */
	json_t *each;    /* an array that gets each sentence; borrowed; NULL: none */
};
void faults_fini(struct faults *f);
void fault(struct faults *f, const char *fmt, ...) printf_like(2, 3);
/* 0 when there are none; else ERR_INVALID, and the whole text is also appended to *ret_text (may be NULL), which is not
 * cut as err frames are. */
int faults_end(const struct faults *f, struct buf *ret_text, struct err *e) must_check;
/* A value for a sentence, at most FAULT_VALUE_BYTES of it, without half characters and control characters; the caller
 * frees. */
char *fault_value(struct str value);

/* ---- CreateAlgorithm ---- */

/* The rules that the model's constraints do not have; request has passed those. Regular expressions are the caller's
 * business. */
void algorithm_check_spec(const json_t *request, struct faults *f);

/* ---- CreateTrainingJob by AlgorithmName ---- */

struct algorithm;
/* Of a TrainingSpecification that algorithm_check_spec had nothing to say about; copies what it needs. */
struct algorithm *algorithm_new(const json_t *training_specification);
/* Counted, by any thread. */
struct algorithm *algorithm_ref(struct algorithm *a);
void algorithm_unref(struct algorithm *a); /* NULL is fine */
DEFINE_CLEANUP(struct algorithm, algorithm_unref)

/* request: CreateTrainingJob, checked by the model; nothing of it is changed. name: of the algorithm, for sentences. */
void algorithm_check_job(const struct algorithm *a, const char *name, const json_t *request, struct faults *f);
/* Its AdditionalS3DataSource, borrowed; NULL: it has none. */
json_t *algorithm_additional(const struct algorithm *a);
/* Fills in what the algorithm says for a job that broke no rule: defaults of hyperparameters that are not given, and
 * the metric definitions. */
void algorithm_fill_job(const struct algorithm *a, json_t *request);
