/* algorithm.h - what an algorithm means to CreateTrainingJob, and the algorithms that were parsed; inside op/ only.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "op/api.h"

/* Algorithms as they were last asked for, parsed: what an algorithm says never changes, and a number is never used
 * twice, so there is nothing to forget in time. Any thread. */
enum { ALGORITHMS_KEPT = 64 };
struct algorithm_cache;
struct algorithm_cache *algorithm_cache_new(void);
void algorithm_cache_free(struct algorithm_cache *c); /* NULL is fine */

/* The name in a name or an ARN of ours. ERR_INVALID, in the service's words: the ARN is of nothing that could be here.
 */
int algorithm_name(const struct api *api, struct str name_or_arn, struct str *ret, struct err *e) must_check;
/* ERR_INVALID: there is no algorithm of that name. Returns -1. */
int algorithm_missing(const struct api *api, struct str name, struct err *e);
/* arn:aws:sagemaker:REGION:ACCOUNT:algorithm/name; the caller frees. */
char *algorithm_arn(const struct api *api, struct str name);

/* Contract 8.4. A request with AlgorithmName is checked against that algorithm, and then says what the algorithm does:
 * its ARN, defaults, metrics and JOBS_IMAGE. Any other is left alone. ERR_INVALID, all violations at once. */
int algorithm_apply(const struct api_call *call, json_t *in, struct err *e) must_check;
