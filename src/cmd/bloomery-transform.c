/* bloomery-transform: the records of objects to a serving container and its answers to files, see
 * transform/transform.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <linux/capability.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "base/secret.h"
#include "transform/transform.h"

/* Who reads what a stranger's container says needs none of them. */
static void drop_capabilities(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { 0 };

	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && syscall(SYS_capset, &head, none) == 0);
}

int main(int argc, char **argv)
{
	(void)argv;
	if (argc != 1) {
		fputs("usage: bloomery-transform   (the work order, a JSON object, on stdin)\n", stderr);
		return 2;
	}
	prctl(PR_SET_NAME, "bloomery-transf");
	no_core_dumps_below(); /* it would hold keys */
	log_init("bloomery-transform", LOG_INFO);
	drop_capabilities();
	return transform_main(STDIN_FILENO, STDOUT_FILENO);
}
