/* cli.h - the `bloomery` command: subcommands as rows, options as rows, one file each.
 *
 * What a command can take, its --help and what it refuses come from the same rows. Exit codes: 0 done, 1 failed (the
 * sentence is on standard error), 2 not understood.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdio.h>

#include "base/str.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, CLI_TIME_BYTES = 40 };

/* One option. arg NULL: a flag. many: may be given more than once. Rows end with a NULL name. */
struct cli_option {
	const char *name;
	char letter; /* 0: none */
	const char *arg, *help;
	bool many;
};

/* What was given; views into argv. */
struct cli_given {
	const struct cli_option *option;
	const char *value; /* "" for a flag */
};
struct cli_args {
	struct cli_given *given;
	size_t given_count;
	const char *const *rest; /* what is no option, in order */
	size_t rest_count;
};

/* A command. run() returns an exit code; -1 means *e is to be printed, and EXIT_FAILED. Rows end with a NULL name. */
struct cli_command {
	const char *name, *arguments, *summary;
	const char *details;              /* paragraphs for --help, after the summary; may be NULL */
	const struct cli_option *options; /* besides --data and --help, which all have */
	size_t least, most;               /* of arguments */
	int (*run)(const struct cli_args *a, struct err *e);
};
extern const struct cli_command cli_commands[]; /* commands.c */

int cli_main(int argc, char **argv); /* the exit code */

/* ---- for commands ---- */
/* The option's value (the last one given), or other. */
const char *cli_text(const struct cli_args *a, const char *name, const char *other);
bool cli_flag(const struct cli_args *a, const char *name);
/* The at-th value of an option that may be given often; NULL behind the last. */
const char *cli_nth(const struct cli_args *a, const char *name, size_t at);
/* A whole number from least to most, or other when not given. ERR_INVALID names the option. */
int cli_number(const struct cli_args *a, const char *name, int64_t least, int64_t most, int64_t other, int64_t *ret,
               struct err *e) must_check;
/* "NAME=VALUE" cut at the first '='; name is malloc'd. ERR_INVALID names the option. */
int cli_pair(const char *option, const char *text, char **ret_name, const char **ret_value, struct err *e) must_check;
/* Parses as the rows say; for the tests. ERR_INVALID is a usage error. */
int cli_parse(const struct cli_command *c, int argc, char *const *argv, struct cli_args *ret, struct err *e) must_check;
void cli_args_fini(struct cli_args *a);
void cli_help(const struct cli_command *c, FILE *to);

/* --data, else $BLOOMERY_DATA, else /var/lib/bloomery. */
const char *cli_data_dir(const struct cli_args *a);
/* The settings of --config, else of bloomery.conf in the data directory; conf_fini() what is returned, also on failure.
 * Not ERR_INVALID, which is for the command line. */
struct conf;
int cli_conf(const struct cli_args *a, const char *data_dir, struct conf *ret, struct err *e) must_check;
/* 'text' as one word of a POSIX shell. */
void cli_shell_quote(struct buf *b, const char *text);
