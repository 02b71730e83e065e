/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/access.h"
#include "cli/commands.h"

int command_metrics(const struct cli_args *a, struct err *e)
{
	_cleanup_access_ struct access s = { 0 };
	_cleanup_buf_ struct buf text = { 0 };

	if (access_open(a, &s, e) < 0 || access_get(&s, "/metrics", &text, e) < 0)
		return -1;
	if (fwrite(text.p, 1, text.n, stdout) != text.n || fflush(stdout) != 0)
		return err_sys(e, "writing");
	return EXIT_DONE;
}
