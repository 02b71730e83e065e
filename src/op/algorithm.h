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

/* The row of a name, or of an ARN: of an algorithm of ours, or of a product that was imported (op/products.h), which is
 * only reached by its ARN. As store_algorithm_find; ERR_INVALID, in the service's words: there is none. */
struct stored_algorithm;
int algorithm_find(const struct api *api, struct str name_or_arn, struct stored_algorithm *ret, char **ret_request,
                   struct err *e) must_check;
/* The same for who wants to use it, and is told so when it is a product that was not imported. */
int algorithm_use(const struct api *api, struct str name_or_arn, struct stored_algorithm *ret, char **ret_request,
                  struct err *e) must_check;
/* Whether the caller may describe it. ERR_INVALID, in the service's words. */
int algorithm_authorise(const struct api_call *call, struct str name_or_arn, struct err *e) must_check;
/* Whether it is somebody else's: a product, which has a name of its own kind. */
bool algorithm_is_foreign(const struct api *api, struct str name, struct str arn);
/* What IAM is asked about: the ARN itself, or that of the name; the caller frees. */
char *algorithm_resource(const struct api *api, struct str name_or_arn);
/* Whether CreateAlgorithm would take it as far as it can be told from the request alone. */
int algorithm_check(const struct api_call *call, const json_t *in, struct err *e) must_check;
/* ERR_INVALID: there is no algorithm of that name. Returns -1. */
int algorithm_missing(const struct api *api, struct str name, struct err *e);
/* arn:aws:sagemaker:REGION:ACCOUNT:algorithm/name; the caller frees. */
char *algorithm_arn(const struct api *api, struct str name);

/* Contract 8.4. A request with AlgorithmName is checked against that algorithm, and then says what the algorithm does:
 * its ARN, defaults, metrics and JOBS_IMAGE. Any other is left alone. ERR_INVALID, all violations at once. */
int algorithm_apply(const struct api_call *call, json_t *in, struct err *e) must_check;
