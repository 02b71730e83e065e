/* commands.h - the functions behind the rows of commands.c. Each parses nothing: cli/command.c has.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "cli/cli.h"

typedef int cli_fn(const struct cli_args *a, struct err *e);

cli_fn command_up, command_env, command_image, command_train, command_jobs, command_describe, command_logs,
        command_stop, command_metrics, command_host, command_product, command_check;
