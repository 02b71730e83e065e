/* bloomery-fetch: objects of a remote S3 to files, and files to it, see s3/fetch.h; channels into FIFOs, see
 * feed/feed.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <linux/capability.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "base/secret.h"
#include "feed/feed.h"
#include "s3/fetch.h"

static int usage(void)
{
	fputs("usage: bloomery-fetch list | get FD | put FD | count | exists | pipe   (the work order, a JSON object, "
	      "on "
	      "stdin)\n",
	      stderr);
	return 2;
}

/* Who reads what a stranger's server says needs none of them: bloomeryd may have one to search directories, and of
 * bloomery-job's all that is used is that the directories are root's. */
static void drop_capabilities(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { 0 };

	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && syscall(SYS_capset, &head, none) == 0);
}

int main(int argc, char **argv)
{
	uint64_t fd = 0;

	if (argc < 2 || argc > 3 || (argc == 3 && (!str_to_u64(str_of(argv[2]), &fd) || fd > INT32_MAX)))
		return usage();
	/* bloomeryd executes us by descriptor, which would be our name in ps and top. */
	prctl(PR_SET_NAME, "bloomery-fetch");
	no_core_dumps_below(); /* it would hold keys */
	log_init("bloomery-fetch", LOG_INFO);
	if (argc == 2 && strcmp(argv[1], "pipe") == 0)
		return feed_main(STDIN_FILENO, STDOUT_FILENO); /* keeps the one that it needs */
	drop_capabilities();
	return fetch_main(argv[1], argc == 3 ? (int)fd : -1, STDIN_FILENO, STDOUT_FILENO);
}
