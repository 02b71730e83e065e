/* process.h - DataProcessing (contract 7.8) and DataCaptureConfig.GenerateInferenceId: what is left of a record before
 * it is sent (InputFilter), and what becomes of the record and what the container made of it (JoinSource, then
 * OutputFilter, then an id and the job's start).
 *
 * Whether the parameters go together is known without any data, so CreateTransformJob asks as well. A struct process
 * does not change once made; many threads use it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

/* NULL or empty: left out. */
struct process_options {
	const char *input_filter, *output_filter; /* "$" */
	const char *join_source;                  /* "None" */
	const char *content_type, *accept, *split_type, *assemble_with;
	bool single;         /* SingleRecord */
	bool inference_id;   /* each record gets an id of its own, and `started` behind it */
	const char *started; /* the job's start; NULL where nothing is processed */
};

#define PROCESS_ALL SIZE_MAX /* not one record, but all of them */

struct process;
/* *ret is NULL when nothing is to be done: everything passes as it is. ERR_INVALID: a path that is none, a join of
 * formats that cannot be joined, a content type that has no filters; names the member. */
int process_new(const struct process_options *o, struct process **ret, struct err *e) must_check;
void process_free(struct process *p); /* NULL is fine */
DEFINE_CLEANUP(struct process, process_free)

/* Appends to out what is sent for `records`, the bytes of whole records. ret_bad: how many records stood before the one
 * that is meant when it fails (ERR_CLIENT), or PROCESS_ALL. */
int process_input(const struct process *p, struct str records, struct buf *out, size_t *ret_bad,
                  struct err *e) must_check;
/* Appends to out what becomes of `answer`, which the container gave for `records`. ERR_TRAINER: it gave another number
 * of records; ERR_CLIENT as above. */
int process_output(const struct process *p, struct str records, struct str answer, struct buf *out, size_t *ret_bad,
                   struct err *e) must_check;
bool process_filters_input(const struct process *p);
bool process_changes_output(const struct process *p);
