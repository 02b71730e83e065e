/* preflight_inside.h - what the files of the pre-flight share. SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "op/training_job.h"

#define PREFLIGHT_FAILS "fails"
#define PREFLIGHT_FAILS_HERE "fails-here"
#define PREFLIGHT_FAILS_ON_AWS "fails-on-aws"
#define PREFLIGHT_WARNING "warning"

struct preflight {
	const struct api_call *call;
	json_t *in;                      /* CreateTrainingJob's, or NULL */
	const json_t *uploads, *buckets; /* or NULL */
	json_t *findings;                /* owned */
	json_t *image, *program;         /* of the report on the image, or NULL; owned */
	json_t *channels;                /* of jobs_probe, or NULL; owned */
	bool incomplete;
};

/* One more finding. todo: what to do about it, or NULL. */
void preflight_note(struct preflight *f, const char *level, const char *where, const char *todo, const char *fmt, ...)
        printf_like(5, 6);

/* ---- preflight_rules.c: what is no fault for CreateTrainingJob, but for the job ---- */
void preflight_image_name(struct preflight *f, struct str image); /* at AWS */
/* type: an instance type, or empty; after the report on the image. */
void preflight_machine(struct preflight *f, struct str type);
void preflight_metrics(struct preflight *f, const json_t *definitions, const char *where);
/* All of the request; after its checks. */
void preflight_request(struct preflight *f);
/* After jobs_probe. */
void preflight_channels(struct preflight *f);
