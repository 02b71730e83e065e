/* feeds.h - how a job's channels are fed and its metrics are found, for people. The numbers are the server's
 * (op/feeds.h), the words are here.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdio.h>

#include "cli/access.h"

/* Asks the server; *ret is a new reference to the list of what each host told, or NULL where the server has no such
 * thing (it is another one). What it says is not checked further than printing needs. */
int feeds_ask(struct access *s, const char *job, json_t **ret, struct err *e) must_check;
/* The same for how the metric definitions have done. */
int definitions_ask(struct access *s, const char *job, json_t **ret, struct err *e) must_check;
/* A line for each definition of the job's description, "metrics" before the first. counts: as from definitions_ask. */
void definitions_print(const json_t *description, const json_t *counts, FILE *to);

/* Lines about one channel, each starting with `margin` blanks, nothing when no host told about it. final: the job has
 * ended. */
void feeds_print(const json_t *feeds, const char *channel, bool final, int margin, FILE *to);
