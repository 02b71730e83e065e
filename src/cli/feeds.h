/* feeds.h - how a job's channels are fed, for people. The numbers are the server's (op/feeds.h), the words are here.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdio.h>

#include "cli/access.h"

/* Asks the server; *ret is a new reference to the list of what each host told, or NULL where the server has no such
 * thing (it is another one). What it says is not checked further than printing needs. */
int feeds_ask(struct access *s, const char *job, json_t **ret, struct err *e) must_check;

/* Lines about one channel, each starting with `margin` blanks, nothing when no host told about it. final: the job has
 * ended. */
void feeds_print(const json_t *feeds, const char *channel, bool final, int margin, FILE *to);
