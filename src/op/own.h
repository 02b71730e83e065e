/* own.h - what this server has beside AWS's APIs, on the same port:
 *
 *   GET /metrics                      numbers for Prometheus (metrics.h)
 *   GET /bloomery/jobs/NAME/feeds     how a training job's channels are being fed (feeds.h), JSON
 *   GET /bloomery/jobs/NAME/definitions   how its metric definitions have done: by host, the "counts" of metric/out.h
 *   /bloomery/jobs/NAME/metrics and below     what a job has reported, and its log once more (job_metrics.h)
 *   POST /bloomery/preflight/training-job, .../image    what would go wrong (preflight.h)
 *   POST /bloomery/products           the shelf of imported products has changed (products.h)
 *   GET /bloomery/jobs/NAME/hosts/algo-N/spec    the work order of a host that is to be started by hand
 *   GET /bloomery/credentials, GET /v2/credentials/TOKEN    a job's session, by a token of its host (credentials.h)
 *
 * To the first six nobody gets in without the key: either HTTP Basic with the access key's id as the user and its
 * secret as the password, or SigV4 signed for the service `bloomery` (`/metrics`: for any service but s3, of which
 * /metrics is a bucket). All else of these paths is S3's, so that no name of a bucket is taken away. Refused requests
 * get 401 and are told so.
 *
 * Used by api.c alone, on HTTP pool threads.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "op/api_auth.h"

struct http_request;
struct http_response;

#define OWN_SERVICE "bloomery" /* in credential scopes */

/* Whether the request is one for here and not for an API; a is what api_auth_head said. */
bool own_takes(const struct http_request *r, const struct api_auth *a);
/* Settles who it is as far as the header tells: afterwards a->fault is SIG_OK for a right password too, and a->key is
 * NULL unless known. */
void own_auth_head(const struct api *api, const struct http_request *r, struct api_auth *a);
/* The answer; verifies the signature, if it is one, first. */
void own_answer(const struct api *api, const struct http_request *r, const struct sig_request *sig, struct api_auth *a,
                struct http_response *out);

/* The key that an Authorization header's Basic credentials are of, or NULL. The time it takes does not depend on what
 * is wrong with them. Keys with a token have no password. */
const struct access_key *own_basic_key(const struct api *api, struct str header);
