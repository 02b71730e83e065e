/* describe.h - a job's description for people.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>
#include <stdio.h>

/* Everything worth knowing, with where the time went phase by phase. feeds, counts: as from feeds_ask and
 * definitions_ask; may be NULL. */
void describe_print(const json_t *description, const json_t *feeds, const json_t *counts, FILE *to);
/* How it ended: one line, and the reason when it failed. */
void describe_print_end(const json_t *description, FILE *to);
