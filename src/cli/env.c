/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/access.h"
#include "cli/commands.h"

#include <stdlib.h>

int command_env(const struct cli_args *a, struct err *e)
{
	_cleanup_access_ struct access s = { 0 };
	_cleanup_buf_ struct buf out = { 0 };
	_cleanup_free_ char *data = NULL;

	if (access_of_data(cli_data_dir(a), &s, e) < 0)
		return -1;
	data = realpath(cli_data_dir(a), NULL); /* `bloomery image` works there, from whatever folder */
	const char *const names[] = { "AWS_ENDPOINT_URL",   "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
		                      "AWS_DEFAULT_REGION", "AWS_REGION",        "BLOOMERY_DATA" };
	const char *const values[] = { s.endpoint, s.access_key, s.secret_key,
		                       s.region,   s.region,     data ? data : cli_data_dir(a) };

	if (cli_flag(a, "json")) {
		json_t *j = json_object();

		for (size_t i = 0; i < ARRAY_LEN(names); i++)
			json_object_set_new(j, names[i], json_string(values[i]));
		print_json(j);
		json_decref(j);
		return EXIT_DONE;
	}
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		buf_f(&out, "export %s=", names[i]);
		cli_shell_quote(&out, values[i]);
		buf_c(&out, '\n');
	}
	fputs(out.p, stdout);
	return EXIT_DONE;
}
