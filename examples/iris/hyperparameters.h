/* hyperparameters.h - reads hyperparameters.json: one flat JSON object whose values are all strings, and nothing else.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stddef.h>

/* Calls fn for each, in the file's order; the texts live until it returns. 0; -1 with a sentence in why. A missing file
 * has none. Names and values with a NUL in them, and names that occur twice, are refused. */
int hyperparameters_read(const char *path, void (*fn)(const char *name, const char *value, void *arg), void *arg,
                         char *why, size_t why_bytes);
