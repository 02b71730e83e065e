/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "cli/commands.h"

static const struct {
	const char *name;
	size_t least, most;
} verbs[] = { { "import", 2, 2 }, { "pull", 1, 1 }, { "list", 0, 0 }, { "remove", 1, 1 }, { "scan", 1, 1 } };

static int check_verb(const struct cli_args *a, struct err *e)
{
	size_t n = a->rest_count - 1;

	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		if (strcmp(a->rest[0], verbs[i].name) != 0)
			continue;
		if (n >= verbs[i].least && n <= verbs[i].most)
			return 0;
		return err_set(e, ERR_INVALID, "`bloomery image %s` takes %zu argument%s, not %zu", a->rest[0],
		               verbs[i].least, verbs[i].least == 1 ? "" : "s", n);
	}
	return err_set(e, ERR_INVALID, "there is no `bloomery image %s`", a->rest[0]);
}

/* "--name" and the value of each option given, as they are; the names are malloc'd. */
static size_t pass_options(const struct cli_args *a, const char **argv, size_t n)
{
	for (size_t i = 0; i < a->given_count; i++) {
		const struct cli_option *o = a->given[i].option;

		if (strcmp(o->name, "data") == 0)
			continue;
		argv[n++] = strf("--%s", o->name);
		if (o->arg)
			argv[n++] = a->given[i].value;
	}
	return n;
}

/* bloomery-image does it all; this says where the images are, and becomes it. */
int command_image(const struct cli_args *a, struct err *e)
{
	_cleanup_free_ char *programs = program_dir(), *program = strf("%s/bloomery-image", programs);
	_cleanup_free_ char *images = strf("%s/images", cli_data_dir(a));
	_cleanup_free_ const char **argv = xcalloc(2 * a->given_count + a->rest_count + 8, sizeof(*argv));
	size_t n = 0;

	if (check_verb(a, e) < 0)
		return -1;
	argv[n++] = program;
	argv[n++] = "--images";
	argv[n++] = images;
	n = pass_options(a, argv, n);
	for (size_t i = 0; i < a->rest_count; i++)
		argv[n++] = a->rest[i];
	fflush(NULL);
	execv(program, (char *const *)argv);
	return err_sys(e, "executing %s", program); /* the process ends, and with it what the names took */
}
