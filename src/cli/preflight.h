/* preflight.h - what the server says of a job or an image before there is a job (op/preflight.h), for people and as an
 * exit code.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "cli/access.h"

/* Besides those of cli.h: something would fail here; with --aws: only at AWS. */
enum { EXIT_FAILS_HERE = 3, EXIT_FAILS_ON_AWS = 4 };

/* Prints the server's answer: text, or the whole of it with --json. The exit code. */
int preflight_report(const struct cli_args *a, const json_t *report);
