/* preflight.h - what would go wrong with a job or an image, said before there is a job (doc/preflight.md,
 * doc/adr/0029):
 *
 *   POST /bloomery/preflight/training-job   {"Request": CreateTrainingJob's,
 *            "Uploads": {CHANNEL: {"Objects", "Bytes"}}, "Buckets": [NAME]}     what will be there by then; optional
 *   POST /bloomery/preflight/image          {"Image": NAME, "Command": "train" or "serve", "AlgorithmName": NAME or
 * ARN} the last two are optional: `train`, none. With an algorithm Image may be left out: its own
 *
 * The answer is always {"Verdict", "Complete", "Findings": [{"Level", "Where", "What", "Do"}]}, and as far as it is
 * known "Image", "Program" (oci/inspect.h), "Channels" (jobs_probe). Levels, and the verdict, which is the worst of
 * them:
 *
 *   fails          wherever it runs
 *   fails-here     on this server only, or because of what it has
 *   fails-on-aws   at AWS only
 *   warning        it goes on, but perhaps not as meant
 *   passes         (verdict) nothing was found
 *
 * The first thing is everything that CreateTrainingJob itself checks, by the same code: the model, what is refused by
 * name, the form, and what the server has. A later group of these is not looked at as long as an earlier one has
 * faults; Complete is false then. Nothing is created, and nothing stays.
 *
 * Used by own.c alone, on HTTP worker threads.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "op/api_auth.h"

struct http_request;

enum preflight_what { PREFLIGHT_NONE, PREFLIGHT_TRAINING_JOB, PREFLIGHT_IMAGE };
enum preflight_what preflight_path(struct str path);

/* Appends the answer, JSON. ERR_SYNTAX, ERR_INVALID: the body is not what is said above; ERR_DENIED: the caller may not
 * create such a job, or look at that algorithm; ERR_IO. */
int preflight_answer(const struct api *api, const struct http_request *r, const struct api_auth *a,
                     enum preflight_what what, struct buf *out, struct err *e) must_check;
