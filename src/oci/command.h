/* command.h - bloomery-image's command line (import.h describes it): options, output, exit status.
 *
 * The whole program; prints to stdout and stderr, lowers its own limits, and blocks until done.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

int image_command(int argc, char **argv);
